//! A webhook's deliveries that Redis keeps whole: held ones, and those that failed for good. They are listed without
//! their envelopes; an envelope is read alone.

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::webhooks::parse;
use crate::{
    domain::{
        account::AccountId,
        delivery::{Delivery, DeliveryFault},
        log_entry::LogEntry,
        webhook::WebhookId,
    },
    store::{BATCH_MAX, BATCH_MAX_BYTES, EntryId, Store, StoreError, steps::pairs},
};

/// One of the two streams in which a webhook's deliveries are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stock {
    /// Held deliveries, the oldest first.
    Held,
    /// Deliveries that failed for good, the newest first.
    Failed {
        /// Only those that failed at this time or later.
        since: DateTime<Utc>,
    },
}

/// A delivery that is kept, without its envelope.
#[derive(Debug, Clone)]
pub struct KeptEntry {
    /// Its entry id in its stream. The id begins with the time since which it is kept, in Unix ms.
    pub id: EntryId,
    /// The delivery: a held one as it will be attempted next, a failed one as it was last attempted.
    pub delivery: Delivery,
    /// The log entry of a failed delivery's last attempt; a held delivery has none.
    pub log: Option<LogEntry>,
    /// The length of its envelope, in bytes.
    pub envelope_bytes: u64,
}

/// Some of the deliveries of a stream, in its order.
#[derive(Debug, Clone)]
pub struct KeptEntries {
    /// The entries that can be read.
    pub entries: Vec<KeptEntry>,
    /// The entry after which the next page begins; `None` if there are no more.
    pub next: Option<EntryId>,
    /// The number of all entries of the stream.
    pub total: u64,
    /// The oldest entry of the stream.
    pub oldest: Option<EntryId>,
}

/// The answer of `list_kept.lua`.
type Answer = (u64, String, u8, Vec<(String, Vec<u8>, Vec<u8>, u64)>);

impl Stock {
    /// All failed deliveries.
    pub const ALL_FAILED: Self = Self::Failed { since: DateTime::UNIX_EPOCH };
}

impl Store {
    /// A page of the deliveries that are kept, beginning after the entry `after`; at most `most`, and never more than 50
    /// or 4 MiB. An entry that is no such delivery is logged and left out of `entries`.
    pub async fn kept(
        &self,
        account: &AccountId,
        webhook: WebhookId,
        stock: Stock,
        after: Option<&EntryId>,
        most: usize,
    ) -> Result<KeptEntries, StoreError> {
        let key = self.key_of(stock, account, webhook);
        let next = after.map(|id| format!("({}", id.0));
        let (first, last, newest_first) = match stock {
            Stock::Held => (next.unwrap_or_else(|| "-".to_owned()), "+".to_owned(), false),
            Stock::Failed { since } => {
                (format!("{}-0", since.timestamp_millis().max(0)), next.unwrap_or_else(|| "+".to_owned()), true)
            }
        };
        let mut script = self.0.scripts.list_kept.key(&key);
        script.arg(first).arg(last).arg(u8::from(newest_first)).arg(most.min(BATCH_MAX)).arg(BATCH_MAX_BYTES);
        let (total, oldest, more, page): Answer = self.at_account(account).run_script(&script).await?;
        let next = page.last().filter(|_| more == 1).map(|(id, ..)| EntryId(id.clone()));
        let read = |(id, mut line, log, envelope_bytes): (String, Vec<u8>, Vec<u8>, u64)| {
            line.push(b'\n');
            let corrupt = |fault: DeliveryFault| StoreError::Corrupt { key: key.clone(), reason: fault.to_string() };
            let (delivery, _) = Delivery::parse(&line).map_err(corrupt)?;
            let log = if newest_first { Some(parse(&key, &log)?) } else { None };
            Ok(KeptEntry { id: EntryId(id), delivery, log, envelope_bytes })
        };
        let entries = page.into_iter().filter_map(|entry| {
            let id = entry.0.clone();
            read(entry)
                .inspect_err(|error: &StoreError| tracing::warn!(%error, entry = id, "skipped an unreadable entry"))
                .ok()
        });
        let oldest = Some(oldest).filter(|id| !id.is_empty()).map(EntryId);
        Ok(KeptEntries { entries: entries.collect(), next, total, oldest })
    }

    /// The envelope of a delivery that is kept, byte for byte; `None` if it is no longer kept.
    pub async fn kept_envelope(
        &self,
        account: &AccountId,
        webhook: WebhookId,
        stock: Stock,
        id: &EntryId,
    ) -> Result<Option<Bytes>, StoreError> {
        let key = self.key_of(stock, account, webhook);
        let mut find = redis::cmd("XRANGE");
        find.arg(&key).arg(&id.0).arg(&id.0).arg("COUNT").arg(1);
        let found: Vec<(String, redis::Value)> = self.at_account(account).run(&find).await?;
        let Some((_, fields)) = found.into_iter().next() else { return Ok(None) };
        let delivery = pairs(fields).into_iter().next().map(|(_, delivery)| delivery).unwrap_or_default();
        let (_, envelope) =
            Delivery::parse(&delivery).map_err(|fault| StoreError::Corrupt { key, reason: fault.to_string() })?;
        Ok(Some(delivery.slice_ref(envelope)))
    }

    fn key_of(&self, stock: Stock, account: &AccountId, webhook: WebhookId) -> String {
        let partition = self.0.keys.partition(account);
        match stock {
            Stock::Held => self.0.keys.held(partition, webhook),
            Stock::Failed { .. } => self.0.keys.failed(partition, webhook),
        }
    }
}
