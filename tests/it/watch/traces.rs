//! A producer's trace context goes with its event: to the log line of each attempt, and to receivers if they may have it.

use lynkhook::webhooks::NewAuthentication;
use redis::AsyncCommands;
use serde_json::Value;

use crate::support::*;

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Adds an event of the account `acme` with these fields `traceparent`.
async fn push(here: &Installation, traces: &[&str]) {
    let mut fields = vec![("account", "acme"), ("envelope", TRANSCRIPT), ("id", "e1")];
    fields.extend(traces.iter().map(|trace| ("traceparent", *trace)));
    let () = here.redis.clone().xadd(here.key("queue"), "*", &fields).await.unwrap();
}

/// Runs a command that succeeds.
async fn run(here: &Installation, words: &str) {
    let output = here.program.run(words.split(' ')).await;
    assert_eq!(output.code, Some(0), "{words}: {output:?}");
}

/// Starts a worker that logs attempts.
pub(crate) fn telling_worker(here: &Installation, is_sent: bool) -> Process {
    here.program.worker([
        TELLING[0],
        TELLING[1],
        ("LYNKHOOK_DELIVERY__RETRY_DELAYS", "10ms"),
        ("LYNKHOOK_DELIVERY__SEND_TRACEPARENT", if is_sent { "true" } else { "false" }),
    ])
}

/// The trace contexts of the lines with this message, once there are so many; `null` for a line without.
pub(crate) async fn logged(worker: &Process, message: &str, count: usize) -> Vec<Value> {
    let lines = eventually(SOON, &format!("{count} lines {message:?}"), async || {
        let all = worker.stderr();
        let lines = all.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let lines: Vec<Value> = lines.filter(|line| line["message"] == message).collect();
        (lines.len() >= count).then_some(lines)
    })
    .await;
    lines.into_iter().map(|line| line["traceparent"].clone()).collect()
}

