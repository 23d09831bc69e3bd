use std::fmt::Write as _;

use super::*;

/// The pieces of an input whose envelopes may have ten bytes.
fn pieces(by_lines: bool, source: impl Read + Send + 'static) -> Vec<Piece> {
    let (sender, mut receiver) = mpsc::channel(1);
    let reading = std::thread::spawn(move || read(source, by_lines, 10, &sender));
    let pieces = std::iter::from_fn(|| receiver.blocking_recv()).collect();
    reading.join().unwrap().unwrap();
    pieces
}

fn text(input: &'static str) -> String {
    let show = |content: Content| content.map_or_else(|e| e.to_string(), |c| String::from_utf8(c.into()).unwrap());
    let mut shown = String::new();
    for piece in pieces(false, Cursor::new(input.to_owned())) {
        match piece {
            Piece::Whole(content) => write!(shown, "whole {:?}", show(content)).unwrap(),
            Piece::Lines(batch) => {
                for line in batch.lines {
                    write!(shown, "{} {:?}; ", line.number, show(line.content)).unwrap();
                }
            }
        }
    }
    shown
}

/// Returns one part for each read, and then the end.
struct Parts(Vec<&'static [u8]>);

impl Read for Parts {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let part = if self.0.is_empty() { b"" } else { self.0.remove(0) };
        buffer[..part.len()].copy_from_slice(part);
        Ok(part.len())
    }
}

#[test]
fn one_json_value_is_one_envelope_with_its_bytes_as_they_are() {
    assert_eq!(text("{}"), r#"whole "{}""#);
    assert_eq!(text("{}\n"), r#"whole "{}\n""#);
    assert_eq!(text("\n{ \"a\":1}"), r#"whole "\n{ \"a\":1}""#);
    assert_eq!(text("{\n}\r\n\n"), r#"whole "{\n}\r\n\n""#);
}

#[test]
fn one_byte_order_mark_before_the_input_is_skipped_and_utf_16_is_an_error() {
    assert_eq!(text("\u{feff}{\n}\n"), r#"whole "{\n}\n""#);
    assert_eq!(text("\u{feff}{}\n{}\n"), r#"1 "{}"; 2 "{}"; "#);
    assert_eq!(text("{}\n\u{feff}{}\n"), "1 \"{}\"; 2 \"\\u{feff}{}\"; ", "the second mark belongs to its event");
    let (sender, _receiver) = mpsc::channel(1);
    for parts in [vec![&b"\xef"[..], b"\xbb", b"\xbf{}\n{}"], vec![b"\xef\xbb\xbf", b"{}\n{}"]] {
        let Piece::Lines(batch) = &pieces(false, Parts(parts))[0] else { panic!("one envelope") };
        assert_eq!(batch.lines[0].content, Ok(Bytes::from_static(b"{}")));
    }
    assert!(read(Parts(vec![b"{\0", b"}\0"]), false, 10, &sender).unwrap_err().to_string().contains("UTF-16"));
    for utf16 in ["\u{feff}{}", "{}\n"] {
        let bytes: Vec<u8> = utf16.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let bytes: &'static [u8] = bytes.leak();
        let error = read(Cursor::new(bytes), false, 10, &mpsc::channel(1).0).unwrap_err();
        assert_eq!(error.to_string(), "it is UTF-16; save it as UTF-8");
    }
}

#[test]
fn any_other_input_is_lines_and_blank_lines_count_but_are_skipped() {
    assert_eq!(text(""), "");
    assert_eq!(text("\n \r\n"), "");
    assert_eq!(text("{}\n{}"), r#"1 "{}"; 2 "{}"; "#);
    assert_eq!(text("\n{}\r\n\n {} \n"), r#"2 "{}"; 4 " {} "; "#);
    assert_eq!(text("{}x\n{}\n"), r#"1 "{}x"; 2 "{}"; "#);
    assert_eq!(text("{\"a\":\n{}\n"), r#"1 "{\"a\":"; 2 "{}"; "#);
    assert_eq!(text("x"), r#"1 "x"; "#);
}

#[test]
fn an_input_that_opens_like_a_printed_envelope_is_never_read_as_lines() {
    assert_eq!(text("{\n\"a\" 1}\n"), r#"whole "{\n\"a\" 1}\n""#);
    assert_eq!(text("{\n}\n{\n}\n"), r#"whole "{\n}\n{\n}\n""#);
    assert_eq!(text("{\n"), r#"whole "{\n""#);
}

#[test]
fn a_line_that_is_too_large_is_refused_with_its_size_and_the_next_line_is_read() {
    let fault = |n: usize| format!("the envelope has {n} bytes, more than the 10 allowed");
    assert_eq!(text("1234567890\n1\n"), r#"1 "1234567890"; 2 "1"; "#);
    assert_eq!(text("1234567890\r\n1\n"), r#"1 "1234567890"; 2 "1"; "#);
    // Eleven bytes are still read, and the catalogue refuses them. A longer line is not kept.
    assert_eq!(text("12345678901\n1\n"), r#"1 "12345678901"; 2 "1"; "#);
    assert_eq!(text("1234567890123\n1\n"), format!("1 {:?}; 2 \"1\"; ", fault(13)));
    assert_eq!(text("1\n1234567890123"), format!("1 \"1\"; 2 {:?}; ", fault(13)));
    assert_eq!(text("{\n          \n}"), format!("whole {:?}", fault(14)));
}

/// The numbers of the lines in each piece; no numbers for a single envelope.
fn numbers(by_lines: bool, parts: &[&'static str]) -> Vec<Vec<u64>> {
    let of_piece = |piece: &Piece| match piece {
        Piece::Lines(batch) => batch.lines.iter().map(|line| line.number).collect(),
        Piece::Whole(_) => Vec::new(),
    };
    pieces(by_lines, Parts(parts.iter().map(|part| part.as_bytes()).collect())).iter().map(of_piece).collect()
}

#[test]
fn lines_are_handed_over_before_the_reader_waits_for_more() {
    assert_eq!(numbers(false, &["{}\n{}\n", "{}", "\n", "{}\n", "{}"]), [vec![1, 2], vec![3], vec![4], vec![5]]);
    assert_eq!(numbers(false, &["{}\n{}\n\n \n", "{}\n"]), [vec![1, 2], vec![5]], "blank lines end no wait");
}

#[test]
fn if_lines_are_expected_a_first_line_is_handed_over_when_it_is_complete() {
    assert_eq!(numbers(true, &["{}\n", "{}\n", "{}\n"]), [vec![1], vec![2], vec![3]]);
    assert_eq!(numbers(true, &["{}", "\n\n", "{}\n"]), [vec![1], vec![3]]);
    for alone in [&["{}\n"][..], &["{}"], &["{", "}", "\n"]] {
        assert_eq!(numbers(true, alone), [vec![1]], "{alone:?}");
        assert_eq!(numbers(false, alone), [vec![0; 0]], "one envelope: {alone:?}");
    }
    assert_eq!(numbers(true, &["{\n}\n", "\n"]), [vec![0; 0]], "one envelope over many lines");
}

#[test]
fn a_batch_is_full_at_the_bounds_of_a_round_trip() {
    let sizes: Vec<usize> = pieces(false, Cursor::new("{}\n".repeat(1200)))
        .into_iter()
        .map(|piece| if let Piece::Lines(batch) = piece { batch.lines.len() } else { 0 })
        .collect();
    assert_eq!(sizes, [500, 500, 200]);
}
