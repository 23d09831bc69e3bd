//! Each step of the queue by itself, called through the store like a worker calls it, with a real Redis and no worker:
//! what a step answers, what it moves, and that it moves nothing else.

mod audit;
mod batches;
mod claim;
mod fan_out;
mod fence;
mod full;
mod hold;
mod leave;
mod mend_times;
mod promote;
mod rejected;
mod release;
mod settle;
mod spoiled;
mod take_back;
mod visit;

use std::{collections::BTreeMap, ops::Deref, time::Duration};

use lynkhook::{
    domain::{
        delivery::Delivery,
        log_entry::{LOG_RETENTION, LogEntry, timestamp},
        retry::Next,
        webhook::WebhookId,
    },
    store::{
        Attempted, EntryId, Fence, KnownClock, Leap, MayTake, Reason, Released, StepAnswer, Times, ToHold, Untold,
        Visited,
    },
    webhooks::NewAuthentication,
};
use redis::AsyncCommands;
use serde_json::json;

use crate::support::*;

const HOUR_MS: i64 = 3_600_000;
/// The pace at which held deliveries come back.
const PACE: Duration = Duration::from_millis(50);

/// An entry of a stream as Redis has it: its id, and its fields in order.
type StreamEntry = (String, Vec<(String, String)>);

/// An installation whose queue has a group and no worker. All accounts are in partition 0.
struct Bench(Installation);

impl Deref for Bench {
    type Target = Installation;

    fn deref(&self) -> &Installation {
        &self.0
    }
}

impl Bench {
    async fn new() -> Self {
        Self::with(&[]).await
    }

