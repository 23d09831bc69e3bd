//! Delivery logs: people read them, and the test button writes to them. `settle` writes the attempts.

use chrono::{DateTime, Utc};

use super::webhooks::parse;
use crate::{
    domain::{
        account::AccountId,
        log_entry::{LOG_LIMIT, LOG_RETENTION, LogEntry, timestamp},
        webhook::WebhookId,
    },
    store::{Store, StoreError, keys::Keys},
};

impl Store {
    /// Writes the test button's log entry; returns whether the webhook still existed.
    pub async fn log(&self, account: &AccountId, id: WebhookId, entry: &LogEntry) -> Result<bool, StoreError> {
        let keys = &self.0.keys;
        let partition = keys.partition(account);
        let mut script = self.0.scripts.log.key(keys.webhooks(account));
        script.key(keys.logs(partition, id)).key(keys.visits(partition)).key(keys.counts(partition));
        script.arg(id.to_string()).arg(entry.to_json()).arg(LOG_LIMIT - 1).arg(LOG_RETENTION.as_secs());
        script.arg(Keys::member(account, id));
        let answer: String = self.at(partition).run_script(&script).await?;
        if answer == "UNLOGGED" {
            tracing::warn!(%account, webhook = %id, "Redis refused the log entry; run `lynkhook doctor` to see why");
        }
        Ok(answer != "GONE")
    }

    /// A webhook's delivery log, newest first, without entries older than 90 days.
    pub async fn logs(&self, account: &AccountId, id: WebhookId) -> Result<Vec<LogEntry>, StoreError> {
        let partition = self.0.keys.partition(account);
        let key = self.0.keys.logs(partition, id);
        let all: Vec<Vec<u8>> =
            self.at(partition).run(redis::cmd("LRANGE").arg(&key).arg(0).arg(LOG_LIMIT - 1)).await?;
        Ok(readable(&key, &all, self.now(partition).await?))
    }
}

/// The entries of a log that are not older than 90 days. An entry that cannot be read must not hide the others.
pub(super) fn readable(key: &str, log: &[Vec<u8>], now: DateTime<Utc>) -> Vec<LogEntry> {
    let oldest = timestamp(now - LOG_RETENTION);
    let read = log.iter().filter_map(|json| {
        parse::<LogEntry>(key, json).inspect_err(|error| tracing::warn!(%error, "skipped an unreadable entry")).ok()
    });
    read.filter(|entry| entry.time >= oldest).collect()
}
