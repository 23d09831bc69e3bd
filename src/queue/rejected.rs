//! Rejected entries, which are not valid events: finds them, puts them back into the queue, or drops them.
//!
//! Requeueing and dropping stop at the newest entry that existed at the start. An entry that is rejected again
//! meanwhile has a new id and is left alone, so that requeueing all entries ends.

use std::{
    cmp::Reverse,
    collections::VecDeque,
    ops::{Bound, Range},
    time::{Duration, Instant},
};

use serde::Serialize;
use utoipa::ToSchema;

use super::Queue;
use crate::{
    domain::{
        failure::Failure,
        page::{NotAPosition, Page},
    },
    store::{BATCH_MAX, EntryId, EntryRange, Fate, RejectedEntry, StoreError},
};

/// The bytes after which a page of entries ends.
const PAGE_MAX_BYTES: usize = 4 << 20;
/// The most entries of one call of [`Queue::dispose_some`].
const SOME: u64 = 1000;
/// The longest time for which one call of [`Queue::dispose_some`] goes on. The batch under way is finished.
const SOME_TIME: Duration = Duration::from_secs(2);

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

/// The result of requeueing or dropping a part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DisposedSome {
    /// The entries of this call.
    #[serde(flatten)]
    pub disposed: Disposed,
    /// Whether some are left for another call, with the same choice and this `until`.
    pub more: bool,
    /// The entries that are left of those that there were at the first call; absent if none are.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// Entries of partitions, each from one id to another.
type Ranges = VecDeque<(u16, EntryRange)>;

/// `<partition>/<first>/<last>` for each range, where `first` is `-`, or `(` and the id before it.
fn written(ranges: &Ranges) -> String {
    let range = |(partition, range): &(u16, EntryRange)| format!("{partition}/{}/{}", range.first.0, range.last.0);
    ranges.iter().map(range).collect::<Vec<_>>().join(",")
}

