//! Deliveries: one event for one webhook, as text that Redis keeps and operators read.
//!
//! A delivery is one line of JSON, a newline, then the envelope's bytes as the producer pushed them. Scripts and
//! people read the line; nothing rewrites the envelope.

use serde::{Deserialize, Deserializer, Serialize};

use super::{account::AccountId, event::EventId, traceparent::Traceparent, webhook_id::WebhookId};

/// The longest line that is read, in bytes. A longer one is not a delivery of this program's.
pub const LINE_MAX_BYTES: usize = 1024;

/// One event for one webhook: the line before the envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delivery {
    /// `<event_id>.<webhook>`.
    pub id: String,
    /// The event's id, sent as `webhook-id`.
    pub event_id: EventId,
    /// The webhook's account.
    pub account: AccountId,
    /// The webhook.
    pub webhook: WebhookId,
    /// The number of the next attempt, from 1.
    pub attempt: u8,
    /// The number of times this delivery was redelivered by hand; absent before the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redelivery: Option<u32>,
    /// The producer's trace context, if it gave one.
    #[serde(default, deserialize_with = "valid", skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<Traceparent>,
}

/// The reason why bytes are not a delivery.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryFault {
    /// There is no first line within [`LINE_MAX_BYTES`].
    #[error("the delivery has no first line")]
    NoLine,
    /// The first line is not the JSON object it should be.
    #[error("the delivery's first line is not a delivery: {0}")]
    NotADelivery(String),
    /// The id does not match the event and the webhook.
    #[error("the delivery's id is not <event_id>.<webhook>")]
    WrongId,
    /// The attempt is 0; attempts count from 1.
    #[error("the delivery's attempt is 0; attempts count from 1")]
    AttemptZero,
}

impl Delivery {
    /// An event's delivery to a webhook, before its first attempt.
    pub fn first(
        event_id: &EventId,
        account: &AccountId,
        webhook: WebhookId,
        traceparent: Option<Traceparent>,
    ) -> Self {
        let id = format!("{event_id}.{webhook}");
        let (event_id, account) = (event_id.clone(), account.clone());
        Self { id, event_id, account, webhook, attempt: 1, redelivery: None, traceparent }
    }

    /// The same delivery, one attempt later.
    #[must_use]
    pub fn next_attempt(&self) -> Self {
        Self { attempt: self.attempt.saturating_add(1), ..self.clone() }
    }

    /// The line before the envelope, without its newline.
    pub fn line(&self) -> String {
        serde_json::to_string(self).expect("a delivery is plain JSON")
    }

    /// The delivery as it is in a stream: its line, a newline, its envelope.
    pub fn text(&self, envelope: &[u8]) -> Vec<u8> {
        [self.line().as_bytes(), b"\n", envelope].concat()
    }

    /// Splits a delivery's text into the delivery and the envelope's bytes.
    pub fn parse(text: &[u8]) -> Result<(Self, &[u8]), DeliveryFault> {
        let head = &text[..text.len().min(LINE_MAX_BYTES)];
        let end = head.iter().position(|&b| b == b'\n').ok_or(DeliveryFault::NoLine)?;
        let delivery: Self = serde_json::from_slice(&text[..end])
            .map_err(|e| DeliveryFault::NotADelivery(format!("column {}", e.column())))?;
        if delivery.id != format!("{}.{}", delivery.event_id, delivery.webhook) {
            return Err(DeliveryFault::WrongId);
        }
        if delivery.attempt == 0 {
            return Err(DeliveryFault::AttemptZero);
        }
        Ok((delivery, &text[end + 1..]))
    }
}

/// Leaves out a trace context that is invalid: a line may have been written by hand.
fn valid<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Traceparent>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.and_then(|text| Traceparent::read(&text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery() -> Delivery {
        let webhook = "wh_019a1b2c-0000-7000-8000-000000000001".parse().unwrap();
        Delivery::first(&"e1".parse().unwrap(), &"acme".parse().unwrap(), webhook, None)
    }

    #[test]
    fn a_delivery_is_a_readable_line_then_the_envelope_untouched() {
        let text = format!("{}\n{{\"a\": 1}}\n\n", delivery().line());
        assert!(text.starts_with(
            r#"{"id":"e1.wh_019a1b2c-0000-7000-8000-000000000001","event_id":"e1","account":"acme","webhook":"wh_019a1b2c-0000-7000-8000-000000000001","attempt":1}"#
        ));
        let (parsed, envelope) = Delivery::parse(text.as_bytes()).unwrap();
        assert_eq!(parsed, delivery());
        assert_eq!(envelope, b"{\"a\": 1}\n\n");
    }

    #[test]
    fn a_broken_line_is_refused_with_the_fault_named() {
        let line = delivery().line();
        for (text, fault) in [
            (String::new(), "the delivery has no first line"),
            (line.clone(), "the delivery has no first line"),
            (format!("{}\n{{}}", "x".repeat(2000)), "the delivery has no first line"),
            ("{}\n{}".to_owned(), "the delivery's first line is not a delivery: column 2"),
            (format!("{}\n", line.replace("e1.wh", "e2.wh")), "the delivery's id is not <event_id>.<webhook>"),
            (
                format!("{}\n", line.replace("\"attempt\":1", "\"attempt\":0")),
                "the delivery's attempt is 0; attempts count from 1",
            ),
        ] {
            assert_eq!(Delivery::parse(text.as_bytes()).unwrap_err().to_string(), fault, "{text}");
        }
    }

    #[test]
    fn a_line_keeps_its_trace_context_and_loses_an_invalid_one() {
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let traced = Delivery { traceparent: Traceparent::read(trace), ..delivery() };
        let text = format!("{}\n", traced.line());
        assert!(text.ends_with(&format!(r#","attempt":1,"traceparent":"{trace}"}}{}"#, "\n")), "{text}");
        assert_eq!(Delivery::parse(text.as_bytes()).unwrap().0, traced);
        for invalid in ["x", r"\r\nInjected: 1", &trace.to_uppercase()] {
            let text = text.replace(trace, invalid);
            assert_eq!(Delivery::parse(text.as_bytes()).unwrap().0, delivery(), "{text}");
        }
    }
}
