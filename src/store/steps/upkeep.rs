//! Upkeep: visits drop deliveries and log entries that are too old, too many, or left without settings; a sweep drops
//! old rejected entries; and times that a step of Redis's clock made wrong are corrected.

use std::time::Duration;

use super::entry::BATCH_MAX_BYTES;
use crate::{
    domain::{account::AccountId, webhook::WebhookId},
    store::{Store, StoreError, keys::Keys, link::Run, ms},
};

/// The result of a visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visited {
    /// The visit was made.
    Made,
    /// The visit was made, and is due again at once: more has to go.
    Again,
    /// The visit was not due: another worker made it.
    NotDue,
    /// The webhook has no settings, so everything else of it was dropped.
    Gone,
}

/// The longest waits that any rule plans. A time further ahead was planned by a wrong clock.
#[derive(Debug, Clone, Copy)]
pub struct Longest {
    /// The longest wait of a retry, by this worker's settings. Longer waits of other workers count as well.
    pub retry: Duration,
    /// The longest wait of a delivery that is among the retries for another reason.
    pub besides: Duration,
    /// The longest wait of a release.
    pub release: Duration,
    /// The longest wait of a visit.
    pub visit: Duration,
    /// Whether the clock stepped recently. Then the age of another worker's longest wait is unknown.
    pub stepped: bool,
}

/// The result of mending times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mended {
    /// Retries, releases and visits that were brought back.
    pub times: usize,
    /// Leases that begin now.
    pub leases: usize,
    /// The id from which to continue among the pending entries; `None` after the last.
    pub from: Option<String>,
    /// Whether more times may lie too far ahead.
    pub more_times: bool,
}

impl Store {
    /// Visits one webhook, if its visit is due: trims its held and failed deliveries and its log. Log entries from
    /// before `oldest_log` are dropped.
    pub async fn visit(
        &self,
        account: &AccountId,
        webhook: WebhookId,
        oldest_log: &str,
    ) -> Result<Visited, StoreError> {
        let mut script = self.0.scripts.visit.key(self.0.keys.webhooks(account));
        self.of_webhook(&mut script, account, webhook);
        script.arg(ms(self.0.held.retention)).arg(ms(self.0.failed.retention)).arg(oldest_log);
        script.arg(self.0.held.max_bytes);
        let answer: String = self.at_account(account).run_script(&script).await?;
        Ok(match answer.as_str() {
            "VISITED" => Visited::Made,
            "AGAIN" => Visited::Again,
            "GONE" => Visited::Gone,
            _ => Visited::NotDue,
        })
    }

    /// Drops rejected entries that are past their retention; returns whether there may be more.
    pub async fn sweep(&self, partition: u16) -> Result<bool, StoreError> {
        let mut script = self.0.scripts.sweep.key(self.0.keys.rejected(partition));
        script.key(self.0.keys.counts(partition)).arg(ms(self.0.rejected.retention));
        self.at(partition).run_script(&script).await
    }

    /// Corrects a part of the times and leases that a step of Redis's clock made wrong. Among the pending entries it
    /// begins at `from`, which is `-` at first.
    pub async fn mend_times(&self, partition: u16, longest: &Longest, from: &str) -> Result<Mended, StoreError> {
        let keys = &self.0.keys;
        let mut script = self.0.scripts.mend_times.key(keys.queue(partition));
        script.key(keys.retries(partition)).key(keys.releases(partition)).key(keys.visits(partition));
        script.key(keys.counts(partition)).key(keys.audit(partition));
        script.arg(ms(longest.retry)).arg(ms(longest.release)).arg(ms(longest.visit)).arg(BATCH_MAX_BYTES).arg(from);
        script.arg(ms(longest.besides)).arg(u8::from(longest.stepped));
        let (times, leases, from, more_times): (usize, usize, String, bool) =
            self.at(partition).run_script(&script).await?;
        Ok(Mended { times, leases, from: Some(from).filter(|from| !from.is_empty()), more_times })
    }

    /// Adds the keys and arguments of a script that may drop everything of a webhook.
    pub(in crate::store) fn of_webhook(&self, script: &mut Run<'_>, account: &AccountId, webhook: WebhookId) {
        let keys = &self.0.keys;
        let partition = keys.partition(account);
        script.key(keys.logs(partition, webhook)).key(keys.held(partition, webhook));
        script.key(keys.failed(partition, webhook)).key(keys.visits(partition)).key(keys.releases(partition));
        script.key(keys.counts(partition)).key(keys.held_bytes(partition));
        script.arg(webhook.to_string()).arg(Keys::member(account, webhook));
    }
}
