//! The delivery log's entries, one for each attempt. Their JSON is part of what customers are promised, and is the same
//! in Redis, on the command line and in the API's answers.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use super::time::timestamp;
use super::{
    delivery::Delivery,
    event::{EnvelopeFacts, Identifiers},
    identifier,
    outcome::{Class, Outcome, Phases},
};

/// The number of entries that a log keeps: the newest ones.
pub const LOG_LIMIT: usize = 50;

/// The age up to which an entry is shown.
pub const LOG_RETENTION: Duration = Duration::from_hours(24 * 90);

/// One attempt, as the customer reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogEntry {
    /// Whether the receiver acknowledged the event.
    pub status: Status,
    /// The event type.
    pub event: String,
    /// The response's status, or "Network Error".
    pub http_status: HttpStatus,
    /// The number of the attempt, from 1.
    pub attempt: u8,
    /// The duration of the round trip, in milliseconds.
    pub duration_ms: u64,
    /// The fault, if the attempt failed.
    #[schema(required)]
    pub error: Option<String>,
    /// Related entity ids.
    #[schema(schema_with = identifier::schema_by_name)]
    pub identifiers: Identifiers,
    /// The time of the attempt: RFC 3339, UTC, with milliseconds, by Redis's clock.
    pub time: String,
    /// The delivery's id.
    pub delivery_id: String,
    /// Whether this was the last attempt.
    #[serde(rename = "final")]
    pub last: bool,
    /// The number of times the delivery was redelivered by hand; absent before the first time.
    #[schema(nullable = false)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redelivery: Option<u32>,
    /// The duration of each phase, in milliseconds; absent if no request was made.
    #[schema(nullable = false)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phases_ms: Option<PhasesMs>,
}

/// Whether an attempt succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = AttemptStatus)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// A 2xx answer.
    Success,
    /// Anything else.
    Failed,
}

/// The response's status, or "Network Error" if there was no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum HttpStatus {
    /// The status code of a response.
    Code(u16),
    /// No complete response headers arrived.
    NoResponse(NetworkError),
}

/// The text "Network Error".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum NetworkError {
    /// "Network Error".
    #[serde(rename = "Network Error")]
    NetworkError,
}

impl std::fmt::Display for HttpStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "{code}"),
            Self::NoResponse(_) => f.write_str("Network Error"),
        }
    }
}

/// The duration of each phase, in milliseconds; a phase that did not happen is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PhasesMs {
    /// Looking up the host's addresses.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<u64>,
    /// Opening the TCP connection.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<u64>,
    /// Negotiating TLS.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<u64>,
    /// From the request to complete response headers.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte: Option<u64>,
}

impl From<Phases> for PhasesMs {
    fn from(phases: Phases) -> Self {
        let ms = |phase: Option<Duration>| phase.map(milliseconds);
        Self {
            dns: ms(phases.dns),
            connect: ms(phases.connect),
            tls: ms(phases.tls),
            first_byte: ms(phases.first_byte),
        }
    }
}

impl LogEntry {
    /// The entry of an attempt that was made at `time`, took `duration` and had this `outcome`. `last`: no other
    /// follows.
    pub fn of_attempt(
        delivery: &Delivery,
        facts: EnvelopeFacts,
        time: DateTime<Utc>,
        (outcome, duration, phases): (&Outcome, Duration, Phases),
        last: bool,
    ) -> Self {
        let delivered = outcome.class() == Class::Delivered;
        let (http_status, error) = match outcome {
            Outcome::Response { status } => (HttpStatus::Code(*status), refused_by_receiver(*status)),
            Outcome::NetworkError(fault) => (no_response(), fault.to_string()),
            Outcome::Refused(reason) => (no_response(), reason.clone()),
        };
        Self {
            status: if delivered { Status::Success } else { Status::Failed },
            http_status,
            error: (!delivered).then_some(error),
            duration_ms: milliseconds(duration),
            phases_ms: Some(phases.into()),
            ..Self::base(delivery, facts, time, last)
        }
    }

