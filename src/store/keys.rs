//! The names of all keys. No other place makes a key.
//!
//! `{p}` is the partition's hash tag. All keys of an account are in one Redis hash slot, so that each step is one
//! atomic script on one node.

use crate::domain::{account::AccountId, webhook_id::WebhookId};

/// The keys of one installation.
#[derive(Debug, Clone)]
pub struct Keys {
    prefix: String,
    partitions: u16,
}

impl Keys {
    /// Keys that begin with `prefix`, over this number of partitions.
    pub fn new(prefix: &str, partitions: u16) -> Self {
        Self { prefix: prefix.to_owned(), partitions }
    }

    /// The beginning of every key.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The number of partitions.
    pub fn partitions(&self) -> u16 {
        self.partitions
    }

    /// The partition of an account.
    pub fn partition(&self, account: &AccountId) -> u16 {
        account.partition(self.partitions)
    }

    /// Stream: events and deliveries that are to be handled now.
    pub fn queue(&self, partition: u16) -> String {
        self.of(partition, "queue")
    }

    /// Sorted set: deliveries whose attempt failed or was put off, by due time.
    pub fn retries(&self, partition: u16) -> String {
        self.of(partition, "retries")
    }

    /// Sorted set: webhooks by the time at which their held deliveries go back to the queue.
    pub fn releases(&self, partition: u16) -> String {
        self.of(partition, "releases")
    }

    /// Sorted set: webhooks by the time at which a worker visits them.
    pub fn visits(&self, partition: u16) -> String {
        self.of(partition, "visits")
    }

    /// Stream: entries that are no valid event.
    pub fn rejected(&self, partition: u16) -> String {
        self.of(partition, "rejected")
    }

    /// Hash: the number of dropped entries and the like, by cause.
    pub fn counts(&self, partition: u16) -> String {
        self.of(partition, "counts")
    }

    /// Hash: the notes of the last look at the queue's group, and the time at which lost entries were last noticed.
    pub fn audit(&self, partition: u16) -> String {
        self.of(partition, "audit")
    }

    /// Hash: the idempotency keys of the last 24 hours, or fewer, each with the fingerprint of its request.
    pub fn idempotency(&self, partition: u16) -> String {
        self.of(partition, "idempotency")
    }

    /// Hash: the idempotency keys before those.
    pub fn idempotency_before(&self, partition: u16) -> String {
        self.of(partition, "idempotency:before")
    }

    /// Hash: an account's webhooks.
    pub fn webhooks(&self, account: &AccountId) -> String {
        self.of(self.partition(account), format_args!("webhooks:{account}"))
    }

    /// The beginning of the keys of the webhooks of a partition's accounts.
    pub fn webhooks_of(&self, partition: u16) -> String {
        self.of(partition, "webhooks:")
    }

    /// The pattern of every account's webhooks, in all partitions. No prefix has a character with a meaning in
    /// patterns.
    pub fn all_webhooks(&self) -> String {
        format!("{}:{{*}}:webhooks:*", self.prefix)
    }

    /// The account of a hash of webhooks; `None` if no process would look for an account under this key.
    pub fn parse_webhooks(&self, key: &str) -> Option<AccountId> {
        let (_, account) = key.strip_prefix(&self.prefix)?.split_once(":webhooks:")?;
        account.parse().ok().filter(|account| self.webhooks(account) == key)
    }

    /// List: a webhook's delivery log.
    pub fn logs(&self, partition: u16, webhook: WebhookId) -> String {
        self.of(partition, format_args!("logs:{webhook}"))
    }

    /// Stream: a webhook's held deliveries.
    pub fn held(&self, partition: u16, webhook: WebhookId) -> String {
        self.of(partition, format_args!("held:{webhook}"))
    }

    /// Hash: the approximate bytes of each webhook's held deliveries.
    pub fn held_bytes(&self, partition: u16) -> String {
        self.of(partition, "held_bytes")
    }

    /// Stream: a webhook's deliveries that failed for good.
    pub fn failed(&self, partition: u16, webhook: WebhookId) -> String {
        self.of(partition, format_args!("failed:{webhook}"))
    }

    /// String: a live worker's figures.
    pub fn worker(&self, name: &str) -> String {
        format!("{}:workers:{name}", self.prefix)
    }

    /// Hash: an account's portal links and sessions.
    pub fn portal(&self, account: &AccountId) -> String {
        self.of(self.partition(account), format_args!("portal:{account}"))
    }

    /// The beginning of the keys of the portals of a partition's accounts.
    pub fn portal_of(&self, partition: u16) -> String {
        self.of(partition, "portal:")
    }

    /// Hash: the API keys, with the hashes of their secrets.
    pub fn api_keys(&self) -> String {
        format!("{}:apikeys", self.prefix)
    }

    /// Hash: the day on which each API key was last used. The braces put it into the slot of the API keys, because scripts
    /// use both.
    pub fn api_keys_used(&self) -> String {
        format!("{}:{{{}}}:used", self.prefix, self.api_keys())
    }

    /// Hash: schema version and number of partitions.
    pub fn meta(&self) -> String {
        format!("{}:meta", self.prefix)
    }

    /// A webhook's member in `releases` and `visits`.
    pub fn member(account: &AccountId, webhook: WebhookId) -> String {
        format!("{account}/{webhook}")
    }

    /// The webhook of such a member, with its account.
    pub fn parse_member(member: &str) -> Option<(AccountId, WebhookId)> {
        let (account, webhook) = member.rsplit_once('/')?;
        Some((account.parse().ok()?, webhook.parse().ok()?))
    }

    fn of(&self, partition: u16, rest: impl std::fmt::Display) -> String {
        format!("{}:{{{partition}}}:{rest}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_the_contract() {
        let keys = Keys::new("lynkhook", 16);
        let acme: AccountId = "acme".parse().unwrap();
        let webhook = "wh_019a1b2c-3d4e-7f00-8000-0123456789ab".parse().unwrap();
        assert_eq!(keys.queue(0), "lynkhook:{0}:queue");
        assert_eq!(keys.webhooks(&acme), "lynkhook:{14}:webhooks:acme");
        assert_eq!(keys.logs(14, webhook), "lynkhook:{14}:logs:wh_019a1b2c-3d4e-7f00-8000-0123456789ab");
        assert_eq!(keys.worker("w1"), "lynkhook:workers:w1");
        assert_eq!(keys.portal(&acme), "lynkhook:{14}:portal:acme");
        assert_eq!(keys.api_keys(), "lynkhook:apikeys");
        assert_eq!(keys.api_keys_used(), "lynkhook:{lynkhook:apikeys}:used");
        assert_eq!(keys.meta(), "lynkhook:meta");
        assert_eq!(Keys::member(&acme, webhook), "acme/wh_019a1b2c-3d4e-7f00-8000-0123456789ab");
    }
    #[test]
    fn an_accounts_webhooks_are_found_under_their_own_key_alone() {
        let keys = Keys::new("lynkhook", 16);
        for name in ["acme", "a:webhooks:b", "1"] {
            let account: AccountId = name.parse().unwrap();
            assert_eq!(keys.parse_webhooks(&keys.webhooks(&account)), Some(account));
        }
        for other in [
            "lynkhook:{3}:webhooks:acme",
            "lynkhook:{14}:webhooks:",
            "lynkhook:{14}:webhooks:a b",
            "lynkhook:{14}:queue",
            "another:{14}:webhooks:acme",
        ] {
            assert_eq!(keys.parse_webhooks(other), None, "{other}");
        }
    }
}
