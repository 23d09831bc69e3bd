//! Enqueueing, one event or many.

use std::collections::{HashMap, hash_map::Entry};

use axum::{
    extract::{Request, State},
    response::Response,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::shapes;
use crate::{
    domain::{
        event::{EnvelopeFault, EventId},
        idempotency::IdempotencyKey,
    },
    producer::{AcceptError, Accepted, Keyed, NewEvent, ROUND_TRIP_BYTES, ROUND_TRIP_EVENTS},
    server::{
        Shared,
        answer::json,
        body::{self, JSON},
        door::Account,
        fields::{Fields, Member},
        problem::{
            Fault, IDEMPOTENCY_KEY_REUSED, INVALID, INVALID_ENVELOPE, INVALID_IDEMPOTENCY_KEY, OUTCOME_UNKNOWN,
            Problem, TOO_LARGE,
        },
        query::Query,
    },
};

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The most faults of one event that are named.
const FAULTS_OF_EVENT_MAX: usize = 20;
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// An event that was enqueued.
#[derive(Serialize, ToSchema)]
pub(super) struct Enqueued {
    /// The id that receivers get as `webhook-id`.
    id: EventId,
}

/// The events of a batch, in their order.
#[derive(Serialize, ToSchema)]
pub(super) struct EnqueuedBatch {
    /// One result for each event.
    items: Vec<BatchItem>,
}

/// The result for one event of a batch.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum BatchItem {
    /// It was enqueued.
    Enqueued(Enqueued),
    /// It was not, because of these faults; only with `skipInvalid=true`.
    Refused {
        /// Its faults.
        errors: Vec<Fault>,
    },
}

/// Enqueues an event.
///
/// The body is the envelope, and is delivered byte for byte. `webhook-id` gives the event an id of its own, which
/// receivers get. A repetition with the same Idempotency-Key within 24 h adds no second event and gets the same answer.
#[utoipa::path(
    post, operation_id = "enqueueEvent", path = "/v1/accounts/{account}/events", tag = "events", security(("key" = ["events:write"])),
    params(
        ("account" = String, Path),
        ("webhook-id" = Option<String>, Header, description = "The event's own id: 1 to 64 of A-Z a-z 0-9 _ -"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters"),
        ("traceparent" = Option<String>, Header, description = "W3C trace context"),
    ),
    request_body(content = shapes::Envelope, content_type = "application/json"),
    responses((
        status = 202, body = Enqueued,
        headers(("Idempotent-Replayed" = String, description = "`true` on a repetition")),
    )),
    extensions(("x-problems" = json!([
        "invalid-envelope", "invalid-idempotency-key", "idempotency-key-reused", "store-full", "outcome-unknown",
    ]))),
)]
pub(super) async fn enqueue(
    State(app): State<Shared>,
    Account(account): Account,
    query: Query,
    request: Request,
) -> Result<Response, Problem> {
    query.end()?;
    let headers = request.headers().clone();
    let key = idempotency_key(&headers)?;
    let id: Option<EventId> = one(&headers, &WEBHOOK_ID)?
        .map(str::parse)
        .transpose()
        .map_err(|error| Problem::malformed(format!("the header webhook-id: {error}")))?;
    let held = body::read(&app, request, app.event_max_bytes, &[JSON]).await?;
    let mut event = NewEvent { id, ..NewEvent::from_envelope(held.bytes.clone()) };
    // Of two contexts, neither is known to be right, so neither is taken, as W3C's own tests ask.
    let mut traces = headers.get_all(&TRACEPARENT).iter();
    if let (Some(trace), None) = (traces.next(), traces.next())
        && let Ok(trace) = trace.to_str()
    {
        event = event.with_traceparent(trace);
    }
    let keyed = key.as_ref().map(|key| Keyed { key, body: &held.bytes, places: None });
    let accepted = app.producer.accept(&account, &[event], keyed).await.map_err(of_one)?;
    let Accepted { ids, repeated } = accepted;
    count(&app, &ids, repeated);
    let id = ids.into_iter().next().ok_or_else(Problem::internal)?;
    Ok(accepted_as(&Enqueued { id }, repeated))
}

