//! A new event, on its way from a producer into the queue: the envelope's bytes and the fields beside them.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{event::EventId, time, traceparent::Traceparent};

/// An event to enqueue. Its envelope is checked only when it is enqueued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// The `webhook-id` that receivers get; `None`: it is made from the queue entry. If a producer enqueues an event
    /// twice under the same id, receivers can recognise the repetition.
    pub id: Option<EventId>,
    /// The trace context, for the workers' log lines and, if `delivery.send_traceparent` says so, for receivers.
    pub traceparent: Option<Traceparent>,
    /// The bytes that are delivered, unchanged.
    pub envelope: Bytes,
}

/// The error for data that has no JSON form, such as a number that is not finite.
#[derive(Debug, thiserror::Error)]
#[error("the event's data cannot be written as JSON")]
pub struct NotWritable(#[from] serde_json::Error);

/// The envelope's members, in the promised order.
#[derive(Serialize)]
struct Envelope<'a, T> {
    event: &'a str,
    timestamp: String,
    data: &'a T,
}

impl NewEvent {
    /// An event of this type, with the time at which it happened. `data` must be an object in JSON.
    ///
    /// # Errors
    /// [`NotWritable`] if `data` has no JSON form.
    pub fn new(event: &str, timestamp: DateTime<Utc>, data: &impl Serialize) -> Result<Self, NotWritable> {
        let envelope = Envelope { event, timestamp: time::timestamp(timestamp), data };
        Ok(Self::from_envelope(serde_json::to_vec(&envelope)?))
    }

    /// An event whose envelope already exists; it is delivered byte for byte.
    pub fn from_envelope(envelope: impl Into<Bytes>) -> Self {
        Self { id: None, traceparent: None, envelope: envelope.into() }
    }

    /// The same event under the producer's own id.
    #[must_use]
    pub fn with_id(self, id: EventId) -> Self {
        Self { id: Some(id), ..self }
    }

    /// The same event in this trace. An invalid `traceparent` is left out: tracing is no reason to refuse an event.
    #[must_use]
    pub fn with_traceparent(self, traceparent: &str) -> Self {
        Self { traceparent: Traceparent::read(traceparent), ..self }
    }

    /// The size of this event in a round trip to Redis, in bytes.
    pub(crate) fn size_bytes(&self) -> usize {
        self.envelope.len() + self.traceparent.as_ref().map_or(0, |trace| trace.as_str().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_has_its_members_in_the_promised_order_and_milliseconds() {
        let time = DateTime::from_timestamp(1_774_535_520, 0).unwrap();
        let event = NewEvent::new("a.b", time, &serde_json::json!({"n": 1})).unwrap();
        assert_eq!(event.envelope, r#"{"event":"a.b","timestamp":"2026-03-26T14:32:00.000Z","data":{"n":1}}"#);
    }

    #[test]
    fn an_invalid_traceparent_is_left_out() {
        let event = NewEvent::from_envelope("{}");
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(event.clone().with_traceparent(good).traceparent, Traceparent::read(good));
        assert_eq!(event.with_traceparent("00-x").traceparent, None);
    }
}
