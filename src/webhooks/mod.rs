//! What people do with webhooks: add, list, show, edit, switch, delete, purge, test, read the log, redeliver
//! what failed (`failed.rs`), seal secrets anew (`rotate.rs`). Written once, for the command line, the API and the
//! screen alike, with one form of what they give (`input.rs`) and one way of showing a webhook (`view.rs`).

mod failed;
mod input;
mod rotate;
mod view;

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

pub use self::{
    failed::{FailedDelivery, Progress, Which},
    input::{Edit, NewAuthentication, NewWebhook},
    rotate::{FAILURES_SHOWN, NotResealed, Rotation, WhyNot},
    view::{AuthenticationView, View},
};
use crate::{
    config::Settings,
    domain::{
        account::AccountId,
        address::{AllowList, AllowListError},
        delivery::Delivery,
        event::{Catalogue, EnvelopeFacts, EventId, TEST_EVENT},
        failure::Failure,
        header::{self, HeaderRefusal},
        log_entry::{LogEntry, timestamp},
        url::{EndpointUrl, UrlRefusal},
        webhook::{Authentication, Sealed, Webhook, WebhookId},
    },
    secrets::{SecretSlot, SecretsError, Vault},
    sender::{NotMade, Request, Sender},
    store::{Deleted, Put, Store, StoreError},
};

/// A description has at most this many characters.
const DESCRIPTION_MAX: usize = 200;
/// An edit that meets another is tried anew this often.
const EDIT_TRIES: usize = 5;
/// A purge looks again this often for webhooks that were added while it went on.
const PURGE_ROUNDS: usize = 5;

/// What people do with webhooks.
pub struct Webhooks {
    store: Store,
    vault: Vault,
    catalogue: Catalogue,
    allow: AllowList,
    limit_per_account: usize,
}

/// What the test button met.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct Tested(pub LogEntry);

/// A webhook that was switched on.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Enabled {
    /// The webhook.
    #[serde(flatten)]
    pub view: View,
    /// How many held deliveries were dropped; absent where they were not to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_discarded: Option<u64>,
}

/// What purging an account deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Purged {
    /// Its webhooks.
    pub webhooks: Vec<WebhookId>,
    /// Held deliveries.
    pub held: u64,
    /// Failed deliveries.
    pub failed: u64,
}

