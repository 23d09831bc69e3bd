//! No secret leaves by another way than the one that is meant for it: not by an answer, a log line, or Redis.
//!
//! | secret | is meant to be in |
//! |---|---|
//! | bearer token, header value | nothing: Redis has it sealed, answers show its last 4 characters |
//! | API key | the answer of `apikey add`, once |
//! | portal link | the answer that makes it, once |
//! | path and query of a webhook's URL | answers that show the webhook or its test, and its settings in Redis |
//! | envelope | its delivery, the two routes for envelopes, rejected entries, and Redis while it is kept |
//! | idempotency key | Redis, while it is kept |
//! | text in the place of an account, an event type, a name | the answer that refuses it, as the place of the fault |

use std::fmt::Write;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::support::{Api, Reply, with_json};
use crate::{
    cli::secrecy::{
        LOUDEST,
        canary::{CAPABILITY, QUERY, TOKEN, VALUE, assert_hidden},
        dump,
    },
    support::*,
};

/// The content of an envelope.
const CONTENT: &str = "con-Rv5bT8nK2cW6-envelope";
/// A text that is in no place where it belongs.
const STRAY: &str = "str-Gk3mQ7zP9dX1-anywhere";

/// The answers so far.
#[derive(Default)]
struct Seen {
    /// Of routes that show a webhook's URL.
    with_url: String,
    /// Of routes whose answer is an envelope.
    with_envelope: String,
    /// Of all others.
    others: String,
}

impl Seen {
    fn take(&mut self, reply: &Reply) {
        let shows_url = reply.json["url"].is_string()
            || reply.json["request"]["url"].is_string()
            || reply.json["items"][0]["url"].is_string();
        let place = if shows_url { &mut self.with_url } else { &mut self.others };
        writeln!(place, "{:?}\n{}", reply.headers, String::from_utf8_lossy(&reply.bytes)).unwrap();
    }
}

