//! One bad endpoint hurts nobody else: it has little in flight, what is beyond waits beside the queue, and is
//! delivered in the end, or fails where it is more than the endpoint can make up for.

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

/// Three events for `/bad`, one after the other.
async fn until_known_to_fail(here: &Installation, receiver: &Receiver) {
    for number in 1..=3 {
        here.push("bad", TRANSCRIPT).await;
        receiver.wait_for_ended("/bad", number, SOON).await;
    }
}

/// Once `/quick` was heard of, and then an hour passed without answers at `/silent`.
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
    assert!((1..=8).contains(&in_flight), "half of 16 places is never its: {in_flight}");
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
async fn a_silent_endpoints_large_events_leave_others_their_part_of_the_bytes_that_may_be_in_hand() {
    let receiver = Receiver::start().await;
    let (here, webhook, gate) = scene(&receiver, 0, &[]).await;
    let large = envelope_of(100 << 10);
    for _ in 0..60 {
        here.push("silent", &large).await;
        here.push("quick", TRANSCRIPT).await;
    }
    // Twenty of them are as much as may be in hand; a quarter of the places would be 64.
    let _worker = here.program.worker([("LYNKHOOK_WORKER__MAX_BYTES", "2MiB")]);
    receiver.wait_for_ended("/quick", 60, SOON).await;
    let in_flight = receiver.in_flight("/silent");
    assert!((1..=10).contains(&in_flight), "half of the bytes is never its: {in_flight}");
    let rest_is_held = async || (held(&here, webhook).await + receiver.in_flight("/silent") == 60).then_some(());
    eventually(SOON, "the rest is held", rest_is_held).await;
    gate.open();
    here.drained().await;
    assert_eq!((receiver.requests("/silent").len(), held(&here, webhook).await), (60, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_slow_endpoint_cannot_make_up_for_fails_but_nothing_that_was_held_before() {
    let receiver = Receiver::start().await;
    let (here, webhook, gate) = scene(&receiver, 60, &[("LYNKHOOK_HELD__LIMIT", "5")]).await;
    let delivery = |event: &str| first("silent", webhook, event);
    let mut redis = here.redis.clone();
    // More is held than may be, and is visited when anything more comes.
    for number in 0..20 {
        let fields = [("delivery", text(&delivery(&format!("held-{number}")), TRANSCRIPT))];
        let _: () = redis.xadd(here.key(&format!("held:{webhook}")), "*", &fields).await.unwrap();
    }
    let redelivered = Delivery { redelivery: Some(1), ..delivery("redelivered") };
    for (known, mark) in
        [(delivery("retry").next_attempt(), None), (redelivered, None), (delivery("held"), Some("1-1"))]
    {
        let mut fields = vec![("delivery", text(&known, TRANSCRIPT))];
        fields.extend(mark.map(|held| ("held", held.to_owned())));
        let _: () = redis.xadd(here.key("queue"), "*", &fields).await.unwrap();
    }
    let _worker = here.program.worker(SMALL);
    receiver.wait_for_ended("/quick", 60, SOON).await;
    let failed = async || redis.clone().xlen::<_, usize>(here.key(&format!("failed:{webhook}"))).await.unwrap();
    let in_flight = async || {
        let in_flight = receiver.in_flight("/silent");
        (failed().await + held(&here, webhook).await + in_flight == 83).then_some(in_flight)
    };
    let in_flight = eventually(SOON, "each is in flight, held or failed", in_flight).await;
    assert!((1..=8).contains(&in_flight), "half of 16 places is never its: {in_flight}");
    let failed_then = failed().await;
    assert!(failed_then > 40, "{failed_then}");
    let log = here.log(webhook).await;
    let reason = "not attempted: this endpoint does not keep up, and as many deliveries as may wait for it do";
    assert!(log.iter().all(|entry| entry["error"] == reason && entry["final"] == true), "{log:?}");
    gate.open();
    here.drained().await;
    let known = ["held-0", "held-19", "held", "retry", "redelivered"];
    let requests = receiver.requests("/silent");
    let got = |event: &str| requests.iter().filter(|request| request.header("webhook-id") == Some(event)).count();
    assert_eq!((requests.len() + failed().await, known.map(got), overflowed(&here).await), (83, [1; 5], 0));
    here.push("silent", TRANSCRIPT).await;
    here.push("quick", TRANSCRIPT).await;
    receiver.wait_for_ended("/silent", requests.len() + 1, SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quick_endpoints_deliveries_for_which_there_is_neither_place_nor_room_are_attempted_all_the_same() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await.with("LYNKHOOK_HELD__LIMIT", "1").await;
    receiver.plan("/quick", [Answer::Delay(Duration::from_millis(20), Box::new(Answer::Status(200)))]);
    receiver.plan("/other", [Answer::Status(200)]);
    let quick = here.add("quick", &receiver.url("/quick")).await;
    here.add("other", &receiver.url("/other")).await;
    let _worker = here.program.worker(SMALL);
    // Connections cost time: it is not quick from the first on.
    for count in [1, 1, 1, 1, 1, 1, 1, 1, 300] {
        for _ in 0..count {
            here.push("other", TRANSCRIPT).await;
            here.push("quick", TRANSCRIPT).await;
        }
        here.drained().await;
    }
    let failed: usize = here.redis.clone().xlen(here.key(&format!("failed:{quick}"))).await.unwrap();
    assert_eq!((receiver.requests("/quick").len() + failed, overflowed(&here).await), (308, 0));
    // One may be held, 14 be in flight. With this machine under load, for a moment it is not quick.
    assert!(failed < 100, "{failed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_failing_endpoint_cannot_have_held_fails_whole_and_says_so_in_the_log() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await.with("LYNKHOOK_HELD__LIMIT", "5").await;
    receiver.plan("/bad", [Answer::ResetBeforeHeaders]);
    let bad = here.add("bad", &receiver.url("/bad")).await;
    let _worker = here.program.worker([("LYNKHOOK_DELIVERY__RETRY_DELAYS", "60s,60s")]);
    until_known_to_fail(&here, &receiver).await;
    for _ in 0..30 {
        here.push("bad", TRANSCRIPT).await;
    }
    let failed = eventually(SOON, "each is in one place", async || {
        let mut redis = here.redis.clone();
        let retries: usize = redis.zcard(here.key("retries")).await.unwrap();
        let queued: usize = redis.xlen(here.key("queue")).await.unwrap();
        let failed: usize = redis.xlen(here.key(&format!("failed:{bad}"))).await.unwrap();
        (queued == 0 && retries + held(&here, bad).await + failed == 33).then_some(failed)
    })
    .await;
    assert!(failed > 10 && overflowed(&here).await == 0, "{failed} failed");
    let not_attempted = "not attempted: this endpoint keeps failing, and as many deliveries as may wait for it do";
    let log = here.log(bad).await;
    let so_logged: Vec<_> = log.iter().filter(|entry| entry["error"] == not_attempted).collect();
    assert_eq!(so_logged.len(), failed, "{log:?}");
    assert!(so_logged.iter().all(|entry| entry["status"] == "failed" && entry["attempt"] == 1), "{so_logged:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_alone_may_use_the_whole_worker_however_slow_it_is() {
    let receiver = Receiver::start().await;
    let (gate, here) = (Gate::new(), Installation::new(&receiver).await);
    let answers = Answer::Delay(Duration::from_secs(1), Box::new(Answer::Status(200)));
    receiver.plan("/slow", [answers, gate.before(Answer::Status(200))]);
    let webhook = here.add("slow", &receiver.url("/slow")).await;
    let _worker = here.program.worker(SMALL);
    here.push("slow", TRANSCRIPT).await;
    here.drained().await;
    for _ in 0..20 {
        here.push("slow", TRANSCRIPT).await;
    }
    receiver.wait_for("/slow", 1 + 16, SOON).await;
    assert_eq!((receiver.in_flight("/slow"), held(&here, webhook).await), (16, 0));
    gate.open();
    here.drained().await;
    assert_eq!(receiver.requests("/slow").len(), 21);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_never_answered_leaves_places_to_whoever_comes_though_it_is_alone() {
    let receiver = Receiver::start().await;
    let (here, webhook, gate) = scene(&receiver, 0, &[]).await;
    let _worker = here.program.worker(SMALL);
    for _ in 0..30 {
        here.push("silent", TRANSCRIPT).await;
    }
    eventually(SOON, "the rest is held", async || (held(&here, webhook).await == 26).then_some(())).await;
    receiver.wait_for("/silent", 4, SOON).await;
    here.push("quick", TRANSCRIPT).await;
    receiver.wait_for_ended("/quick", 1, SOON).await;
    assert_eq!(receiver.in_flight("/silent"), 4, "it did not have to wait for any of them");
    gate.open();
    here.drained().await;
    assert_eq!(receiver.requests("/silent").len(), 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_others_are_slow_they_still_leave_places_to_one_that_is_not() {
    let receiver = Receiver::start().await;
    let (here, _, gate) = scene(&receiver, 0, &[]).await;
    let slow = Answer::Delay(Duration::from_secs(1), Box::new(Answer::Status(200)));
    for path in ["/slow-1", "/slow-2"] {
        receiver.plan(path, [slow.clone(), gate.before(Answer::Status(200))]);
        here.add(&path[1..], &receiver.url(path)).await;
    }
    let _worker = here.program.worker(SMALL);
    for count in [1, 30] {
        for _ in 0..count {
            here.push("slow-1", TRANSCRIPT).await;
            here.push("slow-2", TRANSCRIPT).await;
        }
        if count == 1 {
            here.drained().await;
        }
    }
    receiver.wait_for("/slow-1", 3, SOON).await;
    receiver.wait_for("/slow-2", 3, SOON).await;
    here.push("quick", TRANSCRIPT).await;
    receiver.wait_for_ended("/quick", 1, SOON).await;
    let in_flight = receiver.in_flight("/slow-1") + receiver.in_flight("/slow-2");
    assert!(in_flight <= 8, "{in_flight}: half of 16 places is never theirs");
    gate.open();
    here.drained().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_endpoint_is_asked_by_one_at_a_time_and_recovers_without_a_stampede() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let recovered = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_well = recovered.clone();
    receiver.plan_each("/bad", move |_| {
        if is_well.load(std::sync::atomic::Ordering::SeqCst) {
            Answer::Delay(Duration::from_millis(20), Box::new(Answer::Status(200)))
        } else {
            Answer::ResetBeforeHeaders
        }
    });
    receiver.plan("/quick", [Answer::Status(200)]);
    let bad = here.add("bad", &receiver.url("/bad")).await;
    here.add("quick", &receiver.url("/quick")).await;
    let worker = here.program.worker([("LYNKHOOK_DELIVERY__RETRY_DELAYS", "60s,60s")]);
    until_known_to_fail(&here, &receiver).await;
    for _ in 0..200 {
        here.push("bad", TRANSCRIPT).await;
        here.push("quick", TRANSCRIPT).await;
    }
    receiver.wait_for_ended("/quick", 200, SOON).await;
    receiver.wait_for_ended("/bad", 6, SOON).await;
    recovered.store(true, std::sync::atomic::Ordering::SeqCst);
    let before = receiver.requests("/bad").len();
    assert!(before < 30, "{before} attempts at an endpoint that fails");
    eventually(SOON, "nothing held and nothing queued", async || {
        let queued: usize = here.redis.clone().xlen(here.key("queue")).await.unwrap();
        (held(&here, bad).await + queued == 0).then_some(())
    })
    .await;
    drop(worker);
    let requests: Vec<_> = receiver.requests("/bad").split_off(before);
    let mut most = 0;
    for (number, request) in requests.iter().enumerate() {
        let earlier = &requests[..number];
        let answered = earlier.iter().filter(|other| other.ended.is_some_and(|ended| ended <= request.arrived)).count();
        let in_flight = 1 + earlier.len() - answered;
        // One more with each answer; one of the failures may have been under way.
        assert!(in_flight <= answered + 2, "{in_flight} in flight after {answered} answers");
        most = most.max(in_flight);
    }
    assert!(most > 8, "once it is well, it gets more than a trickle: {most}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_takes_its_time_and_is_alone_gets_all_places_back_though_a_visit_brings_fifty() {
    let receiver = Receiver::start().await;
    receiver.plan("/slow", [Answer::Delay(Duration::from_millis(150), Box::new(Answer::Status(200)))]);
    let here = Installation::new(&receiver).await;
    here.add("slow", &receiver.url("/slow")).await;
    for _ in 0..1500 {
        here.push("slow", TRANSCRIPT).await;
    }
    let _worker = here.program.worker([("LYNKHOOK_WORKER__CONCURRENCY", "240")]);
    eventually(SOON, "an attempt in every place", async || (receiver.in_flight("/slow") >= 225).then_some(())).await;
    here.drained().await;
    assert_eq!(receiver.requests("/slow").len(), 1500);
}
