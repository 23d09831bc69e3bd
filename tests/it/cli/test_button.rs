//! `webhook test`: one request at once, whether the webhook is on or off; the result is shown and logged.

use redis::AsyncCommands;
use serde_json::json;

use super::*;

/// The members of a test's result that the log has too.
fn logged(mut tested: Value) -> Value {
    for shown in ["request", "response"] {
        tested.as_object_mut().unwrap().remove(shown).expect("it is shown");
    }
    tested
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_that_succeeds_shows_status_time_and_phases_and_is_logged() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(204)]);
    let here = Installation::new(&receiver).await;
    let url = receiver.url("/hook");
    let words = webhook("acme", &["add", "--url", &url, "--bearer-token-file", "-", "--inactive"]);
    let webhook_id = id(&here.program.json_with_input(words, "t0ken\n").await);
    let target = webhook_id.to_string();

    let human = here.program.run(webhook("acme", &["test", &target])).await;
    assert_eq!((human.code, human.stderr.as_str()), (Some(0), ""));
    assert!(human.stdout.starts_with("Success: HTTP 204 in ") && human.stdout.contains(" ms ("), "{}", human.stdout);
    for phase in ["connect ", "tls ", "firstByte "] {
        assert!(human.stdout.contains(phase), "{}", human.stdout);
    }
    let tested = here.program.json(webhook("acme", &["test", &target])).await;
    assert_eq!(tested["request"]["headers"]["authorization"], "Bearer ••••");
    assert_eq!(tested["response"]["excerpt"], "");
    let entry = logged(tested);
    assert_log_entry(&entry);
    assert_eq!(
        json!([entry["status"], entry["event"], entry["httpStatus"], entry["attempt"], entry["error"], entry["final"]]),
        json!(["success", "webhook.test", 204, 1, null, true])
    );
    let log = here.log(webhook_id).await;
    assert_eq!((log.len(), &log[0]), (2, &entry), "the log has the entry that was shown");

    let requests = receiver.requests("/hook");
    assert_eq!(requests.len(), 2, "one request a test, although the webhook is off");
    let body: Value = serde_json::from_slice(&requests[1].body).unwrap();
    assert_eq!(
        body,
        json!({
            "event": "webhook.test",
            "timestamp": entry["time"],
            "data": { "message": "This is a test webhook from TalentLynk." }
        })
    );
    assert_eq!(requests[1].method, http::Method::POST);
    assert_eq!(requests[1].header("authorization"), Some("Bearer t0ken"));
    assert_eq!(requests[1].header("content-type"), Some("application/json"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_that_fails_ends_with_6_says_what_happened_is_logged_and_never_repeated() {
    let receiver = Receiver::start().await;
    let moved = Answer::Status(301);
    for (path, answer) in [("/404", Answer::Status(404)), ("/503", Answer::Status(503)), ("/301", moved)] {
        receiver.plan(path, [answer]);
    }
    receiver.plan("/slow", [Answer::Silence]);
    let dns = DnsServer::start().await;
    let here = Installation::new(&receiver).await;
    let program = here.program.clone().env("LYNKHOOK_DELIVERY__TIMEOUT", "1s");
    let dns_program = program.clone().allowing("gone.hooks.test").resolving_with(&dns);
    let refused = format!("https://localhost:{}/", refused_port());
    for (account, program, url, http_status, error) in [
        ("a404", &program, receiver.url("/404"), json!(404), "HTTP 404 Not Found"),
        ("a503", &program, receiver.url("/503"), json!(503), "HTTP 503 Service Unavailable"),
        ("a301", &program, receiver.url("/301"), json!(301), "HTTP 301 Moved Permanently"),
        ("slow", &program, receiver.url("/slow"), json!("Network Error"), "timed out after 1 s"),
        ("refused", &program, refused, json!("Network Error"), "connection refused"),
        (
            "dns",
            &dns_program,
            "https://gone.hooks.test/".to_owned(),
            json!("Network Error"),
            "DNS: no such host gone.hooks.test",
        ),
    ] {
        let webhook_id = add(program, account, &url).await;
        let target = webhook_id.to_string();
        let human = program.run(webhook(account, &["test", &target])).await;
        assert_eq!((human.code, human.stderr.as_str()), (Some(6), ""), "{account}: {human:#?}");
        assert!(human.stdout.starts_with(&format!("Failed: {error}")), "{account}: {}", human.stdout);
        let output = program.run(webhook(account, &["test", &target, "--json"])).await;
        assert_eq!(output.code, Some(6), "{account}");
        let tested: Value = serde_json::from_str(&output.stdout).unwrap();
        assert_eq!(tested["response"].is_null(), http_status == "Network Error", "{account}");
        let entry = logged(tested);
        assert_log_entry(&entry);
        assert_eq!((&entry["status"], &entry["httpStatus"]), (&json!("failed"), &http_status), "{account}");
        assert!(entry["error"].as_str().unwrap().starts_with(error), "{account}: {entry}");
        let log = here.log(webhook_id).await;
        assert_eq!((log.len(), &log[0]), (2, &entry), "{account}: shown and logged alike");
        assert!(log.iter().all(|entry| entry["final"] == true && entry["attempt"] == 1), "{account}");
        let failed: bool = here.redis.clone().exists(here.key(&format!("failed:{webhook_id}"))).await.unwrap();
        assert!(!failed, "{account}: a test is not kept for redelivery");
    }
    for path in ["/404", "/503", "/301", "/slow"] {
        assert_eq!(receiver.requests(path).len(), 2, "{path}: one request a test");
    }
    for key in ["queue", "retries"] {
        let exists: bool = here.redis.clone().exists(here.key(key)).await.unwrap();
        assert!(!exists, "{key}: nothing is left to be repeated");
    }
}
