//! A range of a stream. It limits a person's decision to the entries that existed when they decided.

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
    /// The range of a single entry.
    pub fn one(id: &EntryId) -> Self {
        Self { first: id.clone(), last: id.clone() }
    }
}
