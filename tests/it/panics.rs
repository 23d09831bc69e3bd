//! Panics are faults of this program. One in a delivery's task costs that delivery an attempt's time and nothing else;
//! one in a loop of the worker ends the worker in good order, because without that loop it would do harm.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::*;

/// Leases that end soon, and enough time for an answer.
const QUICK: [(&str, &str); 5] = [
    ("LYNKHOOK_WORKER__LEASE", "4200ms"),
    ("LYNKHOOK_WORKER__RENEW_EVERY", "200ms"),
    ("LYNKHOOK_WORKER__START_WITHIN", "700ms"),
    ("LYNKHOOK_WORKER__CLAIM_EVERY", "300ms"),
    ("LYNKHOOK_DELIVERY__TIMEOUT", "1500ms"),
];

/// A worker that panics once, at this point.
fn panicking(here: &Installation, point: &str, concurrency: &str) -> Process {
    let program = here.program.clone().env("LYNKHOOK_PANIC", point);
    program.env("LYNKHOOK_WORKER__CONCURRENCY", concurrency).worker(QUICK)
}

/// The JSON lines of the log with this message.
fn lines(worker: &Process, message: &str) -> Vec<Value> {
    let lines = worker.stderr();
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("{line}: {e}")));
    lines.filter(|line| line["message"].as_str().is_some_and(|text| text.starts_with(message))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_panics_is_lost_once_and_its_worker_logs_and_counts_it_and_goes_on() {
    for (point, requests) in [("before-request:broken", 1), ("after-request:broken", 2)] {
        let receiver = Receiver::start().await;
        receiver.plan("/hook", [Answer::Status(200)]);
        receiver.plan("/broken", [Answer::Status(200)]);
        let here = Installation::new(&receiver).await;
        let (broken, other) =
            (here.add("broken", &receiver.url("/broken")).await, here.add("fine", &receiver.url("/hook")).await);
        // There is a single slot and place, so anything that the panic fails to release would stop the worker.
        let mut worker = panicking(&here, point, "1");
        here.push("broken", TRANSCRIPT).await;
        for _ in 0..5 {
            here.push("fine", TRANSCRIPT).await;
        }
        here.drained().await;
        let log = |log: Vec<Value>| {
            json!(log.iter().map(|entry| [&entry["attempt"], &entry["httpStatus"]]).collect::<Vec<_>>())
        };
        assert_eq!(log(here.log(broken).await), json!([[1, 200]]), "{point}");
        assert_eq!(log(here.log(other).await), json!([[1, 200], [1, 200], [1, 200], [1, 200], [1, 200]]), "{point}");
        let seen = receiver.requests("/broken");
        assert_eq!(seen.len(), requests, "{point}");
        assert!(seen.iter().all(|request| request.header("webhook-id") == seen[0].header("webhook-id")), "{point}");

        let told = lines(&worker, "panic: this is a bug in Lynkhook");
        assert_eq!(told.len(), 1, "{point}: {}", worker.stderr());
        let [level, file, thread, reason] = ["level", "file", "thread", "reason"].map(|field| told[0][field].as_str());
        assert_eq!((level, file, thread), (Some("ERROR"), Some("src/failpoint.rs"), Some("main")), "{point}");
        assert!(told[0]["line"].is_u64() && reason == Some("a test wanted a panic here"), "{point}: {}", told[0]);
        let of_entry = lines(&worker, "the task of an entry panicked; the entry stays pending");
        assert_eq!((of_entry.len(), &of_entry[0]["partition"]), (1, &json!(0)), "{point}: {}", worker.stderr());
        eventually(SOON, "the panic to be counted", async || {
            let status = here.program.json(["queue", "status"]).await;
            (status["workers"][0]["panics"] == 1).then_some(())
        })
        .await;
        let status = here.program.run(["queue", "status"]).await.stdout;
        assert!(status.contains("1 panic in "), "{point}: {status}");
        worker.sigterm();
        assert_eq!(worker.wait().await, Some(0), "{point}: the worker worked to the end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_that_panics_ends_its_worker_in_good_order_and_the_next_worker_does_the_rest() {
    let points = ["settle", "renew", "promote", "claim", "read", "publish", "leave"];
    let tried = points.map(|step| async move {
        let receiver = Receiver::start().await;
        receiver.plan("/hook", [Answer::Delay(Duration::from_millis(800), Box::new(Answer::Status(200)))]);
        let here = Installation::new(&receiver).await;
        let webhook = here.add("acme", &receiver.url("/hook")).await;
        here.push("acme", TRANSCRIPT).await;
        let mut worker = panicking(&here, &format!("before-{step}"), "8");
        assert_eq!(worker.wait().await, Some(1), "{step}: {}", worker.stderr());
        worker.wait_for_line("error: the worker stopped by a fault of this program: one of its loops panicked").await;
        let said = worker.stderr();
        assert!(said.contains("panic: this is a bug in Lynkhook"), "{step}: {said}");
        assert!(
            said.contains("stopping: no more entries are taken") && said.contains("worker stopped"),
            "{step}: {said}"
        );
        let _next = here.program.worker(QUICK);
        here.drained().await;
        let log = here.log(webhook).await;
        assert_eq!((log.len(), &log[0]["attempt"], &log[0]["final"]), (1, &json!(1), &json!(true)), "{step}");
        // Only an attempt that could not be settled is repeated.
        let requests = receiver.requests("/hook").len();
        assert_eq!(requests, if step == "settle" { 2 } else { 1 }, "{step}");
    });
    // All on one thread: these futures lend captured values to others, and the compiler cannot prove that they are
    // `Send`.
    let mut all = tokio::task::JoinSet::new();
    let every = async {
        for one in tried {
            all.spawn_local(one);
        }
        while let Some(held) = all.join_next().await {
            held.unwrap();
        }
    };
    Box::pin(tokio::task::LocalSet::new().run_until(every)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_signal_after_a_loop_panicked_is_not_taken_for_the_second() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Delay(Duration::from_millis(1200), Box::new(Answer::Status(200)))]);
    let here = Installation::new(&receiver).await;
    here.add("acme", &receiver.url("/hook")).await;
    here.push("acme", TRANSCRIPT).await;
    let mut worker = panicking(&here, "before-promote", "8");
    worker.wait_for_line("stopping: no more entries are taken").await;
    worker.sigterm();
    assert_eq!(worker.wait().await, Some(1));
    let said = worker.stderr();
    assert!(said.contains("worker stopped") && !said.contains("second signal"), "{said}");
}
