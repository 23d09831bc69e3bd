//! The bodies that clients send, for the document. The handlers read them member by member (`fields.rs`), so that all
//! faults are found at once; `tests/it/server` holds both together.

use serde_json::value::RawValue;
use utoipa::ToSchema;

/// A webhook to add.
#[derive(ToSchema)]
#[schema(example = json!({
    "url": "https://hooks.example.com/in",
    "events": ["transcript.created"],
    "authentication": {"type": "bearer", "token": "0123456789abcdef"},
    "description": "CRM sync",
    "active": true,
}))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes a body")]
pub(super) struct NewWebhook {
    /// The URL that receives the events: https and a public host name.
    url: String,
    /// The event types. Absent: all of the catalogue.
    #[schema(required = false, min_items = 1)]
    events: Vec<String>,
    /// How requests authenticate. Absent: not at all.
    #[schema(required = false)]
    authentication: NewAuthentication,
    /// The customer's own label.
    #[schema(required = false, default = "")]
    description: String,
    /// Whether it gets its deliveries at once, or holds them.
    #[schema(required = false, default = true)]
    active: bool,
}

/// A merge patch (RFC 7396) of a webhook: members that are absent stay as they are.
#[derive(ToSchema)]
#[schema(example = json!({"description": "CRM sync", "authentication": null}))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes a body")]
pub(super) struct WebhookPatch {
    /// The URL that receives the events.
    #[schema(required = false)]
    url: String,
    /// The event types, all of them.
    #[schema(required = false, min_items = 1)]
    events: Vec<String>,
    /// How requests authenticate, whole: a part of it is not changed alone. `null`: not at all.
    authentication: Option<NewAuthentication>,
    /// The customer's own label. `null`: none.
    description: Option<String>,
    /// Whether it gets its deliveries.
    #[schema(required = false)]
    active: bool,
}

/// Authentication of requests.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
#[expect(dead_code, reason = "it describes a body")]
pub(super) enum NewAuthentication {
    /// None.
    None,
    /// `Authorization: Bearer <token>`.
    Bearer {
        /// The token.
        #[schema(write_only)]
        token: String,
    },
    /// One header of the customer's choosing.
    Header {
        /// Its name.
        name: String,
        /// Its value.
        #[schema(write_only)]
        value: String,
    },
}

/// How a webhook is switched on.
#[derive(ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "it describes a body")]
pub(super) struct Enable {
    /// Whether the deliveries that are held for it are dropped instead of delivered.
    #[schema(required = false, default = false)]
    discard_held: bool,
}

/// Which failed deliveries to redeliver: exactly one of the three. Repeat a call that answers `more` with its `until`.
#[derive(ToSchema)]
#[schema(example = json!({"all": true}))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes a body")]
pub(super) struct Redeliver {
    /// The delivery with this `deliveryId`.
    #[schema(required = false)]
    delivery: String,
    /// All, if `true`.
    #[schema(required = false)]
    all: bool,
    /// Those that failed at this time or later (RFC 3339).
    #[schema(required = false, format = DateTime)]
    since: String,
    /// The `until` of the answer before, so that a series of calls ends.
    #[schema(required = false)]
    until: String,
}

/// Events to enqueue together.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes a body")]
pub(super) struct Batch {
    /// 1 to 500 events of the account, at most 4 MiB.
    #[schema(min_items = 1, max_items = 500)]
    events: Vec<BatchEvent>,
}

/// An event of a batch.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes a body")]
pub(super) struct BatchEvent {
    /// The event's own id, which receivers get as `webhook-id`.
    #[schema(required = false, pattern = "^[A-Za-z0-9_-]{1,64}$")]
    id: String,
    /// W3C trace context.
    #[schema(required = false)]
    traceparent: String,
    /// The event, which is delivered byte for byte as it is written here.
    #[schema(value_type = Envelope)]
    envelope: Box<RawValue>,
}

/// An event as receivers get it. Further members are delivered too.
#[derive(ToSchema)]
#[schema(example = json!({
    "event": "transcript.created",
    "timestamp": "2026-03-26T14:32:00.000Z",
    "data": {"messageId": "6601abc123def4567890abcd"},
}))]
#[expect(dead_code, reason = "it describes a body")]
pub(super) struct Envelope {
    /// The event type, one of the catalogue.
    event: String,
    /// The time at which it happened (RFC 3339).
    #[schema(format = DateTime)]
    timestamp: String,
    /// The facts of the event.
    #[schema(value_type = Object)]
    data: (),
}

/// Which rejected entries.
#[derive(ToSchema)]
#[schema(example = json!({"all": true}))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes a body")]
pub(super) struct WhichRejected {
    /// The entry with this id.
    #[schema(required = false)]
    id: String,
    /// All that are rejected now, if `true`.
    #[schema(required = false)]
    all: bool,
    /// Only entries of this partition.
    #[schema(required = false)]
    partition: u16,
    /// The `until` of the answer before, so that a series of calls ends.
    #[schema(required = false)]
    until: String,
}