fn envelope() -> Value {
    json!({"event": "transcript.created", "timestamp": "2026-03-26T14:32:00.000Z", "data": {"text": CONTENT}})
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_leaves_by_a_way_that_is_not_meant_for_it() {
    let receiver = Receiver::start().await;
    receiver.plan(CAPABILITY, [Answer::Status(404)]);
    let redis = RedisServer::start(AppendFsync::Always);
    let here = Installation::on(&redis, &receiver).await.with("LYNKHOOK_WEBHOOKS__LIMIT_PER_ACCOUNT", "50").await;
    let loud = [("LYNKHOOK_LOG__FILTER", LOUDEST), ("LYNKHOOK_SERVER__PUBLIC_URL", "https://hooks.example.com")];
    let api = Api::of(here, loud).await;
    let worker = api.here.program.worker([("LYNKHOOK_LOG__FILTER", LOUDEST)]);
    let mut seen = Seen::default();

    let url = receiver.url(&format!("{CAPABILITY}?key={QUERY}"));
    let list = "/v1/accounts/acme/webhooks";
    let mut ids = Vec::new();
    for authentication in
        [json!({"type": "bearer", "token": TOKEN}), json!({"type": "header", "name": "X-Key", "value": VALUE})]
    {
        let new = json!({"url": url, "authentication": authentication});
        let added = api.post(list, &new).await;
        assert_eq!(added.status, 201, "{added:?}");
        ids.push(added.json["id"].as_str().unwrap().to_owned());
        seen.take(&added);
        seen.take(&api.post(&format!("{list}?dryRun=true"), &new).await);
    }
    let link = api.post("/v1/accounts/acme/portal-links", &json!({"access": "manage", "user": "jo"})).await;
    let link = link.json["url"].as_str().unwrap().rsplit('=').next().unwrap().to_owned();

    let enqueued = api.post("/v1/accounts/acme/events", &envelope()).await;
    assert_eq!(enqueued.status, 202, "{enqueued:?}");
    let batch = json!({"events": [{"envelope": envelope()}]});
    let request = with_json(api.request(Method::POST, "/v1/accounts/acme/events/batch"), &batch);
    seen.take(&api.send(request.header("idempotency-key", "plain")).await);
    api.here.drained().await;
    // Each webhook has two failed deliveries now, and gets two that are held.
    for id in &ids {
        seen.take(&api.post(&format!("{list}/{id}/disable"), &json!({})).await);
    }
    api.post("/v1/accounts/acme/events", &envelope()).await;
    let held = format!("{list}/{}/held", ids[1]);
    eventually(SOON, "a held delivery", async || (api.get(&held).await.json["total"] == 1).then_some(())).await;

    every_route(&api, list, &ids[0], &mut seen).await;
    wrong_places(&api, list, &ids[1], &link, &mut seen).await;
    named_places(&api, list, &ids[1]).await;
    api.here.drained().await;

    // The log of each process, all that Redis has, and each answer.
    let key = &api.admin[18..61];
    let dump = dump::read(&mut redis.connection().await).await;
    api.process.sigterm();
    let served = api.process.output(SOON).await;
    worker.sigterm();
    let of_worker = worker.output(SOON).await;
    assert!(
        served.stderr.contains("\"level\":\"TRACE\"") || served.stderr.contains("\"level\":\"DEBUG\""),
        "it is loud"
    );
    let in_no_form = [TOKEN, VALUE, key, &link];
    assert_hidden("Redis", &dump.text, in_no_form);
    assert_hidden("what Redis ever wrote to its disk", &dump::written(&redis), in_no_form);
    assert_hidden("Redis beside the settings", &dump.without_settings, [CAPABILITY, QUERY]);
    assert!(dump.text.contains(CONTENT) && dump.text.contains(CAPABILITY), "the search finds what is there");
    let everything = [TOKEN, VALUE, CAPABILITY, QUERY, CONTENT, STRAY, key, &link];
    assert_hidden("the server's log", &(served.stderr + &served.stdout), everything);
    assert_hidden("the worker's log", &(of_worker.stderr + &of_worker.stdout), everything);
    assert!(seen.with_url.contains(CAPABILITY) && seen.with_envelope.contains(CONTENT));
    assert_hidden("an answer with a URL", &seen.with_url, [TOKEN, VALUE, CONTENT, STRAY, key, &link]);
    assert_hidden(
        "an answer with an envelope",
        &seen.with_envelope,
        [TOKEN, VALUE, CAPABILITY, QUERY, STRAY, key, &link],
    );
    assert_hidden("another answer", &seen.others, everything);
}

/// Calls every documented route as it is meant.
async fn every_route(api: &Api, list: &str, id: &str, seen: &mut Seen) {
    let failed = api.get(&format!("{list}/{id}/failed")).await;
    let [delivery, other] = [0, 1].map(|at| failed.json["items"][at]["deliveryId"].as_str().unwrap().to_owned());
    for (path, method, operation) in api.operations() {
        let operation = operation["operationId"].as_str().unwrap();
        // These end what the others need, or answer a secret on purpose.
        if ["deleteWebhook", "purgeAccount", "endPortalSessions", "createPortalLink"].contains(&operation) {
            continue;
        }
        let path = path.replace("{account}", "acme").replace("{id}", id).replace("{delivery}", &delivery);
        let path = path.replace("{event}", "transcript.created").replace("{name}", "invalid");
        let query = if path.ends_with("acme/logs") { "?identifier=m" } else { "" };
        let mut request = api.request(method.clone(), &format!("{path}{query}"));
        if [Method::POST, Method::PATCH].contains(&method) {
            let body = match operation {
                "addWebhook" => {
                    json!({"url": "https://example.com/", "authentication": {"type": "bearer", "token": TOKEN}})
                }
                "editWebhook" => json!({"authentication": {"type": "header", "name": "X-Key", "value": VALUE}}),
                "redeliverFailed" => json!({"delivery": other}),
                "requeueRejected" | "dropRejected" => json!({"all": true}),
                "enqueueEvent" => envelope(),
                "enqueueBatch" => json!({"events": [{"envelope": envelope()}]}),
                _ => json!({}),
            };
            request = with_json(request, &body);
        }
        let reply = api.send(request).await;
        assert!(reply.status < 300 || operation == "getHeldEnvelope", "{operation}: {reply:?}");
        if operation.ends_with("Envelope") {
            seen.with_envelope += reply.text();
        } else {
            seen.take(&reply);
        }
    }
    for rest in ["disable", "enable"] {
        seen.take(&api.post(&format!("{list}/{id}/{rest}"), &json!({})).await);
    }
}

/// Faulty webhooks with this text in each place.
fn webhooks_with(secret: &str) -> Vec<Value> {
    let url = "https://example.com/";
    vec![
        json!({"url": secret}),
        json!({"url": format!("http://example.com/{secret}")}),
        json!({"url": format!("https://user:{secret}@example.com/")}),
        json!({"url": format!("https://example.com/{secret}#{secret}")}),
        json!({"url": url, "description": format!("{secret}\u{7}")}),
        json!({"url": url, "tokn": secret}),
        json!({"url": url, "events": [secret]}),
        json!({"url": url, "events": secret}),
        json!({"url": url, "active": secret}),
        json!({"url": url, "authentication": secret}),
        json!({"url": url, "authentication": {"type": secret}}),
        json!({"url": url, "authentication": {"type": "bearer", "token": [secret]}}),
        json!({"url": url, "authentication": {"type": "bearer", "token": format!("{secret} {secret}\n")}}),
        json!({"url": url, "authentication": {"type": "header", "name": "Cookie", "value": secret}}),
        json!({"url": url, "authentication": {"type": "header", "name": "X-Key", "value": format!("{secret}\u{0}")}}),
        json!([secret]),
        json!(secret),
    ]
}

/// Puts secrets where they do not belong.
async fn wrong_places(api: &Api, list: &str, id: &str, link: &str, seen: &mut Seen) {
    let webhook = format!("{list}/{id}");
    let redeliver = format!("{webhook}/failed/redeliver");
    let patch = |body: Value| {
        api.request(Method::PATCH, &webhook)
            .header("content-type", "application/merge-patch+json")
            .body(body.to_string())
    };
    let post = |path: &str, body: Value| with_json(api.request(Method::POST, path), &body);
    let raw = |path: &str, body: String| {
        api.request(Method::POST, path).header("content-type", "application/json").body(body)
    };
    let mut requests: Vec<RequestBuilder> = Vec::new();
    for secret in [TOKEN, VALUE, STRAY, link, &api.admin] {
        for body in webhooks_with(secret) {
            requests.push(post(list, body.clone()));
            requests.push(patch(body));
        }
        for body in [
            json!({"delivery": [secret]}),
            json!({"since": secret}),
            json!({"all": secret}),
            json!({"all": true, "until": secret}),
        ] {
            requests.push(post(&redeliver, body));
        }
        requests.push(post(&format!("{webhook}/enable"), json!({"discardHeld": secret})));
        requests.push(post(&format!("{webhook}/test"), json!(secret)));
        for body in [
            json!({"access": secret}),
            json!({"access": "read", "user": "x\u{7}", "returnUrl": secret, "embedOrigin": secret, "theme": {"accent": secret}}),
        ] {
            requests.push(post("/v1/accounts/acme/portal-links", body));
        }
        for query in [format!("limit={secret}"), format!("after={secret}"), format!("status={secret}")] {
            requests.push(api.request(Method::GET, &format!("{webhook}/logs?{query}")));
        }
        requests.push(raw(list, format!("{{\"url\": {secret}}}")));
        requests.push(raw(list, secret.to_owned()));
        requests.push(raw("/v1/accounts/acme/events", secret.to_owned()));
        for header in [
            "if-match",
            "if-none-match",
            "traceparent",
            "webhook-id",
            "authorization",
            "content-type",
            "idempotency-key",
        ] {
            if header == "idempotency-key" && secret != STRAY {
                continue;
            }
            let request = patch(json!({"description": 5})).header(header, format!("{secret} {secret}"));
            requests.push(request);
        }
        let event = json!({"event": "transcript.created", "timestamp": secret, "data": secret});
        requests.push(post("/v1/accounts/acme/events", event));
        requests.push(api.bare(Method::GET, "/v1/key").bearer_auth(format!("{secret}x")));
    }
    requests.push(api.request(Method::GET, &format!("/v1/key?key={}", api.admin)));
    requests.push(api.request(Method::GET, &format!("/v1/key?{}=1", api.admin)));
    for request in requests {
        let reply = api.send(request).await;
        assert!((400..500).contains(&reply.status) || reply.header("etag").is_some(), "{reply:?}");
        seen.take(&reply);
    }
}

/// Puts a text where the answer names it as the place of the fault. Only the log is searched for it.
async fn named_places(api: &Api, list: &str, id: &str) {
    let (webhook, url) = (format!("{list}/{id}"), "https://example.com/");
    for path in [
        format!("/v1/accounts/{STRAY}%20/webhooks"),
        format!("/v1/accounts/acme/webhooks/{STRAY}"),
        format!("{webhook}/failed/{STRAY}/envelope"),
        format!("/v1/event-types/{STRAY}"),
        format!("/v1/{STRAY}"),
        format!("/problems/{STRAY}"),
        format!("/v1/key?{STRAY}=1"),
        format!("{webhook}/logs?event={STRAY}&identifier={STRAY}"),
    ] {
        api.get(&path).await;
    }
    let stray = json!({"event": STRAY, "timestamp": "2026-03-26T14:32:00.000Z", "data": {}});
    api.post("/v1/accounts/acme/events", &stray).await.problem(422, "invalid-envelope");
    api.post(list, &json!({"url": url, STRAY: 1})).await.problem(422, "invalid");
    let keyed = with_json(api.request(Method::POST, "/v1/accounts/acme/events"), &envelope());
    assert_eq!(api.send(keyed.header("idempotency-key", STRAY)).await.status, 202);
}
