//! What `lynkhook worker` writes where logs are collected.

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
async fn what_is_allowed_although_not_public_is_said_at_start() {
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
