//! The deliveries of a webhook that are kept whole: held ones, and those that failed for good. Lists them by pages, and
//! reads the envelope of one.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Webhooks, WebhooksError};
use crate::{
    domain::{
        account::AccountId,
        event::{EventId, Identifiers},
        identifier,
        log_entry::{HttpStatus, timestamp},
        page::{KeptPage, NotAPosition},
        webhook::WebhookId,
    },
    store::{EntryId, KeptEntry, Stock},
};

/// The number of deliveries that a search reads at a time.
const PAGE: usize = 50;

/// A delivery that failed for good, as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
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

/// A delivery that is held, as people see it. Its event type is in its envelope alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeldDelivery {
    /// Its id.
    pub delivery_id: String,
    /// The event's id, which the receiver will get as `webhook-id`.
    pub event_id: EventId,
    /// Its next attempt, from 1.
    pub attempt: u8,
    /// The number of times it was redelivered by hand; absent before the first time.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redelivery: Option<u32>,
    /// The time since which it is held: RFC 3339, UTC, milliseconds, by the clock of Redis.
    pub held_at: String,
    /// The length of the envelope in bytes.
    pub envelope_bytes: u64,
}

/// A delivery that is kept whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeptDelivery {
    /// It failed for good.
    Failed(FailedDelivery),
    /// It is held.
    Held(HeldDelivery),
}

impl Webhooks {
    /// At most `limit` of the deliveries that are held, oldest first, beginning after the position `after`.
    ///
    /// # Errors
    /// [`WebhooksError::Position`] if `after` is no position in the list.
    pub async fn held(
        &self,
        account: &AccountId,
        id: WebhookId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<KeptPage<HeldDelivery>, WebhooksError> {
        self.kept(account, id, Stock::Held, after, limit, |entry| Some(entry.into())).await
    }

    /// At most `limit` of the deliveries that failed for good (at `since` or later) and are still kept, newest first,
    /// beginning after the position `after`.
    ///
    /// # Errors
    /// [`WebhooksError::Position`] if `after` is no position in the list.
    pub async fn failed(
        &self,
        account: &AccountId,
        id: WebhookId,
        since: Option<DateTime<Utc>>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<KeptPage<FailedDelivery>, WebhooksError> {
        let stock = since.map_or(Stock::ALL_FAILED, |since| Stock::Failed { since });
        self.kept(account, id, stock, after, limit, FailedDelivery::new).await
    }

    /// The delivery with this id, if it is kept. If a producer gave several events the same id, it is the one that failed
    /// last, or else the one that is held longest.
    pub async fn kept_delivery(
        &self,
        account: &AccountId,
        id: WebhookId,
        delivery: &str,
    ) -> Result<Option<KeptDelivery>, WebhooksError> {
        self.find(account, id).await?;
        match self.find_kept(account, id, Stock::ALL_FAILED, delivery).await {
            Err(WebhooksError::NoSuchDelivery { .. }) => {}
            found => return Ok(FailedDelivery::new(found?).map(KeptDelivery::Failed)),
        }
        match self.find_kept(account, id, Stock::Held, delivery).await {
            Err(WebhooksError::NoSuchDelivery { .. }) => Ok(None),
            found => Ok(Some(KeptDelivery::Held(found?.into()))),
        }
    }

    /// The envelope of the failed delivery with this id, byte for byte as it was pushed. If a producer gave several
    /// events the same id, it is that of the delivery that failed last.
    pub async fn failed_envelope(
        &self,
        account: &AccountId,
        id: WebhookId,
        delivery: &str,
    ) -> Result<Bytes, WebhooksError> {
        self.envelope(account, id, Stock::ALL_FAILED, delivery).await
    }

    /// The envelope of the held delivery with this id, byte for byte as it was pushed. If a producer gave several events
    /// the same id, it is that of the delivery that is held longest.
    pub async fn held_envelope(
        &self,
        account: &AccountId,
        id: WebhookId,
        delivery: &str,
    ) -> Result<Bytes, WebhooksError> {
        self.envelope(account, id, Stock::Held, delivery).await
    }

    async fn kept<T>(
        &self,
        account: &AccountId,
        id: WebhookId,
        stock: Stock,
        after: Option<&str>,
        limit: usize,
        show: impl Fn(KeptEntry) -> Option<T>,
    ) -> Result<KeptPage<T>, WebhooksError> {
        let mut after = after.map(position).transpose()?;
        self.find(account, id).await?;
        let mut items = Vec::new();
        loop {
            let found = self.store.kept(account, id, stock, after.as_ref(), limit - items.len()).await?;
            items.extend(found.entries.into_iter().filter_map(&show));
            after = found.next;
            if after.is_none() || items.len() == limit {
                let (next, oldest) = (after.map(|id| id.0), found.oldest.and_then(|id| time(&id)));
                return Ok(KeptPage { items, next, total: found.total, oldest });
            }
        }
    }

    async fn envelope(
        &self,
        account: &AccountId,
        id: WebhookId,
        stock: Stock,
        delivery: &str,
    ) -> Result<Bytes, WebhooksError> {
        self.find(account, id).await?;
        let entry = self.find_kept(account, id, stock, delivery).await?;
        let envelope = self.store.kept_envelope(account, id, stock, &entry.id).await?;
        envelope.ok_or_else(|| WebhooksError::no_such_delivery(account, id, delivery, stock))
    }

    /// The first delivery with this id.
    pub(super) async fn find_kept(
        &self,
        account: &AccountId,
        id: WebhookId,
        stock: Stock,
        delivery: &str,
    ) -> Result<KeptEntry, WebhooksError> {
        let mut after = None;
        loop {
            let page = self.store.kept(account, id, stock, after.as_ref(), PAGE).await?;
            if let Some(found) = page.entries.into_iter().find(|entry| entry.delivery.id == delivery) {
                return Ok(found);
            }
            after = page.next;
            if after.is_none() {
                return Err(WebhooksError::no_such_delivery(account, id, delivery, stock));
            }
        }
    }
}

impl FailedDelivery {
    fn new(entry: KeptEntry) -> Option<Self> {
        let KeptEntry { id, delivery, log, envelope_bytes } = entry;
        let log = log?;
        Some(Self {
            delivery_id: delivery.id,
            event_id: delivery.event_id,
            event: log.event,
            redelivery: delivery.redelivery,
            attempt: delivery.attempt,
            failed_at: time(&id).unwrap_or(log.time),
            http_status: log.http_status,
            error: log.error,
            identifiers: log.identifiers,
            envelope_bytes,
        })
    }
}

impl From<KeptEntry> for HeldDelivery {
    fn from(KeptEntry { id, delivery, envelope_bytes, .. }: KeptEntry) -> Self {
        Self {
            delivery_id: delivery.id,
            event_id: delivery.event_id,
            attempt: delivery.attempt,
            redelivery: delivery.redelivery,
            held_at: time(&id).unwrap_or_default(),
            envelope_bytes,
        }
    }
}

/// The time at which an entry was added to its stream.
pub(super) fn time(id: &EntryId) -> Option<String> {
    let (ms, _) = id.order()?;
    DateTime::from_timestamp_millis(i64::try_from(ms).ok()?).map(timestamp)
}

/// The entry id that a position is.
pub(super) fn position(text: &str) -> Result<EntryId, NotAPosition> {
    EntryId::parse(text).ok_or(NotAPosition)
}
