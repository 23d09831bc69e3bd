//! An account's webhooks with their recent attempts and the numbers of their kept deliveries, as a screen shows them side
//! by side. It takes two round trips, however many webhooks there are.

use super::{Listed, Webhooks, WebhooksError, kept::time, listing::position, not_found};
use crate::{
    domain::{account::AccountId, log_entry::LogEntry, page::Page, webhook::WebhookId},
    store::{Activity, StoreError},
};

/// A part of an account's webhooks, oldest first.
#[derive(Debug, Clone)]
pub struct Overview {
    /// The webhooks.
    pub webhooks: Page<Summary>,
    /// The number of all webhooks of the account.
    pub total: usize,
    /// The number of webhooks that an account may have. An account may have more, if the limit was lowered.
    pub limit: usize,
}

/// A webhook with its recent attempts and the numbers of its kept deliveries.
#[derive(Debug, Clone)]
pub struct Summary {
    /// The webhook.
    pub webhook: Listed,
    /// Its delivery log, newest first: at most 50 entries, none of them older than 90 days.
    pub log: Vec<LogEntry>,
    /// The number of held deliveries.
    pub held: u64,
    /// The time since which the oldest of them is held: RFC 3339, UTC, milliseconds, by the clock of Redis.
    pub oldest_held: Option<String>,
    /// The number of failed deliveries that are still kept.
    pub failed: u64,
}

impl Webhooks {
    /// At most `limit` of an account's webhooks, oldest first, beginning after the webhook `after`, which may be deleted
    /// by now. A webhook that cannot be read is there too.
    ///
    /// # Errors
    /// [`WebhooksError::Position`] if `after` is no webhook's id.
    pub async fn overview(
        &self,
        account: &AccountId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Overview, WebhooksError> {
        let after = after.map(position).transpose()?;
        let found = self.store.webhook_entries(account).await?;
        let total = found.len();
        let Page { items, next } = self.page_of(account, found, after, limit);
        let ids: Vec<WebhookId> = items.iter().map(Listed::id).collect();
        let activity = self.store.activity(account, &ids).await?;
        let items =
            items.into_iter().zip(activity).map(|(webhook, activity)| Summary::new(webhook, activity)).collect();
        Ok(Overview { webhooks: Page { items, next }, total, limit: self.limit_per_account })
    }

    /// One webhook as [`overview`](Self::overview) shows it.
    pub async fn summary(&self, account: &AccountId, id: WebhookId) -> Result<Summary, WebhooksError> {
        let webhook = match self.store.webhook(account, id).await {
            Ok(found) => Ok(found.ok_or_else(|| not_found(account, id))?),
            Err(error @ StoreError::Corrupt { .. }) => Err(error),
            Err(error) => return Err(error.into()),
        };
        let activity = self.store.activity(account, &[id]).await?.pop().unwrap_or_default();
        Ok(Summary::new(self.listed(account, id, webhook), activity))
    }
}

impl Summary {
    fn new(webhook: Listed, Activity { log, held, oldest_held, failed }: Activity) -> Self {
        Self { webhook, log, held, oldest_held: oldest_held.as_ref().and_then(time), failed }
    }
}