/// Why something could not be done with a webhook. The text says what to change.
#[derive(Debug, thiserror::Error)]
pub enum WebhooksError {
    /// No such webhook.
    #[error("account {account} has no webhook {webhook}")]
    NotFound {
        /// The account.
        account: AccountId,
        /// The webhook.
        webhook: WebhookId,
    },
    /// The test request could not be made from here, which says nothing of the endpoint.
    #[error("no request was made: {0}; try again later")]
    NotMade(#[from] NotMade),
    /// No such failed delivery.
    #[error("webhook {webhook} has no failed delivery `{delivery}`")]
    NoSuchDelivery {
        /// The account.
        account: AccountId,
        /// The webhook.
        webhook: WebhookId,
        /// What was given.
        delivery: String,
    },
    /// The account has as many as it may.
    #[error("account {account} has {limit} webhooks already, as many as it may; delete one first")]
    Limit {
        /// The account.
        account: AccountId,
        /// The limit.
        limit: usize,
    },
    /// The URL.
    #[error(transparent)]
    Url(#[from] UrlRefusal),
    /// The token or header.
    #[error(transparent)]
    Header(#[from] HeaderRefusal),
    /// An event type.
    #[error("the event type `{given}` is not in the catalogue; there are: {known}")]
    Event {
        /// What was given.
        given: String,
        /// What there is.
        known: String,
    },
    /// No event type at all.
    #[error("a webhook needs at least one event type")]
    NoEvents,
    /// The description.
    #[error("the description is longer than {DESCRIPTION_MAX} characters, or has control characters")]
    Description,
    /// The edit was made on a revision that is no longer the present one.
    #[error(
        "webhook {webhook} is at revision {present}, and this edit was made on revision {asked}; nothing was changed"
    )]
    Stale {
        /// The account.
        account: AccountId,
        /// The webhook.
        webhook: WebhookId,
        /// The revision that the edit was made on.
        asked: u64,
        /// The revision that is there.
        present: u64,
    },
    /// Somebody else keeps editing.
    #[error("the webhook was edited by somebody else at the same time; look at it and try again")]
    Conflict,
    /// Sealing or opening a secret.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// Redis.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl WebhooksError {
    /// The kind of failure.
    pub fn failure(&self) -> Failure {
        match self {
            Self::NotFound { .. } | Self::NoSuchDelivery { .. } => Failure::NotFound,
            Self::Stale { .. } | Self::Conflict => Failure::Conflict,
            Self::Limit { .. }
            | Self::Url(_)
            | Self::Header(_)
            | Self::Event { .. }
            | Self::NoEvents
            | Self::Description
            | Self::Secrets(_) => Failure::Refused,
            Self::Store(error) => error.failure(),
            Self::NotMade(_) => Failure::Broken,
        }
    }
}

impl Webhooks {
    /// What people do, on this store, by these settings.
    ///
    /// # Errors
    /// [`AllowListError`] where `egress.allow` names what is neither a network nor a host.
    pub fn new(settings: &Settings, store: Store, vault: Vault) -> Result<Self, AllowListError> {
        Ok(Self {
            store,
            vault,
            catalogue: settings.catalogue(),
            allow: AllowList::parse(&settings.egress.allow)?,
            limit_per_account: settings.webhooks.limit_per_account,
        })
    }

    /// Adds a webhook.
    pub async fn add(&self, account: &AccountId, new: NewWebhook) -> Result<View, WebhooksError> {
        let now = self.store.now_of(account).await?;
        let id = WebhookId::new(uuid::Uuid::now_v7());
        let events = new.events.unwrap_or_else(|| self.catalogue.names().map(str::to_owned).collect());
        let webhook = Webhook {
            id,
            url: EndpointUrl::parse(&new.url, &self.allow)?,
            events: self.judge_events(&events)?,
            authentication: self.seal(account, id, new.authentication)?,
            description: judge_description(new.description)?,
            active: new.active,
            revision: 1,
            created_at: timestamp(now),
            updated_at: timestamp(now),
        };
        match self.store.put_webhook(account, &webhook, None, self.limit_per_account).await? {
            Put::Done => Ok(self.view(account, webhook)),
            Put::Limit => Err(WebhooksError::Limit { account: account.clone(), limit: self.limit_per_account }),
            Put::Gone | Put::Conflict => Err(WebhooksError::Conflict),
        }
    }

    /// An account's webhooks, oldest first.
    pub async fn list(&self, account: &AccountId) -> Result<Vec<View>, WebhooksError> {
        let webhooks = self.store.webhooks(account).await?;
        Ok(webhooks.into_iter().map(|webhook| self.view(account, webhook)).collect())
    }

    /// One webhook.
    pub async fn show(&self, account: &AccountId, id: WebhookId) -> Result<View, WebhooksError> {
        Ok(self.view(account, self.find(account, id).await?))
    }

    /// Changes what the edit names, on the revision that the edit is based on, or else on the newest. Counts from the next
    /// attempt on.
    ///
    /// # Errors
    /// [`WebhooksError::Stale`] where the edit is based on a revision that is not the present one.
    pub async fn edit(&self, account: &AccountId, id: WebhookId, edit: Edit) -> Result<View, WebhooksError> {
        Ok(self.edit_and(account, id, edit, false).await?.0)
    }