/// The header `traceparent` of each request.
pub(crate) fn received(receiver: &Receiver, path: &str) -> Vec<Option<String>> {
    let requests = receiver.requests(path).into_iter();
    requests
        .map(|request| {
            assert!(request.headers.get_all("traceparent").iter().count() < 2, "{request:?}");
            request.header("traceparent").map(str::to_owned)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_through_fan_out_retry_waiting_and_redelivery_into_each_log_line_and_to_receivers() {
    for is_sent in [false, true] {
        let receiver = Receiver::start().await;
        receiver.plan("/flaky", [Answer::Status(500), Answer::Status(200)]);
        receiver.plan("/off", [Answer::Status(404), Answer::Status(200)]);
        let here = Installation::new(&receiver).await;
        let flaky = here.add("acme", &receiver.url("/flaky")).await;
        let token = NewAuthentication::Bearer("t0ken".into());
        let off = here.add_with("acme", &receiver.url("/off"), token, false).await.to_string();
        let worker = telling_worker(&here, is_sent);
        push(&here, &[TRACE]).await;
        receiver.wait_for("/flaky", 2, SOON).await;
        here.drained().await;
        run(&here, &format!("webhook enable --account acme {off}")).await;
        receiver.wait_for("/off", 1, SOON).await;
        eventually(SOON, "a failed delivery", async || {
            let failed: usize = here.redis.clone().xlen(here.key(&format!("failed:{off}"))).await.unwrap();
            (failed == 1).then_some(())
        })
        .await;
        run(&here, &format!("webhook redeliver --account acme {off} --delivery e1.{off}")).await;
        receiver.wait_for("/off", 2, SOON).await;
        here.drained().await;
        assert_eq!(here.log(flaky).await.len(), 2);
        assert_eq!(logged(&worker, "attempt", 4).await, [TRACE; 4]);
        let expected = is_sent.then(|| TRACE.to_owned());
        for path in ["/flaky", "/off"] {
            assert_eq!(received(&receiver, path), [expected.clone(), expected.clone()], "{path} {is_sent}");
        }
        let has_token = |request: &Received| request.header("authorization") == Some("Bearer t0ken");
        assert!(receiver.requests("/off").iter().all(has_token));
        // A test is an event of no producer.
        receiver.plan("/off", [Answer::Status(200)]);
        run(&here, &format!("webhook test --account acme {off}")).await;
        assert_eq!(received(&receiver, "/off")[2], None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_is_in_the_line_of_an_event_that_is_set_aside_and_goes_on_when_it_is_requeued() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(200)]);
    let here = Installation::new(&receiver).await;
    here.add("acme", &receiver.url("/hook")).await;
    push(&here, &[TRACE]).await;
    // The entry is as if six workers had died of it.
    let queue = here.key("queue");
    let _: String = here.cli(&format!("XGROUP CREATE {queue} workers 0")).await;
    let _: redis::Value = here.cli(&format!("XREADGROUP GROUP workers dead STREAMS {queue} >")).await;
    let entries: Vec<(String, Vec<String>)> = here.cli(&format!("XRANGE {queue} - +")).await;
    let entry = &entries[0].0;
    let _: redis::Value = here.cli(&format!("XCLAIM {queue} workers dead 0 {entry} IDLE 60000 RETRYCOUNT 6")).await;
    let worker = telling_worker(&here, true);
    assert_eq!(logged(&worker, "an entry is to be set aside", 1).await, [TRACE]);
    eventually(SOON, "a rejected entry", async || (here.rejected().await.len() == 1).then_some(())).await;
    run(&here, "queue rejected requeue --all").await;
    receiver.wait_for("/hook", 1, SOON).await;
    here.drained().await;
    assert_eq!(logged(&worker, "attempt", 1).await, [TRACE]);
    assert_eq!(received(&receiver, "/hook"), [Some(TRACE.to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_with_an_invalid_trace_is_delivered_without_it() {
    let receiver = Receiver::start().await;
    receiver.plan_each("/hook", |_| Answer::Status(200));
    let here = Installation::new(&receiver).await;
    let webhook = here.add("acme", &receiver.url("/hook")).await;
    let worker = telling_worker(&here, true);
    let injected = format!("{TRACE}\r\nInjected: 1");
    let zeros = TRACE.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32));
    let invalid: [&[&str]; 6] = [&[], &["x"], &[&injected], &[&zeros], &[TRACE, "x"], &[&TRACE.to_uppercase()]];
    for traces in invalid {
        push(&here, traces).await;
    }
    // A delivery that was written by hand.
    let line = first("acme", webhook, "e1").line();
    let line = line.replace('}', &format!(r#","traceparent":{}}}"#, serde_json::to_string(&injected).unwrap()));
    let delivery = format!("{line}\n{TRANSCRIPT}");
    let () = here.redis.clone().xadd(here.key("queue"), "*", &[("delivery", delivery)]).await.unwrap();
    receiver.wait_for("/hook", 7, SOON).await;
    here.drained().await;
    assert_eq!(received(&receiver, "/hook"), [const { None }; 7]);
    assert!(receiver.requests("/hook").iter().all(|request| request.header("injected").is_none()));
    assert_eq!(logged(&worker, "attempt", 7).await, [const { Value::Null }; 7]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_traces_of_an_entry_the_last_counts_and_a_later_version_is_written_as_00() {
    let receiver = Receiver::start().await;
    receiver.plan_each("/hook", |_| Answer::Status(200));
    let here = Installation::new(&receiver).await;
    here.add("acme", &receiver.url("/hook")).await;
    let worker = telling_worker(&here, true);
    push(&here, &["x", TRACE]).await;
    push(&here, &[&format!("01{}-what\r\nComes: next", &TRACE[2..])]).await;
    receiver.wait_for("/hook", 2, SOON).await;
    here.drained().await;
    assert_eq!(received(&receiver, "/hook"), [const { Some(TRACE) }; 2].map(|trace| trace.map(str::to_owned)));
    assert_eq!(logged(&worker, "attempt", 2).await, [TRACE; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_is_neither_true_nor_false_is_refused() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let output = here.program.clone().env("LYNKHOOK_DELIVERY__SEND_TRACEPARENT", "yes").run(["worker"]).await;
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(
        output.stderr.contains("delivery.send_traceparent") && output.stderr.contains("true or false"),
        "{output:?}"
    );
}