/// Enqueues up to 500 events of an account at once: all of them or, if one has a fault, none.
///
/// With `skipInvalid=true` events with faults are left out, and `items` has their faults (20 of each event at most). The
/// body has at most 4 MiB, and no two events the same `id`.
#[utoipa::path(
    post, operation_id = "enqueueBatch", path = "/v1/accounts/{account}/events/batch", tag = "events", security(("key" = ["events:write"])),
    params(
        ("account" = String, Path), ("skipInvalid" = Option<bool>, Query),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters"),
    ),
    request_body(content = shapes::Batch, content_type = "application/json"),
    responses((
        status = 202, body = EnqueuedBatch,
        headers(("Idempotent-Replayed" = String, description = "`true` on a repetition")),
    )),
    extensions(("x-problems" = json!([
        "invalid", "invalid-envelope", "invalid-idempotency-key", "idempotency-key-reused", "store-full",
        "outcome-unknown",
    ]))),
)]
pub(super) async fn enqueue_batch(
    State(app): State<Shared>,
    Account(account): Account,
    mut query: Query,
    request: Request,
) -> Result<Response, Problem> {
    let skip_invalid = query.flag("skipInvalid");
    query.end()?;
    let key = idempotency_key(request.headers())?;
    if request.headers().contains_key(&WEBHOOK_ID) {
        return Err(Problem::malformed(
            "the header webhook-id is for a single event; in a batch each event has its `id`",
        ));
    }
    let held = body::read(&app, request, ROUND_TRIP_BYTES, &[JSON]).await?;
    let read = events_of(&app, &held.bytes)?;
    let faulty: Vec<Fault> = read.iter().filter_map(|event| event.as_ref().err()).flatten().cloned().collect();
    if !faulty.is_empty() && !skip_invalid {
        return Err(Problem::of_faults(&INVALID_ENVELOPE, faulty));
    }
    let valid = read.iter().enumerate().filter_map(|(place, event)| Some((place, event.as_ref().ok()?.clone())));
    let (places, valid): (Vec<usize>, Vec<NewEvent>) = valid.unzip();
    let keyed = key.as_ref().map(|key| Keyed { key, body: &held.bytes, places: Some(&places) });
    let Accepted { ids, repeated } = app.producer.accept(&account, &valid, keyed).await.map_err(of_batch)?;
    count(&app, &ids, repeated);
    let mut ids = ids.into_iter();
    let item = |event: Result<NewEvent, Vec<Fault>>| match event {
        Ok(_) => ids.next().map(|id| BatchItem::Enqueued(Enqueued { id })).ok_or_else(Problem::internal),
        Err(errors) => Ok(BatchItem::Refused { errors }),
    };
    let items = read.into_iter().map(item).collect::<Result<_, _>>()?;
    Ok(accepted_as(&EnqueuedBatch { items }, repeated))
}

/// Counts the events of a request, unless it was a repetition.
fn count(app: &Shared, ids: &[EventId], repeated: bool) {
    if !repeated {
        app.metrics.accepted(ids.len());
    }
}

fn accepted_as(shape: &impl Serialize, repeated: bool) -> Response {
    let mut response = json(StatusCode::ACCEPTED, shape);
    if repeated {
        response.headers_mut().insert(REPLAYED, http::HeaderValue::from_static("true"));
    }
    response
}

/// The events of a batch, each with its envelope as it is written, or with its faults.
fn events_of(app: &Shared, body: &Bytes) -> Result<Vec<Result<NewEvent, Vec<Fault>>>, Problem> {
    let mut fields = Fields::of_body(body)?;
    let events = match fields.read::<Vec<&RawValue>>("events", "an array") {
        Member::Value(events) => events,
        Member::Absent | Member::Null => {
            fields.need("events", "is needed: an array of 1 to 500 events");
            Vec::new()
        }
    };
    if events.is_empty() && !fields.is_faulty("/events") {
        fields.fault("events", "has no event");
    }
    if events.len() > ROUND_TRIP_EVENTS {
        return Err(Problem::new(&TOO_LARGE, format!("a batch has at most {ROUND_TRIP_EVENTS} events")));
    }
    let mut read: Vec<_> =
        events.into_iter().enumerate().map(|(index, event)| event_of(app, body, event, index)).collect();
    refuse_repeated_ids(&mut read);
    let mut faults = fields.end();
    if faults.is_empty() {
        return Ok(read);
    }
    // The batch itself has faults, so nothing of it is taken, and those of its events are told as well.
    faults.extend(read.into_iter().filter_map(Result::err).flatten());
    Err(Problem::of_faults(&INVALID, faults))
}

