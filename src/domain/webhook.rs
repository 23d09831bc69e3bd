//! Webhooks: customers' subscriptions, as they are in Redis.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, de::Error};

use super::url::EndpointUrl;
pub use super::webhook_id::{NotAWebhookId, WebhookId};

/// The most characters of a description.
pub const DESCRIPTION_MAX: usize = 200;
/// The number of times an edit is tried if it meets another edit.
pub const EDIT_TRIES: usize = 5;

/// A customer's subscription. Its JSON is the value in `webhooks:<account>`; `url` is canonical.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// The address of its events; path and query count as secret in logs.
    #[serde(deserialize_with = "saved_url")]
    pub url: EndpointUrl,
    /// The event types to which it is subscribed.
    pub events: Vec<String>,
    /// The proof of origin that its requests carry.
    pub authentication: Authentication,
    /// The customer's own label; may be empty.
    pub description: String,
    /// Whether it is on and gets its deliveries; otherwise they are held.
    pub active: bool,
    /// The number of its revision, from 1. Each edit adds 1, and names the revision on which it is based.
    pub revision: u64,
    /// The time at which it was added (RFC 3339, UTC, ms).
    pub created_at: String,
    /// The time at which it was last edited (RFC 3339, UTC, ms).
    pub updated_at: String,
}

/// An account's webhooks as they are in Redis.
#[derive(Debug, Clone, Default)]
pub struct Subscriptions {
    /// The webhooks that can be read, oldest first.
    pub webhooks: Vec<Webhook>,
    /// The webhooks whose settings cannot be read. Their event types are unknown, so they count as subscribed to all: a
    /// delivery that visibly fails is better than one that is silently missing.
    pub unreadable: Vec<WebhookId>,
}

/// The proof of origin that a webhook's requests carry. The type cannot hold two at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum Authentication {
    /// They carry none.
    None,
    /// `Authorization: Bearer <token>`.
    Bearer {
        /// The token, sealed.
        token: Sealed,
    },
    /// One header of the customer's choosing.
    Header {
        /// The header's name.
        name: String,
        /// The header's value, sealed.
        value: Sealed,
    },
}

/// A secret as it is in Redis: sealed by an AEAD, printable text, useless without the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(pub String);

impl Webhook {
    /// The webhook as its value in Redis.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a webhook is plain JSON")
    }

    /// Whether it is subscribed to this event type.
    pub fn wants(&self, event: &str) -> bool {
        self.events.iter().any(|e| e == event)
    }
}

/// Whether a customer may label a webhook with this text.
pub fn is_description(text: &str) -> bool {
    text.chars().count() <= DESCRIPTION_MAX && !text.chars().any(char::is_control)
}

fn saved_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<EndpointUrl, D::Error> {
    // The error does not quote the URL: path and query are secret.
    let text = Cow::<str>::deserialize(deserializer)?;
    EndpointUrl::from_saved(&text).map_err(D::Error::custom)
}

/// A secret as people see it later: `••••`, followed by the last 4 characters if it has at least 16.
pub fn mask(secret: &str) -> String {
    let length = secret.chars().count();
    let tail: String = if length >= 16 { secret.chars().skip(length - 4).collect() } else { String::new() };
    format!("••••{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_secret_of_16_characters_shows_its_last_4() {
        assert_eq!(mask("123456789012345"), "••••");
        assert_eq!(mask("1234567890123456"), "••••3456");
        assert_eq!(mask(""), "••••");
    }
}
