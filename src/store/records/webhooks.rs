//! Webhooks' settings: read, put and deleted.
//!
//! An account's webhooks are the fields of one hash. There are four ways to read them:
//!
//! | method | reads | settings that cannot be read | a key that is no hash |
//! |---|---|---|---|
//! | [`Store::subscriptions`] | several accounts, for workers | are logged, and listed as `unreadable` | that account's error |
//! | [`Store::webhooks`] | an account | [`StoreError::Corrupt`] for all | [`StoreError::Refused`] |
//! | [`Store::webhook_entries`] | an account, field by field | [`StoreError::Corrupt`] in their place | [`StoreError::Refused`] |
//! | [`Store::webhook`] | one webhook | [`StoreError::Corrupt`] | [`StoreError::Refused`] |

use std::sync::Arc;

use crate::{
    domain::{
        account::AccountId,
        webhook::{Subscriptions, Webhook, WebhookId},
    },
    store::{Known, Store, StoreError, Unanswered, keys::Keys},
};

/// The answer to putting a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// The settings are stored.
    Done,
    /// The account has its most webhooks.
    Limit,
    /// The webhook is deleted.
    Gone,
    /// The webhook was edited since the revision on which this edit is based.
    Conflict,
}

/// The deliveries that went with one or more deleted webhooks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Dropped {
    /// Failed deliveries.
    pub failed: u64,
    /// Held deliveries.
    pub held: u64,
}

/// The answer to deleting a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// It is deleted, with these deliveries.
    Done(Dropped),
    /// There was no such webhook.
    Gone,
    /// It has another revision; nothing was deleted.
    Conflict {
        /// The present revision.
        present: u64,
    },
    /// Its settings cannot be read, so it has no revision; nothing was deleted.
    Unreadable,
}

/// A webhook's id and its settings, as they are in Redis.
pub(in crate::store) type Field = (Vec<u8>, Vec<u8>);

/// The name of a field, which is a webhook's id unless somebody else wrote the field, and the webhook or the error in
/// reading it.
pub type WebhookEntry = (String, Result<Webhook, StoreError>);

impl Store {
    /// Reads the webhooks of several accounts of one partition in one round trip; the result has the accounts' order.
    /// `known` remembers them from then on.
    pub async fn subscriptions(
        &self,
        accounts: &[AccountId],
        known: &Known,
    ) -> Result<Vec<Result<Arc<Subscriptions>, StoreError>>, StoreError> {
        let asked = known.ask();
        let found = self.fields_of(accounts).await?;
        let read = |(account, fields): (&AccountId, Result<Vec<Field>, StoreError>)| {
            fields.map(|fields| {
                known.learn(asked, account, fields, |fields| {
                    subscriptions(entries(&self.0.keys.webhooks(account), fields))
                })
            })
        };
        Ok(accounts.iter().zip(found).map(read).collect())
    }

    /// Reads the fields of the webhooks of several accounts, unparsed, in one round trip to each node.
    ///
    /// # Errors
    /// For all accounts, if Redis is away or refuses. For one account, if its key has a wrong type.
    pub(super) async fn fields_of(
        &self,
        accounts: &[AccountId],
    ) -> Result<Vec<Result<Vec<Field>, StoreError>>, StoreError> {
        let look = |account: &AccountId| {
            let mut look = redis::cmd("HGETALL");
            look.arg(self.0.keys.webhooks(account));
            (self.at_account(account), look)
        };
        let found = self.run_each(accounts.iter().map(look).collect()).await;
        let found: Vec<Result<Vec<Field>, StoreError>> =
            found.into_iter().map(|fields| fields.map_err(Unanswered::into_cause)).collect();
        match found.iter().filter_map(|fields| fields.as_ref().err()).find(|error| !error.is_wrong_type()) {
            Some(error) => Err(error.clone()),
            None => Ok(found),
        }
    }

    /// An account's webhooks, each under the name of its field, including those that cannot be read.
    pub async fn webhook_entries(&self, account: &AccountId) -> Result<Vec<WebhookEntry>, StoreError> {
        let key = self.0.keys.webhooks(account);
        let fields: Vec<Field> = self.at_account(account).run(redis::cmd("HGETALL").arg(&key)).await?;
        Ok(entries(&key, &fields).collect())
    }

    /// An account's webhooks, oldest first. If one of them cannot be read, this is an error, so that none is silently
    /// missing.
    pub async fn webhooks(&self, account: &AccountId) -> Result<Vec<Webhook>, StoreError> {
        let Subscriptions { webhooks, unreadable } = subscriptions(self.webhook_entries(account).await?);
        match unreadable.first() {
            None => Ok(webhooks),
            Some(id) => Err(StoreError::Corrupt {
                key: format!("{} {id}", self.0.keys.webhooks(account)),
                reason: "its settings cannot be read".to_owned(),
            }),
        }
    }

    /// One webhook, or `None`.
    pub async fn webhook(&self, account: &AccountId, id: WebhookId) -> Result<Option<Webhook>, StoreError> {
        let (key, field) = (self.0.keys.webhooks(account), id.to_string());
        let found: Option<Vec<u8>> = self.at_account(account).run(redis::cmd("HGET").arg(&key).arg(&field)).await?;
        found.map(|json| parse_webhook(&key, &field, &json)).transpose()
    }

