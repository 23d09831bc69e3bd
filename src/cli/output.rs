//! The output of commands: tables for people, JSON for scripts.
//!
//! A reader that leaves early (`| head`) is not an error. A text from outside (a receiver's, a producer's) never
//! reaches a terminal with its control characters: see [`clean`].

use std::{
    borrow::Cow,
    io::{self, IsTerminal, Write},
};

use chrono::DateTime;
use comfy_table::{Cell, ColumnConstraint, ContentArrangement, Table, presets};
use serde::Serialize;

/// The number of spaces between columns.
const GAP: u16 = 2;

/// Whether standard output still has a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    /// As far as is known.
    Present,
    /// The pipe is broken.
    Gone,
}

/// Prints a text unchanged.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    write(text)?;
    Ok(())
}

/// Prints one JSON document.
pub(super) fn print_json(document: &impl Serialize) -> anyhow::Result<()> {
    print(&(plain(&serde_json::to_string_pretty(document)?) + "\n"))
}

/// One JSON object on one line, also for readers that take other characters for a line's end.
pub(super) fn json_line(document: &impl Serialize) -> anyhow::Result<String> {
    Ok(plain(&serde_json::to_string(document)?) + "\n")
}

/// JSON in which characters are escaped that some readers take for a line's end, or terminals for a control sequence.
fn plain(json: &str) -> String {
    let escaped = |character: char| match character {
        // In JSON, these occur only inside strings.
        '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' => format!("\\u{:04x}", u32::from(character)),
        other => other.to_string(),
    };
    json.chars().map(escaped).collect()
}

/// Prints a text unchanged, and says whether the reader is still there.
pub(super) fn write(text: &str) -> io::Result<Reader> {
    write_to(&mut io::stdout().lock(), text)
}

fn write_to(stream: &mut impl Write, text: &str) -> io::Result<Reader> {
    match stream.write_all(text.as_bytes()).and_then(|()| stream.flush()) {
        Ok(()) => Ok(Reader::Present),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(error),
    }
}

/// The width of the terminal in columns; `None` if standard output is not a terminal, and lines may have any length.
pub(super) fn width() -> Option<u16> {
    let stdout = io::stdout();
    let size = stdout.is_terminal().then(|| terminal_size::terminal_size_of(&stdout)).flatten();
    size.map(|(width, _)| width.0).filter(|&columns| columns > 0)
}

/// A table without lines. No column is narrower than its widest cell, unless [`flexible`] says so.
pub(super) fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    if header.iter().any(|name| !name.is_empty()) {
        table.set_header(header.map(Cell::new));
    }
    table.add_rows(rows);
    table.discover_columns();
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, if index + 1 < N { GAP } else { 0 })).set_constraint(ColumnConstraint::ContentWidth);
    }
    table
}

/// Lets these columns wrap if the terminal is too narrow for their cells.
pub(super) fn flexible<const N: usize>(mut table: Table, columns: [usize; N]) -> Table {
    for index in columns {
        if let Some(column) = table.column_mut(index) {
            column.remove_constraint();
        }
    }
    table
}

/// Whether the table fits into `width`. `wrapped` names one column and the width down to which it may be wrapped; no
/// other column wraps.
pub(super) fn fits(table: &Table, width: Option<u16>, wrapped: Option<(usize, u16)>) -> bool {
    let widest = table.column_max_content_widths();
    let gaps = usize::from(GAP) * widest.len().saturating_sub(1);
    let needed = widest.into_iter().enumerate().map(|(index, widest)| match wrapped {
        Some((column, least)) if column == index => usize::from(widest.min(least)),
        _ => usize::from(widest),
    });
    width.is_none_or(|width| needed.sum::<usize>() + gaps <= width.into())
}

/// The table as text, for this width.
pub(super) fn render(mut table: Table, width: Option<u16>) -> String {
    if let Some(width) = width {
        table.set_width(width);
    }
    table.trim_fmt() + "\n"
}

/// Makes control characters, and characters that change the writing direction, visible in a text. It can then neither
/// move a terminal's cursor nor pass for another text.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    let steers = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let shown = |c: char| if steers(c) { c.escape_default().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(shown).collect())
}

/// An RFC 3339 time as `2026-03-26 14:32:00` in UTC; any other text stays as it is.
pub(super) fn time(rfc3339: &str) -> String {
    DateTime::parse_from_rfc3339(rfc3339)
        .map_or_else(|_| clean(rfc3339).into_owned(), |time| time.to_utc().format("%Y-%m-%d %H:%M:%S").to_string())
}

/// `120 ms`, `1.2 s`.
#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
pub(super) fn milliseconds(ms: u64) -> String {
    if ms < 1000 { format!("{ms} ms") } else { format!("{:.1} s", ms as f64 / 1000.0) }
}

/// Writes a line to standard error. If that is closed, the line is lost.
pub(super) fn say(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Pipe(io::ErrorKind);

    impl Write for Pipe {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_leaves_is_not_an_error_but_a_full_disk_is() {
        assert_eq!(write_to(&mut Vec::new(), "x").unwrap(), Reader::Present);
        assert_eq!(write_to(&mut Pipe(io::ErrorKind::BrokenPipe), "x").unwrap(), Reader::Gone);
        assert!(write_to(&mut Pipe(io::ErrorKind::StorageFull), "x").is_err());
    }

    #[test]
    fn texts_from_outside_cannot_steer_a_terminal() {
        assert_eq!(clean("größe 100 %"), "größe 100 %");
        assert_eq!(clean("a\u{1b}[2J\n\u{9b}\u{202e}"), r"a\u{1b}[2J\n\u{9b}\u{202e}");
    }

    #[test]
    fn a_json_line_is_one_line_for_every_reader_and_reads_as_what_it_was() {
        let text = "a\u{2028}b\u{85}c\u{9b}d\u{7f}e\nü";
        let line = json_line(&text).unwrap();
        assert_eq!(line, "\"a\\u2028b\\u0085c\\u009bd\\u007fe\\nü\"\n");
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
    }

    #[test]
    fn times_and_durations_are_for_people() {
        assert_eq!(time("2026-03-26T14:32:00.045Z"), "2026-03-26 14:32:00");
        assert_eq!(time("soon"), "soon");
        for (ms, text) in [(0, "0 ms"), (999, "999 ms"), (1000, "1.0 s"), (10_049, "10.0 s")] {
            assert_eq!(milliseconds(ms), text);
        }
    }

    #[test]
    fn a_table_has_no_trailing_blanks_and_wraps_only_flexible_columns() {
        let rows = || [["one".to_owned(), "a sentence that is long".to_owned()]];
        let plain = || table(["Key", "Text"], rows());
        assert_eq!(render(plain(), None), "Key  Text\none  a sentence that is long\n");
        assert!(fits(&plain(), Some(28), None) && !fits(&plain(), Some(27), None));
        assert!(fits(&plain(), Some(15), Some((1, 10))) && !fits(&plain(), Some(14), Some((1, 10))));
        let wrapped = render(flexible(plain(), [1]), Some(20));
        assert_eq!(wrapped, "Key  Text\none  a sentence that\n     is long\n");
    }
}
