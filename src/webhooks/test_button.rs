//! The test button: one immediate attempt, with a special event. It shows the request and the response. The log, as
//! always, keeps the entry alone.

use std::{collections::BTreeMap, fmt};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Webhooks, WebhooksError, hidden::Hidden, not_found};
use crate::{
    domain::{
        account::AccountId,
        delivery::Delivery,
        event::{EnvelopeFacts, EventId, TEST_EVENT},
        log_entry::LogEntry,
        new_event::NewEvent,
        url::EndpointUrl,
        webhook::{Webhook, WebhookId},
    },
    sender::{Request, SEEN_MAX_BYTES, Seen, Sender},
};

/// The most headers of a response that are shown: the first ones.
const HEADERS_MAX: usize = 20;
/// The most bytes of a response header's name, and of its value, that are shown.
const HEADER_MAX_BYTES: usize = 256;

/// The result of a test.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Tested {
    /// The log entry.
    #[serde(flatten)]
    pub entry: LogEntry,
    /// The request, as it was sent or would have been.
    pub request: SentRequest,
    /// The receiver's response; `null` if no complete headers arrived.
    #[schema(required)]
    pub response: Option<ReceivedResponse>,
}

/// A request as people see it: its secret masked.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SentRequest {
    /// Always POST.
    pub method: String,
    /// The webhook's URL.
    pub url: EndpointUrl,
    /// Its headers by name, in lower case.
    pub headers: BTreeMap<String, String>,
    /// Its body.
    pub body: String,
}

/// A response as people see it. The webhook's own secret is masked in it, and bytes that are no text are replaced.
#[derive(Clone, Serialize, ToSchema)]
pub struct ReceivedResponse {
    /// Its first 20 headers, each a name in lower case and a value. A name or value of more than 256 bytes is cut, and
    /// ends with `…`.
    pub headers: Vec<(String, String)>,
    /// The first 1,024 bytes of its body, as text.
    pub excerpt: String,
    /// Whether the body is longer, or did not come whole.
    pub truncated: bool,
}

impl Webhooks {
    /// Sends the test event at once, even if the webhook is off, and writes the log. It never retries.
    pub async fn test(&self, sender: &Sender, account: &AccountId, id: WebhookId) -> Result<Tested, WebhooksError> {
        let webhook = self.find(account, id).await?;
        let now = self.store.now_of(account).await?;
        let event_id: EventId = format!("test-{}", uuid::Uuid::now_v7()).parse().expect("fits");
        let delivery = Delivery::first(&event_id, account, id, None);
        let body = test_envelope(now);
        let request = Request::to_webhook(&self.vault, (account, &webhook), &event_id, now.timestamp(), body)?;
        let (hidden, sent) = shown(&webhook, &request);
        let (met, seen) = sender.attempt_seeing(request).await?;
        let facts = EnvelopeFacts { event: TEST_EVENT.to_owned(), identifiers: Vec::new() };
        let entry = LogEntry::of_attempt(&delivery, facts, now, (&met.outcome, met.duration, met.phases), true);
        if !self.store.log(account, id, &entry).await? {
            return Err(not_found(account, id));
        }
        Ok(Tested { entry, request: sent, response: seen.map(|seen| ReceivedResponse::new(&seen, &hidden)) })
    }
}

/// The request as people see it, and the secret that is hidden in it and in its response.
pub(super) fn shown(webhook: &Webhook, request: &Request) -> (Hidden, SentRequest) {
    let headers = request.headers_sent();
    let hidden = Hidden::new(&webhook.authentication, &headers);
    let text = |value: &[u8]| hidden.hide(&String::from_utf8_lossy(value));
    let sent = SentRequest {
        method: "POST".to_owned(),
        url: webhook.url.clone(),
        headers: headers.iter().map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect(),
        body: String::from_utf8_lossy(&request.body).into_owned(),
    };
    (hidden, sent)
}

impl ReceivedResponse {
    fn new(seen: &Seen, hidden: &Hidden) -> Self {
        let text = |bytes: &[u8]| match hidden.excerpt(bytes, HEADER_MAX_BYTES, true) {
            (text, true) => text,
            (text, false) => text + "…",
        };
        let headers = seen.headers.iter().take(HEADERS_MAX);
        let headers = headers.map(|(name, value)| (text(name.as_str().as_bytes()), text(value.as_bytes()))).collect();
        let (excerpt, is_whole) = hidden.excerpt(&seen.body, SEEN_MAX_BYTES, seen.is_whole);
        Self { headers, excerpt, truncated: !is_whole }
    }
}

impl fmt::Debug for ReceivedResponse {
    /// Shows only sizes: the response is the customer's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceivedResponse")
            .field("headers", &self.headers.len())
            .field("excerpt_bytes", &self.excerpt.len())
            .finish_non_exhaustive()
    }
}

/// The test event, as promised to customers.
fn test_envelope(now: DateTime<Utc>) -> Bytes {
    let data = serde_json::json!({ "message": "This is a test webhook from TalentLynk." });
    NewEvent::new(TEST_EVENT, now, &data).expect("plain JSON").envelope
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_event_is_the_promised_one_word_for_word() {
        let envelope: serde_json::Value =
            serde_json::from_slice(&test_envelope("2026-03-26T14:35:00Z".parse().unwrap())).unwrap();
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
