//! The ids of webhooks.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A webhook's id: `wh_` and a UUID of version 7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "program", derive(utoipa::ToSchema), schema(value_type = String, pattern = "^wh_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"))]
#[serde(try_from = "String", into = "String")]
pub struct WebhookId(uuid::Uuid);

/// The error for a text that is not a webhook id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a webhook id is wh_ and a UUID, e.g. wh_019a1b2c-3d4e-7f00-8000-0123456789ab")]
pub struct NotAWebhookId;

impl WebhookId {
    /// The id made of this UUID (version 7, so that ids sort by age).
    pub fn new(uuid: uuid::Uuid) -> Self {
        Self(uuid)
    }
}

impl std::str::FromStr for WebhookId {
    type Err = NotAWebhookId;

    fn from_str(text: &str) -> Result<Self, NotAWebhookId> {
        let uuid = text.strip_prefix("wh_").and_then(|t| t.parse().ok()).map(Self).ok_or(NotAWebhookId)?;
        // Accept only one spelling, because the key in Redis is this text.
        if uuid.to_string() == text { Ok(uuid) } else { Err(NotAWebhookId) }
    }
}

impl TryFrom<String> for WebhookId {
    type Error = NotAWebhookId;

    fn try_from(text: String) -> Result<Self, NotAWebhookId> {
        text.parse()
    }
}

impl From<WebhookId> for String {
    fn from(id: WebhookId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for WebhookId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wh_{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_id_has_one_spelling() {
        let id = "wh_019a1b2c-3d4e-7f00-8000-0123456789ab";
        assert_eq!(id.parse::<WebhookId>().unwrap().to_string(), id);
        for bad in ["019a1b2c-3d4e-7f00-8000-0123456789ab", "wh_019A1B2C-3D4E-7F00-8000-0123456789AB", "wh_", "wh_1"] {
            assert!(bad.parse::<WebhookId>().is_err(), "{bad}");
        }
    }
}
