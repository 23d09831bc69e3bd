//! Redelivers failed deliveries. Their envelopes stay in Redis, where they move to the queue.

use super::entry_range::EntryRange;
use crate::{
    domain::{account::AccountId, webhook::WebhookId},
    store::{BATCH_MAX, BATCH_MAX_BYTES, EntryId, Store, StoreError},
};

/// The result of one batch of redelivering.
#[derive(Debug, Clone)]
pub enum Redelivered {
    /// The number of deliveries that moved to the queue, and the range that is left.
    Moved(u64, Option<EntryRange>),
    /// The webhook is deleted, and nothing of it is left.
    Gone,
}

impl Store {
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