/// Refuses an event with the id of one before it: receivers would take it for a repetition.
fn refuse_repeated_ids(events: &mut [Result<NewEvent, Vec<Fault>>]) {
    let mut first: HashMap<EventId, usize> = HashMap::new();
    for (index, event) in events.iter_mut().enumerate() {
        let Some(id) = event.as_ref().ok().and_then(|event| event.id.clone()) else { continue };
        match first.entry(id) {
            Entry::Vacant(place) => drop(place.insert(index)),
            Entry::Occupied(place) => {
                let detail = format!("is the id of #/events/{} too; each event needs its own", place.get());
                *event = Err(vec![Fault::at(&format!("/events/{index}/id"), detail)]);
            }
        }
    }
}

fn event_of(app: &Shared, body: &Bytes, event: &RawValue, index: usize) -> Result<NewEvent, Vec<Fault>> {
    let mut fields = Fields::of(event, format!("/events/{index}"));
    fields.collect_at_most(FAULTS_OF_EVENT_MAX);
    let id = fields.parsed("id");
    let traceparent = fields.text("traceparent");
    let envelope = fields.raw("envelope").value();
    let at = fields.pointer("envelope");
    if envelope.is_none() {
        fields.fault("envelope", "is needed: the event as receivers get it");
    }
    let envelope = envelope.map(|raw| body.slice_ref(raw.get().as_bytes())).unwrap_or_default();
    if !envelope.is_empty() {
        fields.extend(envelope_faults(&at, &app.producer.faults(&envelope)));
    }
    let faults = fields.end();
    if !faults.is_empty() {
        return Err(faults);
    }
    let event = NewEvent { id, ..NewEvent::from_envelope(envelope) };
    Ok(match traceparent {
        Some(traceparent) => event.with_traceparent(&traceparent),
        None => event,
    })
}

fn envelope_faults(at: &str, faults: &[EnvelopeFault]) -> Vec<Fault> {
    faults.iter().map(|fault| Fault::at(&format!("{at}{}", fault.pointer()), fault.to_string())).collect()
}

fn of_one(error: AcceptError) -> Problem {
    match error {
        AcceptError::Refused(events) => {
            let faults: Vec<EnvelopeFault> = events.into_iter().flat_map(|event| event.faults).collect();
            match faults.first() {
                // The body is the envelope, and is no JSON.
                Some(fault @ (EnvelopeFault::NotUtf8 | EnvelopeFault::NotJson { .. })) => {
                    Problem::malformed(fault.to_string())
                }
                _ => Problem::of_faults(&INVALID_ENVELOPE, envelope_faults("", &faults)),
            }
        }
        error => of_batch(error),
    }
}

fn of_batch(error: AcceptError) -> Problem {
    match error {
        AcceptError::Refused(events) => {
            let faults = events
                .iter()
                .flat_map(|event| envelope_faults(&format!("/events/{}/envelope", event.index), &event.faults));
            Problem::of_faults(&INVALID_ENVELOPE, faults.collect())
        }
        error @ AcceptError::TooMuch { .. } => Problem::new(&TOO_LARGE, error.to_string()),
        AcceptError::KeyReused => Problem::new(
            &IDEMPOTENCY_KEY_REUSED,
            "the Idempotency-Key was used within the last 24 h for another request: with another body or webhook-id, or a \
             batch of which other events were valid",
        ),
        AcceptError::NotAccepted(error) => error.into(),
        AcceptError::Unknown(error) => {
            tracing::warn!(%error, "Redis gave no answer to an event");
            let detail = "Redis gave no answer, so the event may or may not be in the queue; repeat the request with the \
                          same webhook-id or Idempotency-Key";
            Problem::new(&OUTCOME_UNKNOWN, detail).retry_after(1)
        }
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Problem> {
    let refused = |why: String| Problem::new(&INVALID_IDEMPOTENCY_KEY, why);
    let mut given = headers.get_all(&IDEMPOTENCY_KEY).iter();
    let (key, further) = (given.next(), given.next());
    if further.is_some() {
        return Err(refused("the header Idempotency-Key occurs more than once".to_owned()));
    }
    let Some(key) = key else { return Ok(None) };
    let text = key.to_str().map_err(|_| refused("it has characters other than visible ASCII".to_owned()))?;
    text.parse().map(Some).map_err(|error: crate::domain::idempotency::NotAnIdempotencyKey| refused(error.to_string()))
}

/// A header that may occur once.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut given = headers.get_all(name).iter();
    let (value, further) = (given.next(), given.next());
    if further.is_some() {
        return Err(Problem::malformed(format!("the header {name} occurs more than once")));
    }
    let text = value.map(|value| value.to_str()).transpose();
    text.map_err(|_| Problem::malformed(format!("the header {name} has characters other than visible ASCII")))
}
