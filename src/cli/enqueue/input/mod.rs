//! What `lynkhook enqueue` reads: one envelope, over as many lines as it likes, or one envelope a line.
//!
//! Which of the two is decided once, from the beginning, and never by the time: one JSON value and nothing else is one
//! envelope, and its bytes go as they are; where lines are expected (`-`), that is so only of a value over many lines.
//! Anything else is lines. An input that opens like one printed over many lines (`{` alone) is
//! never taken for lines, so that a misplaced comma is one complaint and not twenty.
//!
//! One byte order mark before all of it is skipped, and no part of an envelope. UTF-16 is an error.
//!
//! Reading blocks, so it has a thread of its own, and hands over what it has before it waits for more: a slow
//! producer's events do not lie here. (Where no lines are expected, a first line may be all, and waits for the second or
//! for the end.)
//! Memory is bounded however long the input or one of its lines is.

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

/// An envelope's bytes, or that they are too many to be read.
pub(super) type Content = Result<Bytes, EnvelopeFault>;

/// One step of the input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// The whole input is one envelope.
    Whole(Content),
    /// Lines that are not blank, in order; never none.
    Lines(Batch),
}

/// Lines that go together.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    /// The lines.
    pub(super) lines: Vec<Line>,
    /// How much of the input has been read with the last of them, in bytes.
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

/// Reads to the end, or until nobody receives any more; as lines already where the first one is whole, if `by_lines`.
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
        // A mark may come in pieces, as may what tells UTF-16 without one.
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
    // Nobody receives any more: the program is ending.
    drop(pieces.blocking_send(Piece::Whole(content)));
    Ok(())
}

/// Appends what one read gives; `false` at the end.
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
    /// More must be read to tell.
    Open,
}

/// What the input is, from its beginning (all of it where it has `ended`).
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
        // Nobody receives any more: the program is ending.
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
            // The longest line that may be an envelope, and its line end.
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

    /// Passes over the rest of a line that is too long, keeping nothing of it.
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

    /// Whether the next line that is not blank is not here yet.
    fn must_wait(&self) -> bool {
        !self.source.buffer().trim_ascii_start().contains(&b'\n')
    }
}

fn wide(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