    /// The same, in one step with dropping all that the webhook holds, if it is to be dropped; answers how much that was.
    async fn edit_and(
        &self,
        account: &AccountId,
        id: WebhookId,
        edit: Edit,
        discard_held: bool,
    ) -> Result<(View, u64), WebhooksError> {
        let url = edit.url.map(|url| EndpointUrl::parse(&url, &self.allow)).transpose()?;
        let events = edit.events.map(|events| self.judge_events(&events)).transpose()?;
        let authentication = edit.authentication.map(|new| self.seal(account, id, new)).transpose()?;
        let description = edit.description.map(judge_description).transpose()?;
        for _ in 0..EDIT_TRIES {
            let present = self.find(account, id).await?;
            let revision = present.revision;
            if let Some(asked) = edit.revision.filter(|asked| *asked != revision) {
                return Err(WebhooksError::Stale { account: account.clone(), webhook: id, asked, present: revision });
            }
            let edited = Webhook {
                url: url.clone().unwrap_or(present.url),
                events: events.clone().unwrap_or(present.events),
                authentication: authentication.clone().unwrap_or(present.authentication),
                description: description.clone().unwrap_or(present.description),
                active: edit.active.unwrap_or(present.active),
                revision: revision + 1,
                updated_at: timestamp(self.store.now_of(account).await?),
                ..present
            };
            match self.put(account, &edited, revision, discard_held).await? {
                (Put::Done, dropped) => return Ok((self.view(account, edited), dropped)),
                (Put::Gone, _) => return Err(not_found(account, id)),
                (Put::Conflict | Put::Limit, _) => {}
            }
        }
        Err(WebhooksError::Conflict)
    }

    /// Replaces this revision. Without an answer nobody knows whether it was replaced, so the very same value is put once
    /// more: if it is there already, that is the answer, and not a conflict with oneself.
    async fn put(
        &self,
        account: &AccountId,
        edited: &Webhook,
        revision: u64,
        discard_held: bool,
    ) -> Result<(Put, u64), StoreError> {
        let put = async || {
            if discard_held {
                return self.store.put_webhook_discarding_held(account, edited, revision).await;
            }
            Ok((self.store.put_webhook(account, edited, Some(revision), self.limit_per_account).await?, 0))
        };
        match put().await {
            Err(error) if error.is_passing() => put().await,
            answer => answer,
        }
    }

    /// Switches a webhook on, on the revision that somebody looked at, or else on the newest; with `discard_held`, drops what it
    /// held until now, instead of delivering it.
    ///
    /// # Errors
    /// [`WebhooksError::Stale`] where that revision is not the present one; nothing is dropped then.
    pub async fn enable(
        &self,
        account: &AccountId,
        id: WebhookId,
        discard_held: bool,
        revision: Option<u64>,
    ) -> Result<Enabled, WebhooksError> {
        let on = Edit { active: Some(true), revision, ..Edit::default() };
        let (view, dropped) = self.edit_and(account, id, on, discard_held).await?;
        Ok(Enabled { view, held_discarded: discard_held.then_some(dropped) })
    }

    /// Deletes a webhook with its log, held and failed deliveries.
    pub async fn delete(&self, account: &AccountId, id: WebhookId) -> Result<Deleted, WebhooksError> {
        self.store.delete_webhook(account, id).await?.ok_or_else(|| not_found(account, id))
    }

    /// Deletes all webhooks of an account with their logs, held and failed deliveries. What is queued for them, or
    /// waits for a retry, is dropped and counted as it comes up.
    pub async fn purge(&self, account: &AccountId) -> Result<Purged, WebhooksError> {
        let mut purged = Purged::default();
        for _ in 0..PURGE_ROUNDS {
            let webhooks = self.store.webhook_ids(account).await?;
            if webhooks.is_empty() {
                break;
            }
            for id in webhooks {
                // Gone already: somebody else deleted it just now.
                if let Some(deleted) = self.store.delete_webhook(account, id).await? {
                    purged.webhooks.push(id);
                    purged.held += deleted.held;
                    purged.failed += deleted.failed;
                }
            }
        }
        Ok(purged)
    }

