//! A small installation in which a worker meets every step, and its books.

use std::{collections::HashMap, time::Duration};

use lynkhook::{
    domain::{delivery::Delivery, log_entry::LogEntry, webhook::WebhookId},
    webhooks::NewAuthentication,
};
use redis::AsyncCommands;

use crate::support::*;

/// One prepared installation.
pub struct Scene {
    pub here: Installation,
    pub receiver: Receiver,
    pub webhooks: HashMap<&'static str, WebhookId>,
}

/// The requests that must have arrived in the end: account's path, event, and most requests without the crash.
const ARRIVE: [(&str, &str, usize); 11] = [
    ("/pair-0", "both-0", 1),
    ("/pair-1", "both-0", 1),
    ("/pair-0", "both-1", 1),
    ("/pair-1", "both-1", 1),
    ("/solo", "good-0", 1),
    ("/solo", "good-1", 1),
    ("/solo", "unsteady", 2),
    ("/solo", "refused", 1),
    ("/solo", "retried", 1),
    ("/solo", "orphaned", 1),
    ("/back", "held", 1),
];

impl Scene {
    /// One account with one webhook, and a rejected entry that is too old.
    pub async fn empty() -> Self {
        let receiver = Receiver::start().await;
        for path in ["/solo", "/back", "/pair-0", "/pair-1", "/off"] {
            let mut seen: HashMap<String, usize> = HashMap::new();
            receiver.plan_each(path, move |request| {
                let event = request.header("webhook-id").unwrap_or_default();
                let times = seen.entry(event.to_owned()).or_default();
                *times += 1;
                let status = match event {
                    "refused" => 404,
                    "unsteady" if *times == 1 => 503,
                    _ => 200,
                };
                // Slow enough for a renewal during the attempt.
                Answer::Delay(Duration::from_millis(300), Box::new(Answer::Status(status)))
            });
        }
        let here = Installation::new(&receiver).await;
        let solo = here.add("solo", &receiver.url("/solo")).await;
        let scene = Self { here, receiver, webhooks: HashMap::from([("solo", solo)]) };
        let old = [("reason", "old"), ("entry", "1-0"), ("x", "y")];
        let _: String = scene.redis().xadd(scene.here.key("rejected"), "1-0", &old).await.unwrap();
        scene
    }

    /// Work for every step of a worker.
    pub async fn set() -> Self {
        let mut scene = Self::empty().await;
        for (account, path, active) in
            [("pair", "/pair-0", true), ("pair", "/pair-1", true), ("off", "/off", false), ("back", "/back", true)]
        {
            let url = scene.receiver.url(path);
            let webhook = scene.here.add_with(account, &url, NewAuthentication::None, active).await;
            scene.webhooks.insert(account, webhook);
        }
        // The entry of a worker that has long been dead.
        scene.push("solo", "orphaned").await;
        let queue = scene.here.key("queue");
        let _: () = scene.redis().xgroup_create(&queue, "workers", "0").await.unwrap();
        let mut take = redis::cmd("XREADGROUP");
        take.arg("GROUP").arg("workers").arg("dead").arg("STREAMS").arg(&queue).arg(">");
        let taken: redis::Value = take.query_async(&mut scene.redis()).await.unwrap();
        assert_ne!(taken, redis::Value::Nil);
        let orphaned: Vec<(String, HashMap<String, String>)> =
            redis::cmd("XRANGE").arg(&queue).arg("-").arg("+").query_async(&mut scene.redis()).await.unwrap();
        let mut age = redis::cmd("XCLAIM");
        age.arg(&queue).arg("workers").arg("dead").arg(0).arg(&orphaned[0].0).arg("IDLE").arg(60_000).arg("JUSTID");
        let _: Vec<String> = age.query_async(&mut scene.redis()).await.unwrap();
        // A retry that is due, and a delivery that was held until its webhook was switched on.
        let retried = scene.delivery("solo", "retried", true);
        let _: () = scene.redis().zadd(scene.here.key("retries"), retried, 1).await.unwrap();
        scene.hold("back", "held").await;
        for (account, event) in [
            ("pair", "both-0"),
            ("solo", "good-0"),
            ("solo", "unsteady"),
            ("off", "off-0"),
            ("solo", "refused"),
            ("pair", "both-1"),
            ("off", "off-1"),
            ("solo", "good-1"),
        ] {
            scene.push(account, event).await;
        }
        let _: String = scene.redis().xadd(&queue, "*", &[("no", "event")]).await.unwrap();
        scene
    }

    pub fn redis(&self) -> redis::aio::MultiplexedConnection {
        self.here.redis.clone()
    }

    pub fn key(&self, kind: &str, account: &str) -> String {
        self.here.key(&format!("{kind}:{}", self.webhooks[account]))
    }

