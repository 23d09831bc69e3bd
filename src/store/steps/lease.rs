//! Leases: taken over from workers that died, taken back, renewed, and given up.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{
    batches::arg_leases,
    entry::{BATCH_MAX_BYTES, Entry, EntryId, Fence, Taking, entries_of},
};
use crate::store::{Store, StoreError, ms};

/// The idle time after which a consumer with nothing pending is removed.
const CONSUMER_IDLE: Duration = Duration::from_hours(1);
/// The beginning of a range: before all ids.
const FROM_THE_OLDEST: &str = "-";

/// The limits of a claim.
#[derive(Debug, Clone)]
pub struct MayTake {
    /// The most entries.
    pub entries: usize,
    /// The most suspects among them. A suspect is an entry that was claimed before.
    pub suspects: usize,
    /// The id from which to look for suspects, as the claim before returned it; `None`: from the oldest.
    pub from: Option<String>,
    /// The names (webhooks of deliveries, accounts of events) whose suspects stay where they are.
    pub not: Vec<String>,
    /// The names whose suspects are taken only if there is no other, in this order.
    pub last: Vec<String>,
    /// The latest time that Redis's clock may show. If it shows a later time, it stepped forward, leases only seem to
    /// have ended, and nothing is claimed.
    pub latest: Option<DateTime<Utc>>,
}

impl From<(usize, usize)> for MayTake {
    fn from((entries, suspects): (usize, usize)) -> Self {
        Self { entries, suspects, from: None, not: Vec::new(), last: Vec::new(), latest: None }
    }
}

/// The result of a claim.
#[derive(Debug)]
pub struct Claimed {
    /// The entries.
    pub entries: Vec<Entry>,
    /// The id from which the next claim looks for suspects; `None` after the last.
    pub next: Option<String>,
}

/// Entries that a consumer has without knowing it, because an answer was lost.
#[derive(Debug, Clone, Copy)]
pub enum Untold<'a> {
    /// Entries that it read: new entries after the last that it was told of. It may have some of them in hand.
    Read(Option<&'a EntryId>),
    /// Entries that it claimed after another worker had lost them.
    Claimed {
        /// The entries in hand, which are left out.
        in_hand: &'a [Fence],
        /// The time since the claim was sent.
        within: Duration,
    },
}

impl Store {
    /// Creates the consumer group if it is missing; returns whether it was.
    pub async fn ensure_group(&self, partition: u16) -> Result<bool, StoreError> {
        let mut script = self.0.scripts.group.key(self.0.keys.queue(partition));
        script.key(self.0.keys.audit(partition));
        self.at(partition).run_script(&script).await
    }

    /// Takes over entries whose worker died, as far as there is room.
    pub async fn claim(
        &self,
        partition: u16,
        consumer: &str,
        lease: Duration,
        room: impl Into<MayTake>,
    ) -> Result<Claimed, StoreError> {
        let MayTake { entries, suspects, from, not, last, latest } = room.into();
        let mut script = self.0.scripts.claim.key(self.0.keys.queue(partition));
        script.key(self.0.keys.counts(partition));
        script.arg(consumer).arg(ms(lease)).arg(entries).arg(suspects).arg(BATCH_MAX_BYTES);
        script.arg(latest_ms(latest));
        script.arg(from.as_deref().unwrap_or(FROM_THE_OLDEST)).arg(not.len()).arg(not).arg(last);
        let (claimed, next): (Vec<Taking>, String) = self.at(partition).run_script(&script).await?;
        Ok(Claimed { entries: entries_of(claimed), next: (next != FROM_THE_OLDEST).then_some(next) })
    }

    /// Takes back entries that `consumer` has without knowing it, at most `most`.
    pub async fn take_back(
        &self,
        partition: u16,
        consumer: &str,
        untold: Untold<'_>,
        most: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let mut script = self.0.scripts.take_back.key(self.0.keys.queue(partition));
        script.key(self.0.keys.counts(partition));
        let (from, claimed_ms, in_hand): (_, _, &[Fence]) = match untold {
            Untold::Read(last) => (last.map(|last| format!("({}", last.0)), 0, &[]),
            Untold::Claimed { in_hand, within } => (None, ms(within), in_hand),
        };
        script.arg(consumer).arg(from.as_deref().unwrap_or(FROM_THE_OLDEST)).arg(most).arg(BATCH_MAX_BYTES);
        script.arg(claimed_ms).arg(in_hand.iter().map(|fence| &*fence.entry.0).collect::<Vec<_>>());
        Ok(entries_of(self.at(partition).run_script(&script).await?))
    }

    /// Counts entries that somebody took out of the queue unseen by any script.
    pub async fn count_trimmed(&self, partition: u16, entries: u64) -> Result<(), StoreError> {
        let key = self.0.keys.counts(partition);
        self.at(partition).run(redis::cmd("HINCRBY").arg(key).arg("entries_trimmed").arg(entries)).await
    }

    /// Renews these leases, so that they count from now. Returns three lists: entries whose lease is lost, entries that
    /// somebody took out of the queue, and entries on which no worker has a lease because the queue or its group was
    /// lost.
    pub async fn renew(
        &self,
        partition: u16,
        consumer: &str,
        leases: &[Fence],
    ) -> Result<[Vec<EntryId>; 3], StoreError> {
        let mut script = self.0.scripts.renew.key(self.0.keys.queue(partition));
        script.key(self.0.keys.counts(partition)).key(self.0.keys.audit(partition)).arg(consumer);
        arg_leases(&mut script, leases.iter(), Duration::MAX);
        for fence in leases {
            script.arg(&fence.entry.0).arg(fence.deliveries);
        }
        let answer: (Vec<String>, Vec<String>, Vec<String>) = self.at(partition).run_script(&script).await?;
        Ok(<[_; 3]>::from(answer).map(|ids| ids.into_iter().map(EntryId).collect()))
    }

    /// Gives entries that were not started back to the queue, each with its event's id (empty for deliveries). Then
    /// removes consumers with nothing pending: `consumer` if `leaving`, any other if idle for an hour. Returns the
    /// number given back.
    pub async fn leave(
        &self,
        partition: u16,
        consumer: &str,
        leaving: bool,
        unstarted: &[(Fence, String)],
    ) -> Result<usize, StoreError> {
        let mut script = self.0.scripts.leave.key(self.0.keys.queue(partition));
        script.key(self.0.keys.counts(partition));
        script.arg(consumer).arg(u8::from(leaving)).arg(ms(CONSUMER_IDLE));
        for (fence, event_id) in unstarted {
            script.arg(&fence.entry.0).arg(fence.deliveries).arg(event_id);
        }
        self.at(partition).run_script(&script).await
    }
}

/// The latest time that Redis's clock may show, in Unix ms.
pub(super) fn latest_ms(latest: Option<DateTime<Utc>>) -> i64 {
    latest.map_or(i64::MAX, |latest| latest.timestamp_millis())
}
