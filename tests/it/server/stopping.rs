//! Probes, stopping, and faults of the program itself.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value;

use super::{
    events::{entries, event},
    support::{Api, Reply},
    wire::{Wire, head, head_of_event},
};
use crate::support::*;

/// A probe at the port of probes.
async fn probe(api: &Api, port: u16, path: &str) -> Reply {
    let response = api.client.get(format!("http://127.0.0.1:{port}{path}")).send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let bytes = response.bytes().await.unwrap().to_vec();
    let json = serde_json::from_slice(&bytes).unwrap_or_default();
    Reply { status, headers, bytes, json }
}

fn failing(reply: &Reply) -> Vec<&str> {
    let checks = reply.json["checks"].as_array().unwrap().iter().filter(|check| check["ok"] == false);
    checks.map(|check| check["name"].as_str().unwrap()).collect()
}

/// A server with a port of probes, and that port.
async fn probed(here: Installation, grace: &str) -> (Api, u16) {
    let port = unused_port();
    let address = format!("127.0.0.1:{port}");
    let extra = [("LYNKHOOK_SERVER__HEALTH_BIND", &*address), ("LYNKHOOK_SERVER__SHUTDOWN_GRACE", grace)];
    (Api::of(here, extra).await, port)
}

/// A request of an event whose body has this many bytes. The server waits for it.
async fn begun(api: &Api, bytes: usize) -> Wire {
    let more = format!("content-length: {bytes}\r\nexpect: 100-continue\r\n");
    let mut wire = Wire::with(api, head_of_event(api, &more)).await;
    assert_eq!(wire.answer().await.unwrap().status, 100);
    wire
}

/// Waits until the server says that it stops.
async fn is_stopping(api: &Api, port: u16) {
    eventually(SOON, "a server that says that it stops", async || {
        let reply = probe(api, port, "/readyz").await;
        (reply.status == 503 && failing(&reply) == ["serving"]).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_told_to_stop_answers_every_request_that_it_has_and_ends_well() {
    let receiver = Receiver::start().await;
    let gate = Gate::new();
    receiver.plan("/hook", [gate.before(Answer::Status(200))]);
    let (mut api, port) = probed(Installation::new(&receiver).await, "20s").await;
    let id = api.add("acme", &receiver.url("/hook")).await;
    let mut idle = Wire::with(&api, head(&api, "GET /v1/key", "")).await;
    assert_eq!(idle.answer().await.unwrap().status, 200);
    let unused = Wire::open(&api).await;
    let test = head(&api, &format!("POST /v1/accounts/acme/webhooks/{id}/test"), "content-length: 0\r\n");
    let mut test = Wire::with(&api, test).await;
    let mut coming = begun(&api, TRANSCRIPT.len()).await;
    let (first, second) = TRANSCRIPT.split_at(100);
    coming.send(first).await;
    receiver.wait_for("/hook", 1, SOON).await;

    let told = Instant::now();
    api.process.sigterm();
    is_stopping(&api, port).await;
    assert_eq!(probe(&api, port, "/healthz").await.status, 200, "it is still alive");
    idle.ends().await;
    unused.ends().await;
    assert!(tokio::net::TcpStream::connect(&api.address).await.is_err(), "it accepts no more connections");
    assert!(!api.process.has_ended());
    coming.send(second).await;
    let enqueued = coming.answer().await.unwrap();
    assert_eq!((enqueued.status, enqueued.header("connection")), (202, Some("close")), "{enqueued:?}");
    coming.ends().await;
    assert_eq!(entries(&api.here).await.len(), 1);
    assert!(!api.process.has_ended(), "the test has no answer yet");
    gate.open();
    let tested = test.answer().await.unwrap();
    assert_eq!((tested.status, &tested.json["status"]), (200, &Value::from("success")), "{tested:?}");
    drop(test);
    assert_eq!(api.process.wait().await, Some(0));
    assert!(told.elapsed() < Duration::from_secs(20), "it waited for nothing: {:?}", told.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_does_not_end_holds_a_stopping_server_for_its_grace_only() {
    let receiver = Receiver::start().await;
    let (mut api, port) = probed(Installation::new(&receiver).await, "1s").await;
    let coming = begun(&api, 100).await;
    let told = Instant::now();
    api.process.sigterm();
    is_stopping(&api, port).await;
    assert_eq!(api.process.wait().await, Some(0));
    assert!((Duration::from_secs(1)..Duration::from_secs(8)).contains(&told.elapsed()), "{:?}", told.elapsed());
    assert!(api.process.stderr().contains("server.shutdown_grace has passed"), "{}", api.process.stderr());
    coming.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_a_server_at_once() {
    let receiver = Receiver::start().await;
    let (mut api, port) = probed(Installation::new(&receiver).await, "60s").await;
    let _coming = begun(&api, 100).await;
    let told = Instant::now();
    api.process.sigterm();
    is_stopping(&api, port).await;
    api.process.sigterm();
    assert_eq!(api.process.wait().await, Some(1));
    assert!(told.elapsed() < Duration::from_secs(9), "the body's own limit is 10 s: {:?}", told.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_port_of_probes_has_probes_and_metrics_alone_and_says_whether_redis_answers() {
    let receiver = Receiver::start().await;
    let mut redis = RedisServer::start(AppendFsync::No);
    let (api, port) = probed(Installation::on(&redis, &receiver).await, "1s").await;
    for path in ["/healthz", "/readyz"] {
        let here = probe(&api, port, path).await;
        let there = api.send(api.bare(Method::GET, path)).await;
        assert_eq!((here.status, &here.json), (200, &there.json), "{path}");
    }
    for path in ["/", "/v1/key", "/openapi.json", "/docs", "/problems/invalid", "/healthz/"] {
        probe(&api, port, path).await.problem(404, "");
    }
    redis.kill9();
    let ready = async || probe(&api, port, "/readyz").await;
    let down = eventually(SOON, "a probe that sees Redis gone", async || {
        let reply = ready().await;
        (reply.status == 503).then_some(reply)
    })
    .await;
    assert_eq!((failing(&down), &down.json["ok"]), (vec!["redis"], &Value::from(false)));
    assert_eq!(api.send(api.bare(Method::GET, "/readyz")).await.status, 503);
    assert_eq!(probe(&api, port, "/healthz").await.status, 200, "to restart the server would help nobody");
    redis.restart();
    eventually(SOON, "a probe that sees Redis back", async || (ready().await.status == 200).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_costs_its_request_alone_and_is_answered_as_a_fault_of_the_server() {
    let receiver = Receiver::start().await;
    let api = Api::of(Installation::new(&receiver).await, [("LYNKHOOK_PANIC", "before-accept")]).await;
    let send = async || api.send(event(&api, TRANSCRIPT).header("idempotency-key", "k")).await;
    let reply = send().await;
    reply.problem(500, "internal");
    let id = reply.header("request-id").unwrap();
    let logged = api.process.wait_for_line("panic: this is a bug in Lynkhook").await;
    assert!(logged.contains(id), "the log has the request's id {id}: {logged}");
    assert!(!String::from_utf8_lossy(&reply.bytes).contains("a test wanted"), "{reply:?}");
    let again = send().await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (202, None), "{again:?}");
}
