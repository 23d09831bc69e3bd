//! The limits of the server, each just inside and outside.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use super::{
    events::event,
    support::{Api, Reply, with_json},
    wire::{Wire, chunked, head, head_of_event},
};
use crate::support::*;

/// The longest time that a test waits to see that nothing comes.
const A_MOMENT: Duration = Duration::from_millis(300);

async fn api<const N: usize>(extra: [(&str, &str); N]) -> Api {
    Api::of(Installation::new(&Receiver::start().await).await, extra).await
}

async fn send_event(api: &Api, bytes: usize) -> Reply {
    api.send(event(api, envelope_of(bytes))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_has_at_most_the_bytes_of_its_route_and_a_client_that_sends_it_all_first_is_told() {
    let api = api([("LYNKHOOK_SERVER__BODY_MAX_BYTES", "1KiB"), ("LYNKHOOK_EVENT__MAX_BYTES", "2KiB")]).await;
    assert_eq!(send_event(&api, 2 << 10).await.status, 202);
    send_event(&api, (2 << 10) + 1).await.problem(413, "too-large");
    let add = async |bytes: usize| {
        let mut body = json!({"url": "https://hooks.test/in"}).to_string();
        body.push_str(&" ".repeat(bytes - body.len()));
        let request = api.request(Method::POST, "/v1/accounts/acme/webhooks").body(body);
        api.send(request.header("content-type", "application/json")).await
    };
    assert_eq!(add(1 << 10).await.status, 201);
    add((1 << 10) + 1).await.problem(413, "too-large");

    // Far more than a connection's buffers take.
    let body = vec![b' '; 16 << 20];
    for (line, status, name) in [
        ("POST /v1/accounts/acme/events", 413, "too-large"),
        ("POST /nothing", 404, ""),
        ("GET /v1/accounts/acme/events", 405, ""),
    ] {
        for (announced, bytes) in [
            (format!("content-length: {}\r\n", body.len()), body.clone()),
            ("transfer-encoding: chunked\r\n".to_owned(), chunked(&body, 60_000)),
        ] {
            let more = format!("content-type: application/json\r\n{announced}");
            let mut wire = Wire::with(&api, head(&api, line, &more)).await;
            wire.send(bytes).await;
            wire.answer().await.unwrap().problem(status, name);
            wire.ends().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_has_at_most_its_bytes_and_64_headers() {
    let api = api([("LYNKHOOK_SERVER__HEADER_MAX_BYTES", "2KiB")]).await;
    let of = |bytes: usize| {
        // The method, the path, and for each header its name, its value and 4 bytes.
        let other = "GET/healthz?".len() + "hosthere".len() + 4;
        format!("GET /healthz?{} HTTP/1.1\r\nhost: here\r\n\r\n", "x".repeat(bytes - other))
    };
    let answer = async |bytes: String| Wire::with(&api, bytes).await.answer().await.unwrap();
    assert_eq!(answer(of(2 << 10)).await.status, 200);
    answer(of((2 << 10) + 1)).await.problem(431, "head-too-large");
    let headers = |count: usize| format!("GET /healthz HTTP/1.1\r\nhost: here\r\n{}\r\n", "a: b\r\n".repeat(count - 1));
    assert_eq!(answer(headers(64)).await.status, 200);
    answer(headers(65)).await.problem(431, "head-too-large");
    // Beyond the buffer and the places for headers, nothing is read that could be answered.
    for bytes in [headers(300), headers(20_000), of(60 << 10) + &of(200 << 10)] {
        let mut wire = Wire::with(&api, bytes).await;
        let mut statuses = Vec::new();
        while let Some(reply) = wire.answer().await {
            statuses.push(reply.status);
        }
        assert_eq!(statuses.last(), Some(&431));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_and_a_body_have_their_time_however_they_drip() {
    let api = api([("LYNKHOOK_SERVER__HEADER_TIMEOUT", "400ms"), ("LYNKHOOK_SERVER__BODY_TIMEOUT", "500ms")]).await;
    let began = Instant::now();
    Wire::with(&api, "GET /healthz HTTP/1.1\r\nho").await.ends().await;
    Wire::open(&api).await.ends().await;
    assert!(began.elapsed() >= Duration::from_millis(800));

    // A byte every 20 ms would take a minute.
    let began = Instant::now();
    let mut dripping = Wire::with(&api, "GET /healthz HTTP/1.1\r\nx: ").await;
    while dripping.is_silent_for(Duration::from_millis(20)).await && dripping.try_send("y").await {
        assert!(began.elapsed() < SOON, "the head may drip for ever");
    }
    assert!(began.elapsed() >= Duration::from_millis(400));

    for (announced, first, drop) in
        [("content-length: 3000\r\n", "{", "."), ("transfer-encoding: chunked\r\n", "1\r\n{\r\n", "1\r\n.\r\n")]
    {
        let began = Instant::now();
        let mut dripping = Wire::with(&api, head_of_event(&api, announced) + first).await;
        while dripping.is_silent_for(Duration::from_millis(20)).await && dripping.try_send(drop).await {
            assert!(began.elapsed() < SOON, "the body may drip for ever");
        }
        dripping.answer().await.unwrap().problem(408, "too-slow");
        assert!(began.elapsed() >= Duration::from_millis(500));
    }

    let mut in_time = Wire::with(&api, head_of_event(&api, &format!("content-length: {}\r\n", TRANSCRIPT.len()))).await;
    let (first, second) = TRANSCRIPT.split_at(100);
    in_time.send(first).await;
    assert!(in_time.is_silent_for(Duration::from_millis(50)).await);
    in_time.send(second).await;
    assert_eq!(in_time.answer().await.unwrap().status, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_takes_too_long_is_answered_at_its_time_limit() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Gate::new().before(Answer::Status(200))]);
    let limits = [("LYNKHOOK_SERVER__BODY_TIMEOUT", "300ms"), ("LYNKHOOK_SERVER__REQUEST_TIMEOUT", "500ms")];
    let api = Api::of(Installation::new(&receiver).await, limits).await;
    let id = api.add("acme", &receiver.url("/hook")).await;
    let began = Instant::now();
    let reply = api.post(&format!("/v1/accounts/acme/webhooks/{id}/test"), &json!({})).await;
    reply.problem(503, "outcome-unknown");
    let took = began.elapsed();
    assert!((Duration::from_millis(800)..Duration::from_secs(9)).contains(&took), "a test itself has 10 s: {took:?}");
    receiver.wait_for("/hook", 1, SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_too_many_waits_and_is_then_served() {
    let mut api = api([("LYNKHOOK_SERVER__MAX_CONNECTIONS", "2"), ("LYNKHOOK_SERVER__HEADER_TIMEOUT", "60s")]).await;
    // The connection of the client that read the document is one.
    api.client = reqwest::Client::new();
    let request = "GET /healthz HTTP/1.1\r\nhost: here\r\n\r\n";
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut wire = Wire::with(&api, request).await;
        assert_eq!(wire.answer().await.unwrap().status, 200);
        kept.push(wire);
    }
    let mut waiting = Wire::with(&api, request).await;
    assert!(waiting.is_silent_for(A_MOMENT).await);
    kept[0].send(request).await;
    assert_eq!(kept[0].answer().await.unwrap().status, 200, "the connections that are served go on");
    kept.pop();
    assert_eq!(waiting.answer().await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_in_hand_have_their_room_together_and_give_it_back() {
    const KIB: usize = 1 << 10;
    let api = api([("LYNKHOOK_SERVER__MAX_BYTES", "64KiB")]).await;
    let chunks = async |bytes: usize, each: usize| {
        let mut wire = Wire::with(&api, head_of_event(&api, "transfer-encoding: chunked\r\n")).await;
        wire.send(chunked(envelope_of(bytes).as_bytes(), each)).await;
        wire.answer().await.unwrap()
    };
    for _ in 0..3 {
        assert_eq!(send_event(&api, 64 * KIB).await.status, 202, "the room comes back after each answer");
        assert_eq!(chunks(64 * KIB, 1000).await.status, 202);
        send_event(&api, 64 * KIB + 1).await.problem(503, "busy");
        chunks(64 * KIB + 1, 1000).await.problem(503, "busy");
    }
    assert_eq!(chunks(2 * KIB, 1).await.status, 202, "chunks of a byte take no more room than their bytes");

    for announced in [format!("content-length: {}\r\n", 60 * KIB), "transfer-encoding: chunked\r\n".to_owned()] {
        let mut begun = Wire::with(&api, head_of_event(&api, &announced)).await;
        let part = " ".repeat(40 * KIB);
        begun.send(if announced.starts_with('c') { part } else { format!("{:x}\r\n{part}\r\n", 40 * KIB) }).await;
        // Another body must not come first, or this one is refused.
        assert!(begun.is_silent_for(A_MOMENT).await);
        let refused = eventually(SOON, "a body in hand", async || {
            let reply = send_event(&api, 24 * KIB + 1).await;
            (reply.status == 503).then_some(reply)
        })
        .await;
        refused.problem(503, "busy");
        assert_eq!(refused.header("retry-after"), Some("1"));
        chunks(24 * KIB + 1, 1000).await.problem(503, "busy");
        assert_eq!(send_event(&api, 24 * KIB).await.status, 202);
        assert_eq!(chunks(24 * KIB, 1000).await.status, 202);
        // A body that is announced and does not come takes nothing.
        let idle = Wire::with(&api, head_of_event(&api, &format!("content-length: {}\r\n", 60 * KIB))).await;
        assert_eq!(send_event(&api, 24 * KIB).await.status, 202);
        drop((begun, idle));
        eventually(SOON, "the room of a client that hung up", async || {
            (send_event(&api, 64 * KIB).await.status == 202).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_its_requests_in_a_second_and_is_told_how_many_are_left() {
    let api = api([("LYNKHOOK_SERVER__REQUESTS_PER_SECOND", "1")]).await;
    let began = Instant::now();
    let (mut served, mut refused) = (0, None);
    for _ in 0..5 {
        let reply = api.get("/v1/key").await;
        assert_eq!(reply.header("ratelimit-policy"), Some("\"requests\";q=1;w=1"));
        assert_eq!(reply.header("ratelimit"), Some("\"requests\";r=0;t=1"));
        match reply.status {
            200 => served += 1,
            _ => refused = Some(reply),
        }
    }
    assert!(served >= 1 && Duration::from_secs(served - 1) <= began.elapsed(), "{served} in {:?}", began.elapsed());
    let refused = refused.expect("five requests in a moment");
    refused.problem(429, "rate-limited");
    assert_eq!(refused.header("retry-after"), Some("1"));
    // A refused request is one more.
    let faulty = eventually(SOON, "a request that counts", async || {
        let reply = api.send(event(&api, "{")).await;
        (reply.status != 429).then_some(reply)
    })
    .await;
    assert_eq!((faulty.status, faulty.header("ratelimit").is_some()), (400, true));

    let other = api.key(&["--scope", "logs:read"]).await;
    eventually(SOON, "the first key to be refused", async || (api.get("/v1/key").await.status == 429).then_some(()))
        .await;
    let reply = api.send(api.bare(Method::GET, "/v1/key").bearer_auth(&other)).await;
    assert_eq!(reply.status, 200, "another key has its own");
    for _ in 0..5 {
        assert_eq!(api.send(api.bare(Method::GET, "/healthz")).await.status, 200, "probes are not counted");
    }
    eventually(SOON, "the key to be served again", async || (api.get("/v1/key").await.status == 200).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_has_its_tests_in_ten_seconds() {
    let receiver = Receiver::start().await;
    receiver.plan_each("/hook", |_| Answer::Status(200));
    let api = Api::of(Installation::new(&receiver).await, [("LYNKHOOK_SERVER__TESTS_PER_10S", "2")]).await;
    let (one, other) = (api.add("acme", &receiver.url("/hook")).await, api.add("acme", &receiver.url("/hook")).await);
    let test = async |id: &str| api.post(&format!("/v1/accounts/acme/webhooks/{id}/test"), &json!({})).await;
    for _ in 0..2 {
        assert_eq!(test(&one).await.status, 200);
    }
    let refused = test(&one).await;
    refused.problem(429, "rate-limited");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=10).contains(&wait), "{wait}");
    assert_eq!(test(&other).await.status, 200);
    assert_eq!(receiver.requests("/hook").len(), 3, "a refused test sends nothing");
    assert_eq!(api.delete(&format!("/v1/accounts/acme/webhooks/{other}")).await.status, 200);
    test(&other).await.problem(404, "no-such-webhook");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_proper_request_gets_a_problem_or_is_refused_as_no_http() {
    let api = api([]).await;
    let long = format!("GET /v1/{}", "a".repeat(15_000));
    for (line, status, name) in [
        ("BREW /v1/key", 405, ""),
        ("TRACE /v1/key", 405, ""),
        ("CONNECT example.com:443", 404, ""),
        ("OPTIONS *", 404, ""),
        ("GET http://evil.example", 404, ""),
        ("GET elsewhere.example", 404, ""),
        ("GET //v1//key", 404, ""),
        ("GET /v1/key/", 404, ""),
        ("GET /v1/../v1/key", 404, ""),
        ("GET /v1/accounts//webhooks", 400, "malformed"),
        ("GET /v1/accounts/a%00b/webhooks", 400, "malformed"),
        ("GET /v1/accounts/a%ffb/webhooks", 400, "malformed"),
        ("GET /v1/accounts/a%2fb/webhooks", 400, "malformed"),
        ("GET /v1/accounts/a%zzb/webhooks", 400, "malformed"),
        (&long, 404, ""),
    ] {
        let mut wire = Wire::with(&api, head(&api, line, "")).await;
        let reply = wire.answer().await.unwrap();
        reply.problem(status, name);
        assert_eq!(reply.header("allow").is_some(), status == 405, "{line}");
    }
    for (more, body) in [
        ("content-length: 9\r\n", "{"),
        ("transfer-encoding: chunked\r\n", "5\r\n{\r\n"),
        ("transfer-encoding: chunked\r\n", "zz\r\n\r\n"),
    ] {
        let mut wire = Wire::with(&api, head_of_event(&api, more) + body).await;
        wire.end().await;
        wire.answer().await.unwrap().problem(400, "malformed");
    }
    let foreign = "GET /healthz HTTP/1.1\r\nhost: here\r\n";
    for (bytes, status) in [
        ("G@T /healthz HTTP/1.1\r\nhost: here\r\n\r\n".to_owned(), 400),
        ("GET /health\0z HTTP/1.1\r\nhost: here\r\n\r\n".to_owned(), 400),
        ("GET /healthz HTTP/3.0\r\nhost: here\r\n\r\n".to_owned(), 400),
        (format!("{foreign}: nameless\r\n\r\n"), 400),
        (format!("{foreign}content-length: -1\r\n\r\n"), 400),
        (format!("{foreign}content-length: 1\r\ncontent-length: 2\r\n\r\n"), 400),
        (format!("{foreign}transfer-encoding: gzip\r\n\r\n"), 400),
    ] {
        let mut wire = Wire::with(&api, &bytes).await;
        assert_eq!(wire.answer().await.map(|reply| reply.status), Some(status), "{bytes:?}");
        wire.ends().await;
    }
    // Old, but proper.
    for line in ["GET /healthz HTTP/1.0\r\n\r\n", "GET http://elsewhere.example/healthz HTTP/1.1\r\nhost: here\r\n\r\n"]
    {
        assert_eq!(Wire::with(&api, line).await.answer().await.unwrap().status, 200, "{line}");
    }
    let request =
        with_json(api.request(Method::POST, "/v1/accounts/acme/webhooks"), &json!({"url": "https://hooks.test/in"}));
    assert_eq!(api.send(request).await.status, 201, "the server goes on");
}