    /// Sends the test event at once, on or off, never retries, and writes the log.
    pub async fn test(&self, sender: &Sender, account: &AccountId, id: WebhookId) -> Result<Tested, WebhooksError> {
        let webhook = self.find(account, id).await?;
        let now = self.store.now_of(account).await?;
        let event_id: EventId = format!("test-{}", uuid::Uuid::now_v7()).parse().expect("fits");
        let delivery = Delivery::first(&event_id, account, id, None);
        let body = test_envelope(now);
        let request = Request::to_webhook(&self.vault, (account, &webhook), &event_id, now.timestamp(), body.into())?;
        let met = sender.attempt(request).await?;
        let facts = EnvelopeFacts { event: TEST_EVENT.to_owned(), identifiers: Vec::new() };
        let entry = LogEntry::of_attempt(&delivery, facts, now, (&met.outcome, met.duration, met.phases), true);
        if !self.store.log(account, id, &entry).await? {
            return Err(not_found(account, id));
        }
        Ok(Tested(entry))
    }

    /// The delivery log, newest first.
    pub async fn logs(&self, account: &AccountId, id: WebhookId) -> Result<Vec<LogEntry>, WebhooksError> {
        self.find(account, id).await?;
        Ok(self.store.logs(account, id).await?)
    }

    async fn find(&self, account: &AccountId, id: WebhookId) -> Result<Webhook, WebhooksError> {
        self.store.webhook(account, id).await?.ok_or_else(|| not_found(account, id))
    }

    fn judge_events(&self, events: &[String]) -> Result<Vec<String>, WebhooksError> {
        if let Some(given) = events.iter().find(|event| !self.catalogue.contains(event)) {
            let known = self.catalogue.names().collect::<Vec<_>>().join(", ");
            return Err(WebhooksError::Event { given: given.clone(), known });
        }
        let events: Vec<String> = events.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect();
        if events.is_empty() { Err(WebhooksError::NoEvents) } else { Ok(events) }
    }

    fn seal(
        &self,
        account: &AccountId,
        webhook: WebhookId,
        new: NewAuthentication,
    ) -> Result<Authentication, WebhooksError> {
        let seal = |field, secret: &SecretString| -> Result<Sealed, SecretsError> {
            self.vault.seal(SecretSlot { account, webhook, field }, secret)
        };
        Ok(match new {
            NewAuthentication::None => Authentication::None,
            NewAuthentication::Bearer(token) => {
                header::judge_bearer(token.expose_secret())?;
                Authentication::Bearer { token: seal("token", &token)? }
            }
            NewAuthentication::Header { name, value } => {
                header::judge(&name, value.expose_secret())?;
                Authentication::Header { value: seal("value", &value)?, name }
            }
        })
    }
}

fn not_found(account: &AccountId, webhook: WebhookId) -> WebhooksError {
    WebhooksError::NotFound { account: account.clone(), webhook }
}

fn judge_description(description: String) -> Result<String, WebhooksError> {
    let fits = description.chars().count() <= DESCRIPTION_MAX && !description.chars().any(char::is_control);
    if fits { Ok(description) } else { Err(WebhooksError::Description) }
}

/// The test event, as customers are promised it.
fn test_envelope(now: DateTime<Utc>) -> String {
    serde_json::to_string_pretty(&serde_json::json!({
        "event": TEST_EVENT,
        "timestamp": timestamp(now),
        "data": { "message": "This is a test webhook from TalentLynk." },
    }))
    .expect("plain JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_event_is_the_promised_one_word_for_word() {
        let envelope: serde_json::Value =
            serde_json::from_str(&test_envelope("2026-03-26T14:35:00Z".parse().unwrap())).unwrap();
        assert_eq!(
            envelope,
            serde_json::json!({
                "event": "webhook.test",
                "timestamp": "2026-03-26T14:35:00.000Z",
                "data": { "message": "This is a test webhook from TalentLynk." }
            })
        );
    }
}
