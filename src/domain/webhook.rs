//! Webhooks: a customer's subscription, as it lies in Redis.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, de::Error};

use super::url::EndpointUrl;
pub use super::webhook_id::{NotAWebhookId, WebhookId};

/// A description has at most this many characters.
pub const DESCRIPTION_MAX: usize = 200;
/// An edit that meets another is tried anew this often.
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
    /// The event types it is subscribed to.
    pub events: Vec<String>,
    /// How its requests prove where they come from.
    pub authentication: Authentication,
    /// The customer's own label; may be empty.
    pub description: String,
    /// Whether it gets its deliveries now, or they are held.
    pub active: bool,
    /// Counts its edits, from 1: an edit names the revision it was made on.
    pub revision: u64,
    /// When it was added (RFC 3339, UTC, ms).
    pub created_at: String,
    /// When it was last edited (RFC 3339, UTC, ms).
    pub updated_at: String,
}

/// An account's webhooks as they lie in Redis.
#[derive(Debug, Clone, Default)]
pub struct Subscriptions {
    /// Those that can be read, oldest first.
    pub webhooks: Vec<Webhook>,
    /// Those whose settings are not what this program writes. What they want is not known, so they are taken to want
    /// everything: a delivery that fails in sight is better than one that nobody misses.
    pub unreadable: Vec<WebhookId>,
}

/// How a webhook's requests prove where they come from. A type that cannot hold two ways at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum Authentication {
    /// They do not.
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

/// A secret as it lies in Redis: sealed by an AEAD, readable text, useless without the key.
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
    // Not quoted in the error: path and query are secret.
    let text = Cow::<str>::deserialize(deserializer)?;
    EndpointUrl::from_saved(&text).map_err(D::Error::custom)
}

/// A secret as people see it afterwards: `••••`, with the last 4 characters only from 16 characters on.
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
