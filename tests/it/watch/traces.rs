//! A producer's trace context goes with its event: to the log line of each attempt, and to receivers if they may have it.

use redis::AsyncCommands;
use serde_json::Value;

use crate::support::*;

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Adds an event of the account `acme` with this trace context.
async fn push(here: &Installation, traces: &[&str]) {
    let mut fields = vec![("account", "acme"), ("envelope", TRANSCRIPT), ("id", "e1")];
    fields.extend(traces.iter().map(|trace| ("traceparent", *trace)));
    let () = here.redis.clone().xadd(here.key("queue"), "*", &fields).await.unwrap();
}

/// The trace contexts of the lines of attempts.
fn logged(worker: &Process) -> Vec<Value> {
    let lines = worker.stderr().lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>();
    lines.into_iter().filter(|line| line["message"] == "attempt").map(|line| line["traceparent"].clone()).collect()
}

fn received(receiver: &Receiver, path: &str) -> Vec<Option<String>> {
    receiver.requests(path).iter().map(|request| request.header("traceparent").map(str::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_through_fan_out_retry_waiting_and_redelivery_into_each_log_line_and_to_receivers() {
    for is_sent in [false, true] {
        let receiver = Receiver::start().await;
        receiver.plan("/flaky", [Answer::Status(500), Answer::Status(200)]);
        receiver.plan("/off", [Answer::Status(404), Answer::Status(200)]);
        let here = Installation::new(&receiver).await;
        let flaky = here.add("acme", &receiver.url("/flaky")).await;
        let off = here.add("acme", &receiver.url("/off")).await.to_string();
        let run = async |words: &str| {
            let output = here.program.run(words.split(' ')).await;
            assert_eq!(output.code, Some(0), "{words}: {output:?}");
        };
        run(&format!("webhook disable --account acme {off}")).await;
        let worker = here.program.worker([
            TELLING[0],
            TELLING[1],
            ("LYNKHOOK_DELIVERY__RETRY_DELAYS", "10ms"),
            ("LYNKHOOK_DELIVERY__SEND_TRACEPARENT", if is_sent { "true" } else { "false" }),
        ]);
        push(&here, &[TRACE]).await;
        receiver.wait_for("/flaky", 2, SOON).await;
        here.drained().await;
        run(&format!("webhook enable --account acme {off}")).await;
        receiver.wait_for("/off", 1, SOON).await;
        eventually(SOON, "a failed delivery", async || {
            let failed: usize = here.redis.clone().xlen(here.key(&format!("failed:{off}"))).await.unwrap();
            (failed == 1).then_some(())
        })
        .await;
        run(&format!("webhook redeliver --account acme {off} --delivery e1.{off}")).await;
        receiver.wait_for("/off", 2, SOON).await;
        here.drained().await;
        assert_eq!(here.log(flaky).await.len(), 2);
        assert_eq!(logged(&worker), [TRACE; 4]);
        let expected = is_sent.then(|| TRACE.to_owned());
        for path in ["/flaky", "/off"] {
            assert_eq!(received(&receiver, path), [expected.clone(), expected.clone()], "{path} {is_sent}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_with_a_trace_that_is_none_or_with_two_is_delivered_without() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(200)]);
    let here = Installation::new(&receiver).await;
    here.add("acme", &receiver.url("/hook")).await;
    let sent = ("LYNKHOOK_DELIVERY__SEND_TRACEPARENT", "true");
    let worker = here.program.worker([TELLING[0], TELLING[1], sent]);
    let zeros = TRACE.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32));
    let strange: [&[&str]; 5] = [&[], &["x\r\nInjected: 1"], &[&zeros], &[TRACE, TRACE], &[&TRACE.to_uppercase()]];
    for traces in strange {
        push(&here, traces).await;
    }
    receiver.wait_for("/hook", 5, SOON).await;
    here.drained().await;
    assert_eq!(received(&receiver, "/hook"), [const { None }; 5]);
    assert!(receiver.requests("/hook").iter().all(|request| request.header("injected").is_none()));
    assert_eq!(logged(&worker), [const { Value::Null }; 5]);
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
