//! Webhooks, their logs, and the plain commands that people's surfaces need.

use super::{Store, StoreError, keys::Keys};
use crate::domain::{
    account::AccountId,
    log_entry::{LOG_LIMIT, LOG_RETENTION, LogEntry, timestamp},
    webhook::{NotAWebhookId, Subscriptions, Webhook, WebhookId},
};

/// What putting a webhook answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It is there.
    Done,
    /// The account has as many as it may.
    Limit,
    /// It is deleted.
    Gone,
    /// It was edited since the revision that this edit was made on.
    Conflict,
}

/// What deleting a webhook dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deleted {
    /// Held deliveries.
    pub held: u64,
    /// Failed deliveries.
    pub failed: u64,
}

impl Store {
    /// An account's webhooks. What is wrong with one does not keep the others from being read; it is in the log.
    pub async fn subscriptions(&self, account: &AccountId) -> Result<Subscriptions, StoreError> {
        let key = self.0.keys.webhooks(account);
        let mut found = Subscriptions::default();
        for (id, json) in self.webhook_fields(account).await? {
            match parse(&format!("{key} {id}"), &json) {
                Ok(webhook) => found.webhooks.push(webhook),
                Err(error) => {
                    tracing::error!(%error, "a webhook cannot be read; its deliveries fail");
                    // A field that is no webhook's id is nobody's: nothing can be delivered there, or be missed.
                    found.unreadable.extend(id.parse::<WebhookId>());
                }
            }
        }
        found.webhooks.sort_by_key(|webhook: &Webhook| webhook.id);
        Ok(found)
    }

    /// The fields of an account's webhooks as they are, by name; what is not UTF-8 in a name is replaced.
    pub(super) async fn webhook_fields(&self, account: &AccountId) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let key = self.0.keys.webhooks(account);
        let all: Vec<(Vec<u8>, Vec<u8>)> = self.0.link.run(redis::cmd("HGETALL").arg(&key)).await?;
        Ok(all.into_iter().map(|(name, json)| (String::from_utf8_lossy(&name).into_owned(), json)).collect())
    }

    /// An account's webhooks, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] where one of them cannot be read: who asks for all shall not miss it.
    pub async fn webhooks(&self, account: &AccountId) -> Result<Vec<Webhook>, StoreError> {
        let Subscriptions { webhooks, unreadable } = self.subscriptions(account).await?;
        match unreadable.first() {
            None => Ok(webhooks),
            Some(id) => Err(StoreError::Corrupt {
                key: format!("{} {id}", self.0.keys.webhooks(account)),
                reason: "its settings cannot be read".to_owned(),
            }),
        }
    }

    /// The ids of an account's webhooks, whatever their settings hold.
    pub async fn webhook_ids(&self, account: &AccountId) -> Result<Vec<WebhookId>, StoreError> {
        let key = self.0.keys.webhooks(account);
        let ids: Vec<String> = self.0.link.run(redis::cmd("HKEYS").arg(&key)).await?;
        let parsed = ids.iter().map(|id| {
            let corrupt =
                |e| StoreError::Corrupt { key: key.clone(), reason: format!("`{id}` is no field of it: {e}") };
            id.parse().map_err(|e: NotAWebhookId| corrupt(e))
        });
        parsed.collect()
    }

    /// One webhook, or `None`.
    pub async fn webhook(&self, account: &AccountId, id: WebhookId) -> Result<Option<Webhook>, StoreError> {
        let key = self.0.keys.webhooks(account);
        let found: Option<Vec<u8>> = self.0.link.run(redis::cmd("HGET").arg(&key).arg(id.to_string())).await?;
        found.map(|json| parse(&format!("{key} {id}"), &json)).transpose()
    }

    /// Adds a webhook (`edited` is `None`), or replaces the revision that an edit was made on.
    pub async fn put_webhook(
        &self,
        account: &AccountId,
        webhook: &Webhook,
        edited: Option<u64>,
        limit: usize,
    ) -> Result<Put, StoreError> {
        let keys = &self.0.keys;
        let mut script = self.0.scripts.put_webhook.key(keys.webhooks(account));
        script.key(keys.visits(keys.partition(account)));
        script.arg(webhook.id.to_string()).arg(webhook.to_json()).arg(edited.unwrap_or(0)).arg(limit);
        script.arg(Keys::visit(account, webhook.id)).arg(u8::from(webhook.active));
        let answer: String = self.0.link.run_script(&script).await?;
        match answer.as_str() {
            "PUT" => Ok(Put::Done),
            "LIMIT" => Ok(Put::Limit),
            "GONE" => Ok(Put::Gone),
            _ => Ok(Put::Conflict),
        }
    }

    /// Deletes a webhook with its log, held and failed deliveries; `None` where there was none.
    pub async fn delete_webhook(&self, account: &AccountId, id: WebhookId) -> Result<Option<Deleted>, StoreError> {
        let keys = &self.0.keys;
        let partition = keys.partition(account);
        let mut script = self.0.scripts.delete_webhook.key(keys.webhooks(account));
        script.key(keys.logs(partition, id)).key(keys.held(partition, id)).key(keys.failed(partition, id));
        script.key(keys.visits(partition)).key(keys.counts(partition));
        script.arg(id.to_string()).arg(Keys::visit(account, id));
        let (was_there, held, failed): (bool, u64, u64) = self.0.link.run_script(&script).await?;
        Ok(was_there.then_some(Deleted { held, failed }))
    }

    /// Writes the test button's log entry; whether the webhook was still there.
    pub async fn log(&self, account: &AccountId, id: WebhookId, entry: &LogEntry) -> Result<bool, StoreError> {
        let keys = &self.0.keys;
        let partition = keys.partition(account);
        let mut script = self.0.scripts.log.key(keys.webhooks(account));
        script.key(keys.logs(partition, id)).key(keys.visits(partition));
        script.arg(id.to_string()).arg(entry.to_json()).arg(LOG_LIMIT).arg(LOG_RETENTION.as_secs());
        script.arg(Keys::visit(account, id));
        let answer: String = self.0.link.run_script(&script).await?;
        Ok(answer == "LOGGED")
    }

    /// A webhook's delivery log, newest first; nothing older than 90 days.
    pub async fn logs(&self, account: &AccountId, id: WebhookId) -> Result<Vec<LogEntry>, StoreError> {
        let key = self.0.keys.logs(self.0.keys.partition(account), id);
        let all: Vec<Vec<u8>> = self.0.link.run(redis::cmd("LRANGE").arg(&key).arg(0).arg(LOG_LIMIT - 1)).await?;
        let oldest = timestamp(self.now().await? - LOG_RETENTION);
        // One that cannot be read does not hide the others.
        let read = all.iter().filter_map(|json| {
            parse::<LogEntry>(&key, json).inspect_err(|error| tracing::warn!(%error, "passed over")).ok()
        });
        Ok(read.filter(|entry| entry.time >= oldest).collect())
    }
}

pub(super) fn parse<T: serde::de::DeserializeOwned>(key: &str, json: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(json).map_err(|e| StoreError::Corrupt {
        key: key.to_owned(),
        // The message of serde_json may quote a value, so only where it is goes on.
        reason: format!("{:?} error at column {}", e.classify(), e.column()),
    })
}
