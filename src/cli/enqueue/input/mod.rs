//! The input of `lynkhook enqueue`: one envelope on one or more lines, or one envelope per line.
//!
//! The reader decides between the two once, by the input's beginning and never by timing. An input that is one JSON
//! value and nothing else is one envelope, and its bytes are sent unchanged; with `-`, lines are expected, so this
//! applies only to a value that spans several lines. Any other input is read as lines. An input that opens like an
//! envelope printed over several lines (`{` alone on the first line) is never read as lines, so that a misplaced comma
//! causes one error and not twenty.
//!
//! One byte order mark before the input is skipped and is not part of an envelope. UTF-16 is an error.
//!
//! Reading blocks, so it runs on a separate thread. The reader hands over the lines that it has before it waits for
//! more, so a slow producer's events are not held back. (If lines are not expected, the first line may be the whole
//! input, so it waits for a second line or the end.)
//! Memory is bounded for an input of any length and lines of any length.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use bytes::Bytes;
use serde::de::IgnoredAny;
use tokio::sync::mpsc;

use crate::{
    domain::{
        event::EnvelopeFault,
        text::{BYTE_ORDER_MARK, without_mark},
    },
    producer::{ROUND_TRIP_BYTES, ROUND_TRIP_EVENTS},
};

const BUFFER_BYTES: usize = 256 << 10;

/// An envelope's bytes, or the fault that they are too many.
pub(super) type Content = Result<Bytes, EnvelopeFault>;

/// One step of the input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// The whole input is one envelope.
    Whole(Content),
    /// Lines that are not blank, in order; at least one.
    Lines(Batch),
}

/// Lines that are sent together.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    /// The lines.
    pub(super) lines: Vec<Line>,
    /// The number of bytes of the input up to the end of the last line.
    pub(super) position: u64,
    size_bytes: usize,
}

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Its number in the input, from 1; blank lines count.
    pub(super) number: u64,
    /// Without its line end.
    pub(super) content: Content,
}

impl Batch {
    fn push(&mut self, line: Line, position: u64) {
        self.size_bytes += line.content.as_ref().map_or(0, Bytes::len);
        self.position = position;
        self.lines.push(line);
    }

    fn is_full(&self) -> bool {
        self.lines.len() >= ROUND_TRIP_EVENTS || self.size_bytes >= ROUND_TRIP_BYTES
    }
}

/// Reads to the end, or until the receiver of the pieces is gone. With `by_lines`, a first line that is complete
/// already makes the input lines.
pub(super) fn read(
    mut source: impl Read,
    by_lines: bool,
    max_bytes: usize,
    pieces: &mpsc::Sender<Piece>,
) -> io::Result<()> {
    let mut head = Vec::new();
    let mut marked = true;
    let whole = loop {
        let grew = grow(&mut head, &mut source)?;
        // A mark may arrive in pieces, and so may the bytes that reveal UTF-16 without a mark.
        if grew && marked && head.len() < 4 && (head.contains(&0) || BYTE_ORDER_MARK.starts_with(&head)) {
            continue;
        }
        if std::mem::take(&mut marked) {
            let text = without_mark(&head).map_err(|utf16| io::Error::new(io::ErrorKind::InvalidData, utf16))?;
            head.drain(..head.len() - text.len());
        }
        match shape(&head, !grew, max_bytes, by_lines) {
            Shape::Whole => break true,
            Shape::Lines => break false,
            Shape::Open => {}
        }
    };
    if !whole {
        let source = BufReader::with_capacity(BUFFER_BYTES, Cursor::new(head).chain(source));
        return read_lines(&mut Lines { source, max_bytes, number: 0, position: 0, buffer: Vec::new() }, pieces);
    }
    let content = read_whole(head, source, max_bytes)?;
    // If the receiver is gone, the program is ending.
    drop(pieces.blocking_send(Piece::Whole(content)));
    Ok(())
}

/// Appends the bytes of one read; `false` at the end.
fn grow(head: &mut Vec<u8>, source: &mut impl Read) -> io::Result<bool> {
    let start = head.len();
    head.resize(start + BUFFER_BYTES, 0);
    let read = loop {
        match source.read(&mut head[start..]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => break other,
        }
    };
    head.truncate(start + *read.as_ref().unwrap_or(&0));
    read.map(|bytes| bytes > 0)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Whole,
    Lines,
    /// More must be read to decide.
    Open,
}

