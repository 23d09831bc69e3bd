//! The log lines of `lynkhook worker`.

use std::{process::Stdio, time::Duration};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_logs_json_lines_with_one_line_an_attempt_and_no_payload() {
    let receiver = Receiver::start().await;
    receiver.plan("/flaky", [Answer::Status(503), Answer::Status(200)]);
    let here = Installation::new(&receiver).await;
    let retries = ("LYNKHOOK_DELIVERY__RETRY_DELAYS", "50ms,50ms");
    let worker = here.program.worker([retries, ("LYNKHOOK_LOG__FILTER", "debug")]);
    let mut log = Vec::new();
    for (account, url) in [
        ("flaky", receiver.url("/flaky")),
        ("missing", receiver.url("/missing")),
        ("refused", format!("https://localhost:{}/", refused_port())),
    ] {
        let webhook_id = add(&here.program, account, &url).await;
        here.push(account, TRANSCRIPT).await;
        log.extend(here.finished(webhook_id).await);
    }
    here.push("flaky", r#"{"event":"transcript.created","data":"Hi, thanks for calling."}"#).await;
    here.drained().await;
    worker.sigterm();
    let output = worker.output(SOON).await;
    assert_eq!((output.code, output.stdout.as_str()), (Some(0), ""));

    let lines: Vec<Value> = output
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    for line in &lines {
        assert!(line["timestamp"].is_string() && line["level"].is_string() && line["message"].is_string(), "{line}");
    }
    let attempts: Vec<Value> = lines.iter().filter(|line| line["message"] == "attempt").cloned().collect();
    assert_eq!((attempts.len(), log.len()), (6, 6), "{attempts:#?}");
    for (line, entry) in attempts.iter().zip(&log) {
        assert_eq!(line["attempt"], entry["attempt"]);
        assert_eq!(line["delivery"], entry["deliveryId"]);
        assert_eq!(line["duration_ms"], entry["durationMs"]);
        assert_eq!(line["error"], entry["error"], "{line}");
        assert!(line["webhook"].is_string() && line["account"].is_string() && !line["status"].is_null(), "{line}");
    }
    let messages: Vec<_> = lines.iter().filter_map(|line| line["message"].as_str()).collect();
    for message in ["worker started", "an entry is rejected", "worker stopped"] {
        assert_eq!(messages.iter().filter(|&&found| found == message).count(), 1, "{message}: {messages:?}");
    }
    for payload in ["thanks for calling", "utterances", "recruiter"] {
        assert!(!output.stderr.contains(payload), "{payload}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn allowed_addresses_that_are_not_public_are_logged_at_start() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let worker = here.program.worker([]);
    worker.wait_for_line("worker started").await;
    worker.sigint();
    let output = worker.output(SOON).await;
    assert_eq!(output.code, Some(0));
    for words in ["egress.allow", "127.0.0.0/8", "egress.extra_ca"] {
        assert!(output.stderr.contains(words), "{words}: {}", output.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_termination_signal_ends_every_command_in_order() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    add(&here.program, "acme", &receiver.url("/hook")).await;
    let mut ended = Vec::new();
    for signal in ["TERM", "INT", "HUP", "QUIT"] {
        let mut worker = here.program.start_with_hangup("default", &["worker"]);
        worker.wait_for_line("worker started").await;
        worker.signal(signal);
        ended.push((signal, "worker", worker.wait().await));
        worker.wait_for_line("worker stopped").await;

        let mut watching = here.program.start_with_hangup("default", &["queue", "status", "--watch"]);
        watching.wait_for_line("Depth").await;
        watching.signal(signal);
        ended.push((signal, "watch", watching.wait().await));
    }
    assert!(ended.iter().all(|(.., code)| *code == Some(0)), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_was_started_to_outlive_its_terminal_ignores_its_hangup() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(200)]);
    let here = Installation::new(&receiver).await;
    add(&here.program, "acme", &receiver.url("/hook")).await;
    let mut worker = here.program.start_with_hangup("ignore", &["worker"]);
    worker.wait_for_line("worker started").await;
    worker.signal("HUP");
    here.push("acme", TRANSCRIPT).await;
    receiver.wait_for("/hook", 1, SOON).await;
    worker.signal("HUP");
    worker.sigterm();
    assert_eq!(worker.wait().await, Some(0));
    assert!(!worker.stderr().contains("second signal"), "{}", worker.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hangups_let_a_worker_finish_and_a_later_signal_ends_it_at_once() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let slow = add(&here.program, "slow", &receiver.url("/slow")).await;
    let close = async |delay, account: &str| {
        let hook = format!("/{account}");
        receiver.plan(&hook, [Answer::Delay(Duration::from_secs(delay), Box::new(Answer::Status(200)))]);
        here.push(account, TRANSCRIPT).await;
        let worker = here.program.start_with_hangup("default", &["worker"]);
        receiver.wait_for(&hook, 1, SOON).await;
        for _ in 0..2 {
            worker.signal("HUP");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        worker
    };
    let mut worker = close(1, "slow").await;
    assert_eq!(worker.wait().await, Some(0), "{}", worker.stderr());
    assert!(!worker.stderr().contains("second signal"), "{}", worker.stderr());
    assert_eq!(here.finished(slow).await[0]["httpStatus"], 200, "the attempt in flight was finished");

    add(&here.program, "slower", &receiver.url("/slower")).await;
    let mut worker = close(9, "slower").await;
    worker.sigterm();
    let signalled = std::time::Instant::now();
    assert_eq!(worker.wait().await, Some(1), "{}", worker.stderr());
    assert!(signalled.elapsed() < Duration::from_secs(3), "{:?}", signalled.elapsed());
}

/// A worker whose standard error no process reads, with an attempt in flight that takes long.
async fn unread_worker(here: &Installation, receiver: &Receiver) -> std::process::Child {
    receiver.plan("/slow", [Answer::Delay(Duration::from_secs(9), Box::new(Answer::Status(200)))]);
    add(&here.program, "slow", &receiver.url("/slow")).await;
    here.push("slow", TRANSCRIPT).await;
    let mut worker = here.program.command(["worker"]).into_std();
    let mut worker = worker.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    drop(worker.stderr.take());
    receiver.wait_for("/slow", 1, SOON).await;
    worker
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_standard_error_is_closed_delivers_and_a_second_signal_ends_it_at_once() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let mut worker = unread_worker(&here, &receiver).await;
    let stop = tokio::task::spawn_blocking(move || {
        send_signal(worker.id(), "TERM");
        std::thread::sleep(Duration::from_millis(300));
        assert!(worker.try_wait().unwrap().is_none(), "it finishes the attempt in flight");
        send_signal(worker.id(), "QUIT");
        let signalled = std::time::Instant::now();
        (worker.wait().unwrap().code(), signalled.elapsed())
    });
    let (code, took) = stop.await.unwrap();
    assert_eq!(code, Some(1));
    assert!(took < Duration::from_secs(3), "{took:?}");
}
