//! One bad endpoint does not hurt the others: slow endpoints share half of the places. Deliveries beyond that wait
//! beside the queue and are delivered later, or fail if the waiting list is full.

use std::time::Duration;

use lynkhook::domain::{delivery::Delivery, webhook::WebhookId};
use redis::AsyncCommands;

use crate::support::*;

/// A worker with few places.
const SMALL: [(&str, &str); 1] = [("LYNKHOOK_WORKER__CONCURRENCY", "16")];

async fn held(here: &Installation, webhook: WebhookId) -> usize {
    here.redis.clone().xlen(here.key(&format!("held:{webhook}"))).await.unwrap()
}

async fn overflowed(here: &Installation) -> u64 {
    let counted: Option<u64> = here.redis.clone().hget(here.key("counts"), "held_overflow").await.unwrap();
    counted.unwrap_or_default()
}

/// `/silent` answers when the gate is opened, `/quick` at once; each gets `events` events.
async fn scene(
    receiver: &Receiver,
    silent: usize,
    settings: &[(&'static str, &str)],
) -> (Installation, WebhookId, Gate) {
    let (gate, mut here) = (Gate::new(), Installation::new(receiver).await);
    for (name, value) in settings {
        here = here.with(name, value).await;
    }
    receiver.plan("/silent", [gate.before(Answer::Status(200))]);
    receiver.plan("/quick", [Answer::Status(200)]);
    let webhook = here.add("silent", &receiver.url("/silent")).await;
    here.add("quick", &receiver.url("/quick")).await;
    for _ in 0..silent {
        here.push("silent", TRANSCRIPT).await;
        here.push("quick", TRANSCRIPT).await;
    }
    (here, webhook, gate)
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_a_silent_endpoint_another_gets_all_of_its_events_at_once_and_later_the_silent_one_its_own() {
    let receiver = Receiver::start().await;
    let (here, webhook, gate) = scene(&receiver, 100, &[]).await;
    let _worker = here.program.worker(SMALL);
    receiver.wait_for_ended("/quick", 100, SOON).await;
    let in_flight = receiver.in_flight("/silent");
    assert_eq!(in_flight, 3, "it has not answered yet");
    eventually(SOON, "the rest is held", async || (held(&here, webhook).await == 100 - in_flight).then_some(())).await;
    gate.open();
    here.drained().await;
    let requests = receiver.requests("/silent");
    let mut ids: Vec<_> = requests.iter().map(|request| request.header("webhook-id").unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), requests.len()), (100, 100), "each once");
    assert_eq!((held(&here, webhook).await, overflowed(&here).await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_endpoints_large_events_leave_half_of_the_bytes_to_others() {
    let receiver = Receiver::start().await;
    let (here, webhook, gate) = scene(&receiver, 0, &[]).await;
    let large = envelope_of(100 << 10);
    for _ in 0..60 {
        here.push("silent", &large).await;
        here.push("quick", TRANSCRIPT).await;
    }
    // Twenty of them fill the limit of bytes in hand; half of the places would be 128.
    let _worker = here.program.worker([("LYNKHOOK_WORKER__MAX_BYTES", "2MiB")]);
    receiver.wait_for_ended("/quick", 60, SOON).await;
    let in_flight = receiver.in_flight("/silent");
    assert!((1..=10).contains(&in_flight), "half of the bytes is reserved for others: {in_flight}");
    let rest_is_held = async || (held(&here, webhook).await + receiver.in_flight("/silent") == 60).then_some(());
    eventually(SOON, "the rest is held", rest_is_held).await;
    gate.open();
    here.drained().await;
    assert_eq!((receiver.requests("/silent").len(), held(&here, webhook).await), (60, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn new_deliveries_beyond_a_slow_endpoints_waiting_list_fail_but_none_that_was_held() {
    let receiver = Receiver::start().await;
    let (here, webhook, gate) = scene(&receiver, 0, &[("LYNKHOOK_HELD__LIMIT", "5")]).await;
    let delivery = |event: &str| first("silent", webhook, event);
    let mut redis = here.redis.clone();
    // Hold more than the limit, and release it when any other delivery comes.
    for number in 0..20 {
        let fields = [("delivery", text(&delivery(&format!("held-{number}")), TRANSCRIPT))];
        let _: () = redis.xadd(here.key(&format!("held:{webhook}")), "*", &fields).await.unwrap();
    }
    for _ in 0..60 {
        here.push("silent", TRANSCRIPT).await;
    }
    let redelivered = Delivery { redelivery: Some(1), ..delivery("redelivered") };
    for (known, mark) in
        [(delivery("retry").next_attempt(), None), (redelivered, None), (delivery("held"), Some("1-1"))]
    {
        let mut fields = vec![("delivery", text(&known, TRANSCRIPT))];
        fields.extend(mark.map(|held| ("held", held.to_owned())));
        let _: () = redis.xadd(here.key("queue"), "*", &fields).await.unwrap();
    }
    // This retry waited for a name server, so it is due again without an attempt.
    let waited = text(&delivery("waited"), TRANSCRIPT);
    let _: () = redis.zadd(here.key("retries"), waited, 1).await.unwrap();
    let _worker = here.program.worker(SMALL);
    let failed = async || redis.clone().xlen::<_, usize>(here.key(&format!("failed:{webhook}"))).await.unwrap();
    let in_flight = async || {
        let in_flight = receiver.in_flight("/silent");
        let retries: usize = redis.clone().zcard(here.key("retries")).await.unwrap();
        (failed().await + held(&here, webhook).await + retries + in_flight == 84).then_some(in_flight)
    };
    let in_flight = eventually(SOON, "each is in flight, held or failed", in_flight).await;
    assert_eq!(in_flight, 3, "it has not answered yet");
    here.push("quick", TRANSCRIPT).await;
    receiver.wait_for_ended("/quick", 1, SOON).await;
    let failed_then = failed().await;
    assert!(failed_then > 40, "{failed_then}");
    let log = here.log(webhook).await;
    let reason = "not attempted: the endpoint is too slow and its waiting list is full";
    assert!(log.iter().all(|entry| entry["error"] == reason && entry["final"] == true), "{log:?}");
    gate.open();
    here.drained().await;
    let known = ["held-0", "held-19", "held", "retry", "redelivered", "waited"];
    let requests = receiver.requests("/silent");
    let got = |event: &str| requests.iter().filter(|request| request.header("webhook-id") == Some(event)).count();
    assert_eq!((requests.len() + failed().await, known.map(got), overflowed(&here).await), (84, [1; 6], 0));
    here.push("silent", TRANSCRIPT).await;
    receiver.wait_for_ended("/silent", requests.len() + 1, SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_that_no_worker_took_never_fails_for_lack_of_room() {
    const EVENTS: usize = 60;
    let receiver = Receiver::start().await;
    let (here, webhook, gate) = scene(&receiver, 0, &[("LYNKHOOK_HELD__LIMIT", "5")]).await;
    for _ in 0..EVENTS {
        here.push("silent", TRANSCRIPT).await;
    }
    let pushed = here.store.now(0).await.unwrap();
    let is_old = async || (here.store.now(0).await.unwrap() > pushed + Duration::from_secs(3)).then_some(());
    eventually(SOON, "the events are old", is_old).await;
    let _worker = here.program.worker(SMALL);
    let is_held = async || (held(&here, webhook).await == EVENTS - 3).then_some(());
    eventually(SOON, "deliveries that do not fit in flight are held", is_held).await;
    gate.open();
    here.drained().await;
    let failed: usize = here.redis.clone().xlen(here.key(&format!("failed:{webhook}"))).await.unwrap();
    assert_eq!((failed, receiver.requests("/silent").len()), (0, EVENTS));
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_waiting_list_is_full_the_log_says_whether_the_endpoint_is_slow_or_fails() {
    let receiver = Receiver::start().await;
    let settings = [("LYNKHOOK_HELD__LIMIT", "5"), ("LYNKHOOK_DELIVERY__TIMEOUT", "1s")];
    let (here, webhook, _gate) = scene(&receiver, 0, &settings).await;
    let _worker = here.program.worker(SMALL);
    let errors = async || here.log(webhook).await.iter().map(|entry| entry["error"].to_string()).collect::<Vec<_>>();
    for says in ["the endpoint is too slow", "timed out", "the endpoint keeps failing"] {
        for _ in 0..30 {
            here.push("silent", TRANSCRIPT).await;
        }
        let is_said = async || errors().await.iter().any(|error| error.contains(says)).then_some(());
        eventually(SOON, says, is_said).await;
    }
    assert!(errors().await.iter().all(|error| error.contains("timed out") || error.contains("waiting list is full")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_endpoint_that_never_answered_leaves_places_for_others() {
    let receiver = Receiver::start().await;
    let (here, webhook, gate) = scene(&receiver, 0, &[]).await;
    let _worker = here.program.worker(SMALL);
    for _ in 0..30 {
        here.push("silent", TRANSCRIPT).await;
    }
    eventually(SOON, "the rest is held", async || (held(&here, webhook).await == 27).then_some(())).await;
    receiver.wait_for("/silent", 3, SOON).await;
    here.push("quick", TRANSCRIPT).await;
    receiver.wait_for_ended("/quick", 1, SOON).await;
    assert_eq!(receiver.in_flight("/silent"), 3, "the other endpoint did not wait for any of them");
    gate.open();
    here.drained().await;
    assert_eq!(receiver.requests("/silent").len(), 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_endpoints_leave_places_for_a_quick_one() {
    let receiver = Receiver::start().await;
    let (here, _, gate) = scene(&receiver, 0, &[]).await;
    let slow = Answer::Delay(Duration::from_millis(600), Box::new(Answer::Status(200)));
    for path in ["/slow-1", "/slow-2"] {
        let answers = std::iter::repeat_n(slow.clone(), 20).chain([gate.before(Answer::Status(200))]);
        receiver.plan(path, answers.collect::<Vec<_>>());
        here.add(&path[1..], &receiver.url(path)).await;
    }
    let _worker = here.program.worker(SMALL);
    for _ in 0..60 {
        here.push("slow-1", TRANSCRIPT).await;
        here.push("slow-2", TRANSCRIPT).await;
    }
    receiver.wait_for("/slow-1", 23, SOON).await;
    receiver.wait_for("/slow-2", 23, SOON).await;
    here.push("quick", TRANSCRIPT).await;
    receiver.wait_for_ended("/quick", 1, SOON).await;
    let in_flight = receiver.in_flight("/slow-1") + receiver.in_flight("/slow-2");
    assert!(in_flight <= 9, "{in_flight}: nearly half of 16 places is reserved for others");
    gate.open();
    here.drained().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_slow_endpoint_gets_nearly_all_places_although_a_visit_brings_fifty() {
    let receiver = Receiver::start().await;
    receiver.plan("/slow", [Answer::Delay(Duration::from_millis(150), Box::new(Answer::Status(200)))]);
    let here = Installation::new(&receiver).await;
    here.add("slow", &receiver.url("/slow")).await;
    for _ in 0..3000 {
        here.push("slow", TRANSCRIPT).await;
    }
    let _worker = here.program.worker([("LYNKHOOK_WORKER__CONCURRENCY", "240")]);
    eventually(SOON, "an attempt in nearly every place", async || (receiver.in_flight("/slow") >= 200).then_some(()))
        .await;
    here.drained().await;
    assert_eq!(receiver.requests("/slow").len(), 3000);
}
