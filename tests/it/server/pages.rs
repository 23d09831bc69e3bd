//! Lists: their shape, their pages, and cursors that survive changes.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use lynkhook::domain::webhook::WebhookId;
use redis::AsyncCommands;
use reqwest::Method;
use serde_json::{Value, json};

use super::support::Api;
use crate::support::*;

/// An API with an account of this many webhooks. Answers their ids.
async fn of_webhooks(count: usize) -> (Api, Vec<String>) {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await.with("LYNKHOOK_WEBHOOKS__LIMIT_PER_ACCOUNT", "200").await;
    let api = Api::of(here, []).await;
    let mut ids = Vec::new();
    for number in 0..count {
        ids.push(api.add("acme", &format!("https://example.com/{number}")).await);
    }
    (api, ids)
}

/// One page.
async fn page(api: &Api, path: &str, limit: usize, after: Option<&str>) -> (Vec<Value>, Option<String>) {
    let join = if path.contains('?') { '&' } else { '?' };
    let after = after.map(|after| format!("&after={after}")).unwrap_or_default();
    let reply = api.get(&format!("{path}{join}limit={limit}{after}")).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    (reply.json["items"].as_array().unwrap().clone(), reply.json["next"].as_str().map(str::to_owned))
}

/// All items of a list, read with this limit.
async fn all(api: &Api, path: &str, limit: usize) -> Vec<Value> {
    let (mut found, mut next) = page(api, path, limit, None).await;
    while let Some(after) = next {
        assert_eq!(found.len() % limit, 0, "each page but the last is full");
        let (items, after) = page(api, path, limit, Some(&after)).await;
        assert!(!items.is_empty(), "{path}: a page that was promised is empty");
        found.extend(items);
        next = after;
    }
    found
}