    pub async fn push(&self, account: &str, event: &str) {
        let fields = [("account", account), ("envelope", TRANSCRIPT), ("id", event)];
        let _: String = self.redis().xadd(self.here.key("queue"), "*", &fields).await.unwrap();
    }

    /// The text of a delivery.
    fn delivery(&self, account: &str, event: &str, second: bool) -> String {
        let first = Delivery::first(&event.parse().unwrap(), &account_id(account), self.webhooks[account], None);
        let delivery = if second { first.next_attempt() } else { first };
        format!("{}\n{TRANSCRIPT}", delivery.line())
    }

    /// Puts a delivery among the held ones, its release and visit due.
    pub async fn hold(&self, account: &str, event: &str) {
        let fields = [("delivery", self.delivery(account, event, false))];
        let _: String = self.redis().xadd(self.key("held", account), "*", &fields).await.unwrap();
        let member = format!("{account}/{}", self.webhooks[account]);
        for times in ["releases", "visits"] {
            let _: () = self.redis().zadd(self.here.key(times), &member, 1).await.unwrap();
        }
    }

    /// Puts a delivery among the failed ones.
    pub async fn fail(&self, account: &str, event: &str) {
        let delivery = Delivery::first(&event.parse().unwrap(), &account_id(account), self.webhooks[account], None);
        let facts =
            lynkhook::domain::event::EnvelopeFacts { event: "transcript.created".to_owned(), identifiers: Vec::new() };
        let log = LogEntry::of_no_request(&delivery, facts, chrono::Utc::now(), "refused".to_owned(), true);
        let fields = [("delivery", self.delivery(account, event, false)), ("log", log.to_json())];
        let _: String = self.redis().xadd(self.key("failed", account), "*", &fields).await.unwrap();
    }

    /// The number of times that an event came to a path.
    pub fn requests(&self, path: &str, event: &str) -> usize {
        let all = self.receiver.requests(path);
        all.iter().filter(|request| request.header("webhook-id") == Some(event)).count()
    }

    pub async fn count(&self, cause: &str) -> u64 {
        let count: Option<u64> = self.redis().hget(self.here.key("counts"), cause).await.unwrap();
        count.unwrap_or(0)
    }

    pub async fn length(&self, key: &str) -> u64 {
        self.redis().xlen(key).await.unwrap()
    }

    /// The number of pending entries.
    pub async fn pending(&self) -> u64 {
        let mut ask = redis::cmd("XPENDING");
        let summary: redis::RedisResult<Vec<redis::Value>> =
            ask.arg(self.here.key("queue")).arg("workers").query_async(&mut self.redis()).await;
        summary.ok().and_then(|summary| redis::from_redis_value(summary.into_iter().next()?).ok()).unwrap_or(0)
    }

    /// Waits until nothing is queued, in flight, or waiting for a retry.
    pub async fn drained(&self) {
        self.here.drained().await;
        assert_eq!(self.pending().await, 0);
    }

    /// Waits until nothing is left to do after [`Scene::set`].
    pub async fn finished(&self) {
        let back = self.key("held", "back");
        let held = async || (self.length(&back).await == 0).then_some(());
        eventually(SOON * 2, "held deliveries back in the queue", held).await;
        self.here.drained().await;
    }

    /// Checks the books after [`Scene::set`] and this many crashes.
    pub async fn assert_balanced(&self, point: &str, crashes: usize) {
        self.finished().await;
        self.drained().await;
        for (path, event, most) in ARRIVE {
            let requests = self.requests(path, event);
            assert!((1..=most + crashes).contains(&requests), "{point}: {event} came {requests} times to {path}");
        }
        assert!(self.receiver.requests("/off").is_empty(), "{point}: a webhook that is off gets no request");
        let of = async |kind, account| self.length(&self.key(kind, account)).await;
        let mut range = redis::cmd("XRANGE");
        range.arg(self.key("failed", "solo")).arg("-").arg("+");
        let failed: Vec<(String, HashMap<String, String>)> = range.query_async(&mut self.redis()).await.unwrap();
        let is_refused = |fields: &HashMap<String, String>| fields["delivery"].contains(r#""event_id":"refused""#);
        assert!(failed.len() == 1 && is_refused(&failed[0].1), "{point}: the refused event failed, once: {failed:#?}");
        assert_eq!(of("held", "off").await, 2, "{point}: deliveries for a webhook that is off are held, once");
        assert_eq!(
            self.length(&self.here.key("rejected")).await,
            1,
            "{point}: the entry that is no event is rejected, once"
        );
        let counts: HashMap<String, u64> = self.redis().hgetall(self.here.key("counts")).await.unwrap();
        assert_eq!(counts, HashMap::from([("rejected_expired".to_owned(), 1)]), "{point}: nothing else was dropped");
        for webhook in self.webhooks.values() {
            for entry in self.here.log(*webhook).await {
                assert!((1..=3).contains(&entry["attempt"].as_u64().unwrap()), "{point}: {entry}");
            }
        }
    }
}
