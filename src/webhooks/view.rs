//! Webhooks as people see them. A secret leaves this module only masked.

use secrecy::ExposeSecret;
use serde::Serialize;
use utoipa::ToSchema;

use super::Webhooks;
use crate::{
    domain::{
        account::AccountId,
        url::EndpointUrl,
        webhook::{Authentication, Sealed, Webhook, WebhookId, mask},
    },
    secrets::SecretSlot,
};

/// A webhook as people see it: secrets masked.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// Its id.
    pub id: WebhookId,
    /// Its account.
    pub account: AccountId,
    /// The URL that receives its events; whole in JSON, only the host in `Debug`.
    pub url: EndpointUrl,
    /// The event types it is subscribed to.
    pub events: Vec<String>,
    /// How its requests authenticate.
    pub authentication: AuthenticationView,
    /// The customer's own label.
    pub description: String,
    /// Whether it gets its deliveries.
    pub active: bool,
    /// The revision: 1 at first, and one more after each change.
    pub revision: u64,
    /// The time at which it was added.
    pub created_at: String,
    /// The time at which it was last edited.
    pub updated_at: String,
}

/// Authentication as people see it after it is saved.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Authentication)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum AuthenticationView {
    /// No authentication.
    None,
    /// A bearer token.
    Bearer {
        /// `••••`, with the last 4 characters of a long one.
        token: String,
    },
    /// A custom header.
    Header {
        /// Its name.
        name: String,
        /// `••••`, with the last 4 characters of a long one.
        value: String,
    },
}

/// A webhook that was judged and not saved: it has no id yet. Secrets are masked.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Preview {
    /// Its account.
    pub account: AccountId,
    /// The URL in its canonical form.
    pub url: EndpointUrl,
    /// The event types, each once.
    pub events: Vec<String>,
    /// How its requests would authenticate.
    pub authentication: AuthenticationView,
    /// The customer's own label.
    pub description: String,
    /// Whether it would get its deliveries at once.
    pub active: bool,
}

impl From<View> for Preview {
    fn from(view: View) -> Self {
        let View { account, url, events, authentication, description, active, .. } = view;
        Self { account, url, events, authentication, description, active }
    }
}

impl Webhooks {
    pub(super) fn view(&self, account: &AccountId, webhook: Webhook) -> View {
        let masked = |field, sealed: &Sealed| {
            let opened = self.vault.open(SecretSlot { account, webhook: webhook.id, field }, sealed);
            mask(opened.as_ref().map_or("", |secret| secret.expose_secret()))
        };
        let authentication = match &webhook.authentication {
            Authentication::None => AuthenticationView::None,
            Authentication::Bearer { token } => AuthenticationView::Bearer { token: masked("token", token) },
            Authentication::Header { name, value } => {
                AuthenticationView::Header { name: name.clone(), value: masked("value", value) }
            }
        };
        View {
            id: webhook.id,
            account: account.clone(),
            url: webhook.url,
            events: webhook.events,
            authentication,
            description: webhook.description,
            active: webhook.active,
            revision: webhook.revision,
            created_at: webhook.created_at,
            updated_at: webhook.updated_at,
        }
    }
}
