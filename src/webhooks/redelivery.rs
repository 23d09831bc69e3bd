//! Redelivers deliveries that failed for good, which are kept whole for a while.
//!
//! Redelivering always ends, even if every delivery fails again at once: it stops at the newest entry that existed at
//! its start, and a delivery that fails again becomes a newer entry.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Webhooks, WebhooksError, kept::position, not_found};
use crate::{
    domain::{account::AccountId, webhook::WebhookId},
    store::{BATCH_MAX, EntryId, EntryRange, Redelivered, Stock},
};

/// The most deliveries that one call of [`Webhooks::redeliver_some`] queues again.
const SOME: u64 = 1000;
/// The longest time for which one call of [`Webhooks::redeliver_some`] goes on. The batch under way is finished.
const SOME_TIME: Duration = Duration::from_secs(2);

/// The choice of failed deliveries to redeliver.
#[derive(Debug, Clone)]
pub enum Which {
    /// The delivery with this id; if a producer gave several events the same id, the delivery that failed last.
    One(String),
    /// All failed deliveries.
    All,
    /// Deliveries that failed at this time or later.
    Since(DateTime<Utc>),
    /// Deliveries that failed within this time until now, by the clock of Redis.
    Within(Duration),
}

/// A part of redelivering.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Redelivery {
    /// The number of deliveries that this call queued again.
    pub redelivered: u64,
    /// Whether some are left for another call, with the same choice and this `until`.
    pub more: bool,
    /// The newest delivery of the whole series of calls; absent if nothing is left. It bounds all calls, so that the
    /// series ends even if every delivery fails again.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// The progress of redelivering.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// The number of deliveries that are queued again.
    pub moved: u64,
    /// The total, if it is known. It is not known for deliveries since a time.
    pub of: Option<u64>,
}

impl Webhooks {
    /// Queues failed deliveries again, starting at attempt 1, and returns their number. If the webhook is off, they are
    /// held, like any of its deliveries. `progress` is called after every batch.
    ///
    /// # Errors
    /// After [`WebhooksError::Store`], the deliveries last reported to `progress` are queued again, and it is safe to
    /// continue with a second call.
    pub async fn redeliver(
        &self,
        account: &AccountId,
        id: WebhookId,
        which: &Which,
        mut progress: impl FnMut(Progress),
    ) -> Result<u64, WebhooksError> {
        let goes_on = |done| {
            progress(done);
            true
        };
        Ok(self.redeliver_while(account, id, which, None, goes_on).await?.0)
    }

    /// The same for at most 1,000 deliveries, or for 2 s. If some are left, call it again with the `until` of the first
    /// call of the series.
    ///
    /// # Errors
    /// [`WebhooksError::Position`] if `until` is no entry's id. See [`redeliver`](Self::redeliver).
    pub async fn redeliver_some(
        &self,
        account: &AccountId,
        id: WebhookId,
        which: &Which,
        until: Option<&str>,
    ) -> Result<Redelivery, WebhooksError> {
        let until = until.map(position).transpose()?;
        let began = Instant::now();
        // A batch may not pass the bound.
        let goes_on = |Progress { moved, .. }| moved + BATCH_MAX as u64 <= SOME && began.elapsed() < SOME_TIME;
        let (redelivered, left) = self.redeliver_while(account, id, which, until, goes_on).await?;
        Ok(Redelivery { redelivered, more: left.is_some(), until: left.map(|range| range.last.0) })
    }

    /// Redelivers batch after batch while `goes_on`. Returns the number of deliveries, and the range that is left.
    async fn redeliver_while(
        &self,
        account: &AccountId,
        id: WebhookId,
        which: &Which,
        until: Option<EntryId>,
        mut goes_on: impl FnMut(Progress) -> bool,
    ) -> Result<(u64, Option<EntryRange>), WebhooksError> {
        self.find(account, id).await?;
        let (mut left, of) = self.range(account, id, which, until).await?;
        let mut moved = 0;
        while let Some(range) = left {
            match self.store.redeliver(account, id, range).await? {
                Redelivered::Gone => return Err(not_found(account, id)),
                Redelivered::Moved(count, rest) => {
                    moved += count;
                    left = rest;
                }
            }
            if !goes_on(Progress { moved, of }) {
                break;
            }
        }
        match which {
            // Another client has just redelivered it.
            Which::One(delivery) if moved == 0 => {
                Err(WebhooksError::no_such_delivery(account, id, delivery, Stock::ALL_FAILED))
            }
            _ => Ok((moved, left)),
        }
    }

    /// The range of entries, up to `until` or the newest, and their number if it is known. The range is `None` if nothing
    /// has failed.
    async fn range(
        &self,
        account: &AccountId,
        id: WebhookId,
        which: &Which,
        until: Option<EntryId>,
    ) -> Result<(Option<EntryRange>, Option<u64>), WebhooksError> {
        let since = match which {
            Which::One(delivery) => {
                let entry = self.find_kept(account, id, Stock::ALL_FAILED, delivery).await?;
                return Ok((Some(EntryRange::one(&entry.id)), Some(1)));
            }
            Which::All => DateTime::UNIX_EPOCH,
            Which::Since(time) => *time,
            Which::Within(ago) => {
                let ago = chrono::Duration::from_std(*ago).unwrap_or(chrono::Duration::MAX);
                self.store.now_of(account).await?.checked_sub_signed(ago).unwrap_or(DateTime::UNIX_EPOCH)
            }
        };
        let of = match which {
            Which::All => Some(self.store.failed_count(account, id).await?),
            _ => None,
        };
        let first = EntryId(format!("{}-0", since.timestamp_millis().max(0)));
        let newest = match until {
            None => self.store.newest_failed(account, id).await?,
            until => until,
        };
        Ok((newest.map(|last| EntryRange { first, last }), of))
    }
}
