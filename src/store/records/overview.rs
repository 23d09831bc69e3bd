//! The recent attempts and the kept deliveries of several webhooks of an account, in one round trip.

use chrono::{DateTime, Utc};

use super::logs::readable;
use crate::{
    domain::{
        account::AccountId,
        log_entry::{LOG_LIMIT, LogEntry},
        webhook::WebhookId,
    },
    store::{EntryId, Store, StoreError},
};

/// A webhook's recent attempts, and the numbers of its deliveries that are kept.
#[derive(Debug, Clone, Default)]
pub struct Activity {
    /// Its delivery log, newest first, without entries older than 90 days.
    pub log: Vec<LogEntry>,
    /// The number of held deliveries.
    pub held: u64,
    /// The oldest of them. The id begins with the time since which it is held, in Unix ms.
    pub oldest_held: Option<EntryId>,
    /// The number of failed deliveries that are still kept.
    pub failed: u64,
}

/// The answer of `overview.lua`.
type Answer = (i64, Vec<OfWebhook>);
type OfWebhook = (Vec<Vec<u8>>, u64, String, u64);

impl Store {
    /// The activity of each of these webhooks, in their order. A webhook that does not exist has none.
    pub async fn activity(&self, account: &AccountId, webhooks: &[WebhookId]) -> Result<Vec<Activity>, StoreError> {
        let (keys, partition) = (&self.0.keys, self.0.keys.partition(account));
        let of = |id: &WebhookId| [keys.logs(partition, *id), keys.held(partition, *id), keys.failed(partition, *id)];
        let mut names = webhooks.iter().flat_map(of);
        let Some(first) = names.next() else { return Ok(Vec::new()) };
        let mut script = self.0.scripts.overview.key(first);
        for name in names {
            script.key(name);
        }
        script.arg(LOG_LIMIT);
        let (now, found): Answer = self.at(partition).run_script(&script).await?;
        let now: DateTime<Utc> = DateTime::from_timestamp_millis(now).unwrap_or_default();
        let activity = |(id, (log, held, oldest, failed)): (&WebhookId, OfWebhook)| Activity {
            log: readable(&keys.logs(partition, *id), &log, now),
            held,
            oldest_held: Some(oldest).filter(|id| !id.is_empty()).map(EntryId),
            failed,
        };
        Ok(webhooks.iter().zip(found).map(activity).collect())
    }
}
