//! Problems (RFC 9457): every answer that is not a success. One table has all kinds; `/problems/{name}` explains each.
//!
//! A problem leaves a handler as a value and becomes JSON in `outer.rs`, which knows the request's id.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde::Serialize;
use utoipa::ToSchema;

/// The media type of a problem.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";

/// The most faults that one answer names, so that a body of many faults has no answer of a hundred times its size.
pub(super) const FAULTS_MAX: usize = 500;

/// A kind of problem.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kind {
    /// The last part of its `type`; empty for a status that needs no explanation.
    pub(super) name: &'static str,
    pub(super) status: u16,
    /// One line, the same for each occurrence.
    pub(super) title: &'static str,
    /// The meaning, and whether anything was changed.
    pub(super) meaning: &'static str,
    /// The next step for the client.
    pub(super) remedy: &'static str,
}

macro_rules! kinds {
    ($($constant:ident $name:literal $status:literal $title:literal $meaning:literal $remedy:literal)*) => {
        $(pub(super) const $constant: Kind =
            Kind { name: $name, status: $status, title: $title, meaning: $meaning, remedy: $remedy };)*
        /// Every kind that has a page.
        pub(super) const KINDS: &[&Kind] = &[$(&$constant),*];
    };
}

kinds! {
    MALFORMED "malformed" 400 "The request is malformed"
        "A header, the path or the JSON of the body cannot be read. Nothing was changed."
        "Correct the place that `detail` names, by line and column where it is in the body."
    INVALID_QUERY "invalid-query" 400 "The query is invalid"
        "A parameter of the query is unknown, occurs twice, or has a value that is refused. Nothing was changed."
        "Correct each parameter that `errors` names. A cursor (`after`) is only valid as an earlier answer gave it."
    INVALID_IDEMPOTENCY_KEY "invalid-idempotency-key" 400 "The Idempotency-Key is invalid"
        "The header Idempotency-Key is not 1 to 255 visible ASCII characters. Nothing was enqueued."
        "Send a key such as a UUID, once."
    UNAUTHENTICATED "unauthenticated" 401 "A valid API key is needed"
        "The request has no key, or one that is mistyped, unknown, revoked or expired."
        "Send `Authorization: Bearer lynk_…`. An operator makes a key with `lynkhook apikey add`."
    FORBIDDEN "forbidden" 403 "The key may not do this"
        "The key is valid but lacks the scope that this route needs, or belongs to another account."
        "`GET /v1/key` tells what the key may do. An operator makes another key with `lynkhook apikey add`."
    NO_SUCH_WEBHOOK "no-such-webhook" 404 "There is no such webhook"
        "The account has no webhook with this id. It may have been deleted."
        "List the account's webhooks."
    NO_SUCH_DELIVERY "no-such-delivery" 404 "There is no such delivery"
        "No failed or held delivery of this webhook has this id. It may have been redelivered, delivered or dropped by age."
        "List the webhook's failed or held deliveries."
    NO_SUCH_EVENT_TYPE "no-such-event-type" 404 "There is no such event type"
        "The catalogue has no event type with this name."
        "List the event types with `GET /v1/event-types`."
    NO_SUCH_ENTRY "no-such-entry" 404 "There is no such rejected entry"
        "No rejected entry has this id. It may have been requeued or dropped."
        "List the rejected entries."
    TOO_SLOW "too-slow" 408 "The body came too slowly"
        "The body was not complete within the time limit (server.body_timeout). Nothing was changed."
        "Send the request again."
    WEBHOOK_LIMIT "webhook-limit" 409 "The account has as many webhooks as it may have"
        "The limit is the setting `webhooks.limit_per_account`. Nothing was added."
        "Delete a webhook first, or edit one."
    EDIT_CONFLICT "edit-conflict" 409 "Somebody else edits the webhook"
        "Other clients changed the webhook at each of several tries. Nothing was changed by this request."
        "Read the webhook, and send the request again."
    REVISION_CHANGED "revision-changed" 412 "The webhook has another revision"
        "The revision in If-Match is not the present one, which `revision` and the header ETag tell. Nothing was changed."
        "Read the webhook, and decide anew."
    TOO_LARGE "too-large" 413 "The body is too large"
        "The body has more bytes than this route takes. Nothing was changed."
        "Send less at a time. The limits are settings of the server: server.body_max_bytes, event.max_bytes."
    UNSUPPORTED_MEDIA_TYPE "unsupported-media-type" 415 "The body's type is not supported"
        "The header Content-Type does not name a type that this route reads. Nothing was changed."
        "Send the body as the type that `detail` names."
    INVALID "invalid" 422 "The input has faults"
        "The body is JSON, and some of its values are refused. `errors` names each with its place. Nothing was changed."
        "Correct all places that `errors` names, and send the request again."
    INVALID_ENVELOPE "invalid-envelope" 422 "The event is not a valid envelope"
        "An envelope is `{\"event\", \"timestamp\", \"data\"}`. `errors` names each fault. Nothing was enqueued."
        "Correct all places that `errors` names. `GET /v1/event-types/{event}/schema` has the form."
    IDEMPOTENCY_KEY_REUSED "idempotency-key-reused" 422 "The Idempotency-Key was used for another request"
        "An earlier request with this key had another body or another webhook-id, or other events of its batch were valid then. This one was not enqueued."
        "Use a new key for each event or batch, and the same key only to repeat it unchanged."
    RATE_LIMITED "rate-limited" 429 "Too many requests"
        "The key made more requests than it may make in a second, a webhook was tested too often, or an address tried too many unknown links. Nothing was changed."
        "Wait for the seconds that Retry-After names."
    HEAD_TOO_LARGE "head-too-large" 431 "The request's head is too large"
        "The first line and the headers are larger than server.header_max_bytes, or there are more than 64 headers."
        "Send fewer or shorter headers."
    INTERNAL "internal" 500 "The server has a fault"
        "The request met a fault of the program or of its data. It is unknown whether anything was changed."
        "Give `requestId` to the operator, who finds the cause in the server's log."
    BUSY "busy" 503 "The server has no room for the body"
        "The bodies in hand reach server.max_bytes, or the test could not be made from this server. Nothing was changed."
        "Send the request again after the seconds that Retry-After names."
    STORE_UNREACHABLE "store-unreachable" 503 "The queue's store is out of reach"
        "Redis does not answer, or refuses this server. An event was certainly not accepted; another change may have been made."
        "Send an event again later, with the same id or Idempotency-Key. Before another change, read again what it changes."
    STORE_FULL "store-full" 503 "The queue's store is full"
        "Redis has reached its limit of memory. An event was certainly not accepted."
        "Send the request again when the workers have drained the queue."
    OUTCOME_UNKNOWN "outcome-unknown" 503 "It is unknown whether this was done"
        "No answer came from Redis, or not in time, so the request may or may not have had its effect."
        "Repeat an event with the same `webhook-id` or `Idempotency-Key`, so that receivers get it once. Read anything else again, to see whether it was done."
}

