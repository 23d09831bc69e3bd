//! Webhooks: limits, switching, testing, and their logs.

use std::time::Duration;

use lynkhook::webhooks::{Edit, FieldRefusal, InputFault, LogFilter, NewAuthentication, NewWebhook, WebhooksError};
use redis::AsyncCommands;
use serde_json::json;

use crate::support::*;

const NINETY_DAYS_S: i64 = 90 * 24 * 3600;

#[tokio::test(flavor = "multi_thread")]
async fn ten_concurrent_adds_leave_exactly_two() {
    let receiver = Receiver::start().await;
    let here = std::sync::Arc::new(Installation::new(&receiver).await);
    let url = receiver.url("/hook");
    let adds: Vec<_> = (0..10)
        .map(|number| {
            let (here, url) = (here.clone(), url.clone());
            tokio::spawn(async move {
                let description = format!("number {number}");
                let authentication = NewAuthentication::None;
                let new = NewWebhook { url, events: None, authentication, description, active: true };
                here.webhooks.add(&account_id("acme"), new).await
            })
        })
        .collect();
    let mut refused = 0;
    for add in adds {
        match add.await.unwrap() {
            Ok(_) => {}
            Err(WebhooksError::Limit { limit: 2, .. }) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(refused, 8);
    assert_eq!(here.webhooks.list(&account_id("acme")).await.unwrap().len(), 2);
    here.add("another", &url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_goes_to_every_webhook_that_wants_its_type_and_to_no_other() {
    let receiver = Receiver::start().await;
    for path in ["/both", "/other"] {
        receiver.plan(path, [Answer::Status(200)]);
    }
    let types = r#"{ "call.ended" = { description = "A call ended", identifiers = { callId = "/call/id" } } }"#;
    let here = Installation::new(&receiver).await.with("LYNKHOOK_EVENT__TYPES", types).await;
    let add = async |path: &str, events: &[&str]| {
        let events = Some(events.iter().map(|&event| event.to_owned()).collect());
        let (url, authentication) = (receiver.url(path), NewAuthentication::None);
        let new = NewWebhook { url, events, authentication, description: String::new(), active: true };
        here.webhooks.add(&account_id("acme"), new).await.map(|view| view.id)
    };
    let both = add("/both", &["transcript.created", "call.ended"]).await.unwrap();
    let other = add("/other", &["call.ended"]).await.unwrap();
    assert!(matches!(add("/third", &["call.ended"]).await, Err(WebhooksError::Limit { limit: 2, .. })));
    let Err(WebhooksError::Input(faults)) = add("/third", &["no.such"]).await else { panic!("it was added") };
    assert!(matches!(&faults[..], [InputFault { why: FieldRefusal::Event { .. }, .. }]), "{faults:?}");

    let _worker = here.program.worker([]);
    here.push("acme", TRANSCRIPT).await;
    here.push("acme", r#"{"event":"call.ended","timestamp":"2026-03-26T14:32:00Z","data":{"call":{"id":7}}}"#).await;
    here.push("nobody", TRANSCRIPT).await;
    let seen = receiver.wait_for("/both", 2, SOON).await;
    receiver.wait_for("/other", 1, SOON).await;
    here.drained().await;
    assert_eq!(receiver.requests("/other").len(), 1, "this webhook did not ask for transcripts");
    assert_eq!(here.log(other).await[0]["identifiers"], json!({"callId": 7}));
    assert_eq!(here.log(both).await.len(), 2);
    let fanned_out = receiver.requests("/other")[0].header("webhook-id").map(str::to_owned);
    assert!(seen.iter().any(|request| request.header("webhook-id").map(str::to_owned) == fanned_out));
    let without: u64 = here.redis.clone().hget(here.key("counts"), "events_without_webhook").await.unwrap();
    assert_eq!(without, 1, "an event that matches no webhook is settled, and counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_faults_of_an_input_are_answered_at_once_each_at_its_field() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let events = |events: &[&str]| Some(events.iter().map(|&event| event.to_owned()).collect());
    let header = |name: &str, value: &str| NewAuthentication::Header { name: name.to_owned(), value: value.into() };
    let faults = |result: Result<_, WebhooksError>| match result {
        Err(WebhooksError::Input(faults)) => {
            faults.into_iter().map(|fault| (fault.field.clone(), fault.to_string())).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    let new = NewWebhook {
        url: "http://example.com/".to_owned(),
        events: events(&["no.such", "transcript.created", "transcript.create"]),
        authentication: header("Cookie", ""),
        description: "x".repeat(201),
        active: true,
    };
    let of_new = faults(here.webhooks.add(&account_id("acme"), new).await);
    let expected = [
        ("url", "must begin with https://"),
        ("events[0]", "not in the catalogue; it has: transcript.created"),
        ("events[2]", "not in the catalogue; did you mean `transcript.created`?"),
        ("authentication.name", "cookie is reserved"),
        ("authentication.value", "the header value is empty"),
        ("description", "longer than 200 characters"),
    ];
    assert_eq!(of_new.len(), expected.len(), "{of_new:?}");
    for ((field, text), (at, words)) in of_new.iter().zip(expected) {
        assert!(field == at && text.contains(words), "{field}: {text}, not {at}: {words}");
    }

    let webhook = here.add("acme", &receiver.url("/hook")).await;
    let edit = Edit {
        url: Some("http://example.com/".to_owned()),
        events: events(&[]),
        authentication: Some(NewAuthentication::Bearer("a token".into())),
        ..Edit::default()
    };
    let of_edit = faults(here.webhooks.edit(&account_id("acme"), webhook, edit).await);
    let fields: Vec<&str> = of_edit.iter().map(|(field, _)| &**field).collect();
    assert_eq!(fields, ["url", "events", "authentication.token"]);
    let untouched = here.webhooks.show(&account_id("acme"), webhook).await.unwrap();
    assert_eq!((untouched.revision, here.webhooks.list(&account_id("acme")).await.unwrap().len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_off_holds_its_deliveries_and_gets_them_oldest_first_when_it_is_on() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(200)]);
    let here = Installation::new(&receiver).await;
    let webhook = here.add_with("acme", &receiver.url("/hook"), NewAuthentication::None, false).await;
    // One at a time, so that deliveries leave in the order of their arrival.
    let _worker = here.program.worker([("LYNKHOOK_WORKER__CONCURRENCY", "1")]);
    for number in 0..120 {
        here.push("acme", TRANSCRIPT.replace("6601abc123def4567890abcd", &format!("m{number}"))).await;
    }
    here.drained().await;
    let held: u64 = here.redis.clone().xlen(here.key(&format!("held:{webhook}"))).await.unwrap();
    assert_eq!((held, receiver.requests("/hook").len()), (120, 0));
    let due: Option<f64> = here.redis.clone().zscore(here.key("visits"), format!("acme/{webhook}")).await.unwrap();
    assert!(due.is_some(), "a visit is planned for the held deliveries");

    let on = Edit { active: Some(true), ..Edit::default() };
    here.webhooks.edit(&account_id("acme"), webhook, on).await.unwrap();
    let arrived = receiver.wait_for("/hook", 120, SOON).await;
    here.drained().await;
    let messages: Vec<String> = arrived
        .iter()
        .map(|request| {
            serde_json::from_slice::<serde_json::Value>(&request.body).unwrap()["data"]["messageId"].to_string()
        })
        .collect();
    assert_eq!(messages, (0..120).map(|number| format!("\"m{number}\"")).collect::<Vec<_>>());
    let exists: bool = here.redis.clone().exists(here.key(&format!("held:{webhook}"))).await.unwrap();
    assert!(!exists, "an empty stream has no key");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_of_a_webhook_switched_off_between_attempts_is_held_with_its_number() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(503), Answer::Status(200)]);
    let here = Installation::new(&receiver).await;
    let webhook = here.add("acme", &receiver.url("/hook")).await;
    let _worker = here.program.worker([]);
    here.push("acme", TRANSCRIPT).await;
    receiver.wait_for_ended("/hook", 1, SOON).await;
    let switch = async |active| {
        here.webhooks
            .edit(&account_id("acme"), webhook, Edit { active: Some(active), ..Edit::default() })
            .await
            .unwrap();
    };
    switch(false).await;
    let held = here.key(&format!("held:{webhook}"));
    eventually(SOON, "the retry to be held", async || {
        (here.redis.clone().xlen::<_, u64>(&held).await.unwrap() == 1).then_some(())
    })
    .await;
    switch(true).await;
    let log = here.finished(webhook).await;
    let attempts: Vec<_> = log.iter().map(|entry| (&entry["attempt"], &entry["httpStatus"])).collect();
    assert_eq!(json!(attempts), json!([[1, 503], [2, 200]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_for_many_webhooks_is_attempted_once_at_each_even_if_its_worker_dies_during_fan_out() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await.with("LYNKHOOK_WEBHOOKS__LIMIT_PER_ACCOUNT", "120").await;
    let mut webhooks = Vec::new();
    for number in 0..120 {
        receiver.plan(&format!("/{number}"), [Answer::Status(200)]);
        webhooks.push(here.add("acme", &receiver.url(&format!("/{number}"))).await);
    }
    here.push("acme", TRANSCRIPT).await;
    let lease = [
        ("LYNKHOOK_WORKER__LEASE", "12700ms"),
        ("LYNKHOOK_WORKER__START_WITHIN", "700ms"),
        ("LYNKHOOK_WORKER__RENEW_EVERY", "200ms"),
    ];
    let mut dies = here.program.clone().env("LYNKHOOK_FAILPOINT", "after-fan_out@2").worker(lease);
    assert_eq!(dies.wait().await, None, "the worker was killed after the second step of three");
    let _goes_on = here.program.worker(lease);
    here.drained().await;
    for webhook in webhooks {
        let log = here.log(webhook).await;
        assert_eq!((log.len(), &log[0]["attempt"], &log[0]["httpStatus"]), (1, &json!(1), &json!(200)), "{log:?}");
    }
    let counted: Option<u64> = here.redis.clone().hget(here.key("counts"), "events_without_webhook").await.unwrap();
    assert_eq!(counted, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_webhook_is_gone_with_its_keys_and_its_queued_deliveries_are_dropped_and_counted() {
    let receiver = Receiver::start().await;
    let gate = Gate::new();
    receiver.plan("/hook", [gate.before(Answer::Status(503))]);
    let here = Installation::new(&receiver).await;
    let webhook = here.add("acme", &receiver.url("/hook")).await;
    let _worker = here.program.worker([]);
    here.push("acme", TRANSCRIPT).await;
    receiver.wait_for("/hook", 1, SOON).await;
    here.webhooks.delete(&account_id("acme"), webhook, None).await.unwrap();
    gate.open();
    here.drained().await;
    let dropped: u64 = here.redis.clone().hget(here.key("counts"), "deliveries_of_deleted_webhook").await.unwrap();
    assert_eq!(dropped, 1);
    let keys: Vec<String> = here.redis.clone().keys(format!("{}*{webhook}*", here.prefix)).await.unwrap();
    assert!(keys.is_empty(), "{keys:?}");
    assert!(matches!(
        here.webhooks.delete(&account_id("acme"), webhook, None).await,
        Err(WebhooksError::NotFound { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_keeps_the_newest_50_entries_for_90_days_and_shows_nothing_older() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(404)]);
    let here = Installation::new(&receiver).await;
    let webhook = here.add("acme", &receiver.url("/hook")).await;
    let _worker = here.program.worker([]);
    for number in 0..60 {
        here.push("acme", TRANSCRIPT.replace("6601abc123def4567890abcd", &format!("m{number}"))).await;
    }
    receiver.wait_for("/hook", 60, SOON).await;
    here.drained().await;
    let key = here.key(&format!("logs:{webhook}"));
    let mut redis = here.redis.clone();
    assert_eq!(here.log(webhook).await.len(), 50);
    let ttl: i64 = redis.ttl(&key).await.unwrap();
    assert!((NINETY_DAYS_S - 60..=NINETY_DAYS_S).contains(&ttl), "{ttl}");

    // One entry that is a day too old, and one just young enough.
    let (seconds, _): (i64, i64) = redis::cmd("TIME").query_async(&mut redis).await.unwrap();
    let aged = |age_s: i64| {
        let time = chrono::DateTime::from_timestamp(seconds - age_s, 0).unwrap();
        json!({
            "status": "failed", "event": "transcript.created", "httpStatus": 404, "attempt": 1, "durationMs": 1,
            "error": "HTTP 404 Not Found", "identifiers": {}, "deliveryId": "e.w", "final": true,
            "time": time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
        })
        .to_string()
    };
    let _: () = redis.del(&key).await.unwrap();
    let _: () = redis.rpush(&key, &[aged(60), aged(NINETY_DAYS_S - 60), aged(NINETY_DAYS_S + 60)]).await.unwrap();
    let shown = here.webhooks.logs(&account_id("acme"), webhook, &LogFilter::default(), None, 50).await.unwrap().items;
    assert_eq!(shown.len(), 2, "an entry past 90 days is not shown");

    // The next visit deletes it.
    let _: () = redis.zadd(here.key("visits"), format!("acme/{webhook}"), 0).await.unwrap();
    eventually(SOON, "the old entry to go", async || (here.log(webhook).await.len() == 2).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_entry_is_set_aside_with_its_reason_and_the_worker_goes_on() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(200)]);
    let here = Installation::new(&receiver).await;
    let webhook = here.add("acme", &receiver.url("/hook")).await;
    let _worker = here.program.worker([]);
    here.push("acme", "no envelope at all \u{0}").await;
    here.push("acme", TRANSCRIPT).await;
    here.finished(webhook).await;
    here.drained().await;
    let rejected = here.rejected().await;
    let fields: Vec<(&str, &str)> = rejected[0].iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(fields[0], ("reason", "the envelope is not JSON (line 1, column 2)"));
    assert_eq!(fields[1].0, "entry");
    assert_eq!(fields[2..], [("account", "acme"), ("envelope", "no envelope at all \u{0}")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_deliveries_are_kept_whole() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(404)]);
    let here = Installation::new(&receiver).await;
    let webhook = here.add("acme", &receiver.url("/hook")).await;
    let _worker = here.program.worker([]);
    here.push("acme", TRANSCRIPT).await;
    here.finished(webhook).await;
    let failed: Vec<(String, Vec<(String, String)>)> = redis::cmd("XRANGE")
        .arg(here.key(&format!("failed:{webhook}")))
        .arg("-")
        .arg("+")
        .query_async(&mut here.redis.clone())
        .await
        .unwrap();
    assert_eq!(failed.len(), 1);
    let (line, envelope) = failed[0].1[0].1.split_once('\n').unwrap();
    assert_eq!(envelope, TRANSCRIPT);
    assert!(line.contains(r#""attempt":1"#), "{line}");
}

/// Serial, because it measures times: see `make test`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures punctuality, so it runs alone: make test"]
async fn serial_retries_are_less_than_300_ms_late() {
    let receiver = Receiver::start().await;
    receiver.plan("/flaky", [Answer::Status(503), Answer::Status(503), Answer::Status(200)]);
    let here = Installation::new(&receiver).await;
    let webhook = here.add("acme", &receiver.url("/flaky")).await;
    let _worker = here.program.worker([]);
    here.push("acme", TRANSCRIPT).await;
    here.finished(webhook).await;
    let attempts = receiver.requests("/flaky");
    for (pair, delay) in attempts.windows(2).zip([Duration::from_secs(2), Duration::from_secs(4)]) {
        let waited = pair[1].arrived - pair[0].ended.unwrap();
        assert!(waited >= delay && waited < delay + Duration::from_millis(300), "{waited:?} instead of {delay:?}");
    }
}
