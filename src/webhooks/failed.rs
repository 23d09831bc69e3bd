//! Deliveries that failed for good, which are kept whole for a while: lists them, and redelivers them on request.
//!
//! Redelivering always ends, even if every delivery fails again at once: it stops at the newest entry that existed at
//! its start, and a delivery that fails again becomes a newer entry.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Webhooks, WebhooksError, not_found};
use crate::{
    domain::{
        account::AccountId,
        event::{EventId, Identifiers},
        identifier,
        log_entry::{HttpStatus, timestamp},
        webhook::WebhookId,
    },
    store::{EntryId, EntryRange, FailedEntry, Redelivered},
};

/// The number of failed deliveries that are read at a time.
const PAGE: usize = 50;

/// A delivery that failed for good, as people see it.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailedDelivery {
    /// Its id, which redelivering takes.
    pub delivery_id: String,
    /// The event's id, which the receiver got as `webhook-id`.
    pub event_id: EventId,
    /// The event type.
    pub event: String,
    /// The number of times it was redelivered by hand; absent before the first time.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redelivery: Option<u32>,
    /// Its last attempt, from 1.
    pub attempt: u8,
    /// The time at which it failed for good: RFC 3339, UTC, milliseconds, by the clock of Redis.
    pub failed_at: String,
    /// The last attempt's response status, or "Network Error".
    pub http_status: HttpStatus,
    /// The reason, in words.
    #[schema(required)]
    pub error: Option<String>,
    /// Related entity ids.
    #[schema(schema_with = identifier::schema_by_name)]
    pub identifiers: Identifiers,
    /// The length of the envelope in bytes.
    pub envelope_bytes: u64,
}

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

/// The progress of redelivering.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// The number of deliveries that are queued again.
    pub moved: u64,
    /// The total, if it is known. It is not known for deliveries since a time.
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
            // Another client has just redelivered it.
            Which::One(delivery) if moved == 0 => Err(no_such_delivery(account, id, delivery)),
            _ => Ok(moved),
        }
    }

    /// The range of entries, and their number if it is known. The range is `None` if nothing has failed.
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
