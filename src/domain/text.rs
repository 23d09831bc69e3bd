//! Texts as editors save them (some editors put a byte order mark before UTF-8, and some save UTF-16), durations for
//! people, and the known name that a misspelt one means.

use std::time::Duration;

/// U+FEFF in UTF-8.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The error for a text in UTF-16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is UTF-16; save it as UTF-8")]
pub struct Utf16;

/// A file's text without the byte order mark with which it may begin. It does not check whether the rest is UTF-8.
///
/// # Errors
/// [`Utf16`] if the text begins with the mark of UTF-16, or if every second byte of its beginning is zero.
pub fn without_mark(bytes: &[u8]) -> Result<&[u8], Utf16> {
    match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, 1..=255, 0, 1..=255, ..] | [1..=255, 0, 1..=255, 0, ..] => Err(Utf16),
        _ => Ok(bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes)),
    }
}

/// A duration in whole seconds: `less than 1s`, `1m 15s`.
pub fn seconds(duration: Duration) -> String {
    match duration.as_secs() {
        0 => "less than 1s".to_owned(),
        seconds => humantime::format_duration(Duration::from_secs(seconds)).to_string(),
    }
}

/// The known name nearest to `name`, with at most one typing mistake for every three letters.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let slips_max = |known: &str| (known.chars().count() / 3).max(1);
    // The comparison takes memory for the product of both lengths, and a client chooses the name.
    let is_near = |known: &str| name.len() <= 4 * (known.chars().count() + slips_max(known));
    let slips = |known| strsim::damerau_levenshtein(&name.to_lowercase(), known);
    known
        .filter(|known| is_near(known))
        .map(|known| (slips(known), known))
        .filter(|(slips, known)| *slips <= slips_max(known))
        .min()
        .map(|(_, known)| known)
}

/// Whether the character sets the direction of the text around it: the marks, embeddings, overrides and isolates of the
/// bidirectional algorithm (UAX #9).
pub const fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mark_is_skipped_and_utf_16_is_refused_with_and_without_its_mark() {
        assert_eq!(without_mark(b"\xef\xbb\xbf{}"), Ok(&b"{}"[..]));
        assert_eq!(without_mark(b"\xef\xbb\xbf\xef\xbb\xbf{}"), Ok(&b"\xef\xbb\xbf{}"[..]));
        for text in [&b""[..], b"a", b"{}", b"\xef\xbb", b"a\0", b"a\0bc", b" \xef\xbb\xbf"] {
            assert_eq!(without_mark(text), Ok(text));
        }
        for text in [&b"\xff\xfe{\0}\0"[..], b"\xfe\xff\0{\0}", b"{\0}\0", b"\0{\0}", b"\xff\xfe"] {
            assert_eq!(without_mark(text), Err(Utf16), "{text:?}");
        }
    }

    #[test]
    fn durations_are_written_for_people() {
        for (ms, words) in
            [(0, "less than 1s"), (999, "less than 1s"), (75_400, "1m 15s"), (1_795_446_063_000, "56years 10months")]
        {
            let text = seconds(Duration::from_millis(ms));
            assert!(text.starts_with(words) && !text.contains('.'), "{ms} ms: {text}");
        }
    }

    #[test]
    fn a_nearest_name_is_found_and_a_huge_one_is_not_compared() {
        let nearest_of = |name: &str| nearest(name, ["url", "événements"].into_iter());
        for (name, found) in
            [("URL", Some("url")), ("urls", Some("url")), ("évènement", Some("événements")), ("u", None)]
        {
            assert_eq!(nearest_of(name), found, "{name}");
        }
        // The comparison alone would take a gigabyte.
        assert_eq!(nearest_of(&"x".repeat(10 << 20)), None);
    }
}
