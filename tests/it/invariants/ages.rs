//! Invariant 6 at random: entries older than their limit are not shown, and the next visit deletes them; younger ones
//! stay.

use lynkhook::{
    domain::log_entry::{LOG_RETENTION, timestamp},
    webhooks::NewAuthentication,
};
use serde_json::json;

use super::*;

const DAY: Duration = Duration::from_hours(24);
/// No entry is this close to its limit, so that the test's own duration does not matter.
const MARGIN_MS: i64 = 60_000;

/// Random times around `limit` ago, oldest first, in Unix ms.
fn around(dice: &mut StdRng, now_ms: i64, limit: Duration) -> Vec<i64> {
    let limit_ms = i64::try_from(limit.as_millis()).unwrap();
    let span = if dice.random_bool(0.5) { 2 * MARGIN_MS } else { limit_ms };
    let count = if dice.random_bool(0.2) { 0 } else { dice.random_range(1..50) };
    let mut times: Vec<i64> = (0..count)
        .map(|_| {
            let off = dice.random_range(MARGIN_MS..=span.max(MARGIN_MS + 1));
            now_ms - limit_ms + if dice.random_bool(0.5) { off.min(limit_ms) } else { -off }
        })
        .collect();
    times.sort_unstable();
    times.dedup();
    times
}

fn log_entry(at_ms: i64) -> String {
    json!({
        "status": "failed", "event": "transcript.created", "httpStatus": 404, "attempt": 1, "durationMs": 1,
        "error": "HTTP 404 Not Found", "identifiers": {}, "deliveryId": "e.w", "final": true,
        "time": timestamp(chrono::DateTime::from_timestamp_millis(at_ms).unwrap()),
    })
    .to_string()
}

/// The times of a stream's entries, in Unix ms.
async fn times(here: &Installation, key: &str) -> Vec<i64> {
    let range = redis::cmd("XRANGE").arg(key).arg("-").arg("+").to_owned();
    let entries: Vec<(String, redis::Value)> = range.query_async(&mut here.redis.clone()).await.unwrap();
    entries.iter().map(|(id, _)| id.split_once('-').unwrap().0.parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn at_random_ages_old_entries_are_hidden_and_the_next_visit_deletes_only_them() {
    let (mut dice, duration) = dice();
    let here = Installation::new(&Receiver::start().await).await;
    let account = account_id("acme");
    let (mut redis, started, mut expired) = (here.redis.clone(), Instant::now(), [0, 0]);
    while started.elapsed() < duration / 5 {
        let url = "https://localhost/hook";
        // The webhook is off, so that held entries stay held.
        let webhook = here.add_with("acme", url, NewAuthentication::None, false).await;
        let now = here.store.now(0).await.unwrap();
        let limits = [90 * DAY, 7 * DAY, LOG_RETENTION];
        let made = limits.map(|limit| around(&mut dice, now.timestamp_millis(), limit));
        let young: Vec<Vec<i64>> = made
            .iter()
            .zip(limits)
            .map(|(made, limit)| {
                let oldest = (now - limit).timestamp_millis();
                made.iter().copied().filter(|&time| time >= oldest).collect()
            })
            .collect();
        let streams = ["held", "failed"].map(|kind| here.key(&format!("{kind}:{webhook}")));
        for (key, made) in streams.iter().zip(&made) {
            for time in made {
                let _: String = redis.xadd(key, format!("{time}-0"), &[("delivery", "x")]).await.unwrap();
            }
        }
        for time in &made[2] {
            let _: () = redis.lpush(here.key(&format!("logs:{webhook}")), log_entry(*time)).await.unwrap();
        }
        let shown = here.store.logs(&account, webhook).await.unwrap().len();
        assert_eq!(shown, young[2].len(), "old entries are not shown");

        let _: () = redis.zadd(here.key("visits"), format!("acme/{webhook}"), 0).await.unwrap();
        let oldest_log = timestamp(now - LOG_RETENTION);
        here.store.visit(&account, webhook, &oldest_log).await.unwrap();
        for (stream, key) in streams.iter().enumerate() {
            assert_eq!(times(&here, key).await, young[stream], "{key}");
            expired[stream] += made[stream].len() - young[stream].len();
        }
        assert_eq!(here.log(webhook).await.len(), young[2].len(), "old entries are gone");
        let next: Option<i64> = redis.zscore(here.key("visits"), format!("acme/{webhook}")).await.unwrap();
        assert_eq!(next.is_some(), young.iter().any(|young| !young.is_empty()));
        here.webhooks.delete(&account, webhook, None).await.unwrap();
    }
    let counts: HashMap<String, usize> = redis.hgetall(here.key("counts")).await.unwrap();
    let counted = ["held_expired", "failed_expired"].map(|cause| counts.get(cause).copied().unwrap_or_default());
    assert_eq!(counted, expired, "and counted");
}