/// A status that needs no explanation (`about:blank`).
pub(super) const NOT_FOUND: Kind = plain(404, "Not Found");
/// The same for a method.
pub(super) const METHOD_NOT_ALLOWED: Kind = plain(405, "Method Not Allowed");

const fn plain(status: u16, title: &'static str) -> Kind {
    Kind { name: "", status, title, meaning: "", remedy: "" }
}

/// A fault at one place of the input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Fault {
    /// The place in the body, as the fragment form of a JSON pointer (RFC 6901), such as `#/events/0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) pointer: Option<String>,
    /// The parameter of the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) parameter: Option<String>,
    /// Why it is refused, and what to change.
    pub(super) detail: String,
}

impl Fault {
    /// A fault in the body, at a JSON pointer such as `/events/0`.
    pub(super) fn at(pointer: &str, detail: impl Into<String>) -> Self {
        Self { pointer: Some(format!("#{pointer}")), parameter: None, detail: detail.into() }
    }

    /// Whether the other fault is at the same place, or inside it.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let (Some(own), Some(other)) = (&self.pointer, &other.pointer) else { return false };
        other.strip_prefix(own.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// A fault in the query.
    pub(super) fn of_parameter(name: &str, detail: impl Into<String>) -> Self {
        Self { pointer: None, parameter: Some(name.to_owned()), detail: detail.into() }
    }
}

/// An answer that is not a success.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    pub(super) kind: &'static Kind,
    /// This occurrence, in words.
    detail: String,
    errors: Vec<Fault>,
    /// The present revision of a webhook.
    revision: Option<u64>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// The body of every answer that is not a success (RFC 9457, `application/problem+json`).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Problem)]
pub(super) struct ProblemJson<'a> {
    /// `/problems/<name>`, a page of this server that explains the kind; `about:blank` where the status says all.
    r#type: String,
    /// The kind in one line.
    title: &'a str,
    /// The HTTP status.
    status: u16,
    /// The id of the request. Lines of the server's log about this request have it.
    request_id: &'a str,
    /// This occurrence, in words.
    detail: &'a str,
    /// All faults of the input, each with its place; absent if there is no input to correct.
    #[serde(skip_serializing_if = "<[Fault]>::is_empty")]
    #[schema(required = false)]
    errors: &'a [Fault],
    /// The webhook's present revision, if the one in If-Match is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    revision: Option<u64>,
}

