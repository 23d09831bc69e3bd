//! The consequences of each outcome: attempts counted at the receiver, the log entry field by field, retries on time.

use std::time::Duration;

use bytes::Bytes;
use lynkhook::{
    domain::webhook::WebhookId,
    webhooks::{Edit, NewAuthentication},
};
use serde_json::{Value, json};

use crate::support::*;

/// The attempt's time limit in these tests, so that silence does not take the default 10 s three times.
const TIMEOUT: (&str, &str) = ("LYNKHOOK_DELIVERY__TIMEOUT", "1s");

/// One row of the table of outcomes.
struct Row {
    name: &'static str,
    url: String,
    attempts: usize,
    http_status: Value,
    error: Option<&'static str>,
}

fn row(name: &'static str, url: String, attempts: usize, http_status: impl Into<Value>, error: &'static str) -> Row {
    let error = (!error.is_empty()).then_some(error);
    Row { name, url, attempts, http_status: http_status.into(), error }
}

/// Checks that a log entry of this row has every field that customers are promised.
fn assert_entry(row: &Row, entry: &Value, attempt: usize, webhook: WebhookId) {
    let name = row.name;
    let last = attempt == row.attempts;
    assert_eq!(entry["status"], if row.error.is_none() { "success" } else { "failed" }, "{name}: {entry}");
    assert_eq!(entry["event"], "transcript.created", "{name}");
    assert_eq!(entry["httpStatus"], row.http_status, "{name}: {entry}");
    assert_eq!(entry["attempt"], attempt, "{name}");
    assert!(entry["durationMs"].as_u64().unwrap() < 3000, "{name}: {entry}");
    assert_eq!(entry["error"], json!(row.error), "{name}");
    assert_eq!(entry["identifiers"], json!({"messageId": "6601abc123def4567890abcd"}), "{name}");
    let time = entry["time"].as_str().unwrap();
    assert!(chrono::DateTime::parse_from_rfc3339(time).is_ok() && time.len() == 24 && time.ends_with('Z'), "{time}");
    assert!(entry["deliveryId"].as_str().unwrap().ends_with(&format!(".{webhook}")), "{name}");
    assert_eq!(entry["final"], last, "{name}");
    let known = [
        "status",
        "event",
        "httpStatus",
        "attempt",
        "durationMs",
        "error",
        "identifiers",
        "time",
        "deliveryId",
        "final",
        "phasesMs",
    ];
    assert!(entry.as_object().unwrap().keys().all(|key| known.contains(&key.as_str())), "{name}: {entry}");
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "it is a table")]
async fn every_outcome_is_as_the_table_says() {
    let receiver = Receiver::start().await;
    let impostors = [
        ("expired", Identity::Expired, "TLS: certificate expired"),
        ("wrong name", Identity::WrongName, "TLS: certificate is not for this host name"),
        (
            "unknown authority",
            Identity::UnknownAuthority,
            "TLS: certificate chain is incomplete (an intermediate certificate was not sent), or its authority is unknown",
        ),
        ("self-signed", Identity::SelfSigned, "TLS: certificate is not signed by a known authority"),
        ("no TLS", Identity::PlainTcp, "TLS: the endpoint does not speak TLS"),
        ("silent handshake", Identity::SilentHandshake, "timed out after 1 s while negotiating TLS"),
    ];
    let dns = DnsServer::start().await;
    dns.set("hooks.test", ["127.0.0.1".parse().unwrap()]);
    dns.servfail("servfail.hooks.example");
    dns.silent("silent.hooks.example");
    dns.set("empty.hooks.example", Vec::<std::net::IpAddr>::new());
    dns.set("private.hooks.example", ["10.0.0.1".parse().unwrap()]);
    let network = "Network Error";
    let planned = |path: &'static str, answer: Answer| {
        receiver.plan(path, [answer]);
        receiver.url(path)
    };
    let mut rows = vec![
        row("200", planned("/200", Answer::Status(200)), 1, 200, ""),
        row("204", planned("/204", Answer::Status(204)), 1, 204, ""),
        row(
            "by another name",
            {
                planned("/named", Answer::Status(200));
                receiver.url_for("hooks.test", "/named")
            },
            1,
            200,
            "",
        ),
        row("301", planned("/301", Answer::Redirect(receiver.url("/elsewhere"))), 1, 301, "HTTP 301 Moved Permanently"),
        row("404", planned("/404", Answer::Status(404)), 1, 404, "HTTP 404 Not Found"),
        row("410", planned("/410", Answer::Status(410)), 1, 410, "HTTP 410 Gone"),
        row("429", planned("/429", Answer::Status(429)), 1, 429, "HTTP 429 Too Many Requests"),
        row("500", planned("/500", Answer::Status(500)), 3, 500, "HTTP 500 Internal Server Error"),
        row("503", planned("/503", Answer::Status(503)), 3, 503, "HTTP 503 Service Unavailable"),
        row("599", planned("/599", Answer::Status(599)), 3, 599, "HTTP 599"),
        row("body after 200 reset", planned("/reset-body", Answer::ResetInBody), 1, 200, ""),
        row("body after 200 drips", planned("/drip-body", Answer::DripBody(200)), 1, 200, ""),
        row(
            "body after 503 drips",
            planned("/drip-503", Answer::DripBody(503)),
            3,
            503,
            "HTTP 503 Service Unavailable",
        ),
        row(
            "reset",
            planned("/reset", Answer::ResetBeforeHeaders),
            3,
            network,
            "connection reset while waiting for the response",
        ),
        row(
            "closed",
            planned("/close", Answer::CloseBeforeHeaders),
            3,
            network,
            "connection closed while waiting for the response",
        ),
        row(
            "reset in headers",
            planned("/reset-headers", Answer::ResetInHeaders),
            3,
            network,
            "connection reset while waiting for the response",
        ),
        row(
            "silence",
            planned("/silence", Answer::Silence),
            3,
            network,
            "timed out after 1 s while waiting for the response",
        ),
        row(
            "dripping headers",
            planned("/drip", Answer::DripHeaders),
            3,
            network,
            "timed out after 1 s while waiting for the response",
        ),
        row(
            "1xx without end",
            planned("/1xx", Answer::InterimForever),
            3,
            network,
            "timed out after 1 s while waiting for the response",
        ),
        row("refused", format!("https://localhost:{}/", refused_port()), 3, network, "connection refused"),
        row("no such host", "https://no.hooks.example/".into(), 3, network, "DNS: no such host no.hooks.example"),
        row("no address", "https://empty.hooks.example/".into(), 3, network, "DNS: empty.hooks.example has no address"),
        row(
            "name server fails",
            "https://servfail.hooks.example/".into(),
            3,
            network,
            "DNS: looking up servfail.hooks.example failed (the name server failed)",
        ),
        row(
            "name server is silent",
            "https://silent.hooks.example/".into(),
            3,
            network,
            "timed out after 1 s while looking up the host name",
        ),
        row(
            "not public",
            "https://private.hooks.example/".into(),
            1,
            network,
            "refused to connect: private.hooks.example resolves to 10.0.0.1; 10.0.0.1 is a private address (10.0.0.0/8, RFC 1918)",
        ),
    ];
    let mut others = Vec::new();
    for (name, identity, error) in impostors {
        let impostor = Receiver::with_certificate(identity).await;
        rows.push(row(name, impostor.url("/"), 3, network, error));
        others.push(impostor);
    }

    let here = Installation::new(&receiver).await;
    // `.example` names are special-use names, so saving refuses them; here the allow list names them.
    let here = rows.iter().fold(here, |here, row| here.allowing(&row.url));
    let _worker = here.program.clone().resolving_with(&dns).worker([TIMEOUT]);
    let mut webhooks = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        let account = format!("account-{number}");
        webhooks.push(here.add(&account, &row.url).await);
        here.push(&account, TRANSCRIPT).await;
    }
    for (row, webhook) in rows.iter().zip(webhooks) {
        let log = here.finished(webhook).await;
        assert_eq!(log.len(), row.attempts, "{}: {log:#?}", row.name);
        for (entry, attempt) in log.iter().zip(1..) {
            assert_entry(row, entry, attempt, webhook);
        }
        let path = row.url.rsplit_once('/').map(|(_, path)| format!("/{path}")).unwrap();
        let arrived = receiver.requests(&path).len();
        assert!(
            arrived == row.attempts || !row.url.starts_with(&receiver.url("/")),
            "{}: {arrived} requests",
            row.name
        );
    }
    assert!(receiver.requests("/elsewhere").is_empty(), "redirects are never followed");
    here.drained().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_come_2_and_4_seconds_after_the_end_of_a_failure_and_never_earlier() {
    let receiver = Receiver::start().await;
    // The second answer is slow. The delay counts from the end of the attempt, not from its start.
    let slow = Answer::Delay(Duration::from_millis(700), Box::new(Answer::Status(502)));
    receiver.plan("/flaky", [Answer::Status(503), slow, Answer::Status(200)]);
    let here = Installation::new(&receiver).await;
    let webhook = here.add("acme", &receiver.url("/flaky")).await;
    let _worker = here.program.worker([]);
    here.push("acme", TRANSCRIPT).await;
    let log = here.finished(webhook).await;
    let attempts = receiver.requests("/flaky");
    for (pair, delay) in attempts.windows(2).zip([2.0, 4.0]) {
        let waited = (pair[1].arrived - pair[0].ended.unwrap()).as_secs_f64();
        assert!(waited >= delay, "never early: {waited} s instead of {delay} s");
        assert!(waited < delay * 1.1 + 1.0, "less than 1 s late, jitter aside: {waited} s instead of {delay} s");
    }
    let statuses: Vec<_> = log.iter().map(|entry| (&entry["httpStatus"], &entry["final"])).collect();
    assert_eq!(json!(statuses), json!([[503, false], [502, false], [200, true]]));
    let ids: Vec<_> = attempts.iter().map(|attempt| attempt.header("webhook-id")).collect();
    assert!(ids[0].is_some() && ids.iter().all(|id| *id == ids[0]), "one webhook-id for all attempts: {ids:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_body_is_the_producers_bytes_on_each_attempt() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let _worker = here.program.worker([]);
    let large = format!(
        r#"{{"data":{{"messageId":"m","text":"{}"}},"event":"transcript.created","timestamp":"2026-03-26T14:32:00Z"}}"#,
        "å\\u00e5".repeat(50_000)
    );
    assert!(large.len() > 300_000);
    let bodies = [
        TRANSCRIPT.to_owned(),
        " {\t\"timestamp\" : \"2026-03-26T14:32:00.000Z\",\r\n \"event\":\"transcript.created\",\"z\":1,\"a\":2,\"data\":{}}\n\n".to_owned(),
        r#"{"event":"transcript.cre\u0061ted","timestamp":"2026-03-26T14:32:00Z","data":{"n":1e400,"m":-0.0,"s":"\ud83d\ude00\/"}}"#.to_owned(),
        large,
    ];
    for (number, body) in bodies.iter().enumerate() {
        let path = format!("/body-{number}");
        receiver.plan(&path, [Answer::Status(500), Answer::Status(200)]);
        let account = format!("account-{number}");
        here.add(&account, &receiver.url(&path)).await;
        here.push(&account, body).await;
    }
    for (number, body) in bodies.iter().enumerate() {
        for attempt in receiver.wait_for(&format!("/body-{number}"), 2, SOON).await {
            assert_eq!(attempt.body, Bytes::copy_from_slice(body.as_bytes()), "body {number}");
            assert_eq!(attempt.header("content-type"), Some("application/json"));
            assert_eq!(attempt.header("user-agent"), Some(concat!("Lynkhook/", env!("CARGO_PKG_VERSION"))));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_of_url_and_token_counts_from_the_next_attempt_on() {
    let receiver = Receiver::start().await;
    let gate = Gate::new();
    receiver.plan("/before", [gate.before(Answer::Status(503))]);
    receiver.plan("/after", [Answer::Status(200)]);
    let here = Installation::new(&receiver).await;
    let token = NewAuthentication::Bearer("first-token".into());
    let webhook = here.add_with("acme", &receiver.url("/before"), token, true).await;
    let _worker = here.program.worker([]);
    here.push("acme", TRANSCRIPT).await;
    let before = receiver.wait_for("/before", 1, SOON).await;
    let header = NewAuthentication::Header { name: "X-Webhook-Secret".into(), value: "second-token".into() };
    let edit = Edit { url: Some(receiver.url("/after")), authentication: Some(header), ..Edit::default() };
    here.webhooks.edit(&account_id("acme"), webhook, edit).await.unwrap();
    gate.open();
    let after = receiver.wait_for("/after", 1, SOON).await;
    assert_eq!(before[0].header("authorization"), Some("Bearer first-token"));
    assert_eq!(after[0].header("x-webhook-secret"), Some("second-token"));
    assert_eq!(after[0].header("authorization"), None);
    assert_eq!(here.finished(webhook).await.len(), 2);
}
