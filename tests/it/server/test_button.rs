//! The test of a webhook over the API.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::support::{Api, Reply};
use crate::{cli::secrecy::dump, support::*};

const TOKEN: &str = "s3cret-t0ken/with\"quote-\u{7e}1234";

/// An API, and a webhook with a bearer token whose receiver answers these bytes to each request.
async fn answering(redis: &RedisServer, response: Vec<u8>) -> (Api, String, Endpoint) {
    let receiver = Receiver::start().await;
    let response = Arc::new(response);
    let endpoint = Endpoint::start(move |mut connection, _| {
        let response = Arc::clone(&response);
        async move {
            while let Some(head) = connection.head().await? {
                connection.body(&head).await?;
                connection.send(response.as_slice()).await?;
            }
            Ok(())
        }
    })
    .await;
    let api = Api::of(Installation::on(redis, &receiver).await, []).await;
    let authentication = json!({"type": "bearer", "token": TOKEN});
    let id = add(&api, &endpoint.url("/hook?key=capability"), authentication).await;
    (api, id, endpoint)
}

async fn add(api: &Api, url: &str, authentication: Value) -> String {
    let new = json!({"url": url, "authentication": authentication, "active": false});
    let added = api.post("/v1/accounts/acme/webhooks", &new).await;
    assert_eq!(added.status, 201, "{added:?}");
    added.json["id"].as_str().unwrap().to_owned()
}

async fn test(api: &Api, id: &str) -> Reply {
    api.post(&format!("/v1/accounts/acme/webhooks/{id}/test"), &json!({})).await
}