impl Problem {
    pub(super) fn new(kind: &'static Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), errors: Vec::new(), revision: None, headers: Vec::new() }
    }

    /// The problem of an input with faults. It names the first 500.
    pub(super) fn of_faults(kind: &'static Kind, mut errors: Vec<Fault>) -> Self {
        let detail = match errors.len() {
            1 => "1 place needs a change".to_owned(),
            count if count > FAULTS_MAX => format!("more than {FAULTS_MAX} places need a change; these are the first"),
            count => format!("{count} places need a change"),
        };
        errors.truncate(FAULTS_MAX);
        Self { errors, ..Self::new(kind, detail) }
    }

    pub(super) fn not_found() -> Self {
        Self::new(&NOT_FOUND, "this server has nothing at this path; /docs lists the routes")
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(&METHOD_NOT_ALLOWED, "this path does not take this method; the header Allow has those it takes")
    }

    pub(super) fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::new(&UNAUTHENTICATED, detail).with(WWW_AUTHENTICATE, "Bearer")
    }

    /// The problem of a fault of ours, which the caller has logged.
    pub(super) fn internal() -> Self {
        Self::new(&INTERNAL, "the request met a fault of this server, which is in its log under this requestId")
    }

    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(&MALFORMED, detail)
    }

    /// The same problem with a header. The value is written here, not by a client.
    pub(super) fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        let value = HeaderValue::from_str(&value.into()).expect("a header's text");
        self.headers.push((name, value));
        self
    }

    pub(super) fn retry_after(self, seconds: u64) -> Self {
        self.with(RETRY_AFTER, seconds.to_string())
    }

    /// The same problem with the present revision.
    pub(super) fn at_revision(self, revision: u64) -> Self {
        Self { revision: Some(revision), ..self }.with(ETAG, format!("\"{revision}\""))
    }

    /// This occurrence, in words.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    /// A header of its answer.
    pub(super) fn header(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The answer, for the request with this id.
    pub(super) fn answer(&self, request_id: &str) -> Response {
        let Self { kind, detail, errors, revision, headers } = self;
        let r#type = if kind.name.is_empty() { "about:blank".to_owned() } else { format!("/problems/{}", kind.name) };
        let Kind { title, status, .. } = kind;
        let json = ProblemJson { r#type, title, status: *status, request_id, detail, errors, revision: *revision };
        let mut response = Response::new(Body::from(serde_json::to_vec(&json).expect("plain JSON")));
        *response.status_mut() = StatusCode::from_u16(*status).expect("a constant status");
        response.headers_mut().extend(headers.iter().cloned());
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

impl IntoResponse for Problem {
    /// An answer without a body, which `outer.rs` replaces.
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::from_u16(self.kind.status).expect("a constant status");
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_a_name_of_its_own_and_a_page_to_fill() {
        for (index, kind) in KINDS.iter().enumerate() {
            assert!(KINDS[..index].iter().all(|other| other.name != kind.name), "{}", kind.name);
            assert!((400..600).contains(&kind.status), "{}", kind.name);
            for text in [kind.title, kind.meaning, kind.remedy] {
                assert!(!text.is_empty(), "{}", kind.name);
            }
        }
    }
}