/// The shape of the input, decided by its beginning, `head`. If the input has `ended`, `head` is all of it.
fn shape(head: &[u8], ended: bool, max_bytes: usize, by_lines: bool) -> Shape {
    let enough = ended || head.len() > max_bytes;
    let text = head.trim_ascii_start();
    let first_line = text.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii_end();
    let opens = matches!(first_line, b"{" | b"[");
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<IgnoredAny>();
    match values.next() {
        None if enough => Shape::Lines,
        None => Shape::Open,
        Some(Ok(_)) => {
            let (value, rest) = text.split_at(values.byte_offset());
            match (rest.trim_ascii().is_empty(), value.contains(&b'\n')) {
                (true, false) if by_lines && (ended || rest.contains(&b'\n')) => Shape::Lines,
                (true, _) if ended => Shape::Whole,
                (true, _) if !enough => Shape::Open,
                (_, true) => Shape::Whole,
                (_, false) => Shape::Lines,
            }
        }
        Some(Err(fault)) if fault.is_eof() && !enough => Shape::Open,
        Some(Err(_)) if opens => Shape::Whole,
        Some(Err(_)) => Shape::Lines,
    }
}

fn read_whole(mut head: Vec<u8>, mut source: impl Read, max_bytes: usize) -> io::Result<Content> {
    let room = (max_bytes + 1).saturating_sub(head.len());
    source.by_ref().take(wide(room)).read_to_end(&mut head)?;
    let rest = io::copy(&mut source, &mut io::sink())?;
    let actual = head.len().saturating_add(usize::try_from(rest).unwrap_or(usize::MAX));
    if actual > max_bytes {
        return Ok(Err(EnvelopeFault::TooLarge { actual, limit: max_bytes }));
    }
    Ok(Ok(head.into()))
}

fn read_lines<R: Read>(lines: &mut Lines<R>, pieces: &mpsc::Sender<Piece>) -> io::Result<()> {
    let mut batch = Batch::default();
    let end = loop {
        match lines.next() {
            Ok(Some(line)) => batch.push(line, lines.position),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
        if (batch.is_full() || lines.must_wait())
            && pieces.blocking_send(Piece::Lines(std::mem::take(&mut batch))).is_err()
        {
            return Ok(());
        }
    };
    if !batch.lines.is_empty() {
        // If the receiver is gone, the program is ending.
        drop(pieces.blocking_send(Piece::Lines(batch)));
    }
    end
}

/// The lines of an input that are not blank.
struct Lines<R> {
    source: BufReader<R>,
    max_bytes: usize,
    number: u64,
    position: u64,
    buffer: Vec<u8>,
}

impl<R: Read> Lines<R> {
    fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            self.buffer.clear();
            // The longest line that can be an envelope, plus its line end.
            let limit = self.max_bytes + 2;
            let read = self.source.by_ref().take(wide(limit)).read_until(b'\n', &mut self.buffer)?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            self.position += wide(read);
            let content = match self.buffer.strip_suffix(b"\n") {
                None if read == limit => Err(self.too_large()?),
                None => Ok(&self.buffer[..]),
                Some(line) => Ok(line.strip_suffix(b"\r").unwrap_or(line)),
            };
            if !matches!(content, Ok(line) if line.trim_ascii().is_empty()) {
                return Ok(Some(Line { number: self.number, content: content.map(Bytes::copy_from_slice) }));
            }
        }
    }

    /// Skips the rest of a line that is too long, without keeping it.
    fn too_large(&mut self) -> io::Result<EnvelopeFault> {
        let mut actual = self.buffer.len();
        loop {
            let found = self.source.fill_buf()?;
            let end = found.iter().position(|byte| *byte == b'\n');
            let (length, last) = (end.unwrap_or(found.len()), end.is_some() || found.is_empty());
            let passed = length + usize::from(end.is_some());
            self.source.consume(passed);
            self.position += wide(passed);
            actual = actual.saturating_add(length);
            if last {
                return Ok(EnvelopeFault::TooLarge { actual, limit: self.max_bytes });
            }
        }
    }

    /// Whether the next line that is not blank has not arrived yet.
    fn must_wait(&self) -> bool {
        !self.source.buffer().trim_ascii_start().contains(&b'\n')
    }
}

fn wide(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
