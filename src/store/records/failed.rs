//! Failed deliveries: listed and redelivered. Envelopes stay in Redis: listing omits them, and redelivering moves them
//! there.

use super::{entry_range::EntryRange, webhooks::parse};
use crate::{
    domain::{
        account::AccountId,
        delivery::{Delivery, DeliveryFault},
        log_entry::LogEntry,
        webhook::WebhookId,
    },
    store::{BATCH_MAX, BATCH_MAX_BYTES, EntryId, Store, StoreError},
};

/// A delivery that failed for good, without its envelope.
#[derive(Debug, Clone)]
pub struct FailedEntry {
    /// Its entry id in the stream of failed deliveries. The id begins with the time at which it failed, in Unix ms.
    pub id: EntryId,
    /// The delivery as it was last attempted.
    pub delivery: Delivery,
    /// The log entry of its last attempt.
    pub log: LogEntry,
    /// The length of its envelope, in bytes.
    pub envelope_bytes: u64,
}

/// Failed deliveries, newest first.
#[derive(Debug, Clone)]
pub struct FailedPage {
    /// The entries that can be read.
    pub entries: Vec<FailedEntry>,
    /// The entry before which the next page begins; `None` if there are no more.
    pub oldest: Option<EntryId>,
}

/// The result of one batch of redelivering.
#[derive(Debug, Clone)]
pub enum Redelivered {
    /// The number of deliveries that moved to the queue, and the range that is left.
    Moved(u64, Option<EntryRange>),
    /// The webhook is deleted, and nothing of it is left.
    Gone,
}

impl Store {
    /// A page of failed deliveries, newest first, beginning with the one before `before`; at most `most`, and never
    /// more than 50. An empty page is the last. An entry that is no failed delivery is logged and left out of
    /// `entries`.
    pub async fn failed(
        &self,
        account: &AccountId,
        webhook: WebhookId,
        before: Option<&EntryId>,
        most: usize,
    ) -> Result<FailedPage, StoreError> {
        let key = self.0.keys.failed(self.0.keys.partition(account), webhook);
        let mut script = self.0.scripts.list_failed.key(&key);
        script.arg(before.map_or_else(|| "+".to_owned(), |id| format!("({}", id.0)));
        script.arg(most.min(BATCH_MAX)).arg(BATCH_MAX_BYTES);
        let page: Vec<(String, Vec<u8>, Vec<u8>, u64)> = self.at_account(account).run_script(&script).await?;
        let oldest = page.last().map(|(id, ..)| EntryId(id.clone()));
        let read = |(id, mut line, log, envelope_bytes): (String, Vec<u8>, Vec<u8>, u64)| {
            line.push(b'\n');
            let corrupt = |fault: DeliveryFault| StoreError::Corrupt { key: key.clone(), reason: fault.to_string() };
            let (delivery, _) = Delivery::parse(&line).map_err(corrupt)?;
            Ok(FailedEntry { id: EntryId(id), delivery, log: parse(&key, &log)?, envelope_bytes })
        };
        let entries = page.into_iter().filter_map(|entry| {
            let id = entry.0.clone();
            read(entry)
                .inspect_err(|error: &StoreError| tracing::warn!(%error, entry = id, "skipped an unreadable entry"))
                .ok()
        });
        Ok(FailedPage { entries: entries.collect(), oldest })
    }

    /// The id of the newest failed delivery.
    pub async fn newest_failed(&self, account: &AccountId, webhook: WebhookId) -> Result<Option<EntryId>, StoreError> {
        let key = self.0.keys.failed(self.0.keys.partition(account), webhook);
        let mut look = redis::cmd("XREVRANGE");
        look.arg(key).arg("+").arg("-").arg("COUNT").arg(1);
        let newest: Vec<(String, redis::Value)> = self.at_account(account).run(&look).await?;
        Ok(newest.into_iter().next().map(|(id, _)| EntryId(id)))
    }

    /// The number of failed deliveries.
    pub async fn failed_count(&self, account: &AccountId, webhook: WebhookId) -> Result<u64, StoreError> {
        let key = self.0.keys.failed(self.0.keys.partition(account), webhook);
        self.at_account(account).run(redis::cmd("XLEN").arg(key)).await
    }

    /// Moves one batch of the oldest failed deliveries in a range to the queue.
    pub async fn redeliver(
        &self,
        account: &AccountId,
        webhook: WebhookId,
        range: EntryRange,
    ) -> Result<Redelivered, StoreError> {
        let keys = &self.0.keys;
        let partition = keys.partition(account);
        let mut script = self.0.scripts.redeliver.key(keys.webhooks(account));
        script.key(keys.failed(partition, webhook)).key(keys.queue(partition));
        script.arg(webhook.to_string()).arg(&range.first.0).arg(&range.last.0).arg(BATCH_MAX).arg(BATCH_MAX_BYTES);
        let (word, moved, next): (String, u64, String) = self.at(partition).run_script(&script).await?;
        if word == "GONE" {
            return Ok(Redelivered::Gone);
        }
        let left = (!next.is_empty()).then_some(EntryRange { first: EntryId(next), ..range });
        Ok(Redelivered::Moved(moved, left))
    }
}