    /// The entry of an attempt without a finished request, as far as is known; `error` says why.
    pub fn of_no_request(
        delivery: &Delivery,
        facts: EnvelopeFacts,
        time: DateTime<Utc>,
        error: String,
        last: bool,
    ) -> Self {
        Self { error: Some(error), ..Self::base(delivery, facts, time, last) }
    }

    /// The fields that all entries have, filled as for a failed attempt without a response.
    fn base(delivery: &Delivery, facts: EnvelopeFacts, time: DateTime<Utc>, last: bool) -> Self {
        Self {
            status: Status::Failed,
            event: facts.event,
            http_status: no_response(),
            attempt: delivery.attempt,
            duration_ms: 0,
            error: None,
            identifiers: facts.identifiers.into_iter().collect(),
            time: timestamp(time),
            delivery_id: delivery.id.clone(),
            last,
            redelivery: delivery.redelivery,
            phases_ms: None,
        }
    }

    /// The entry as its value in Redis.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a log entry is plain JSON")
    }
}

fn no_response() -> HttpStatus {
    HttpStatus::NoResponse(NetworkError::NetworkError)
}

/// `HTTP 503 Service Unavailable`.
fn refused_by_receiver(status: u16) -> String {
    let reason = http::StatusCode::from_u16(status).ok().and_then(|code| code.canonical_reason());
    let mut text = reason.map_or_else(|| format!("HTTP {status}"), |reason| format!("HTTP {status} {reason}"));
    if matches!(status, 426 | 505) {
        text += ": the endpoint does not accept HTTP/1.1, which deliveries use";
    }
    text
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::outcome::{NetworkFault, Phase};

    fn entry(outcome: &Outcome) -> serde_json::Value {
        let webhook = "wh_019a1b2c-0000-7000-8000-000000000001".parse().unwrap();
        let delivery = Delivery::first(&"e1".parse().unwrap(), &"acme".parse().unwrap(), webhook, None);
        let identifiers = vec![("messageId".to_owned(), "m1".into())];
        let facts = EnvelopeFacts { event: "transcript.created".to_owned(), identifiers };
        let phases = Phases { dns: Some(Duration::from_micros(1900)), ..Phases::default() };
        let time = "2026-03-26T14:32:00.0459Z".parse().unwrap();
        let seen = (outcome, Duration::from_millis(12), phases);
        serde_json::from_str(&LogEntry::of_attempt(&delivery, facts, time, seen, true).to_json()).unwrap()
    }

    #[test]
    fn an_entry_has_every_field_in_its_promised_form() {
        assert_eq!(
            entry(&Outcome::Response { status: 200 }),
            serde_json::json!({
                "status": "success", "event": "transcript.created", "httpStatus": 200, "attempt": 1,
                "durationMs": 12, "error": null, "identifiers": {"messageId": "m1"},
                "time": "2026-03-26T14:32:00.045Z",
                "deliveryId": "e1.wh_019a1b2c-0000-7000-8000-000000000001", "final": true, "phasesMs": {"dns": 1}
            })
        );
    }

    #[test]
    fn errors_are_written_for_a_customer() {
        for (outcome, status, error) in [
            (Outcome::Response { status: 503 }, serde_json::json!(503), "HTTP 503 Service Unavailable"),
            (Outcome::Response { status: 499 }, serde_json::json!(499), "HTTP 499"),
            (
                Outcome::NetworkError(NetworkFault::TimedOut {
                    after: Duration::from_secs(10),
                    phase: Phase::Connecting,
                }),
                serde_json::json!("Network Error"),
                "timed out after 10 s while connecting",
            ),
        ] {
            let entry = entry(&outcome);
            assert_eq!(entry["httpStatus"], status);
            assert_eq!(entry["error"], error);
            assert_eq!(entry["status"], "failed");
        }
    }
}
