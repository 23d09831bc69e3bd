//! The queue, for operators.

use std::str::FromStr;

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::{HeaderMap, StatusCode};

use super::{log_change, shapes};
use crate::{
    domain::page::Page,
    queue::{DisposedSome, EntryId, Fate, RejectedEntry, RejectedError, Status, WhichRejected},
    server::{
        Shared,
        answer::{json, read},
        body::{self, JSON},
        door::Who,
        fields::Fields,
        problem::{Fault, INVALID, Problem},
        query::{Query, cursor, opaque},
    },
};

/// A partition that a client names.
struct Partition(u16);

impl FromStr for Partition {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self).map_err(|_| "must be a partition's number, from 0")
    }
}

/// The queue's figures.
#[utoipa::path(
    get, operation_id = "getQueueStatus", path = "/v1/queue/status", tag = "queue", security(("key" = ["queue:read"])),
    responses((status = 200, body = Status)),
)]
pub(super) async fn status(State(app): State<Shared>, headers: HeaderMap, query: Query) -> Result<Response, Problem> {
    query.end()?;
    Ok(read(&headers, &app.queue.status().await?))
}

/// Entries of the queue that are no valid events, newest first, each with the reason and the original.
#[utoipa::path(
    get, operation_id = "listRejected", path = "/v1/queue/rejected", tag = "queue", security(("key" = ["admin"])),
    params(("partition" = Option<u16>, Query), ("limit" = Option<u8>, Query), ("after" = Option<String>, Query)),
    responses((status = 200, body = Page<RejectedEntry>)),
)]
pub(super) async fn rejected(
    State(app): State<Shared>,
    headers: HeaderMap,
    mut query: Query,
) -> Result<Response, Problem> {
    let partition = query.parsed("partition").map(|Partition(number)| number);
    let part = query.part();
    query.end()?;
    let page = app.queue.rejected_page(partition, part.after.as_deref(), part.limit).await?;
    Ok(read(&headers, &opaque(page)))
}

/// Puts rejected entries back into the queue, one or all.
///
/// A call does at most 1,000, or as many as 2 s allow. After `"more": true`, call again with
/// the same choice and `until`.
#[utoipa::path(
    post, operation_id = "requeueRejected", path = "/v1/queue/rejected/requeue", tag = "queue", security(("key" = ["admin"])),
    request_body(content = shapes::WhichRejected, content_type = "application/json"),
    responses((status = 200, body = DisposedSome)),
    extensions(("x-problems" = json!(["invalid", "no-such-entry"]))),
)]
pub(super) async fn requeue(
    State(app): State<Shared>,
    Who(caller): Who,
    query: Query,
    request: Request,
) -> Result<Response, Problem> {
    let done = dispose(&app, query, request, Fate::Requeue).await?;
    log_change(&caller, None, "rejected entries requeued", "queue", "");
    Ok(done)
}

/// Drops rejected entries, one or all. A call does as many as one of `requeue`.
#[utoipa::path(
    post, operation_id = "dropRejected", path = "/v1/queue/rejected/drop", tag = "queue", security(("key" = ["admin"])),
    request_body(content = shapes::WhichRejected, content_type = "application/json"),
    responses((status = 200, body = DisposedSome)),
    extensions(("x-problems" = json!(["invalid", "no-such-entry"]))),
)]
pub(super) async fn drop_rejected(
    State(app): State<Shared>,
    Who(caller): Who,
    query: Query,
    request: Request,
) -> Result<Response, Problem> {
    let done = dispose(&app, query, request, Fate::Drop).await?;
    log_change(&caller, None, "rejected entries dropped", "queue", "");
    Ok(done)
}

async fn dispose(app: &Shared, query: Query, request: Request, fate: Fate) -> Result<Response, Problem> {
    query.end()?;
    let held = body::read(app, request, app.settings.body_max_bytes, &[JSON]).await?;
    let mut fields = Fields::of_body(&held.bytes)?;
    let id = fields.text("id");
    let all = fields.read("all", "true").value().unwrap_or(false);
    let partition = fields.read("partition", "a partition's number").value();
    if all == id.is_some() && !fields.is_faulty("/id") && !fields.is_faulty("/all") {
        fields.fault("", "must have exactly one of `id` and `all` (true)");
    }
    let until = fields.position("until");
    fields.end_or(&INVALID)?;
    let which = WhichRejected { id: id.map(EntryId), partition };
    let done = app.queue.dispose_some(&which, fate, until.as_deref()).await.map_err(|error| match error {
        RejectedError::Position(_) => Problem::of_faults(&INVALID, vec![Fault::at("/until", error.to_string())]),
        RejectedError::Partition(..) => Problem::of_faults(&INVALID, vec![Fault::at("/partition", error.to_string())]),
        error => error.into(),
    })?;
    Ok(json(StatusCode::OK, &DisposedSome { until: done.until.as_deref().map(cursor), ..done }))
}