    async fn with(settings: &[(&'static str, &str)]) -> Self {
        let mut here = Installation::new(&Receiver::start().await).await;
        for (name, value) in settings {
            here = here.with(name, value).await;
        }
        Self::of(here).await
    }

    async fn of(here: Installation) -> Self {
        here.store.ensure_group(0).await.unwrap();
        Self(here)
    }

    /// Adds a webhook, on or off, with no visit and no release planned.
    async fn webhook(&self, account: &str, active: bool) -> WebhookId {
        let url = "https://localhost/hook";
        let webhook = self.add_with(account, url, NewAuthentication::None, active).await;
        self.cli::<()>(&format!("ZREM {} {account}/{webhook}", self.key("releases"))).await;
        webhook
    }

    /// Appends an entry to a stream. Answers its id.
    async fn append(&self, rest: &str, fields: &[(&str, &str)]) -> String {
        self.redis.clone().xadd(self.key(rest), "*", fields).await.unwrap()
    }

    /// Queues a delivery of the example event. Answers the entry's id.
    async fn queue(&self, delivery: &Delivery) -> String {
        self.append("queue", &[("delivery", &text(delivery, TRANSCRIPT))]).await
    }

    /// A consumer takes the new entries in the queue.
    async fn take(&self, consumer: &str) -> Vec<Fence> {
        let mut reader = self.reader(0, consumer, Duration::from_secs(1)).await;
        let taken = reader.read(1000).await.unwrap();
        taken.into_iter().map(|e| Fence { partition: 0, entry: e.id, deliveries: e.deliveries }).collect()
    }

    /// Settles attempts as consumer `a`.
    async fn settle(&self, attempts: &[Attempted]) -> Vec<StepAnswer> {
        self.settle_and_renew(attempts, &[]).await
    }

    /// The same, and renews the expiry of these webhooks' logs.
    async fn settle_and_renew(&self, attempts: &[Attempted], renew: &[WebhookId]) -> Vec<StepAnswer> {
        self.store.settle(0, "a", attempts, &renew.iter().copied().collect()).await.unwrap()
    }

    async fn entries(&self, rest: &str) -> Vec<StreamEntry> {
        self.cli(&format!("XRANGE {} - +", self.key(rest))).await
    }

    async fn len(&self, rest: &str) -> usize {
        self.redis.clone().xlen(self.key(rest)).await.unwrap()
    }

    /// The number of pending entries in the queue.
    async fn pending(&self) -> usize {
        let summary: Vec<redis::Value> = self.cli(&format!("XPENDING {} workers", self.key("queue"))).await;
        redis::from_redis_value(summary[0].clone()).unwrap()
    }

    /// Every key of the installation with its content, including the queue's group, consumers and leases.
    async fn state(&self) -> BTreeMap<String, Vec<u8>> {
        let mut state = BTreeMap::new();
        for key in self.cli::<Vec<String>>(&format!("KEYS {}:*", self.prefix)).await {
            state.insert(key.clone(), self.cli(&format!("DUMP {key}")).await);
        }
        state
    }

    /// The time in ms until a webhook's visit is due; `None` if there is none.
    async fn visit_in_ms(&self, account: &str, webhook: WebhookId) -> Option<i64> {
        self.due_in_ms("visits", account, webhook).await
    }

    /// The time in ms until a webhook's release is due; `None` if none is planned.
    async fn release_in_ms(&self, account: &str, webhook: WebhookId) -> Option<i64> {
        self.due_in_ms("releases", account, webhook).await
    }

    async fn due_in_ms(&self, times: &str, account: &str, webhook: WebhookId) -> Option<i64> {
        let due: Option<i64> = self.cli(&format!("ZSCORE {} {account}/{webhook}", self.key(times))).await;
        let now = self.store.now(0).await.unwrap().timestamp_millis();
        due.map(|due| due - now)
    }

    /// Makes a webhook's visit due and visits it.
    async fn visit(&self, account: &str, webhook: WebhookId) -> Visited {
        self.cli::<()>(&format!("ZADD {} 0 {account}/{webhook}", self.key("visits"))).await;
        self.visit_if_due(account, webhook).await
    }

    async fn visit_if_due(&self, account: &str, webhook: WebhookId) -> Visited {
        let oldest_log = timestamp(self.store.now(0).await.unwrap() - LOG_RETENTION);
        self.store.visit(&account_id(account), webhook, &oldest_log).await.unwrap()
    }

    /// Makes a webhook's release due, and releases its held deliveries. Answers how many went back to the queue.
    async fn release(&self, account: &str, webhook: WebhookId) -> usize {
        self.release_with(account, webhook, (50, usize::MAX)).await.moved
    }

    /// The same, with `free` places of `place_bytes` bytes each.
    async fn release_with(&self, account: &str, webhook: WebhookId, (free, place_bytes): (usize, usize)) -> Released {
        self.cli::<()>(&format!("ZADD {} 0 {account}/{webhook}", self.key("releases"))).await;
        self.release_now(account, webhook, (free, place_bytes, PACE), false).await
    }

    async fn release_now(
        &self,
        account: &str,
        webhook: WebhookId,
        room: (usize, usize, Duration),
        rung: bool,
    ) -> Released {
        self.store.release(&account_id(account), webhook, room, rung).await.unwrap()
    }

    /// The running sum of the bytes of a webhook's held deliveries, as stored; `None` if there is none.
    async fn held_bytes(&self, webhook: WebhookId) -> Option<String> {
        self.redis.clone().hget(self.key("held_bytes"), webhook.to_string()).await.unwrap_or_default()
    }

    /// Holds an entry as consumer `a`.
    async fn hold(&self, held: &Fence, delivery: &Delivery, reason: Reason) -> StepAnswer {
        let waiting = self.waiting(held, delivery, reason).await;
        self.store.hold(0, "a", &[waiting]).await.unwrap().remove(0)
    }

    /// A delivery to hold, with the envelope of its entry in the queue, or the example's if there is no entry.
    async fn waiting(&self, held: &Fence, delivery: &Delivery, reason: Reason) -> ToHold {
        let id = &held.entry.0;
        let entry: redis::streams::StreamRangeReply =
            self.redis.clone().xrange(self.key("queue"), id, id).await.unwrap();
        let text = |field| entry.ids.first().and_then(|entry| entry.get::<String>(field));
        let envelope = text("envelope").or_else(|| Some(text("delivery")?.split_once('\n')?.1.to_owned()));
        let envelope = envelope.unwrap_or_else(|| TRANSCRIPT.to_owned()).into();
        ToHold { fence: held.clone(), delivery: delivery.clone(), envelope, reason }
    }
}

/// Appends deliveries to the held ones of acme's webhook, without changing anything else.
async fn put_held(bench: &Bench, webhook: WebhookId, count: usize) {
    for number in 0..count {
        let delivery = text(&first("acme", webhook, &format!("e{number}")), TRANSCRIPT);
        bench.append(&format!("held:{webhook}"), &[("delivery", &delivery)]).await;
    }
}

/// One delivery of acme's webhook as `held` has it, with an envelope of `bytes` bytes.
fn large(webhook: WebhookId, bytes: usize) -> String {
    text(&first("acme", webhook, "e1"), &envelope_of(bytes))
}

/// Appends a held delivery, and adds it to the sum, as `hold` does.
async fn put_held_counted(bench: &Bench, webhook: WebhookId, delivery: &str) {
    bench.append(&format!("held:{webhook}"), &[("delivery", delivery)]).await;
    bench.cli::<i64>(&format!("HINCRBY {} {webhook} {}", bench.key("held_bytes"), delivery.len())).await;
}

/// The keys whose content differs.
fn changed(before: &BTreeMap<String, Vec<u8>>, after: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
    let keys = before.keys().chain(after.keys().filter(|key| !before.contains_key(*key)));
    keys.filter(|key| before.get(*key) != after.get(*key)).cloned().collect()
}

/// A log entry with the present time.
fn log_of(delivery: &Delivery) -> LogEntry {
    serde_json::from_value(json!({
        "status": "failed", "event": "transcript.created", "httpStatus": 503, "attempt": delivery.attempt,
        "durationMs": 1, "error": "HTTP 503 Service Unavailable", "identifiers": {}, "deliveryId": delivery.id,
        "final": true, "time": timestamp(chrono::Utc::now()),
    }))
    .unwrap()
}

fn attempted(held: &Fence, delivery: &Delivery, next: Next) -> Attempted {
    Attempted {
        fence: held.clone(),
        delivery: delivery.clone().into(),
        next,
        log: log_of(delivery).into(),
        trimmed: None,
    }
}