/// The entry's id and partition that a position is: `<id>/<partition>`.
fn position(text: &str) -> Result<(EntryId, u16), NotAPosition> {
    let (id, partition) = text.split_once('/').ok_or(NotAPosition)?;
    EntryId::parse(id).zip(partition.parse().ok()).ok_or(NotAPosition)
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
    /// The position from which to continue is none.
    #[error(transparent)]
    Position(#[from] NotAPosition),
    /// Redis.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RejectedError {
    /// The kind of failure.
    pub fn failure(&self) -> Failure {
        match self {
            Self::NotFound(_) => Failure::NotFound,
            Self::Partition(..) | Self::Ambiguous(..) | Self::Position(_) => Failure::Usage,
            Self::Stayed(_) => Failure::Refused,
            Self::Store(error) => error.failure(),
        }
    }
}

impl Queue {
    /// The rejected entries of one partition or of all, newest first, at most `most`.
    pub async fn rejected(&self, partition: Option<u16>, most: usize) -> Result<Vec<RejectedEntry>, RejectedError> {
        self.newest(partition, None, most, usize::MAX).await
    }

    /// At most `limit` rejected entries of one partition or of all, newest first, beginning after the position `after`.
    /// After 4 MiB a page ends, because it has the entries' own fields.
    ///
    /// # Errors
    /// [`RejectedError::Position`] if `after` is no position in the list.
    pub async fn rejected_page(
        &self,
        partition: Option<u16>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<RejectedEntry>, RejectedError> {
        let after = after.map(position).transpose()?;
        let entries = self.newest(partition, after, limit.saturating_add(1), PAGE_MAX_BYTES).await?;
        let mut bytes = 0;
        let fitting = entries.iter().take_while(|entry| {
            let fits = bytes == 0 || bytes + entry.bytes() <= PAGE_MAX_BYTES;
            bytes += entry.bytes();
            fits
        });
        let limit = fitting.count().min(limit);
        Ok(Page::first(entries, limit, |entry| format!("{}/{}", entry.id.0, entry.partition)))
    }

    /// The newest entries after a position.
    async fn newest(
        &self,
        partition: Option<u16>,
        after: Option<(EntryId, u16)>,
        most: usize,
        most_bytes: usize,
    ) -> Result<Vec<RejectedEntry>, RejectedError> {
        let mut entries: Vec<RejectedEntry> = Vec::new();
        for partition in self.partitions(partition)? {
            // Entries of the same id are listed in the order of their partitions.
            let newest = match &after {
                None => Bound::Unbounded,
                Some((id, of)) if partition > *of => Bound::Included(id),
                Some((id, _)) => Bound::Excluded(id),
            };
            entries.extend(self.store.rejected(partition, newest, most, most_bytes).await?);
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
        let (ranges, of) = self.ranges(which).await?;
        progress(0, of);
        let goes_on = |done| {
            progress(done, of);
            true
        };
        Ok(self.dispose_while(which, ranges, fate, goes_on).await?.0)
    }

    /// The same for at most 1,000 entries, or for 2 s. If some are left, call it again with the `until` of the call
    /// before.
    ///
    /// # Errors
    /// [`RejectedError::Position`] if `until` is not from a call before. See
    /// [`dispose_rejected`](Self::dispose_rejected).
    pub async fn dispose_some(
        &self,
        which: &WhichRejected,
        fate: Fate,
        until: Option<&str>,
    ) -> Result<DisposedSome, RejectedError> {
        let ranges = match until {
            None => self.ranges(which).await?.0,
            Some(until) => self.ranges_left(until)?,
        };
        let began = Instant::now();
        // A batch may not pass the bound.
        let goes_on = |done| done + BATCH_MAX as u64 <= SOME && began.elapsed() < SOME_TIME;
        let (disposed, left) = self.dispose_while(which, ranges, fate, goes_on).await?;
        Ok(DisposedSome { disposed, more: !left.is_empty(), until: (!left.is_empty()).then(|| written(&left)) })
    }

    /// Requeues or drops batch after batch while `goes_on`, which gets the number of entries that are done. Returns the
    /// ranges that are left.
    async fn dispose_while(
        &self,
        which: &WhichRejected,
        mut ranges: Ranges,
        fate: Fate,
        mut goes_on: impl FnMut(u64) -> bool,
    ) -> Result<(Disposed, Ranges), RejectedError> {
        let (mut moved, mut stayed) = (0, 0);
        while let Some((partition, range)) = ranges.pop_front() {
            let batch = self.store.dispose_rejected(partition, &range, fate).await?;
            (moved, stayed) = (moved + batch.moved, stayed + batch.stayed);
            if let Some(rest) = batch.rest {
                ranges.push_front((partition, rest));
            }
            if !goes_on(moved + stayed) {
                break;
            }
        }
        match (&which.id, moved, stayed) {
            (Some(id), 0, 0) => return Err(RejectedError::NotFound(id.0.clone())),
            (Some(id), 0, _) => return Err(RejectedError::Stayed(id.0.clone())),
            _ => {}
        }
        let disposed = match fate {
            Fate::Requeue => Disposed::Requeued { requeued: moved, stayed },
            Fate::Drop => Disposed::Dropped { dropped: moved },
        };
        Ok((disposed, ranges))
    }

    /// The entries that are chosen, as they are now, and their number.
    async fn ranges(&self, which: &WhichRejected) -> Result<(Ranges, u64), RejectedError> {
        if let Some(id) = &which.id {
            let partition = self.find_rejected(id, which.partition).await?;
            return Ok(([(partition, EntryRange::one(id))].into(), 1));
        }
        let (mut ranges, mut of) = (Ranges::new(), 0);
        for partition in self.partitions(which.partition)? {
            if let Some((range, length)) = self.store.rejected_range(partition).await? {
                ranges.push_back((partition, range));
                of += length;
            }
        }
        Ok((ranges, of))
    }

    /// Reads what [`written`] wrote.
    fn ranges_left(&self, until: &str) -> Result<Ranges, RejectedError> {
        let range = |text: &str| {
            let [partition, first, last] = text.split('/').collect::<Vec<_>>()[..] else { return None };
            let is_id = |text: &str| EntryId::parse(text).is_some();
            let is_first = first == "-" || first.strip_prefix('(').is_some_and(is_id);
            let partition: u16 = partition.parse().ok().filter(|_| is_first && is_id(last))?;
            let range = EntryRange { first: EntryId(first.to_owned()), last: EntryId(last.to_owned()) };
            self.partitions(Some(partition)).ok().map(|_| (partition, range))
        };
        Ok(until.split(',').map(range).collect::<Option<_>>().ok_or(NotAPosition)?)
    }

    /// The partition of an entry.
    async fn find_rejected(&self, id: &EntryId, partition: Option<u16>) -> Result<u16, RejectedError> {
        let mut found = Vec::new();
        if EntryId::parse(&id.0).is_none() {
            return Err(RejectedError::NotFound(id.0.clone()));
        }
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
