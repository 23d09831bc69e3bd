//! The output of `lynkhook enqueue` for lines: the ids on standard output, and a tally that knows from which line to
//! continue if the work was cut short.

use std::{fmt, io};

use crate::{
    domain::event::EventId,
    producer::{Answer, EnqueueError},
};

/// The accepted events' ids, in order: one per line, or one JSON array. Each line is written as a whole, so that a
/// reader can use it at once.
///
/// If standard output can no longer be written, the ids end and the work continues: the purpose is to enqueue the
/// events, and half of them would be worse.
pub(super) struct Ids<W> {
    out: Option<W>,
    json: bool,
    written: u64,
    lost: Option<io::Error>,
}

impl<W: io::Write> Ids<W> {
    pub(super) fn new(out: W, json: bool) -> Self {
        Self { out: Some(out), json, written: 0, lost: None }
    }

    /// Writes the stream id of a line's event, and in JSON the event's own id as well.
    pub(super) fn write(&mut self, line: u64, entry: &str, id: Option<&EventId>) {
        let opening = if self.written == 0 { "[" } else { "," };
        self.attempt(|out| match id {
            Some(id) => writeln!(out, "{opening}{{\"line\":{line},\"entry\":\"{entry}\",\"id\":\"{id}\"}}"),
            None => writeln!(out, "{entry}"),
        });
        self.written += 1;
    }

    /// Flushes the lines written so far.
    pub(super) fn flush(&mut self) {
        self.attempt(W::flush);
    }

    /// Ends the document. Returns the error if the output is incomplete.
    pub(super) fn finish(mut self) -> Option<io::Error> {
        if self.json {
            let closing = if self.written == 0 { "[]\n" } else { "]\n" };
            self.attempt(|out| out.write_all(closing.as_bytes()));
        }
        self.flush();
        self.lost
    }

    fn attempt(&mut self, write: impl FnOnce(&mut W) -> io::Result<()>) {
        if let Some(out) = &mut self.out
            && let Err(error) = write(out)
        {
            self.out = None;
            self.lost = Some(error);
        }
    }
}

/// The results of the lines so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    enqueued: u64,
    refused: u64,
    /// The last line that was tried.
    last: u64,
    /// Valid lines that are certainly not in the queue.
    missing: Ranges,
    /// Lines that may be in the queue.
    unknown: Ranges,
    /// Lines that were accepted after a missing or unknown one.
    beyond: Ranges,
}

impl Tally {
    /// Records the result of a line.
    pub(super) fn note(&mut self, line: u64, answer: &Answer) {
        self.last = line;
        match answer {
            Ok(_) => {
                self.enqueued += 1;
                if self.is_cut_short() {
                    self.beyond.push(line);
                }
            }
            Err(EnqueueError::Refused(_)) => self.refused += 1,
            Err(EnqueueError::NotAccepted(_)) => self.missing.push(line),
            Err(EnqueueError::Unknown(_)) => self.unknown.push(line),
        }
    }

    /// The number of refused lines.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    /// The number of enqueued lines, for a progress bar.
    pub(super) fn enqueued(&self) -> u64 {
        self.enqueued
    }

    fn is_cut_short(&self) -> bool {
        !self.missing.0.is_empty() || !self.unknown.0.is_empty()
    }

    /// Advice if the work was cut short: the line to continue from, and the risk if there is one.
    pub(super) fn how_to_go_on(&self) -> String {
        if let Some(first) = self.unknown.first() {
            let after = self.missing.first().unwrap_or(self.last + 1);
            return format!(
                "{} may or may not be enqueued, because no answer came; continuing from line {first} may enqueue a \
                 line twice, continuing from line {after} may leave one out",
                self.unknown
            );
        }
        let first = self.missing.first().unwrap_or(self.last + 1);
        match self.beyond.first() {
            None => format!("continue from line {first}"),
            Some(_) => format!("continue from line {first}, but leave out {}, already enqueued", self.beyond),
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} enqueued, {} refused", self.enqueued, self.refused)
    }
}

/// Line numbers, ascending; at most one batch of them.
#[derive(Debug, Default)]
struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    fn push(&mut self, line: u64) {
        match self.0.last_mut() {
            Some((_, last)) if *last + 1 == line => *last = line,
            _ => self.0.push((line, line)),
        }
    }

    fn first(&self) -> Option<u64> {
        self.0.first().map(|(first, _)| *first)
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = matches!(self.0[..], [(first, last)] if first == last);
        f.write_str(if one { "line " } else { "lines " })?;
        for (i, (first, last)) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            if first == last { write!(f, "{comma}{first}")? } else { write!(f, "{comma}{first}-{last}")? }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::event::EnvelopeFault, producer::Enqueued, store::StoreError};

    fn ids(json: bool, lines: &[u64]) -> String {
        let mut out = Vec::new();
        let mut ids = Ids::new(&mut out, json);
        for line in lines {
            let id = json.then(|| format!("e{line}").parse().unwrap());
            ids.write(*line, &format!("{line}-0"), id.as_ref());
        }
        assert!(ids.finish().is_none());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn ids_are_lines_or_one_array() {
        assert_eq!(ids(false, &[1, 3]), "1-0\n3-0\n");
        assert_eq!(ids(true, &[]), "[]\n");
        assert_eq!(
            ids(true, &[1, 3]),
            "[{\"line\":1,\"entry\":\"1-0\",\"id\":\"e1\"}\n,{\"line\":3,\"entry\":\"3-0\",\"id\":\"e3\"}\n]\n"
        );
    }

    #[test]
    fn a_closed_output_is_noted_and_ends_the_ids_only() {
        let mut small = [0; 4];
        let mut ids = Ids::new(&mut small[..], false);
        for line in 0..10 {
            ids.write(line, "1-0", None);
        }
        assert!(ids.finish().is_some());
        assert_eq!(&small, b"1-0\n");
    }

    /// Lines as letters: `a`ccepted, `r`efused, `m`issing, `u`nknown.
    fn tally(lines: &str) -> (String, String) {
        let mut tally = Tally::default();
        for (line, letter) in (1..).zip(lines.chars()) {
            let answer = match letter {
                'a' => Ok(Enqueued { stream_id: "1-0".to_owned() }),
                'r' => Err(EnqueueError::Refused(EnvelopeFault::NotUtf8)),
                'm' => Err(EnqueueError::NotAccepted(StoreError::Full)),
                _ => Err(EnqueueError::Unknown(StoreError::Full)),
            };
            tally.note(line, &answer);
        }
        (tally.to_string(), tally.how_to_go_on())
    }

    #[test]
    fn the_tally_says_from_which_line_to_continue() {
        for (lines, counts, next) in [
            ("", "0 enqueued, 0 refused", "continue from line 1"),
            ("aar", "2 enqueued, 1 refused", "continue from line 4"),
            ("aarmm", "2 enqueued, 1 refused", "continue from line 4"),
            ("ama", "2 enqueued, 0 refused", "continue from line 2, but leave out line 3, already enqueued"),
            ("amamaarm", "4 enqueued, 1 refused", "continue from line 2, but leave out lines 3, 5-6, already enqueued"),
        ] {
            assert_eq!(tally(lines), (counts.to_owned(), next.to_owned()), "{lines}");
        }
        let unknown = |range, first, after| {
            format!(
                "{range} may or may not be enqueued, because no answer came; continuing from line {first} may \
                 enqueue a line twice, continuing from line {after} may leave one out"
            )
        };
        assert_eq!(tally("auumm").1, unknown("lines 2-3", 2, 4));
        assert_eq!(tally("auru").1, unknown("lines 2, 4", 2, 5));
    }
}
