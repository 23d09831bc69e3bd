//! A worker counts what it did, exactly.

use std::{collections::HashMap, net::IpAddr};

use super::text::{Metrics, until};
use crate::{claim::QUICK, health::Probed, support::*};

/// The sum of all outcomes of an event type.
fn attempts(metrics: &Metrics, outcome: &str, event: &str) -> i64 {
    metrics.get(&format!("lynkhook_attempts_total{{outcome=\"{outcome}\",event=\"{event}\"}}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_are_counted_by_outcome_and_event_type_and_deliveries_by_what_follows() {
    let receiver = Receiver::start().await;
    receiver.plan("/good", [Answer::Status(204)]);
    receiver.plan("/flaky", [Answer::Status(503), Answer::Status(200)]);
    receiver.plan("/gone", [Answer::Status(410)]);
    let types = r#"{ "order.placed" = { description = "An order" } }"#;
    let here = Installation::new(&receiver).await.with("LYNKHOOK_EVENT__TYPES", types).await;
    let here = here.with("LYNKHOOK_DELIVERY__RETRY_DELAYS", "100ms").await.allowing_hosts(&["localhost", "hooks.test"]);
    here.add("good", &receiver.url("/good")).await;
    here.add("flaky", &receiver.url("/flaky")).await;
    here.add("gone", &receiver.url("/gone")).await;
    here.add("closed", &format!("https://localhost:{}/", refused_port())).await;
    let worker = Probed::start(&here.program, None).await;
    for account in ["good", "good", "flaky", "gone", "closed"] {
        here.push(account, TRANSCRIPT).await;
    }
    here.push("good", TRANSCRIPT.replace("transcript.created", "order.placed")).await;
    here.push("nobody", TRANSCRIPT).await;
    here.push("good", "no event").await;
    here.drained().await;

    let metrics =
        until(&worker, "the last attempt", |metrics| metrics.get("lynkhook_attempt_duration_seconds_count") == 8).await;
    let event = "transcript.created";
    assert_eq!(attempts(&metrics, "delivered", event), 3);
    assert_eq!(attempts(&metrics, "delivered", "order.placed"), 1);
    assert_eq!(attempts(&metrics, "http_5xx", event), 1);
    assert_eq!(attempts(&metrics, "http_other", event), 1);
    assert_eq!(attempts(&metrics, "network_error", event), 2, "two attempts at a closed port");
    assert_eq!(metrics.counted("lynkhook_attempts_total").iter().map(|(_, count)| count).sum::<i64>(), 8);
    let next =
        ["delivered", "retry", "failed"].map(|next| metrics.get(&format!("lynkhook_settled_total{{next=\"{next}\"}}")));
    assert_eq!(next, [4, 2, 2]);
    assert_eq!(metrics.get("lynkhook_first_attempt_wait_seconds_count"), 6, "retries did not wait in the queue");
    assert_eq!(metrics.get("lynkhook_first_attempt_wait_seconds_bucket{le=\"30\"}"), 6);
    assert_eq!(metrics.get("lynkhook_rejected_total"), 1);
    assert_eq!((metrics.get("lynkhook_in_flight"), metrics.get("lynkhook_concurrency")), (0, 256));
    assert!((0.0..=1.0).contains(&metrics.exact("lynkhook_busy_ratio").unwrap()));
    // Redis's own figures may be up to five seconds old.
    until(&worker, "the figures of the queue", |metrics| {
        let dropped = metrics.counted("lynkhook_dropped_total");
        metrics.get("lynkhook_queue_rejected{partition=\"0\"}") == 1
            && metrics.get("lynkhook_queue_depth{partition=\"0\"}") == 0
            && dropped == [("{cause=\"events_without_webhook\",partition=\"0\"}".to_owned(), 1)]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_refused_and_an_event_type_that_left_the_catalogue_have_their_own_counts() {
    let (receiver, dns) = (Receiver::start().await, DnsServer::start().await);
    dns.set("localhost", [receiver.address().ip()]);
    dns.set("private.hooks.test", [IpAddr::from([10, 0, 0, 1])]);
    receiver.plan("/late", [Answer::Status(500), Answer::Status(200)]);
    let types = r#"{ "order.placed" = { description = "An order" } }"#;
    let here = Installation::new(&receiver).await.with("LYNKHOOK_EVENT__TYPES", types).await;
    let here = here.allowing_hosts(&["private.hooks.test"]);
    here.add("late", &receiver.url("/late")).await;
    here.add("private", "https://private.hooks.test/").await;
    let mut first = here.program.worker([]);
    first.wait_for_line("worker started").await;
    here.push("late", TRANSCRIPT.replace("transcript.created", "order.placed")).await;
    receiver.wait_for("/late", 1, SOON).await;
    first.sigterm();
    assert_eq!(first.wait().await, Some(0));
    // The next worker does not know the type of the retry.
    let program = here.program.clone().resolving_with(&dns).env("LYNKHOOK_EVENT__TYPES", "{}");
    let worker = Probed::start(&program, None).await;
    receiver.wait_for("/late", 2, SOON).await;
    here.push("private", TRANSCRIPT).await;
    here.drained().await;
    let metrics =
        until(&worker, "both attempts", |metrics| metrics.get("lynkhook_attempt_duration_seconds_count") == 2).await;
    assert_eq!(attempts(&metrics, "delivered", "other"), 1);
    assert_eq!(attempts(&metrics, "address_refused", "transcript.created"), 1);
    assert!(metrics.find("lynkhook_attempts_total{outcome=\"delivered\",event=\"order.placed\"}").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_workers_of_a_process_count_together() {
    let receiver = Receiver::start().await;
    let gate = Gate::new();
    receiver.plan("/hook", [gate.before(Answer::Status(200))]);
    let here = Installation::new(&receiver).await;
    for number in 0..20 {
        here.add(&format!("account{number}"), &receiver.url("/hook")).await;
    }
    let worker = Probed::start(&here.program, Some(("LYNKHOOK_WORKER__THREADS", "2"))).await;
    for number in 0..20 {
        here.push(&format!("account{number}"), TRANSCRIPT).await;
    }
    let metrics = until(&worker, "twenty attempts in flight", |metrics| metrics.get("lynkhook_in_flight") == 20).await;
    assert_eq!(metrics.get("lynkhook_concurrency"), 256);
    assert_eq!(metrics.get("lynkhook_attempt_duration_seconds_count"), 0, "an attempt counts when it has ended");
    gate.open();
    here.drained().await;
    until(&worker, "twenty deliveries", |metrics| metrics.get("lynkhook_settled_total{next=\"delivered\"}") == 20)
        .await;
}

/// The counts of lost leases and of orphans at a worker that takes over three entries of a killed one. If `is_forgotten`,
/// somebody deleted the killed one from the consumer group.
async fn after_a_kill(is_forgotten: bool) -> [i64; 2] {
    let receiver = Receiver::start().await;
    let gate = Gate::new();
    receiver.plan("/hook", [gate.before(Answer::Status(200))]);
    let here = Installation::new(&receiver).await;
    let program = QUICK.into_iter().fold(here.program.clone(), |program, (name, value)| program.env(name, value));
    for number in 0..3 {
        here.add(&format!("account{number}"), &receiver.url("/hook")).await;
    }
    let mut killed = program.worker([]);
    for number in 0..3 {
        here.push(&format!("account{number}"), TRANSCRIPT).await;
    }
    receiver.wait_for("/hook", 3, SOON).await;
    killed.kill9().await;
    let queue = here.key("queue");
    let consumers: Vec<HashMap<String, redis::Value>> = here.cli(&format!("XINFO CONSUMERS {queue} workers")).await;
    let name: String = redis::from_redis_value(consumers[0]["name"].clone()).unwrap();
    if is_forgotten {
        assert_eq!(here.cli::<u64>(&format!("XGROUP DELCONSUMER {queue} workers {name}")).await, 3);
    }
    gate.open();
    let worker = Probed::start(&program, None).await;
    receiver.wait_for("/hook", 6, SOON * 3).await;
    here.drained().await;
    let metrics = Metrics::of(&worker).await;
    ["leases_lost", "orphans"].map(|name| metrics.get(&format!("lynkhook_{name}_total")))
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_of_a_dead_worker_count_as_lost() {
    assert_eq!(after_a_kill(false).await, [3, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_nobody_held_count_as_orphans_and_not_as_lost() {
    assert_eq!(after_a_kill(true).await, [0, 3]);
}
