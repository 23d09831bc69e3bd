//! Deletes a webhook, or all webhooks of an account.

use serde::Serialize;
use utoipa::ToSchema;

use super::{Dropped, Webhooks, WebhooksError, not_found};
use crate::{
    domain::{account::AccountId, webhook::WebhookId},
    store::{Deletion, StoreError},
};

/// A purge looks for webhooks at most this many times, because some may be added while it runs.
const PURGE_ROUNDS: usize = 5;

/// A webhook that was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Deleted {
    /// Its account.
    pub account: AccountId,
    /// The deliveries that were dropped with it.
    pub dropped: Dropped,
    /// Its id.
    pub id: WebhookId,
}

/// An account that was purged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Purged {
    /// The account.
    pub account: AccountId,
    /// The deliveries that were dropped with its webhooks.
    pub dropped: Dropped,
    /// Its webhooks.
    pub webhooks: Vec<WebhookId>,
}

impl Webhooks {
    /// Deletes a webhook with its log, held and failed deliveries. With `revision`, only if that is the present
    /// revision.
    ///
    /// # Errors
    /// [`WebhooksError::Stale`] if that revision is not the present one, and [`WebhooksError::WithoutRevision`] if the
    /// webhook cannot be read; nothing is deleted then.
    pub async fn delete(
        &self,
        account: &AccountId,
        id: WebhookId,
        revision: Option<u64>,
    ) -> Result<Deleted, WebhooksError> {
        let dropped = match revision {
            None => self.store.delete_webhook(account, id).await?.ok_or_else(|| not_found(account, id))?,
            Some(asked) => match self.store.delete_webhook_at(account, id, asked).await? {
                Deletion::Done(dropped) => dropped,
                Deletion::Gone => return Err(not_found(account, id)),
                Deletion::Unreadable => return Err(WebhooksError::WithoutRevision(id)),
                Deletion::Conflict { present } => {
                    return Err(WebhooksError::Stale { account: account.clone(), webhook: id, asked, present });
                }
            },
        };
        Ok(Deleted { account: account.clone(), dropped, id })
    }

    /// Deletes all webhooks of an account with their logs, held and failed deliveries. Deliveries that are queued for
    /// them, or wait for a retry, are dropped and counted when a worker reaches them. The account's portal sessions end
    /// first, so that nobody adds a webhook by one meanwhile.
    pub async fn purge(&self, account: &AccountId) -> Result<Purged, WebhooksError> {
        self.store.end_portal_sessions(account, "").await?;
        let (mut webhooks, mut dropped) = (Vec::new(), Dropped::default());
        for _ in 0..PURGE_ROUNDS {
            // By the names of their fields, because webhooks that cannot be read are deleted too.
            let found = self.store.webhook_entries(account).await?;
            if found.is_empty() {
                break;
            }
            let ids: Result<Vec<_>, _> = found.into_iter().map(|(field, _)| self.id_of(account, &field)).collect();
            for id in ids? {
                // `None`: another client has just deleted it.
                if let Some(deleted) = self.store.delete_webhook(account, id).await? {
                    webhooks.push(id);
                    dropped.held += deleted.held;
                    dropped.failed += deleted.failed;
                }
            }
        }
        Ok(Purged { account: account.clone(), dropped, webhooks })
    }

    fn id_of(&self, account: &AccountId, field: &str) -> Result<WebhookId, StoreError> {
        field.parse().map_err(|error| StoreError::Corrupt {
            key: self.store.keys().webhooks(account),
            reason: format!("`{field}` is not a webhook's id: {error}"),
        })
    }
}