    /// The number of an account's webhooks, including those that cannot be read.
    pub async fn webhook_count(&self, account: &AccountId) -> Result<usize, StoreError> {
        self.at_account(account).run(redis::cmd("HLEN").arg(self.0.keys.webhooks(account))).await
    }

    /// Adds a webhook (`edited` is `None`), or replaces the revision `edited`.
    pub async fn put_webhook(
        &self,
        account: &AccountId,
        webhook: &Webhook,
        edited: Option<u64>,
        limit: usize,
    ) -> Result<Put, StoreError> {
        Ok(self.put(account, webhook, edited, limit, false).await?.0)
    }

    /// Replaces the revision `edited`, and drops all held deliveries of the webhook in the same step. Also returns the
    /// number dropped.
    pub async fn put_webhook_discarding_held(
        &self,
        account: &AccountId,
        webhook: &Webhook,
        edited: u64,
    ) -> Result<(Put, u64), StoreError> {
        self.put(account, webhook, Some(edited), 0, true).await
    }

    async fn put(
        &self,
        account: &AccountId,
        webhook: &Webhook,
        edited: Option<u64>,
        limit: usize,
        discard_held: bool,
    ) -> Result<(Put, u64), StoreError> {
        let keys = &self.0.keys;
        let mut script = self.0.scripts.put_webhook.key(keys.webhooks(account));
        let partition = keys.partition(account);
        script.key(keys.releases(partition)).key(keys.held(partition, webhook.id));
        script.key(keys.counts(partition)).key(keys.held_bytes(partition));
        script.arg(webhook.id.to_string()).arg(webhook.to_json()).arg(edited.unwrap_or(0)).arg(limit);
        script.arg(Keys::member(account, webhook.id)).arg(u8::from(webhook.active)).arg(u8::from(discard_held));
        let (answer, dropped): (String, u64) = self.at(partition).run_script(&script).await?;
        let put = match answer.as_str() {
            "PUT" => Put::Done,
            "LIMIT" => Put::Limit,
            "GONE" => Put::Gone,
            _ => Put::Conflict,
        };
        Ok((put, dropped))
    }

    /// Deletes a webhook with its log, held and failed deliveries; `None` if there was no such webhook.
    pub async fn delete_webhook(&self, account: &AccountId, id: WebhookId) -> Result<Option<Dropped>, StoreError> {
        match self.delete(account, id, 0).await? {
            Deletion::Done(dropped) => Ok(Some(dropped)),
            Deletion::Gone | Deletion::Conflict { .. } | Deletion::Unreadable => Ok(None),
        }
    }

    /// The same, only if the webhook has this revision, from 1.
    pub async fn delete_webhook_at(
        &self,
        account: &AccountId,
        id: WebhookId,
        revision: u64,
    ) -> Result<Deletion, StoreError> {
        self.delete(account, id, revision).await
    }

    async fn delete(&self, account: &AccountId, id: WebhookId, revision: u64) -> Result<Deletion, StoreError> {
        let mut script = self.0.scripts.delete_webhook.key(self.0.keys.webhooks(account));
        self.of_webhook(&mut script, account, id);
        script.arg(revision);
        let (word, first, failed): (String, u64, u64) = self.at_account(account).run_script(&script).await?;
        Ok(match word.as_str() {
            "DELETED" => Deletion::Done(Dropped { failed, held: first }),
            "GONE" => Deletion::Gone,
            "UNREADABLE" => Deletion::Unreadable,
            _ => Deletion::Conflict { present: first },
        })
    }
}

/// Reads each field at `key`.
pub(super) fn entries(key: &str, fields: &[Field]) -> impl Iterator<Item = WebhookEntry> {
    fields.iter().map(move |(id, json)| {
        let id = String::from_utf8_lossy(id).into_owned();
        let webhook = parse_webhook(key, &id, json);
        (id, webhook)
    })
}

/// An account's webhooks, the oldest first. Webhooks that cannot be read are logged.
fn subscriptions(entries: impl IntoIterator<Item = WebhookEntry>) -> Subscriptions {
    let mut found = Subscriptions::default();
    for (id, webhook) in entries {
        match webhook {
            Ok(webhook) => found.webhooks.push(webhook),
            Err(error) => {
                tracing::error!(%error, "a webhook's settings cannot be read; its deliveries fail");
                // A field whose name is no webhook id belongs to no webhook, so no delivery can go there or be missed.
                found.unreadable.extend(id.parse::<WebhookId>());
            }
        }
    }
    found.webhooks.sort_by_key(|webhook: &Webhook| webhook.id);
    found
}

/// Reads the webhook in the field `id` at `key`. The webhook's id must be the same, because its log and its other keys
/// are named after the field.
fn parse_webhook(key: &str, id: &str, json: &[u8]) -> Result<Webhook, StoreError> {
    let key = format!("{key} {id}");
    let webhook: Webhook = parse(&key, json)?;
    if webhook.id.to_string() == id {
        Ok(webhook)
    } else {
        Err(StoreError::Corrupt { key, reason: "it holds another webhook".to_owned() })
    }
}

pub(super) fn parse<T: serde::de::DeserializeOwned>(key: &str, json: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(json).map_err(|e| StoreError::Corrupt {
        key: key.to_owned(),
        // The message of serde_json may quote a value, so only the error's class and place are kept.
        reason: format!("{:?} error at column {}", e.classify(), e.column()),
    })
}
