//! Rejected entries, which are not valid events: finds them, puts them back into the queue, or drops them.
//!
//! Requeueing and dropping stop at the newest entry that existed at the start. An entry that is rejected again
//! meanwhile has a new id and is left alone, so that requeueing all entries ends.

use std::{cmp::Reverse, ops::Range};

use serde::Serialize;
use utoipa::ToSchema;

use super::Queue;
use crate::{
    domain::failure::Failure,
    store::{EntryId, EntryRange, Fate, RejectedEntry, StoreError},
};

/// The choice of rejected entries.
#[derive(Debug, Clone)]
pub struct WhichRejected {
    /// The entry with this id; `None`: all entries that are rejected now.
    pub id: Option<EntryId>,
    /// Only entries of this partition.
    pub partition: Option<u16>,
}

/// The result of requeueing or dropping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Disposed {
    /// [`Fate::Requeue`].
    Requeued {
        /// Entries that are back in the queue.
        requeued: u64,
        /// Entries that stayed, because their own fields cannot be restored.
        stayed: u64,
    },
    /// [`Fate::Drop`].
    Dropped {
        /// Entries that are gone, and counted.
        dropped: u64,
    },
}

/// The reason why entries could not be found or put back.
#[derive(Debug, thiserror::Error)]
pub enum RejectedError {
    /// No such entry.
    #[error("no rejected entry has the id {0}")]
    NotFound(String),
    /// No such partition.
    #[error("there is no partition {0}: there are {1} partitions, counted from 0")]
    Partition(u16, u16),
    /// Several entries have this id.
    #[error("partitions {1} each have a rejected entry {0}")]
    Ambiguous(String, String),
    /// Its fields cannot be restored.
    #[error("the rejected entry {0} stays rejected: it has too many fields, or no worker set it aside")]
    Stayed(String),
    /// Redis.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RejectedError {
    /// The kind of failure.
    pub fn failure(&self) -> Failure {
        match self {
            Self::NotFound(_) => Failure::NotFound,
            Self::Partition(..) | Self::Ambiguous(..) => Failure::Usage,
            Self::Stayed(_) => Failure::Refused,
            Self::Store(error) => error.failure(),
        }
    }
}

impl Queue {
    /// The rejected entries of one partition or of all, newest first, at most `most`.
    pub async fn rejected(&self, partition: Option<u16>, most: usize) -> Result<Vec<RejectedEntry>, RejectedError> {
        let mut entries: Vec<RejectedEntry> = Vec::new();
        for partition in self.partitions(partition)? {
            entries.extend(self.store.rejected(partition, most).await?);
            entries.sort_by_key(|entry| Reverse(entry.id.order()));
            entries.truncate(most);
        }
        Ok(entries)
    }

    /// Requeues or drops rejected entries. `progress` is called before the first batch and after each batch, with the
    /// number of entries that are done and the total.
    pub async fn dispose_rejected(
        &self,
        which: &WhichRejected,
        fate: Fate,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Disposed, RejectedError> {
        let mut ranges = Vec::new();
        match &which.id {
            Some(id) => ranges.push((self.find_rejected(id, which.partition).await?, EntryRange::one(id), 1)),
            None => {
                for partition in self.partitions(which.partition)? {
                    let range = self.store.rejected_range(partition).await?;
                    ranges.extend(range.map(|(range, length)| (partition, range, length)));
                }
            }
        }
        let of = ranges.iter().map(|(_, _, length)| length).sum();
        let (mut moved, mut stayed) = (0, 0);
        progress(0, of);
        for (partition, range, _) in ranges {
            let mut rest = Some(range);
            while let Some(range) = rest {
                let batch = self.store.dispose_rejected(partition, &range, fate).await?;
                (moved, stayed, rest) = (moved + batch.moved, stayed + batch.stayed, batch.rest);
                progress(moved + stayed, of);
            }
        }
        match (&which.id, moved, stayed) {
            (Some(id), 0, 0) => return Err(RejectedError::NotFound(id.0.clone())),
            (Some(id), 0, _) => return Err(RejectedError::Stayed(id.0.clone())),
            _ => {}
        }
        Ok(match fate {
            Fate::Requeue => Disposed::Requeued { requeued: moved, stayed },
            Fate::Drop => Disposed::Dropped { dropped: moved },
        })
    }

    /// The partition of an entry.
    async fn find_rejected(&self, id: &EntryId, partition: Option<u16>) -> Result<u16, RejectedError> {
        let mut found = Vec::new();
        for partition in self.partitions(partition)? {
            if self.store.has_rejected(partition, id).await? {
                found.push(partition);
            }
        }
        match found[..] {
            [] => Err(RejectedError::NotFound(id.0.clone())),
            [partition] => Ok(partition),
            _ => {
                let found: Vec<_> = found.iter().map(u16::to_string).collect();
                Err(RejectedError::Ambiguous(id.0.clone(), found.join(", ")))
            }
        }
    }

    /// The partition that was named, or all partitions.
    fn partitions(&self, named: Option<u16>) -> Result<Range<u16>, RejectedError> {
        let there_are = self.store.keys().partitions();
        match named {
            Some(named) if named >= there_are => Err(RejectedError::Partition(named, there_are)),
            Some(named) => Ok(named..named + 1),
            None => Ok(0..there_are),
        }
    }
}
