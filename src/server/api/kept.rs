//! Deliveries that are kept beside the queue: held and failed ones, their envelopes, and redelivering.

use std::str::FromStr;

use axum::{
    extract::{FromRequestParts, Request, State},
    response::Response,
};
use chrono::{DateTime, Utc};
use http::{HeaderMap, StatusCode, request::Parts};

use super::{log_change, shapes};
use crate::{
    domain::page::KeptPage,
    server::{
        Shared,
        answer::{json, read, read_typed},
        body::{self, JSON},
        door::{OfWebhook, Who, parameter},
        fields::Fields,
        problem::{Fault, INVALID, Problem},
        query::{Query, cursor, opaque_kept},
    },
    webhooks::{FailedDelivery, HeldDelivery, Redelivery, WebhooksError, Which},
};

/// A time that a client gives.
struct Time(DateTime<Utc>);

impl FromStr for Time {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self).map_err(|_| "must be a time such as `2026-03-26T14:32:00Z` (RFC 3339)")
    }
}

/// The delivery of the path.
pub(super) struct DeliveryId(String);

impl<S: Send + Sync> FromRequestParts<S> for DeliveryId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        parameter(parts, state, "delivery").await.map(Self)
    }
}

/// Held deliveries, oldest first: they wait because the webhook is off, or because its endpoint is slower than they come.
#[utoipa::path(
    get, operation_id = "listHeldDeliveries", path = "/v1/accounts/{account}/webhooks/{id}/held", tag = "deliveries", security(("key" = ["logs:read"])),
    params(
        ("account" = String, Path), ("id" = String, Path),
        ("limit" = Option<u8>, Query), ("after" = Option<String>, Query),
    ),
    responses((status = 200, body = KeptPage<HeldDelivery>)),
    extensions(("x-problems" = json!(["no-such-webhook"]))),
)]
pub(super) async fn held(
    State(app): State<Shared>,
    OfWebhook(account, id): OfWebhook,
    headers: HeaderMap,
    mut query: Query,
) -> Result<Response, Problem> {
    let part = query.part();
    query.end()?;
    let page = app.webhooks.held(&account, id, part.after.as_deref(), part.limit).await?;
    Ok(read(&headers, &opaque_kept(page)))
}

/// Deliveries that failed for good and are still kept, newest first.
#[utoipa::path(
    get, operation_id = "listFailedDeliveries", path = "/v1/accounts/{account}/webhooks/{id}/failed", tag = "deliveries", security(("key" = ["logs:read"])),
    params(
        ("account" = String, Path), ("id" = String, Path),
        ("since" = Option<String>, Query, format = DateTime, description = "Only those that failed at this time or later (RFC 3339)"),
        ("limit" = Option<u8>, Query), ("after" = Option<String>, Query),
    ),
    responses((status = 200, body = KeptPage<FailedDelivery>)),
    extensions(("x-problems" = json!(["no-such-webhook"]))),
)]
pub(super) async fn failed(
    State(app): State<Shared>,
    OfWebhook(account, id): OfWebhook,
    headers: HeaderMap,
    mut query: Query,
) -> Result<Response, Problem> {
    let since = query.parsed("since").map(|Time(since)| since);
    let part = query.part();
    query.end()?;
    let page = app.webhooks.failed(&account, id, since, part.after.as_deref(), part.limit).await?;
    Ok(read(&headers, &opaque_kept(page)))
}

/// The envelope of a failed delivery, byte for byte.
#[utoipa::path(
    get, operation_id = "getFailedEnvelope", path = "/v1/accounts/{account}/webhooks/{id}/failed/{delivery}/envelope", tag = "deliveries",
    security(("key" = ["payloads:read"])),
    params(("account" = String, Path), ("id" = String, Path), ("delivery" = String, Path)),
    responses((status = 200, body = shapes::Envelope)),
    extensions(("x-problems" = json!(["no-such-webhook", "no-such-delivery"]))),
)]
pub(super) async fn failed_envelope(
    State(app): State<Shared>,
    OfWebhook(account, id): OfWebhook,
    DeliveryId(delivery): DeliveryId,
    headers: HeaderMap,
    query: Query,
) -> Result<Response, Problem> {
    query.end()?;
    let envelope = app.webhooks.failed_envelope(&account, id, &delivery).await?;
    Ok(read_typed(&headers, JSON, envelope))
}

/// The envelope of a held delivery, byte for byte.
#[utoipa::path(
    get, operation_id = "getHeldEnvelope", path = "/v1/accounts/{account}/webhooks/{id}/held/{delivery}/envelope", tag = "deliveries",
    security(("key" = ["payloads:read"])),
    params(("account" = String, Path), ("id" = String, Path), ("delivery" = String, Path)),
    responses((status = 200, body = shapes::Envelope)),
    extensions(("x-problems" = json!(["no-such-webhook", "no-such-delivery"]))),
)]
pub(super) async fn held_envelope(
    State(app): State<Shared>,
    OfWebhook(account, id): OfWebhook,
    DeliveryId(delivery): DeliveryId,
    headers: HeaderMap,
    query: Query,
) -> Result<Response, Problem> {
    query.end()?;
    let envelope = app.webhooks.held_envelope(&account, id, &delivery).await?;
    Ok(read_typed(&headers, JSON, envelope))
}

/// Queues failed deliveries again: one, all, or those since a time.
///
/// A call does at most 1,000, or as many as 2 s allow. After `"more": true`, call again with the same choice and `until`.
#[utoipa::path(
    post, operation_id = "redeliverFailed", path = "/v1/accounts/{account}/webhooks/{id}/failed/redeliver", tag = "deliveries",
    security(("key" = ["webhooks:write"])),
    params(("account" = String, Path), ("id" = String, Path)),
    request_body(content = shapes::Redeliver, content_type = "application/json"),
    responses((status = 200, body = Redelivery)),
    extensions(("x-problems" = json!(["invalid", "no-such-webhook", "no-such-delivery"]))),
)]
pub(super) async fn redeliver(
    State(app): State<Shared>,
    OfWebhook(account, id): OfWebhook,
    Who(caller): Who,
    query: Query,
    request: Request,
) -> Result<Response, Problem> {
    query.end()?;
    let held = body::read(&app, request, app.settings.body_max_bytes, &[JSON]).await?;
    let mut fields = Fields::of_body(&held.bytes)?;
    let (one, since) = (fields.text("delivery"), fields.parsed("since").map(|Time(since)| since));
    let all = fields.read("all", "true").value().unwrap_or(false);
    let until = fields.position("until");
    let choices = usize::from(one.is_some()) + usize::from(all) + usize::from(since.is_some());
    if choices != 1 && !["/delivery", "/all", "/since"].iter().any(|at| fields.is_faulty(at)) {
        fields.fault("", "must have exactly one of `delivery`, `all` (true) and `since`");
    }
    fields.end_or(&INVALID)?;
    let which = match (one, since) {
        (Some(delivery), _) => Which::One(delivery),
        (None, Some(since)) => Which::Since(since),
        (None, None) => Which::All,
    };
    let done = app.webhooks.redeliver_some(&account, id, &which, until.as_deref()).await;
    let done = done.map_err(|error| match error {
        WebhooksError::Position(_) => Problem::of_faults(&INVALID, vec![Fault::at("/until", error.to_string())]),
        error => error.into(),
    })?;
    log_change(&caller, Some(&account), "failed deliveries redelivered", &id.to_string(), "");
    Ok(json(StatusCode::OK, &Redelivery { until: done.until.as_deref().map(cursor), ..done }))
}
