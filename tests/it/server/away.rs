//! Redis is away: every route says so, and none answers an empty list.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use super::support::{Api, with_json};
use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_every_route_answers_503_and_serves_again_when_it_is_back() {
    let receiver = Receiver::start().await;
    let mut redis = RedisServer::start(AppendFsync::No);
    let api = Api::of(
        Installation::on(&redis, &receiver).await,
        [("LYNKHOOK_SERVER__PUBLIC_URL", "https://hooks.example.com")],
    )
    .await;
    let id = api.add("acme", "https://example.com/").await;
    assert_eq!(api.get("/v1/key").await.status, 200);
    redis.kill9();
    let killed = Instant::now();
    let mut tried = 0;
    for (path, method, operation) in api.operations().into_iter().filter(|(path, ..)| path.starts_with("/v1/")) {
        let path = path.replace("{account}", "acme").replace("{id}", &id).replace("{delivery}", "x");
        let path = path.replace("{event}", "transcript.created");
        let query = if path.ends_with("acme/logs") { "?identifier=m" } else { "" };
        let mut request = api.request(method.clone(), &format!("{path}{query}"));
        if [Method::POST, Method::PATCH].contains(&method) {
            let body = match operation["operationId"].as_str().unwrap() {
                "addWebhook" => json!({"url": "https://example.com/"}),
                "createPortalLink" => json!({"access": "read"}),
                "redeliverFailed" | "requeueRejected" | "dropRejected" => json!({"all": true}),
                "enqueueEvent" => serde_json::from_str(TRANSCRIPT).unwrap(),
                "enqueueBatch" => {
                    json!({"events": [{"envelope": serde_json::from_str::<serde_json::Value>(TRANSCRIPT).unwrap()}]})
                }
                _ => json!({}),
            };
            request = with_json(request, &body);
        }
        let reply = api.send(request).await;
        if path.starts_with("/v1/event-types") || path == "/v1/key" {
            // They need Redis for the key alone, and without Redis, what it said about a key holds for 60 s.
            assert_eq!(reply.status, 200, "{reply:?}");
            continue;
        }
        assert_eq!(reply.status, 503, "{method} {path}: {reply:?}");
        let name = reply.json["type"].as_str().unwrap();
        assert!(["/problems/store-unreachable", "/problems/outcome-unknown"].contains(&name), "{reply:?}");
        assert!(reply.header("retry-after").is_some(), "{reply:?}");
        assert!(!reply.text().contains("127.0.0.1") && !reply.text().contains("refused"), "{reply:?}");
        tried += 1;
    }
    assert!(tried > 20 && killed.elapsed() < Duration::from_secs(30), "{tried} in {:?}", killed.elapsed());
    for (path, status) in [("/healthz", 200), ("/docs", 200), ("/openapi.json", 200), ("/problems/invalid", 200)] {
        assert_eq!(api.get(path).await.status, status, "{path}");
    }
    eventually(SOON, "a probe that fails", async || (api.get("/readyz").await.status == 503).then_some(())).await;
    redis.restart();
    eventually(SOON, "a probe that succeeds", async || (api.get("/readyz").await.status == 200).then_some(())).await;
    let list = eventually(SOON, "a list", async || {
        let reply = api.get("/v1/accounts/acme/webhooks").await;
        (reply.status == 200).then_some(reply)
    })
    .await;
    assert!(list.json["items"].is_array());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_looked_up_stays_known_without_redis_and_a_mistyped_one_is_told_at_once() {
    let receiver = Receiver::start().await;
    let mut redis = RedisServer::start(AppendFsync::No);
    let api = Api::of(Installation::on(&redis, &receiver).await, []).await;
    let looked_up = Instant::now();
    assert_eq!(api.get("/v1/key").await.status, 200);
    let unknown = api.key(&["--scope", "webhooks:read"]).await;
    redis.kill9();
    let with = |key: &str| api.send(api.bare(Method::GET, "/v1/key").bearer_auth(key));
    let last = if unknown.ends_with('0') { "1" } else { "0" };
    let mistyped = format!("{}{last}", &unknown[..unknown.len() - 1]);
    let reply = with(&mistyped).await;
    reply.problem(401, "unauthenticated");
    assert!(reply.json["detail"].as_str().unwrap().contains("this is not an API key"), "{reply:?}");
    let reply = with(&unknown).await;
    reply.problem(503, "store-unreachable");
    // With Redis, a key is looked up anew after 5 s. A unit test knows when it is refused without.
    while looked_up.elapsed() < Duration::from_secs(7) {
        assert_eq!(with(&api.admin).await.status, 200, "after {:?}", looked_up.elapsed());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    redis.restart();
    eventually(SOON, "Redis is back", async || (with(&unknown).await.status != 503).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_stands_still_is_given_up_and_a_change_may_have_been_made() {
    let receiver = Receiver::start().await;
    let mut redis = RedisServer::start(AppendFsync::No);
    let timeout = [("LYNKHOOK_REDIS__CONNECT_TIMEOUT", "1s")];
    let api = Api::of(Installation::on(&redis, &receiver).await, timeout).await;
    let list = "/v1/accounts/acme/webhooks";
    let id = api.add("acme", "https://example.com/").await;
    redis.pause();
    let began = Instant::now();
    let new = json!({"url": "https://example.com/2"});
    let one = format!("{list}/{id}");
    let (listed, added, read) = tokio::join!(api.get(list), api.post(list, &new), api.get(&one));
    for reply in [listed, added, read] {
        assert_eq!(reply.status, 503, "{reply:?}");
        let name = reply.json["type"].as_str().unwrap();
        assert!(["/problems/store-unreachable", "/problems/outcome-unknown"].contains(&name), "{reply:?}");
    }
    println!("given up after {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
    redis.resume();
    let reply = eventually(SOON, "a list", async || {
        let reply = api.get(list).await;
        (reply.status == 200).then_some(reply)
    })
    .await;
    assert!([1, 2].contains(&reply.json["items"].as_array().unwrap().len()), "{reply:?}");
}
