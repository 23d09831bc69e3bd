//! The shapes that go out as JSON are those that their schemas state, member by member.

use std::collections::BTreeMap;

use lynkhook::{
    domain::{
        log_entry::LogEntry,
        page::{KeptPage, Page},
    },
    queue::{Disposed, Queue, RejectedEntry},
    webhooks::{AuthenticationView, Deleted, Dropped, Enabled, FailedDelivery, NewAuthentication, Purged, View},
};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::{
    ToSchema,
    openapi::{RefOr, Schema},
};

use crate::support::*;

/// Asserts that a value's JSON fits its type's schema, and that the schema names every member.
#[track_caller]
pub(crate) fn assert_shape<T: ToSchema + Serialize>(value: &T) {
    assert_fits(value, Vec::new());
}

/// The same for a page of items, whose own schema the page's does not list.
#[track_caller]
pub(crate) fn assert_page<P: ToSchema + Serialize, T: ToSchema>(page: &P, _items: &[T]) {
    assert_fits(page, vec![(T::name().into_owned(), T::schema())]);
}

#[track_caller]
fn assert_fits<T: ToSchema + Serialize>(value: &T, parts: Vec<(String, RefOr<Schema>)>) {
    let (json, schema) = (serde_json::to_value(value).unwrap(), closed::<T>(parts));
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let faults: Vec<String> =
        validator.iter_errors(&json).map(|fault| format!("{}: {fault}", fault.instance_path())).collect();
    assert!(faults.is_empty(), "{json:#}\n{faults:#?}\n{schema:#}");
}

/// A type's schema with those it refers to. Objects may have no members besides those that are named.
fn closed<T: ToSchema>(mut parts: Vec<(String, RefOr<Schema>)>) -> Value {
    T::schemas(&mut parts);
    let parts: BTreeMap<String, Value> =
        parts.into_iter().map(|(name, part)| (name, inner_closed(serde_json::to_value(part).unwrap()))).collect();
    let mut schema = close(&inner_closed(serde_json::to_value(T::schema()).unwrap()));
    schema["components"] = json!({ "schemas": parts });
    schema
}

/// Closes the schemas of members and items. The schema itself stays open, because it may be a part of another.
fn inner_closed(mut schema: Value) -> Value {
    for keyword in ["allOf", "oneOf", "anyOf"] {
        if let Some(Value::Array(parts)) = schema.get_mut(keyword) {
            for part in parts {
                *part = inner_closed(part.take());
            }
        }
    }
    if let Some(Value::Object(members)) = schema.get_mut("properties") {
        for member in members.values_mut() {
            *member = close(&inner_closed(member.take()));
        }
    }
    for keyword in ["items", "additionalProperties"] {
        if let Some(part) = schema.get_mut(keyword).filter(|part| part.is_object()) {
            *part = close(&inner_closed(part.take()));
        }
    }
    assert_eq!(schema.get("nullable"), None, "OpenAPI 3.1 has no `nullable`");
    schema
}

fn close(schema: &Value) -> Value {
    json!({ "allOf": [schema], "unevaluatedProperties": false })
}

#[derive(Serialize, ToSchema)]
struct Probe {
    given: Option<u8>,
}

