//! Entries that are too old are deleted one by one, whether or not their key is still written. The tests move Redis's
//! clock by backdating entries.

use std::collections::HashMap;

use lynkhook::{domain::webhook::WebhookId, webhooks::NewAuthentication};
use redis::AsyncCommands;
use serde_json::json;

use crate::support::*;

const DAY_S: i64 = 24 * 3600;
const HOUR_MS: f64 = 3_600_000.0;

async fn redis_seconds(here: &Installation) -> i64 {
    let (seconds, _): (i64, i64) = redis::cmd("TIME").query_async(&mut here.redis.clone()).await.unwrap();
    seconds
}

/// Appends to a stream as if `age_s` seconds ago.
async fn backdated(here: &Installation, key: &str, age_s: i64, field: &str, value: &str) {
    let id = format!("{}-0", (redis_seconds(here).await - age_s) * 1000);
    let _: String = here.redis.clone().xadd(key, id, &[(field, value)]).await.unwrap();
}

fn entry(seconds: i64) -> String {
    let time = chrono::DateTime::from_timestamp(seconds, 0).unwrap();
    json!({
        "status": "failed", "event": "transcript.created", "httpStatus": 404, "attempt": 1, "durationMs": 1,
        "error": "HTTP 404 Not Found", "identifiers": {}, "deliveryId": "e.w", "final": true,
        "time": time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
    })
    .to_string()
}

/// Makes the webhook's visit due now.
async fn visit(here: &Installation, webhook: WebhookId) {
    let _: () = here.redis.clone().zadd(here.key("visits"), format!("acme/{webhook}"), 0).await.unwrap();
}

async fn next_visit_ms(here: &Installation, webhook: WebhookId) -> Option<f64> {
    let due: Option<f64> = here.redis.clone().zscore(here.key("visits"), format!("acme/{webhook}")).await.unwrap();
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit")]
    let now_ms = redis_seconds(here).await as f64 * 1000.0;
    due.map(|due| due - now_ms)
}

#[tokio::test(flavor = "multi_thread")]
async fn old_held_failed_and_logged_entries_are_deleted_even_if_nothing_writes_their_keys() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    // The webhook is off, so that held entries stay held.
    let webhook = here.add_with("acme", &receiver.url("/hook"), NewAuthentication::None, false).await;
    let (held, failed) = (here.key(&format!("held:{webhook}")), here.key(&format!("failed:{webhook}")));
    let logs = here.key(&format!("logs:{webhook}"));
    for (key, days) in [(&held, 90), (&failed, 7)] {
        backdated(&here, key, days * DAY_S + 60, "delivery", "too old").await;
        backdated(&here, key, days * DAY_S - 60, "delivery", "just young enough").await;
    }
    let now = redis_seconds(&here).await;
    let aged = [entry(now - 90 * DAY_S + 60), entry(now - 90 * DAY_S - 60), entry(now - 91 * DAY_S)];
    let _: () = here.redis.clone().rpush(&logs, &aged).await.unwrap();

    let _worker = here.program.worker([]);
    visit(&here, webhook).await;
    eventually(SOON, "the visit", async || next_visit_ms(&here, webhook).await.filter(|&due| due > 0.0)).await;
    let lengths: (u64, u64, u64) =
        redis::pipe().xlen(&held).xlen(&failed).llen(&logs).query_async(&mut here.redis.clone()).await.unwrap();
    assert_eq!(lengths, (1, 1, 1), "of each, the entry that is just young enough is left");
    let counts: HashMap<String, u64> = here.redis.clone().hgetall(here.key("counts")).await.unwrap();
    assert_eq!((counts["held_expired"], counts["failed_expired"]), (1, 1));
    let due = next_visit_ms(&here, webhook).await.unwrap();
    assert!(due <= HOUR_MS + 1000.0, "and it is visited again within the hour: {due} ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_written_once_a_month_is_visited_within_the_hour_and_an_empty_one_no_longer() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(200)]);
    let here = Installation::new(&receiver).await;
    let webhook = here.add("acme", &receiver.url("/hook")).await;
    let _worker = here.program.worker([]);
    here.push("acme", TRANSCRIPT).await;
    here.finished(webhook).await;
    let due =
        eventually(SOON, "a visit ahead", async || next_visit_ms(&here, webhook).await.filter(|&due| due > 0.0)).await;
    assert!(due <= HOUR_MS + 1000.0, "{due} ms");
    // A month later, the log's only entry is too old.
    let logs = here.key(&format!("logs:{webhook}"));
    let old = entry(redis_seconds(&here).await - 91 * DAY_S);
    let _: () = here.redis.clone().lset(&logs, 0, old).await.unwrap();
    visit(&here, webhook).await;
    eventually(SOON, "the log to be gone", async || {
        let exists: bool = here.redis.clone().exists(&logs).await.unwrap();
        (!exists && next_visit_ms(&here, webhook).await.is_none()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_rejected_entries_are_deleted() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let rejected = here.key("rejected");
    backdated(&here, &rejected, 90 * DAY_S + 60, "reason", "too old").await;
    backdated(&here, &rejected, 90 * DAY_S - 60, "reason", "just young enough").await;
    let _worker = here.program.worker([]);
    eventually(SOON, "the old one to go", async || {
        (here.redis.clone().xlen::<_, u64>(&rejected).await.unwrap() == 1).then_some(())
    })
    .await;
    let expired: u64 = here.redis.clone().hget(here.key("counts"), "rejected_expired").await.unwrap();
    assert_eq!(expired, 1);
}