/// A response with these headers and this body.
fn response(headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{headers}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_shows_entry_request_and_response_without_the_secret_and_stores_only_the_entry() {
    let many = "x-number: value\r\n".repeat(30);
    let json = serde_json::to_string(TOKEN).unwrap();
    let headers = format!("x-echo: Bearer {TOKEN}\r\nx-encoded: {}\r\n{many}", STANDARD.encode(TOKEN));
    let body = format!("<b>plain</b> {TOKEN} {json} {} the-body-ends-here", STANDARD.encode(format!("Bearer {TOKEN}")));
    let redis = RedisServer::start(AppendFsync::No);
    let (api, id, endpoint) = answering(&redis, response(&headers, &body)).await;
    let reply = test(&api, &id).await;
    assert_eq!((reply.status, &reply.json["status"], &reply.json["httpStatus"]), (200, &json!("success"), &json!(200)));
    let request = &reply.json["request"];
    assert_eq!((&request["method"], &request["url"]), (&json!("POST"), &json!(endpoint.url("/hook?key=capability"))));
    assert_eq!(request["headers"]["authorization"], "Bearer ••••1234");
    assert!(request["headers"]["webhook-id"].as_str().unwrap().starts_with("test-"), "{request}");
    assert!(request["body"].as_str().unwrap().contains("This is a test webhook from TalentLynk."));
    let answered = &reply.json["response"];
    let shown = answered["headers"].as_array().unwrap();
    assert_eq!(shown.len(), 20, "{shown:?}");
    assert_eq!((&shown[0], &shown[1]), (&json!(["x-echo", "Bearer ••••1234"]), &json!(["x-encoded", "••••1234="])));
    assert_eq!(answered["truncated"], false);
    let excerpt = answered["excerpt"].as_str().unwrap();
    assert!(excerpt.starts_with("<b>plain</b> ••••1234 \"••••1234\" ••••1234"), "{excerpt}");
    for form in [TOKEN, &TOKEN[..10], &json[1..20], &STANDARD.encode(TOKEN)[..20], "s3cret"] {
        assert!(!reply.text().contains(form), "{form}: {}", reply.text());
    }
    // The log has the entry and no more.
    let logs = api.get(&format!("/v1/accounts/acme/webhooks/{id}/logs")).await;
    let mut entry = reply.json.clone();
    for shown in ["request", "response"] {
        entry.as_object_mut().unwrap().remove(shown).unwrap();
    }
    assert_eq!(logs.json["items"], json!([entry]));
    let dump = dump::read(&mut redis.connection().await).await.without_settings;
    assert!(dump.contains(entry["deliveryId"].as_str().unwrap()), "{dump}");
    for words in ["x-number", "the-body-ends-here", "<b>", "This is a test webhook", "user-agent", "s3cret", TOKEN] {
        assert!(!dump.contains(words), "{words} is in Redis: {dump}");
    }
    for words in ["x-number", "the-body-ends-here", "capability", "s3cret", "••••1234"] {
        assert!(!api.process.stderr().contains(words), "{words} is in the log: {}", api.process.stderr());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_excerpt_has_at_most_1_kib_and_no_part_of_a_secret_that_its_end_cuts() {
    let receiver = Receiver::start().await;
    let body = Arc::new(Mutex::new(String::new()));
    let answer = Arc::clone(&body);
    receiver.plan_each("/hook", move |_| Answer::StatusWithBody(500, answer.lock().unwrap().clone().into()));
    let here = Installation::new(&receiver).await;
    let api = Api::of(here, [("LYNKHOOK_SERVER__TESTS_PER_10S", "1000")]).await;
    let id = add(&api, &receiver.url("/hook"), json!({"type": "header", "name": "X-Key", "value": TOKEN})).await;
    let json = serde_json::to_string(TOKEN).unwrap();
    for form in [TOKEN.to_owned(), json[1..json.len() - 1].to_owned(), STANDARD.encode(TOKEN)] {
        for before in [1024 - form.len(), 1024 - form.len() / 2, 1024 - 8, 1023, 1024, 900] {
            let filler = "-".repeat(before);
            *body.lock().unwrap() = format!("{filler}{form}{}", "-".repeat(200));
            let reply = test(&api, &id).await;
            assert_eq!((reply.status, &reply.json["httpStatus"]), (200, &json!(500)));
            let excerpt = reply.json["response"]["excerpt"].as_str().unwrap();
            let shown = excerpt.replace("••••1234", "");
            assert!(excerpt.len() <= 1024 && shown.chars().all(|sign| "-=".contains(sign)), "{before}: {excerpt}");
            assert_eq!(reply.json["response"]["truncated"], excerpt.len() < 1024 || before + form.len() + 200 > 1024);
        }
    }
    for (length, truncated) in [(1024, false), (1025, true)] {
        *body.lock().unwrap() = "x".repeat(length);
        let reply = test(&api, &id).await;
        let response = &reply.json["response"];
        assert_eq!((response["excerpt"].as_str().unwrap().len(), &response["truncated"]), (1024, &json!(truncated)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_refuses_is_down_or_forbidden_is_a_result_and_no_error() {
    let receiver = Receiver::start().await;
    receiver.plan("/reset", [Answer::ResetBeforeHeaders]);
    receiver.plan("/redirect", [Answer::Redirect("https://example.com/".to_owned())]);
    let here = Installation::new(&receiver).await.with("LYNKHOOK_WEBHOOKS__LIMIT_PER_ACCOUNT", "9").await;
    // `localhost` may be saved, and its address may not be connected to.
    let api = Api::of(here, []).await;
    let none = json!({"type": "none"});
    for (url, error, has_response) in [
        (format!("https://localhost:{}/", refused_port()), "connection refused", false),
        (receiver.url("/reset"), "", false),
        (receiver.url("/redirect"), "HTTP 301 Moved Permanently", true),
        (receiver.url("/404"), "HTTP 404 Not Found", true),
    ] {
        let id = add(&api, &url, none.clone()).await;
        let reply = test(&api, &id).await;
        assert_eq!((reply.status, &reply.json["status"], &reply.json["final"]), (200, &json!("failed"), &json!(true)));
        assert!(reply.json["error"].as_str().unwrap().starts_with(error), "{url}: {reply:?}");
        assert_eq!(reply.json["response"].is_object(), has_response, "{url}: {reply:?}");
        assert_eq!(reply.json["request"]["url"], url, "the request is shown although it was not answered");
        let logs = api.get(&format!("/v1/accounts/acme/webhooks/{id}/logs")).await;
        assert_eq!(logs.json["items"][0]["deliveryId"], reply.json["deliveryId"]);
    }
    // The same webhook at a server that may not connect to this machine.
    let id = add(&api, &receiver.url("/hook"), none).await;
    let api = Api::of(api.here, [("LYNKHOOK_EGRESS__ALLOW", "")]).await;
    let reply = test(&api, &id).await;
    assert_eq!((reply.status, &reply.json["httpStatus"]), (200, &json!("Network Error")), "{reply:?}");
    assert!(reply.json["error"].as_str().unwrap().starts_with("refused to connect"), "{reply:?}");
    assert_eq!(receiver.requests("/hook").len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_is_given_up_after_10_seconds() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Silence]);
    let api = Api::start(&receiver).await;
    let id = add(&api, &receiver.url("/hook"), json!({"type": "none"})).await;
    let began = Instant::now();
    let reply = test(&api, &id).await;
    let took = began.elapsed();
    assert_eq!(
        (reply.status, &reply.json["error"]),
        (200, &json!("timed out after 10 s while waiting for the response")),
        "{reply:?}"
    );
    assert!(reply.json["response"].is_null());
    assert!(took >= Duration::from_secs(10) && took < Duration::from_secs(14), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_tested_5_times_in_10_seconds_and_not_by_another_account() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(204)]);
    let api = Api::start(&receiver).await;
    let id = add(&api, &receiver.url("/hook"), json!({"type": "none"})).await;
    for _ in 0..6 {
        let path = format!("/v1/accounts/globex/webhooks/{id}/test");
        api.post(&path, &json!({})).await.problem(404, "no-such-webhook");
    }
    // A body that is refused takes none.
    let path = format!("/v1/accounts/acme/webhooks/{id}/test");
    assert!(!api.post(&path, &json!({"event": "x"})).await.problem(422, "invalid").is_empty());
    for _ in 0..5 {
        assert_eq!(test(&api, &id).await.status, 200);
    }
    let reply = test(&api, &id).await;
    reply.problem(429, "rate-limited");
    let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=10).contains(&wait), "{wait}");
    assert_eq!(receiver.requests("/hook").len(), 5);
    let other = add(&api, &receiver.url("/hook"), json!({"type": "none"})).await;
    assert_eq!(test(&api, &other).await.status, 200, "another webhook has its own five");
}