#[test]
fn a_member_that_the_schema_lacks_is_found() {
    #[derive(Serialize, ToSchema)]
    struct Lacking {
        #[schema(schema_with = utoipa::openapi::Object::new)]
        probe: Probe,
    }
    assert_shape(&Probe { given: None });
    let lacking = Lacking { probe: Probe { given: Some(1) } };
    assert!(std::panic::catch_unwind(|| assert_shape(&lacking)).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_shown_as_their_schema_says() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let (acme, url) = (account_id("acme"), receiver.url("/hook"));
    let header = NewAuthentication::Header { name: "X-Key".to_owned(), value: "s3cret".into() };
    let none = here.add("acme", &url).await;
    let other = here.add_with("acme", &url, header, true).await;
    let view = here.webhooks.show(&acme, other).await.unwrap();
    let mut bearer = view.clone();
    bearer.authentication = AuthenticationView::Bearer { token: "••••".to_owned() };
    for view in [view, bearer, here.webhooks.show(&acme, none).await.unwrap()] {
        for held_discarded in [None, Some(3)] {
            assert_shape(&Enabled { view: view.clone(), held_discarded });
        }
        let page = Page { items: vec![view], next: Some("x".to_owned()) };
        assert_page(&page, &page.items);
    }
    let none_left = Page::<View> { items: Vec::new(), next: None };
    assert_page(&none_left, &none_left.items);
    let dropped = Dropped { failed: 1, held: 2 };
    assert_shape(&Deleted { account: acme.clone(), dropped, id: none });
    assert_shape(&Purged { account: acme, dropped, webhooks: vec![none] });
}

#[test]
fn log_entries_and_failed_deliveries_are_shown_as_their_schema_says() {
    let mut entry = json!({
        "status": "failed", "event": "transcript.created", "httpStatus": 503, "attempt": 3, "durationMs": 1,
        "error": "HTTP 503 Service Unavailable", "identifiers": {"text": "m1", "number": 7, "yes": true},
        "deliveryId": "e1.wh_019a1b2c-0000-7000-8000-000000000001", "final": true, "redelivery": 2,
        "time": "2026-03-26T14:32:00.000Z", "phasesMs": {"dns": 1, "connect": 2, "tls": 3, "firstByte": 4},
    });
    let whole: LogEntry = serde_json::from_value(entry.clone()).unwrap();
    assert_shape(&whole);
    let failed = FailedDelivery {
        delivery_id: whole.delivery_id.clone(),
        event_id: "e1".parse().unwrap(),
        event: whole.event,
        redelivery: None,
        attempt: 3,
        failed_at: whole.time,
        http_status: whole.http_status,
        error: None,
        identifiers: whole.identifiers,
        envelope_bytes: 12,
    };
    assert_shape(&FailedDelivery { redelivery: Some(1), error: Some("x".to_owned()), ..failed.clone() });
    let page = KeptPage { items: vec![failed], next: None, total: 1, oldest: None };
    assert_page(&page, &page.items);
    for (member, value) in [("httpStatus", json!("Network Error")), ("error", Value::Null), ("phasesMs", json!({}))] {
        entry[member] = value;
    }
    entry.as_object_mut().unwrap().remove("redelivery");
    assert_shape(&serde_json::from_value::<LogEntry>(entry).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_is_shown_as_its_schema_says() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(404)]);
    let here = Installation::new(&receiver).await;
    let queue = Queue::new(here.store.clone());
    assert_shape(&queue.status().await.unwrap());
    let webhook = here.add_with("acme", &receiver.url("/hook"), NewAuthentication::None, false).await;
    let _worker = here.program.worker([]);
    here.push("acme", TRANSCRIPT).await;
    for (name, value) in [(&b"account"[..], &b"acme"[..]), (b"\xfe", b"\xff")] {
        let _: String = redis::AsyncCommands::xadd(&mut here.redis.clone(), here.key("queue"), "*", &[(name, value)])
            .await
            .unwrap();
    }
    let rejected = eventually(SOON, "two rejected entries", async || {
        let rejected = queue.rejected(None, 10).await.unwrap();
        (rejected.len() == 2).then_some(rejected)
    });
    let rejected: Vec<RejectedEntry> = rejected.await;
    rejected.iter().for_each(assert_shape);
    let held = here.key(&format!("held:{webhook}"));
    let status = eventually(SOON, "one held delivery and a worker", async || {
        let one: u64 = redis::AsyncCommands::xlen(&mut here.redis.clone(), &held).await.unwrap();
        let status = queue.status().await.unwrap();
        (one == 1 && !status.workers.is_empty() && !status.most_held.is_empty()).then_some(status)
    });
    assert_shape(&status.await);
    assert_shape(&Disposed::Requeued { requeued: 1, stayed: 2 });
    assert_shape(&Disposed::Dropped { dropped: 1 });
}
