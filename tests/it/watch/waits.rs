//! The reason for which a delivery waits is counted.

use std::time::Duration;

use super::text::{Metrics, until};
use crate::{health::Probed, support::*};

/// The reasons that this counter has counted.
fn reasons(metrics: &Metrics, name: &str) -> Vec<(String, i64)> {
    let counted = metrics.counted(name).into_iter();
    counted.map(|(labels, count)| (labels.split('"').nth(1).unwrap().to_owned(), count)).collect()
}

fn one(reason: &str, count: i64) -> Vec<(String, i64)> {
    vec![(reason.to_owned(), count)]
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_of_a_new_endpoint_that_does_not_answer_are_held_and_fail_beyond_the_limit() {
    let receiver = Receiver::start().await;
    let gate = Gate::new();
    receiver.plan("/silent", [gate.before(Answer::Status(200))]);
    let here = Installation::new(&receiver).await.with("LYNKHOOK_HELD__LIMIT", "5").await;
    here.add("acme", &receiver.url("/silent")).await;
    // Another endpoint, because one that is alone may use every place.
    here.add("other", &receiver.url("/other")).await;
    receiver.plan("/other", [Answer::Status(200)]);
    let worker = Probed::start(&here.program, None).await;
    here.push("other", TRANSCRIPT).await;
    receiver.wait_for_ended("/other", 1, SOON).await;
    for _ in 0..10 {
        here.push("acme", TRANSCRIPT).await;
    }
    let metrics = until(&worker, "two deliveries that fail for lack of room", |metrics| {
        !reasons(metrics, "lynkhook_no_room_total").is_empty() && metrics.get("lynkhook_in_flight") == 3
    })
    .await;
    assert_eq!(reasons(&metrics, "lynkhook_no_room_total"), one("new", 2));
    assert_eq!(reasons(&metrics, "lynkhook_held_total"), one("new", 5));
    assert_eq!(metrics.get("lynkhook_settled_total{next=\"failed\"}"), 2);
    gate.open();
    here.drained().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_counts_its_own_time_and_its_entry_waited_only_until_it_began() {
    let receiver = Receiver::start().await;
    receiver.plan("/slow", [Answer::Delay(Duration::from_secs(3), Box::new(Answer::Status(200)))]);
    let here = Installation::new(&receiver).await;
    here.add("acme", &receiver.url("/slow")).await;
    let worker = Probed::start(&here.program, None).await;
    here.push("acme", TRANSCRIPT).await;
    let metrics =
        until(&worker, "an attempt", |metrics| metrics.get("lynkhook_attempt_duration_seconds_count") == 1).await;
    let seconds = |name: &str| metrics.exact(&format!("lynkhook_{name}_seconds_sum")).unwrap();
    assert!((3.0..8.0).contains(&seconds("attempt_duration")), "{}", seconds("attempt_duration"));
    assert!(seconds("first_attempt_wait") < 2.5, "{}", seconds("first_attempt_wait"));
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_of_a_webhook_that_is_off_are_held_for_that_reason() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let webhook = here.add("acme", &receiver.url("/off")).await;
    here.program.run(["webhook", "disable", "--account", "acme", &webhook.to_string()]).await;
    let worker = Probed::start(&here.program, None).await;
    for _ in 0..3 {
        here.push("acme", TRANSCRIPT).await;
    }
    let metrics =
        until(&worker, "three held deliveries", |metrics| reasons(metrics, "lynkhook_held_total") == one("off", 3))
            .await;
    assert_eq!(metrics.get("lynkhook_attempt_duration_seconds_count"), 0);
    // Only what was not put aside shows how long the queue takes.
    receiver.plan("/off", [Answer::Status(200)]);
    here.program.run(["webhook", "enable", "--account", "acme", &webhook.to_string()]).await;
    receiver.wait_for("/off", 3, SOON).await;
    here.drained().await;
    let metrics =
        until(&worker, "three deliveries", |metrics| metrics.get("lynkhook_settled_total{next=\"delivered\"}") == 3)
            .await;
    assert_eq!(metrics.get("lynkhook_first_attempt_wait_seconds_count"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_for_which_no_name_server_answers_are_put_off_for_that_reason() {
    let (receiver, dns) = (Receiver::start().await, DnsServer::start().await);
    receiver.plan("/hook", [Answer::Status(200)]);
    dns.set("hooks.test", [receiver.address().ip()]);
    dns.set_down(true);
    let here = Installation::new(&receiver).await;
    here.add("acme", &receiver.url_for("hooks.test", "/hook")).await;
    let worker = Probed::start(&here.program.clone().resolving_with(&dns), None).await;
    here.push("acme", TRANSCRIPT).await;
    let metrics = until(&worker, "a delivery that is put off", |metrics| {
        !reasons(metrics, "lynkhook_retries_put_off_total").is_empty()
    })
    .await;
    assert_eq!(reasons(&metrics, "lynkhook_retries_put_off_total")[0].0, "no_name_server");
    assert_eq!(metrics.counted("lynkhook_attempts_total"), []);
    dns.set_down(false);
    receiver.wait_for("/hook", 1, SOON * 3).await;
}
