//! The catalogue of event types.

use axum::{
    extract::{FromRequestParts, State},
    response::Response,
};
use http::{HeaderMap, request::Parts};

use crate::{
    domain::{event::DescribedEventType, page::Page},
    server::{
        Shared,
        answer::{read, read_typed},
        door::parameter,
        problem::{NO_SUCH_EVENT_TYPE, Problem},
        query::{Query, opaque},
    },
};

/// The media type of a JSON Schema.
const SCHEMA_JSON: &str = "application/schema+json";

/// The event type of the path.
pub(super) struct EventName(String);

impl<S: Send + Sync> FromRequestParts<S> for EventName {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        parameter(parts, state, "event").await.map(Self)
    }
}

/// The event types that webhooks can subscribe to, by name.
#[utoipa::path(
    get, operation_id = "listEventTypes", path = "/v1/event-types", tag = "event types", security(("key" = [])),
    params(("limit" = Option<u8>, Query), ("after" = Option<String>, Query)),
    responses((status = 200, body = Page<DescribedEventType>)),
)]
pub(super) async fn list(State(app): State<Shared>, headers: HeaderMap, mut query: Query) -> Result<Response, Problem> {
    let part = query.part();
    query.end()?;
    let all = app.catalogue.described().skip_while(|view| part.after.as_ref().is_some_and(|after| view.name <= *after));
    Ok(read(&headers, &opaque(Page::first(all, part.limit, |view| view.name.clone()))))
}

/// One event type.
#[utoipa::path(
    get, operation_id = "getEventType", path = "/v1/event-types/{event}", tag = "event types", security(("key" = [])),
    params(("event" = String, Path)),
    responses((status = 200, body = DescribedEventType)),
    extensions(("x-problems" = json!(["no-such-event-type"]))),
)]
pub(super) async fn show(
    State(app): State<Shared>,
    EventName(event): EventName,
    headers: HeaderMap,
    query: Query,
) -> Result<Response, Problem> {
    query.end()?;
    let view = app.catalogue.describe(&event).ok_or_else(unknown)?;
    Ok(read(&headers, &view))
}

/// The JSON Schema (2020-12) of an event type's envelope.
#[utoipa::path(
    get, operation_id = "getEventTypeSchema", path = "/v1/event-types/{event}/schema", tag = "event types", security(("key" = [])),
    params(("event" = String, Path)),
    responses((status = 200, description = "A JSON Schema", body = Object, content_type = "application/schema+json")),
    extensions(("x-problems" = json!(["no-such-event-type"]))),
)]
pub(super) async fn schema(
    State(app): State<Shared>,
    EventName(event): EventName,
    headers: HeaderMap,
    query: Query,
) -> Result<Response, Problem> {
    query.end()?;
    let schema = app.catalogue.schema(&event).ok_or_else(unknown)?;
    Ok(read_typed(&headers, SCHEMA_JSON, serde_json::to_vec(&schema).expect("plain JSON").into()))
}

/// The name is not repeated: it may be a key that was pasted there.
fn unknown() -> Problem {
    Problem::new(&NO_SUCH_EVENT_TYPE, "the catalogue has no event type with this name")
}
