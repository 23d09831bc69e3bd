//! Deliveries that failed for good, which are kept whole for a while: listed, and redelivered by hand.
//!
//! Redelivering always ends, even if all of it fails again at once: it goes up to the newest entry there was at its
//! start, and what fails again is a newer one.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{Webhooks, WebhooksError, not_found};
use crate::{
    domain::{
        account::AccountId,
        event::{EventId, Identifiers},
        log_entry::{HttpStatus, timestamp},
        webhook::WebhookId,
    },
    store::{EntryId, EntryRange, FailedEntry, Redelivered},
};

/// Failed deliveries are looked at in pages of this many.
const PAGE: usize = 50;

/// A delivery that failed for good, as people see it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FailedDelivery {
    /// Its id, which redelivering takes.
    pub delivery_id: String,
    /// The event's id, which the receiver got as `webhook-id`.
    pub event_id: EventId,
    /// The event type.
    pub event: String,
    /// How often it was redelivered by hand; absent before the first time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redelivery: Option<u32>,
    /// Its last attempt, from 1.
    pub attempt: u8,
    /// When it failed for good: RFC 3339, UTC, milliseconds, by the clock of Redis.
    pub failed_at: String,
    /// The last attempt's response status, or "Network Error".
    pub http_status: HttpStatus,
    /// The reason, in words.
    pub error: Option<String>,
    /// Related entity ids.
    pub identifiers: Identifiers,
    /// How long the envelope is, in bytes.
    pub envelope_bytes: u64,
}

/// Which failed deliveries to redeliver.
#[derive(Debug, Clone)]
pub enum Which {
    /// The one of this id; where a producer gave several events one id, the one that failed last.
    One(String),
    /// All that there are.
    All,
    /// Those that failed at this time or later.
    Since(DateTime<Utc>),
    /// Those that failed within this long, by the clock of Redis.
    Within(Duration),
}

/// How far redelivering has come.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// The number that are queued again.
    pub moved: u64,
    /// The number of all that were named, if it is known: not of those since a time.
    pub of: Option<u64>,
}

impl Webhooks {
    /// The deliveries that failed for good and are still kept, newest first.
    pub async fn failed(&self, account: &AccountId, id: WebhookId) -> Result<Vec<FailedDelivery>, WebhooksError> {
        self.find(account, id).await?;
        let mut all = Vec::new();
        let mut before = None;
        loop {
            let page = self.store.failed(account, id, before.as_ref(), PAGE).await?;
            let Some(oldest) = page.oldest else { return Ok(all) };
            before = Some(oldest);
            all.extend(page.entries.into_iter().map(FailedDelivery::from));
        }
    }

    /// Queues failed deliveries again, from attempt 1 on, and answers how many. Those of a webhook that is off are
    /// held, like any of its deliveries. `progress` hears of every batch.
    ///
    /// # Errors
    /// After [`WebhooksError::Store`], what `progress` heard of is queued again, and it is safe to go on with a
    /// second call.
    pub async fn redeliver(
        &self,
        account: &AccountId,
        id: WebhookId,
        which: &Which,
        mut progress: impl FnMut(Progress),
    ) -> Result<u64, WebhooksError> {
        self.find(account, id).await?;
        let (mut left, of) = self.range(account, id, which).await?;
        let mut moved = 0;
        while let Some(range) = left {
            match self.store.redeliver(account, id, range).await? {
                Redelivered::Gone => return Err(not_found(account, id)),
                Redelivered::Moved(count, rest) => {
                    moved += count;
                    left = rest;
                }
            }
            progress(Progress { moved, of });
        }
        match which {
            // Somebody else was faster.
            Which::One(delivery) if moved == 0 => Err(no_such_delivery(account, id, delivery)),
            _ => Ok(moved),
        }
    }

    /// From where to where, and how many that are; nothing where nothing has failed.
    async fn range(
        &self,
        account: &AccountId,
        id: WebhookId,
        which: &Which,
    ) -> Result<(Option<EntryRange>, Option<u64>), WebhooksError> {
        let since = match which {
            Which::One(delivery) => {
                let entry = self.find_failed(account, id, delivery).await?;
                return Ok((Some(EntryRange { first: entry.clone(), last: entry }), Some(1)));
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
        let newest = self.store.newest_failed(account, id).await?;
        Ok((newest.map(|last| EntryRange { first, last }), of))
    }

    async fn find_failed(&self, account: &AccountId, id: WebhookId, delivery: &str) -> Result<EntryId, WebhooksError> {
        let mut before = None;
        loop {
            let page = self.store.failed(account, id, before.as_ref(), PAGE).await?;
            let Some(oldest) = page.oldest else { return Err(no_such_delivery(account, id, delivery)) };
            before = Some(oldest);
            if let Some(found) = page.entries.into_iter().find(|entry| entry.delivery.id == delivery) {
                return Ok(found.id);
            }
        }
    }
}

impl From<FailedEntry> for FailedDelivery {
    fn from(entry: FailedEntry) -> Self {
        let FailedEntry { id, delivery, log, envelope_bytes } = entry;
        let failed_at = id.0.split('-').next().and_then(|ms| DateTime::from_timestamp_millis(ms.parse().ok()?));
        Self {
            delivery_id: delivery.id,
            event_id: delivery.event_id,
            event: log.event,
            redelivery: delivery.redelivery,
            attempt: delivery.attempt,
            failed_at: failed_at.map_or(log.time, timestamp),
            http_status: log.http_status,
            error: log.error,
            identifiers: log.identifiers,
            envelope_bytes,
        }
    }
}

fn no_such_delivery(account: &AccountId, webhook: WebhookId, delivery: &str) -> WebhooksError {
    WebhooksError::NoSuchDelivery { account: account.clone(), webhook, delivery: delivery.to_owned() }
}
