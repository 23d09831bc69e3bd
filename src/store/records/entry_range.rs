//! A stretch of a stream: what people decide on is bounded by what was there when they decided.

use crate::store::EntryId;

/// Entries from one id to another, both included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryRange {
    /// The oldest.
    pub first: EntryId,
    /// The newest.
    pub last: EntryId,
}

impl EntryRange {
    /// One entry.
    pub fn one(id: &EntryId) -> Self {
        Self { first: id.clone(), last: id.clone() }
    }
}
