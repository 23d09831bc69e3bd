//! The request: the envelope, the headers that every webhook request has, and the webhook's authentication.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};
use secrecy::ExposeSecret;
use url::Url;

use crate::{
    domain::{
        account::AccountId,
        event::EventId,
        traceparent::Traceparent,
        webhook::{Authentication, Webhook},
    },
    secrets::{SecretSlot, SecretsError, Vault},
};

/// The most headers of a complete request: four made here, four that every request has, and the body's length, which the
/// HTTP client adds.
const HEADERS: usize = 9;

/// One request, with its destination.
pub struct Request {
    /// An `https` URL with a host name.
    pub url: Url,
    /// Authentication and `webhook-*`; secrets are marked as sensitive.
    pub headers: HeaderMap,
    /// The envelope, byte for byte as it was pushed.
    pub body: Bytes,
    /// Only an open connection that brought a response within this time may be used. For a later attempt, this time is
    /// no longer than the wait before it, so that the connection has worked since the last attempt failed.
    pub answered_within: Option<Duration>,
}

impl Request {
    /// An event's request to a webhook, made at `unix_seconds`.
    ///
    /// `webhook-id` is the event's id, the same for every attempt, so that a receiver can drop duplicates.
    /// `webhook-timestamp` is the time of the attempt.
    pub fn to_webhook(
        vault: &Vault,
        (account, webhook): (&AccountId, &Webhook),
        event_id: &EventId,
        unix_seconds: i64,
        body: Bytes,
    ) -> Result<Self, SecretsError> {
        let mut headers = HeaderMap::with_capacity(HEADERS);
        let id = HeaderValue::from_str(event_id.as_str()).expect("an event id is a header value");
        headers.insert(HeaderName::from_static("webhook-id"), id);
        headers.insert(HeaderName::from_static("webhook-timestamp"), HeaderValue::from(unix_seconds));
        let open = |field, sealed| vault.open(SecretSlot { account, webhook: webhook.id, field }, sealed);
        let (name, value) = match &webhook.authentication {
            Authentication::None => {
                return Ok(Self { url: webhook.url.as_url().clone(), headers, body, answered_within: None });
            }
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
        Ok(Self { url: webhook.url.as_url().clone(), headers, body, answered_within: None })
    }

    /// Adds the producer's trace context. The webhook has no header of this name, because it is reserved.
    pub fn trace(&mut self, traceparent: &Traceparent) {
        let value = HeaderValue::from_str(traceparent.as_str()).expect("a trace context is a header value");
        self.headers.insert(HeaderName::from_static("traceparent"), value);
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;
    use crate::domain::url::EndpointUrl;

    #[test]
    fn the_authentication_is_marked_as_sensitive_and_nothing_else_is() {
        let key = SecretString::from(Vault::new_key().to_string());
        let vault = Vault::new(Some(&key)).unwrap();
        let (account, id) = ("acme".parse().unwrap(), "wh_019a1b2c-0000-7000-8000-000000000001".parse().unwrap());
        let seal = |field| vault.seal(SecretSlot { account: &account, webhook: id, field }, &"t0ken".into()).unwrap();
        for (authentication, name, value) in [
            (Authentication::Bearer { token: seal("token") }, "authorization", "Bearer t0ken"),
            (Authentication::Header { name: "X-Key".to_owned(), value: seal("value") }, "x-key", "t0ken"),
        ] {
            let webhook = Webhook {
                id,
                url: EndpointUrl::from_saved("https://example.com/").unwrap(),
                events: Vec::new(),
                authentication,
                description: String::new(),
                active: true,
                revision: 1,
                created_at: String::new(),
                updated_at: String::new(),
            };
            let event_id = "e1".parse().unwrap();
            let request = Request::to_webhook(&vault, (&account, &webhook), &event_id, 1, Bytes::new()).unwrap();
            assert_eq!(request.headers[name], value);
            for (header, value) in &request.headers {
                assert_eq!(value.is_sensitive(), header == name, "{header}");
            }
        }
    }
}
