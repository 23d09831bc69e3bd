//! The operators' view of the queue, and the remains of a purged account.

mod keys;
mod rejected;

use redis::AsyncCommands;
use serde_json::{Value, json};

use crate::support::*;
use lynkhook::{domain::webhook::WebhookId, webhooks::NewAuthentication};

/// A delivery that no worker has to read.
const DELIVERY: [(&str, &str); 1] = [("delivery", "{}\n{}")];

async fn now_ms(here: &Installation) -> i64 {
    here.store.now(0).await.unwrap().timestamp_millis()
}

/// Adds deliveries to a webhook's `held` or `failed`, as a worker would.
async fn fill(here: &Installation, kind: &str, account: &str, webhook: WebhookId, entries: usize) {
    let mut redis = here.redis.clone();
    for _ in 0..entries {
        let _: String = redis.xadd(here.key(&format!("{kind}:{webhook}")), "*", &DELIVERY).await.unwrap();
    }
    let _: () = redis.zadd(here.key("visits"), format!("{account}/{webhook}"), i64::MAX >> 12).await.unwrap();
}

async fn status(here: &Installation) -> Value {
    here.program.json(["queue", "status"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_an_empty_queue_is_all_zeros_and_says_that_no_worker_is_alive() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let status = status(&here).await;
    for (pointer, expected) in [
        ("/depth", json!(0)),
        ("/oldestMs", json!(null)),
        ("/inFlight", json!(0)),
        ("/retries", json!({ "waiting": 0, "late": 0, "lateByMs": 0 })),
        ("/rejected/entries", json!(0)),
        ("/counts", json!({})),
        ("/limitsReached", json!([])),
        ("/complete", json!(true)),
        ("/workers", json!([])),
        ("/partitions/0/partition", json!(0)),
    ] {
        assert_eq!(status.pointer(pointer), Some(&expected), "{pointer} of {status:#}");
    }
    let shown = here.program.run(["queue", "status"]).await;
    assert!(shown.stdout.contains("No worker is alive"), "{}", shown.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_counts_queued_taken_late_held_failed_and_rejected_entries() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let here = here.with("LYNKHOOK_HELD__LIMIT", "5").await.with("LYNKHOOK_REJECTED__LIMIT", "2").await;
    let mut redis = here.redis.clone();
    for _ in 0..3 {
        here.push("acme", TRANSCRIPT).await;
    }
    assert_eq!(status(&here).await["depth"], 3, "before the group exists");
    here.store.ensure_group(0).await.unwrap();
    let mut reader = here.reader(0, "w-1", SOON).await;
    assert_eq!(reader.read(1).await.unwrap().len(), 1);
    let now = now_ms(&here).await;
    for (member, due) in [("late", now - 5000), ("later", now - 3000), ("early", now + 60_000)] {
        let _: () = redis.zadd(here.key("retries"), member, due).await.unwrap();
    }
    let off = here.add_with("acme", &receiver.url("/a"), NewAuthentication::None, false).await;
    let other = here.add("other", &receiver.url("/b")).await;
    fill(&here, "held", "acme", off, 5).await;
    fill(&here, "held", "other", other, 2).await;
    fill(&here, "failed", "other", other, 3).await;
    for _ in 0..2 {
        let _: String = redis.xadd(here.key("rejected"), "*", &[("reason", "r"), ("entry", "1-0")]).await.unwrap();
    }
    let _: () = redis.hset(here.key("counts"), "held_overflow", 7).await.unwrap();
    let figures = json!({ "version": "1.2.3", "inFlight": 1, "concurrency": 256, "attempts": 9, "delivered": 6,
        "retries": 2, "failed": 1, "putOff": 5, "noRoom": 6, "slowEndpoints": 3, "failingEndpoints": 4, "busyPercent": 12,
        "limited": [{ "account": "acme", "webhook": "wh_1", "why": "has not answered yet", "inFlight": 3, "limit": 3 }], "startedAt": "2026-03-26T14:32:00.000Z", "at": "2026-03-26T15:32:00.000Z" });
    here.store.publish_worker("w-1", &figures.to_string()).await.unwrap();

    let status = status(&here).await;
    for (pointer, expected) in [
        ("/depth", json!(3)),
        ("/inFlight", json!(1)),
        ("/consumers", json!(1)),
        ("/retries/waiting", json!(3)),
        ("/retries/late", json!(2)),
        ("/visits", json!({ "waiting": 2, "due": 0 })),
        ("/held/entries", json!(7)),
        ("/held/streams", json!(2)),
        ("/held/atLimit", json!(1)),
        ("/held/limit", json!(5)),
        ("/failed/entries", json!(3)),
        ("/failed/atLimit", json!(0)),
        ("/failed/atMaxBytes", json!(0)),
        ("/failed/maxBytes", json!(64 << 20)),
        ("/rejected/entries", json!(2)),
        ("/rejected/atLimit", json!(1)),
        ("/counts", json!({ "held_overflow": 7 })),
        ("/limitsReached", json!(["held.limit", "rejected.limit"])),
        ("/mostHeld/0", json!({ "account": "acme", "webhook": off, "held": 5, "failed": 0 })),
        ("/mostHeld/1", json!({ "account": "other", "webhook": other, "held": 2, "failed": 3 })),
        ("/workers/0/name", json!("w-1")),
        ("/workers/0/version", json!("1.2.3")),
        ("/workers/0/inFlight", json!(1)),
        ("/workers/0/putOff", json!(5)),
        ("/workers/0/noRoom", json!(6)),
        ("/workers/0/busyPercent", json!(12)),
        ("/workers/0/limited/0/inFlight", json!(3)),
        ("/partitions/0/depth", json!(3)),
    ] {
        assert_eq!(status.pointer(pointer), Some(&expected), "{pointer} of {status:#}");
    }
    assert!((5000..60_000).contains(&status["retries"]["lateByMs"].as_i64().unwrap()), "{status:#}");
    assert!((0..60_000).contains(&status["oldestMs"].as_i64().unwrap()), "{status:#}");
    let shown = here.program.run(["queue", "status"]).await.stdout;
    let parts = "held.limit = 5|LATE: 2|w-1|1/256|3/4|held_overflow|5 (limit)|3/3|not answered yet";
    for part in parts.split('|').chain([&*off.to_string()]) {
        assert!(shown.contains(part), "{part} in\n{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_worker_is_listed_with_its_figures_and_leaves_the_list_when_it_stops() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(200)]);
    let here = Installation::new(&receiver).await;
    here.add("acme", &receiver.url("/hook")).await;
    let mut worker = here.program.worker([("LYNKHOOK_WORKER__CONCURRENCY", "7")]);
    worker.wait_for_line("worker started").await;
    let live = eventually(SOON, "a live worker", async || {
        let status = status(&here).await;
        status["workers"].as_array().filter(|workers| !workers.is_empty()).cloned()
    })
    .await;
    assert_eq!(live[0]["concurrency"], 7);
    assert_eq!(live[0]["version"], env!("CARGO_PKG_VERSION"));
    worker.sigterm();
    worker.wait().await;
    let status = status(&here).await;
    assert_eq!((&status["workers"], &status["consumers"]), (&json!([]), &json!(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_prints_one_object_a_line_until_interrupted() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let mut watching = here.program.start(["queue", "status", "--watch", "--json"]);
    eventually(SOON, "two lines", async || (watching.stdout().lines().count() >= 2).then_some(())).await;
    watching.sigint();
    assert_eq!(watching.wait().await, Some(0), "{}", watching.stderr());
    for line in watching.stdout().lines() {
        assert_eq!(serde_json::from_str::<Value>(line).unwrap()["depth"], 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_the_commands_end_with_5() {
    let url = format!("redis://127.0.0.1:{}/", refused_port());
    let program = Program::new(RedisServer::shared(), "nobody").env("LYNKHOOK_REDIS__URL", url);
    for args in [&["queue", "status"][..], &["queue", "status", "--watch"], &["queue", "rejected", "list"]] {
        assert_eq!(program.run(args).await.code, Some(5), "{args:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn purging_leaves_no_key_of_the_account_and_queued_events_are_dropped_and_counted() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(200)]);
    let here = Installation::new(&receiver).await;
    let first = here.add("acme", &receiver.url("/hook")).await;
    let second = here.add_with("acme", &receiver.url("/hook"), NewAuthentication::None, false).await;
    let other = here.add("other", &receiver.url("/hook")).await;
    fill(&here, "held", "acme", second, 3).await;
    fill(&here, "failed", "acme", first, 2).await;
    let mut redis = here.redis.clone();
    let _: () = redis.lpush(here.key(&format!("logs:{first}")), "{}").await.unwrap();
    let id = format!("e1.{first}");
    let line = json!({ "id": id, "event_id": "e1", "account": "acme", "webhook": first, "attempt": 2 });
    let delivery = format!("{line}\n{TRANSCRIPT}");
    let _: () = redis.zadd(here.key("retries"), &delivery, 0).await.unwrap();
    let _: String = redis.xadd(here.key("queue"), "*", &[("delivery", &delivery)]).await.unwrap();
    here.push("acme", TRANSCRIPT).await;
    here.push("other", TRANSCRIPT).await;

    let refused = here.program.run(["account", "purge", "--account", "acme"]).await;
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("--yes"), "{}", refused.stderr);
    assert_eq!(here.webhooks.list(&account_id("acme")).await.unwrap().len(), 2, "nothing was deleted");
    let purged = here.program.json(["account", "purge", "--account", "acme", "--yes"]).await;
    assert_eq!(purged["dropped"], json!({ "held": 3, "failed": 2 }));
    assert_eq!(purged["webhooks"].as_array().unwrap().len(), 2);
    let again = here.program.run(["account", "purge", "--account", "acme", "--yes"]).await;
    assert!(again.code == Some(0) && again.stdout.contains("no webhooks"), "{again:?}");

    let _worker = here.program.worker([]);
    receiver.wait_for("/hook", 1, SOON).await;
    here.drained().await;
    assert_eq!(receiver.requests("/hook").len(), 1, "only the other account's");
    let left = here.keys().await;
    for name in [first.to_string(), second.to_string(), "acme".to_owned()] {
        assert!(!left.iter().any(|key| key.contains(&name)), "{name} in {left:?}");
    }
    let visits: Vec<String> = redis.zrange(here.key("visits"), 0, -1).await.unwrap();
    assert_eq!(visits, [format!("other/{other}")]);
    let counts = status(&here).await["counts"].clone();
    assert_eq!(
        counts,
        json!({ "deliveries_of_deleted_webhook": 3 + 2, "failed_of_deleted_webhook": 2, "events_without_webhook": 1 })
    );
}
