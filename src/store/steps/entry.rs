//! An entry of the queue, the lease on it, and the answer of a step.

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use redis::Value;

use crate::domain::delivery::LINE_MAX_BYTES;

/// The most bytes that one script moves between keys (at least one delivery): 50 deliveries of 1 MB would block Redis
/// for 0.4 s.
pub const BATCH_MAX_BYTES: usize = 4 << 20;
/// The most deliveries that one script moves between keys.
pub const BATCH_MAX: usize = 50;

/// A queue entry's id, as Redis made it: `<ms>-<sequence>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, utoipa::ToSchema)]
#[schema(pattern = "^[0-9]+-[0-9]+$")]
pub struct EntryId(pub String);

impl EntryId {
    /// Reads an id that an entry can have, as Redis writes it. The smallest and the largest id are none: Redis gives out
    /// neither, and refuses a list that begins beyond them.
    pub fn parse(text: &str) -> Option<Self> {
        let id = Self(text.to_owned());
        let (ms, sequence) = id.order()?;
        let is_end = [(0, 0), (u64::MAX, u64::MAX)].contains(&(ms, sequence));
        (!is_end && text == format!("{ms}-{sequence}")).then_some(id)
    }

    /// The parts of the id, by which ids are ordered: Unix ms, and a number within the ms; `None` if it is no complete
    /// id.
    pub fn order(&self) -> Option<(u64, u64)> {
        let (ms, sequence) = self.0.split_once('-')?;
        let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        Some((number(ms)?, number(sequence)?))
    }

    /// The time that the entry has been in the queue at `now`, by Redis's clock; negative if its id is from the future.
    pub fn age(&self, now: DateTime<Utc>) -> TimeDelta {
        let (ms, _) = self.order().unwrap_or_default();
        TimeDelta::milliseconds(now.timestamp_millis().saturating_sub(i64::try_from(ms).unwrap_or(i64::MAX)))
    }
}

/// An entry as it was taken from the queue.
#[derive(Debug)]
pub struct Entry {
    /// Its id.
    pub id: EntryId,
    /// The number of times it was given to a worker, including this time.
    pub deliveries: u32,
    /// Its fields, in order.
    pub fields: Vec<(Bytes, Bytes)>,
}

impl Entry {
    /// The bytes of its fields.
    pub fn size_bytes(&self) -> usize {
        self.fields.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

/// The fence: a lease is a queue entry and the delivery count under which its consumer has it.
#[derive(Debug, Clone)]
pub struct Fence {
    /// The queue's partition.
    pub partition: u16,
    /// The entry.
    pub entry: EntryId,
    /// The delivery count of the lease; 0: somebody took the entry out of the queue.
    pub deliveries: u32,
}

/// The answer of a leased step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepAnswer {
    /// The step is done.
    Done,
    /// The step is done, but Redis refused the log entry, which was counted.
    Unlogged,
    /// Somebody took the entry out of the queue; nothing changed.
    Trimmed,
    /// No worker has a lease on the entry, because the queue or its group was lost after it came; nothing changed.
    Vanished,
    /// The queue takes nothing now, so the rest of an event stays where it is. Its deliveries so far wait among the
    /// retries.
    Rest,
    /// Another worker has the lease; nothing changed.
    Lost,
    /// The webhook is deleted; the delivery was dropped and counted.
    Gone,
    /// The webhook is on after all: attempt it.
    Active,
    /// The delivery is new, its webhook is on, and `held` is full; the delivery stays where it was.
    Full,
    /// Redis answered with this error; the entry stays where it was.
    Broken(String),
}

/// An entry in a script's answer: its id, its delivery count and its fields.
pub(super) type Taking = (String, u32, Value);

pub(super) fn entries_of(taken: Vec<Taking>) -> Vec<Entry> {
    let entry = |(id, deliveries, fields)| Entry { id: EntryId(id), deliveries, fields: pairs(fields) };
    taken.into_iter().map(entry).collect()
}

/// The number of deliveries with an envelope of this size that one script may add, together with the rest of the event.
pub fn fan_out_max(envelope_bytes: usize) -> usize {
    let copies = BATCH_MAX_BYTES / (envelope_bytes + LINE_MAX_BYTES);
    copies.saturating_sub(1).clamp(1, BATCH_MAX)
}

/// Turns `[field, value, …]` into pairs, without copying the bytes.
pub(in crate::store) fn pairs(fields: Value) -> Vec<(Bytes, Bytes)> {
    let Value::Array(items) = fields else { return Vec::new() };
    let mut texts = items.into_iter().map(|item| match item {
        Value::BulkString(bytes) => Bytes::from(bytes),
        _ => Bytes::new(),
    });
    let mut pairs = Vec::with_capacity(texts.len() / 2);
    while let (Some(name), Some(value)) = (texts.next(), texts.next()) {
        pairs.push((name, value));
    }
    pairs
}

pub(super) fn answer(word: String) -> StepAnswer {
    match word.as_str() {
        "DONE" | "SETTLED" | "HELD" => StepAnswer::Done,
        "UNLOGGED" => StepAnswer::Unlogged,
        "TRIMMED" => StepAnswer::Trimmed,
        "VANISHED" => StepAnswer::Vanished,
        "REST" => StepAnswer::Rest,
        "LOST" => StepAnswer::Lost,
        "GONE" => StepAnswer::Gone,
        "ACTIVE" => StepAnswer::Active,
        "FULL" => StepAnswer::Full,
        _ => StepAnswer::Broken(word),
    }
}
