//! What is sent: the envelope, the headers that every webhook request has, and the webhook's authentication.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};
use secrecy::ExposeSecret;
use url::Url;

use crate::{
    domain::{
        account::AccountId,
        event::EventId,
        webhook::{Authentication, Webhook},
    },
    secrets::{Place, SecretsError, Vault},
};

/// What to send, and where.
pub struct Request {
    /// An `https` URL with a host name.
    pub url: Url,
    /// Authentication and `webhook-*`; secrets are marked as sensitive.
    pub headers: HeaderMap,
    /// The envelope, byte for byte as it was pushed.
    pub body: Bytes,
}

impl Request {
    /// An event's request to a webhook, made at `unix_seconds`.
    ///
    /// `webhook-id` is the event's, the same for every attempt, so that a receiver can drop duplicates;
    /// `webhook-timestamp` is the attempt's.
    pub fn to_webhook(
        vault: &Vault,
        (account, webhook): (&AccountId, &Webhook),
        event_id: &EventId,
        unix_seconds: i64,
        body: Bytes,
    ) -> Result<Self, SecretsError> {
        let mut headers = HeaderMap::with_capacity(5);
        let id = HeaderValue::from_str(event_id.as_str()).expect("an event id is a header value");
        headers.insert(HeaderName::from_static("webhook-id"), id);
        headers.insert(HeaderName::from_static("webhook-timestamp"), HeaderValue::from(unix_seconds));
        let open = |field, sealed| vault.open(Place { account, webhook: webhook.id, field }, sealed);
        let (name, value) = match &webhook.authentication {
            Authentication::None => return Ok(Self { url: webhook.url.as_url().clone(), headers, body }),
            Authentication::Bearer { token } => {
                (AUTHORIZATION, format!("Bearer {}", open("token", token)?.expose_secret()))
            }
            Authentication::Header { name, value } => {
                let name = name.parse().map_err(|_| SecretsError::Damaged)?;
                (name, open("value", value)?.expose_secret().to_owned())
            }
        };
        let mut value = HeaderValue::try_from(value).map_err(|_| SecretsError::Damaged)?;
        value.set_sensitive(true);
        headers.insert(name, value);
        Ok(Self { url: webhook.url.as_url().clone(), headers, body })
    }
}
