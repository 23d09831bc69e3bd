//! The delivery log that the minimum writes: the same entries as the worker's, member for member, without its types.

use std::borrow::Cow;

use bytes::Bytes;
use http::StatusCode;
use lynkhook::domain::log_entry::{LOG_LIMIT, LOG_RETENTION, LogEntry, timestamp};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::producer::{ENVELOPE_BYTES, envelope};

/// A delivery to be logged, before its answer.
pub struct Begun {
    time: String,
    at: Instant,
    envelope: Bytes,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow)]
    data: Identifiers<'a>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Identifiers<'a> {
    #[serde(borrow)]
    message_id: Cow<'a, str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    status: &'static str,
    event: Cow<'a, str>,
    http_status: u16,
    attempt: u8,
    duration_ms: u64,
    error: Option<&'static str>,
    identifiers: Identifiers<'a>,
    time: String,
    delivery_id: DeliveryId<'a>,
    #[serde(rename = "final")]
    last: bool,
    phases_ms: Phases,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Phases {
    first_byte: u64,
}

/// An event's id and its webhook's.
struct DeliveryId<'a>(&'a str, &'a str);

impl Serialize for DeliveryId<'_> {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{}.{}", self.0, self.1))
    }
}

impl Begun {
    pub fn now(envelope: Bytes) -> Self {
        Self { time: timestamp(chrono::Utc::now()), at: Instant::now(), envelope }
    }

    /// The entry, now that the receiver has answered.
    pub fn answered(self, event_id: &[u8], webhook: &str, status: StatusCode) -> String {
        let envelope: Envelope<'_> = serde_json::from_slice(&self.envelope).expect("the producer's envelope");
        let duration_ms = u64::try_from(self.at.elapsed().as_millis()).expect("64 bits");
        let entry = Entry {
            status: if status.is_success() { "success" } else { "failed" },
            event: envelope.event,
            http_status: status.as_u16(),
            attempt: 1,
            duration_ms,
            error: None,
            identifiers: envelope.data,
            time: self.time,
            delivery_id: DeliveryId(std::str::from_utf8(event_id).expect("the producer's id"), webhook),
            last: true,
            phases_ms: Phases { first_byte: duration_ms },
        };
        serde_json::to_string(&entry).expect("it is plain JSON")
    }
}

/// The log keys of `webhooks` webhooks, next to the queue.
pub struct Logs(Vec<String>);

impl Logs {
    pub fn beside(queue: &str, webhooks: usize) -> Self {
        check();
        let beside = queue.strip_suffix("queue").expect("the queue's key ends so");
        Self((0..webhooks).map(|_| format!("{beside}logs:wh_{}", uuid::Uuid::now_v7())).collect())
    }

    /// The id of a webhook.
    pub fn webhook(&self, number: usize) -> &str {
        self.0[number].rsplit(':').next().expect("the key names it")
    }

    /// Adds entries of one webhook, the oldest first.
    pub fn add(&self, pipeline: &mut redis::Pipeline, number: usize, entries: &[&str]) {
        let log = &self.0[number];
        pipeline.cmd("LPUSH").arg(log).arg(entries).ignore();
        pipeline.cmd("LTRIM").arg(log).arg(0).arg(LOG_LIMIT - 1).ignore();
        pipeline.cmd("EXPIRE").arg(log).arg(LOG_RETENTION.as_secs()).ignore();
    }
}

/// Fails unless an entry has every member that the worker's entry has.
fn check() {
    let entry = Begun::now(envelope(ENVELOPE_BYTES).into()).answered(b"event", "wh_", StatusCode::OK);
    let read: LogEntry = serde_json::from_str(&entry).expect("a log entry");
    assert_eq!(read.to_json(), entry, "the worker writes other entries");
}