/// A time of an attempt some milliseconds from now; older ones than 90 days are not shown.
async fn time(api: &Api, milliseconds: impl Into<i64>) -> String {
    let time = api.here.store.now(0).await.unwrap() + chrono::TimeDelta::milliseconds(milliseconds.into());
    time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// An API with webhooks, logs, held, failed and rejected entries, and the paths of their lists.
async fn of_everything() -> (Api, Vec<String>) {
    let (api, ids) = of_webhooks(3).await;
    let id: WebhookId = ids[0].parse().unwrap();
    for number in 0..3 {
        api.here.fail(id, &format!("{}-0", 1_774_500_000_000_i64 + number), &format!("f{number}"), TRANSCRIPT).await;
        let held = text(&first("acme", id, &format!("h{number}")), TRANSCRIPT);
        let mut redis = api.here.redis.clone();
        let _: String = redis.xadd(api.here.key(&format!("held:{id}")), "*", &[("delivery", held)]).await.unwrap();
        let rejected = [("reason", "no envelope"), ("f:account", "acme")];
        let _: String = redis.xadd(api.here.key("rejected"), "*", &rejected).await.unwrap();
        let entry = json!({
            "status": "failed", "event": "transcript.created", "httpStatus": 503, "attempt": number + 1,
            "durationMs": 1, "error": "x", "identifiers": {"messageId": "m"}, "deliveryId": "e.w", "final": false,
            "time": time(&api, number).await,
        });
        let _: () = redis.lpush(api.here.key(&format!("logs:{id}")), entry.to_string()).await.unwrap();
        let link = format!("{}-{number}", "a".repeat(62));
        let until = api.here.store.now(0).await.unwrap().timestamp_millis() + 60_000 + number;
        let session = json!({"kind": "session", "access": "read", "payloads": false, "until": until});
        let _: () = redis.hset(api.here.key("portal:acme"), link, session.to_string()).await.unwrap();
    }
    let base = "/v1/accounts/acme/webhooks";
    let paths = [
        base.to_owned(),
        format!("{base}/{id}/logs"),
        format!("{base}/{id}/held"),
        format!("{base}/{id}/failed"),
        "/v1/accounts/acme/logs?identifier=m".to_owned(),
        "/v1/queue/rejected".to_owned(),
    ];
    (api, paths.to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_list_has_the_same_pages_for_each_limit_and_refuses_limits_and_cursors_that_are_none() {
    let (api, paths) = of_everything().await;
    let with_more =
        paths.iter().cloned().chain(["/v1/event-types".to_owned(), "/v1/accounts/acme/portal-sessions".to_owned()]);
    for path in with_more {
        let whole = all(&api, &path, 100).await;
        if path != "/v1/event-types" {
            assert_eq!(whole.len(), 3, "{path}: {whole:?}");
        }
        for limit in [1, 2, 3] {
            assert_eq!(all(&api, &path, limit).await, whole, "{path} by {limit}");
        }
        let reply = api.get(&path).await;
        let members: BTreeSet<&str> = reply.json.as_object().unwrap().keys().map(String::as_str).collect();
        let kept = path.ends_with("/held") || path.ends_with("/failed");
        let wanted = if kept { &["items", "next", "oldest", "total"][..] } else { &["items", "next"] };
        assert_eq!(members, wanted.iter().copied().collect(), "{path}");
        let join = if path.contains('?') { '&' } else { '?' };
        for limit in ["0", "101", "-1", "1.5", "", "ten", "+5", "0x5", "99999999999999999999", "1&limit=1"] {
            let reply = api.get(&format!("{path}{join}limit={limit}")).await;
            assert_eq!(reply.problem(400, "invalid-query"), ["limit".to_owned()].into(), "{path} {limit}");
        }
        let encoded = |text: &str| format!("c1{}", URL_SAFE_NO_PAD.encode(text));
        let broken = [
            "",
            "x",
            "c1",
            "c1!!",
            "%00",
            "lynk",
            &encoded("rubbish"),
            &encoded("-"),
            &encoded("(0-1"),
            &encoded("0/("),
            &encoded("$"),
            &encoded(&"9".repeat(1000)),
            &encoded("0-0"),
            &encoded("0-0/0"),
            &encoded("18446744073709551615-18446744073709551615"),
            &encoded("18446744073709551615-18446744073709551615/0"),
            &encoded(&format!("{}1-1", "0".repeat(200))),
            &encoded(&format!("{}1-1/0", "0".repeat(200))),
            &encoded("2026-03-26T14:32:00.000Z"),
        ];
        for cursor in broken {
            // A list of names continues after any name.
            if path == "/v1/event-types" && URL_SAFE_NO_PAD.decode(cursor.get(2..).unwrap_or("!")).is_ok() {
                continue;
            }
            let reply = api.get(&format!("{path}{join}after={cursor}")).await;
            assert_eq!(reply.problem(400, "invalid-query"), ["after".to_owned()].into(), "{path} {cursor}");
        }
        let reply = api.get(&format!("{path}{join}limt=5&{}=1", "x".repeat(100))).await;
        assert_eq!(reply.problem(400, "invalid-query"), ["limt".to_owned(), "x".repeat(64)].into(), "{path}");
        assert!(reply.text().contains("did you mean `limit`?"), "{path}");
    }
    let reply = api.get("/v1/queue/rejected?partition=x").await;
    assert_eq!(reply.problem(400, "invalid-query"), ["partition".to_owned()].into());
    assert!(reply.text().contains("must be a partition's number"), "{reply:?}");
    let beyond = api.get("/v1/queue/rejected?partition=7").await;
    assert_eq!(beyond.problem(400, "invalid-query"), ["partition".to_owned()].into());
    let beyond = api.post("/v1/queue/rejected/requeue", &json!({"all": true, "partition": 7})).await;
    assert_eq!(beyond.problem(422, "invalid"), ["#/partition".to_owned()].into());
    for id in ["x", "0-0", "1-", "1774500000000", "18446744073709551615-18446744073709551615"] {
        api.post("/v1/queue/rejected/requeue", &json!({"id": id})).await.problem(404, "no-such-entry");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_another_kind_of_list_is_refused() {
    let (api, paths) = of_everything().await;
    let mut cursors = Vec::new();
    for path in &paths {
        cursors.push((path, page(&api, path, 1, None).await.1.unwrap()));
    }
    let kind = |path: &str| {
        ["logs", "held", "failed", "rejected", "webhooks"]
            .iter()
            .position(|kind| path.contains(&format!("/{kind}")))
            .map(|kind| {
                // Held and failed deliveries have positions of the same form; so have logs of a webhook and of an account.
                if kind == 2 { 1 } else { kind }
            })
    };
    let mut refused = 0;
    for path in paths.iter().map(String::as_str).chain(["/v1/accounts/acme/portal-sessions"]) {
        for (of, cursor) in &cursors {
            let join = if path.contains('?') { '&' } else { '?' };
            let reply = api.get(&format!("{path}{join}after={cursor}")).await;
            if kind(path) == kind(of) || (kind(path), kind(of)) == (Some(1), Some(1)) {
                assert_eq!(reply.status, 200, "{path} after one of {of}");
            } else {
                assert_eq!(
                    reply.problem(400, "invalid-query"),
                    ["after".to_owned()].into(),
                    "{path} after one of {of}"
                );
                refused += 1;
            }
        }
    }
    assert!(refused > 20, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_survives_insertions_and_deletions_even_of_its_own_item() {
    let (api, ids) = of_webhooks(5).await;
    let path = "/v1/accounts/acme/webhooks";
    let listed = |items: &[Value]| items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let (items, next) = page(&api, path, 2, None).await;
    assert_eq!(listed(&items), ids[..2]);
    for gone in [0, 1, 2] {
        assert_eq!(api.delete(&format!("{path}/{}", ids[gone])).await.status, 200);
    }
    let new = api.add("acme", "https://example.com/new").await;
    let (items, next) = page(&api, path, 2, next.as_deref()).await;
    assert_eq!(listed(&items), ids[3..], "nothing is repeated and nothing that stayed is left out");
    let (items, next) = page(&api, path, 2, next.as_deref()).await;
    assert_eq!((listed(&items), next), (vec![new], None));

    // Failed deliveries, newest first: newer ones do not move the page.
    let webhook: WebhookId = ids[3].parse().unwrap();
    for number in 1..=4 {
        api.here.fail(webhook, &format!("{number}-0"), &format!("f{number}"), TRANSCRIPT).await;
    }
    let failed = format!("{path}/{webhook}/failed");
    let events =
        |items: &[Value]| items.iter().map(|item| item["eventId"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let (items, next) = page(&api, &failed, 2, None).await;
    assert_eq!(events(&items), ["f4", "f3"]);
    api.here.fail(webhook, "5-0", "f5", TRANSCRIPT).await;
    let _: u64 = api.here.cli(&format!("XDEL {} 3-0", api.here.key(&format!("failed:{webhook}")))).await;
    let (items, next) = page(&api, &failed, 2, next.as_deref()).await;
    assert_eq!((events(&items), next), (vec!["f2".to_owned(), "f1".to_owned()], None));

    // Rejected entries, newest first.
    let rejected = api.here.key("rejected");
    let reject = async |id: &str| {
        let fields = [("reason", "no envelope"), ("f:account", "acme")];
        let _: String = api.here.redis.clone().xadd(&rejected, id, &fields).await.unwrap();
    };
    for id in ["1-0", "2-0", "3-0"] {
        reject(id).await;
    }
    let (items, next) = page(&api, "/v1/queue/rejected", 1, None).await;
    let first_seen = items[0]["id"].clone();
    reject("4-0").await;
    let _: u64 = api.here.cli(&format!("XDEL {rejected} 3-0")).await;
    let rest = page(&api, "/v1/queue/rejected", 100, next.as_deref()).await.0;
    assert_eq!(rest.len(), 2, "{rest:?}");
    assert!(rest.iter().all(|item| item["id"] != first_seen));
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_filtered_and_an_accounts_logs_have_all_its_webhooks_and_no_others() {
    let (api, ids) = of_webhooks(2).await;
    let other = api.add("globex", "https://example.com/").await;
    let mut redis = api.here.redis.clone();
    for (number, id, status, event, message) in [
        (0, &ids[0], "failed", "transcript.created", "m1"),
        (1, &ids[1], "success", "transcript.created", "m1"),
        (2, &ids[0], "success", "webhook.test", "m2"),
        (3, &ids[0], "success", "transcript.created", "m1"),
        (4, &other, "success", "transcript.created", "m1"),
    ] {
        let entry = json!({
            "status": status, "event": event, "httpStatus": 200, "attempt": 1, "durationMs": 1, "error": null,
            "identifiers": {"messageId": message}, "deliveryId": format!("e{number}.w"), "final": true,
            "time": time(&api, number).await,
        });
        let _: () = redis.lpush(api.here.key(&format!("logs:{id}")), entry.to_string()).await.unwrap();
    }
    let logs = format!("/v1/accounts/acme/webhooks/{}/logs", ids[0]);
    let found = async |path: String| {
        let items = all(&api, &path, 1).await;
        items.iter().map(|item| item["deliveryId"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for (query, expected) in [
        ("?", &["e3.w", "e2.w", "e0.w"][..]),
        ("?status=success", &["e3.w", "e2.w"]),
        ("?status=failed", &["e0.w"]),
        ("?event=webhook.test", &["e2.w"]),
        ("?identifier=m1", &["e3.w", "e0.w"]),
        ("?identifier=messageId%3Dm1&status=success", &["e3.w"]),
        ("?identifier=m1&event=webhook.test", &[]),
        ("?event=no.such", &[]),
    ] {
        assert_eq!(found(format!("{logs}{query}")).await, expected, "{query}");
    }
    let account = "/v1/accounts/acme/logs?identifier=";
    assert_eq!(found(format!("{account}m1")).await, ["e3.w", "e1.w", "e0.w"]);
    let items = all(&api, &format!("{account}messageId%3Dm1"), 100).await;
    assert_eq!(items.iter().map(|item| &item["webhook"]).collect::<Vec<_>>(), [&ids[0], &ids[1], &ids[0]]);
    assert!(found(format!("{account}m3")).await.is_empty());
    for (path, parameter) in [
        (format!("{logs}?status=ok"), "status"),
        (format!("{logs}?status=Success"), "status"),
        (format!("{logs}?stauts=failed"), "stauts"),
        (format!("{logs}?event=a&event=b"), "event"),
        ("/v1/accounts/acme/logs".to_owned(), "identifier"),
        (account.to_owned(), "identifier"),
    ] {
        assert_eq!(api.get(&path).await.problem(400, "invalid-query"), [parameter.to_owned()].into(), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn head_answers_as_get_does_without_a_body() {
    let (api, paths) = of_everything().await;
    let more = ["/v1/key", "/v1/queue/status", "/v1/event-types", "/docs", "/openapi.json", "/healthz", "/nothing"];
    let missing = "/v1/accounts/acme/webhooks/wh_01890000-0000-7000-8000-000000000000".to_owned();
    for path in paths.into_iter().chain(more.map(str::to_owned)).chain([missing]) {
        let get = api.get(&path).await;
        let head = api.request(Method::HEAD, &path).send().await.unwrap();
        assert_eq!(head.status(), get.status, "{path}");
        for name in ["content-type", "cache-control"] {
            assert_eq!(head.headers().get(name), get.headers.get(name), "{path} {name}");
        }
        if path != "/v1/queue/status" {
            assert_eq!(head.headers().get("etag"), get.headers.get("etag"), "{path}");
        }
        assert!(head.headers().contains_key("request-id"), "{path}");
        assert!(head.bytes().await.unwrap().is_empty(), "{path}");
    }
    let unknown = api.bare(Method::HEAD, "/v1/key").send().await.unwrap();
    assert_eq!(unknown.status(), 401);
}
