//! Lists an account's webhooks, a page at a time. One that cannot be read is listed too, and hides none of the others.

use serde::Serialize;
use utoipa::ToSchema;

use super::{View, Webhooks, WebhooksError};
use crate::{
    domain::{
        account::AccountId,
        page::{NotAPosition, Page},
        webhook::{Webhook, WebhookId},
    },
    store::{StoreError, WebhookEntry},
};

/// A webhook of a list.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Listed {
    /// Its settings.
    Read(Box<View>),
    /// Its settings cannot be read. Its deliveries fail; it can be deleted.
    Unreadable {
        /// Its id.
        id: WebhookId,
        /// The reason, without any value of the settings.
        reason: String,
        /// Always true.
        unreadable: bool,
    },
}

impl Listed {
    /// The webhook's id.
    pub fn id(&self) -> WebhookId {
        match self {
            Self::Read(view) => view.id,
            Self::Unreadable { id, .. } => *id,
        }
    }
}

impl Webhooks {
    /// At most `limit` of an account's webhooks, oldest first, beginning after the webhook `after`, which may be
    /// deleted by now.
    ///
    /// # Errors
    /// [`WebhooksError::Position`] if `after` is no webhook's id.
    pub async fn list_page(
        &self,
        account: &AccountId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Listed>, WebhooksError> {
        let after = after.map(position).transpose()?;
        let found = self.store.webhook_entries(account).await?;
        Ok(self.page_of(account, found, after, limit))
    }

    /// The page of all webhooks of an account that begins after the webhook `after`.
    pub(super) fn page_of(
        &self,
        account: &AccountId,
        found: Vec<WebhookEntry>,
        after: Option<WebhookId>,
        limit: usize,
    ) -> Page<Listed> {
        // A field whose name is no webhook id belongs to no webhook.
        let mut webhooks: Vec<_> =
            found.into_iter().filter_map(|(name, webhook)| Some((name.parse::<WebhookId>().ok()?, webhook))).collect();
        webhooks.retain(|(id, _)| after.is_none_or(|after| *id > after));
        webhooks.sort_by_key(|(id, _)| *id);
        let listed = webhooks.into_iter().map(|(id, webhook)| self.listed(account, id, webhook));
        Page::first(listed, limit, |listed| listed.id().to_string())
    }

    pub(super) fn listed(&self, account: &AccountId, id: WebhookId, webhook: Result<Webhook, StoreError>) -> Listed {
        match webhook {
            Ok(webhook) => Listed::Read(Box::new(self.view(account, webhook))),
            Err(error) => Listed::Unreadable { id, reason: reason(error), unreadable: true },
        }
    }
}

/// The webhook that a position is.
pub(super) fn position(text: &str) -> Result<WebhookId, NotAPosition> {
    text.parse().map_err(|_| NotAPosition)
}

/// The reason why settings cannot be read, without the key that holds them.
fn reason(error: StoreError) -> String {
    match error {
        StoreError::Corrupt { reason, .. } => reason,
        other => other.to_string(),
    }
}
