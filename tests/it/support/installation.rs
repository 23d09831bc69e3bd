//! One installation for a test: a key prefix of its own, a receiver, webhooks added through the library, events pushed
//! like any producer's, and logs read as with `redis-cli`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lynkhook::{
    config::Settings,
    domain::{account::AccountId, delivery::Delivery, webhook::WebhookId},
    secrets::Vault,
    store::{Reader, Store},
    webhooks::{NewAuthentication, NewWebhook, Webhooks},
};
use redis::{AsyncCommands, FromRedisValue, RedisResult, aio::MultiplexedConnection};
use serde_json::Value;

use super::{
    Program, Receiver, RedisCluster, RedisServer, cluster::masters, connect, eventually, program::SECRETS_KEY,
};

/// The example event of the requirements.
pub const TRANSCRIPT: &str = include_str!("../../../config/transcript.created.example.json");

/// The longest time that a test waits for an expected event.
pub const SOON: Duration = Duration::from_secs(30);

/// The variable with the URL of a running cluster. If it is set, tests use that cluster instead of the shared server.
pub const CLUSTER: &str = "LYNKHOOK_TEST_CLUSTER";
const PARTITIONS: &str = "LYNKHOOK_QUEUE__PARTITIONS";

/// An envelope of about this many bytes.
pub fn envelope_of(bytes: usize) -> String {
    let head =
        r#"{"event":"transcript.created","timestamp":"2026-03-26T14:32:00.000Z","data":{"messageId":"m","text":""#;
    format!("{head}{}\"}}}}", "x".repeat(bytes.saturating_sub(head.len() + 3)))
}

/// One installation: its program, its webhooks, and direct access to its data.
pub struct Installation {
    pub prefix: String,
    pub program: Program,
    pub variables: Vec<(&'static str, String)>,
    pub store: Store,
    pub webhooks: Webhooks,
    pub redis: MultiplexedConnection,
}

impl Installation {
    /// On the server that all tests share, or on the cluster that [`CLUSTER`] names.
    pub async fn new(receiver: &Receiver) -> Self {
        static PREFIXES: AtomicU32 = AtomicU32::new(0);
        let Ok(url) = std::env::var(CLUSTER) else { return Self::on(RedisServer::shared(), receiver).await };
        let prefix = format!("t{}-{}", std::process::id(), PREFIXES.fetch_add(1, Ordering::Relaxed));
        let first = url.replace("redis+cluster:", "redis:");
        let redis = connect(first.split(',').next().expect("a node")).await;
        let redis = at_master(redis, "{0}").await;
        Self::at(url, prefix, redis, Some(1), receiver).await
    }

    /// On a server of its own.
    pub async fn on(redis: &RedisServer, receiver: &Receiver) -> Self {
        Self::at(redis.url(), redis.unique_prefix(), redis.connection().await, None, receiver).await
    }

    /// On a cluster. Its direct connection is to the master of partition 0.
    pub async fn on_cluster(cluster: &RedisCluster, receiver: &Receiver, partitions: u16) -> Self {
        let redis = cluster.connection_of("{0}").await;
        Self::at(cluster.url(), cluster.unique_prefix(), redis, Some(partitions), receiver).await
    }

    async fn at(
        url: String,
        prefix: String,
        redis: MultiplexedConnection,
        partitions: Option<u16>,
        receiver: &Receiver,
    ) -> Self {
        let mut program = Program::at(&url, &prefix).trusting(receiver);
        let mut variables = vec![
            ("LYNKHOOK_REDIS__URL", url),
            ("LYNKHOOK_REDIS__PREFIX", prefix.clone()),
            ("LYNKHOOK_EGRESS__ALLOW", "localhost,hooks.test".to_owned()),
            ("LYNKHOOK_SECRETS__KEY", SECRETS_KEY.to_owned()),
        ];
        if let Some(partitions) = partitions {
            program = program.env(PARTITIONS, partitions.to_string());
            variables.push((PARTITIONS, partitions.to_string()));
        }
        let settings = Settings::load(None, variables.clone()).unwrap();
        let store = Store::open(&settings).await.unwrap();
        let webhooks = webhooks(&settings, store.clone());
        Self { prefix, program, variables, store, webhooks, redis }
    }

    /// The same with one more setting, for both the program and the library.
    pub async fn with(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self.program = self.program.env(name, value);
        let settings = Settings::load(None, self.variables.clone()).unwrap();
        let meta = format!("{}:meta", self.prefix);
        // The number of partitions was recorded with the first settings; there is no other data yet.
        let _: () = self.redis_of(&meta).await.del(&meta).await.unwrap();
        self.store = Store::open(&settings).await.unwrap();
        self.webhooks = webhooks(&settings, self.store.clone());
        self
    }

    /// Allows the host of this URL by name.
    pub fn allowing(self, url: &str) -> Self {
        let host = url.trim_start_matches("https://").split([':', '/']).next().unwrap();
        self.allowing_hosts(&[host])
    }

    /// Allows these hosts by name.
    pub fn allowing_hosts(mut self, hosts: &[&str]) -> Self {
        let (_, allow) = self.variables.iter_mut().find(|(name, _)| *name == "LYNKHOOK_EGRESS__ALLOW").unwrap();
        *allow = format!("{allow},{}", hosts.join(","));
        let settings = Settings::load(None, self.variables.clone()).unwrap();
        self.webhooks = webhooks(&settings, self.store.clone());
        self
    }

    /// The same webhooks, used by a process that has these keys for secrets.
    pub fn webhooks_with(&self, keys: &str) -> Webhooks {
        let variables = self.variables.iter().cloned();
        let variables = variables.chain([("LYNKHOOK_SECRETS__KEY", keys.to_owned())]);
        webhooks(&Settings::load(None, variables).unwrap(), self.store.clone())
    }

    /// A key of partition 0.
    pub fn key(&self, rest: &str) -> String {
        format!("{}:{{0}}:{rest}", self.prefix)
    }

    /// A connection to the server that has this key: in a cluster, its slot's master.
    pub async fn redis_of(&self, key: &str) -> MultiplexedConnection {
        at_master(self.redis.clone(), key).await
    }

    /// All keys of the installation, in order.
    pub async fn keys(&self) -> Vec<String> {
        let mut all = Vec::new();
        for mut redis in masters(self.redis.clone()).await {
            all.extend(redis.keys::<_, Vec<String>>(format!("{}:*", self.prefix)).await.unwrap());
        }
        all.sort();
        all
    }

    /// Adds a webhook without authentication.
    pub async fn add(&self, account: &str, url: &str) -> WebhookId {
        self.add_with(account, url, NewAuthentication::None, true).await
    }

    pub async fn add_with(
        &self,
        account: &str,
        url: &str,
        authentication: NewAuthentication,
        active: bool,
    ) -> WebhookId {
        let new = NewWebhook { url: url.to_owned(), events: None, authentication, description: String::new(), active };
        self.webhooks.add(&account_id(account), new).await.unwrap().id
    }

    /// Pushes an event as any Redis client does. Answers the entry's id.
    pub async fn push(&self, account: &str, envelope: impl AsRef<[u8]>) -> String {
        let fields = [("account", account.as_bytes()), ("envelope", envelope.as_ref())];
        self.redis.clone().xadd(self.key("queue"), "*", &fields).await.unwrap()
    }

    /// Runs a command as typed into `redis-cli`.
    pub async fn cli<T: FromRedisValue>(&self, command: &str) -> T {
        let mut words = command.split_whitespace();
        let mut typed = redis::cmd(words.next().expect("a command"));
        typed.arg(words.collect::<Vec<_>>());
        typed.query_async(&mut self.redis.clone()).await.unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// The count of a cause in partition 0.
    pub async fn counted(&self, cause: &str) -> u64 {
        let counted: Option<u64> = self.redis.clone().hget(self.key("counts"), cause).await.unwrap();
        counted.unwrap_or_default()
    }

    /// Reads a partition like a worker that no other worker knows.
    pub async fn reader(&self, partition: u16, consumer: &str, blocking: Duration) -> Reader {
        self.store.reader(partition, consumer, blocking, Arc::default()).await.unwrap()
    }

    /// A webhook's log as stored in Redis, newest first.
    pub async fn log(&self, webhook: WebhookId) -> Vec<Value> {
        let entries: Vec<String> =
            self.redis.clone().lrange(self.key(&format!("logs:{webhook}")), 0, -1).await.unwrap();
        entries.iter().map(|json| serde_json::from_str(json).unwrap()).collect()
    }

    /// Waits until the newest log entry is final. Answers the log, oldest first.
    pub async fn finished(&self, webhook: WebhookId) -> Vec<Value> {
        eventually(SOON, "a final log entry", async || {
            let mut log = self.log(webhook).await;
            log.reverse();
            log.last().is_some_and(|entry| entry["final"] == true).then_some(log)
        })
        .await
    }

    /// The fields of each rejected entry, oldest first.
    pub async fn rejected(&self) -> Vec<Vec<(String, String)>> {
        let mut read = redis::cmd("XRANGE");
        read.arg(self.key("rejected")).arg("-").arg("+");
        let entries: Vec<(String, Vec<(String, String)>)> = read.query_async(&mut self.redis.clone()).await.unwrap();
        entries.into_iter().map(|(_, fields)| fields).collect()
    }

    /// The bytes that a key takes of Redis's memory, measured over all its elements.
    pub async fn bytes(&self, rest: &str) -> u64 {
        let usage = redis::cmd("MEMORY").arg("USAGE").arg(self.key(rest)).arg("SAMPLES").arg(0).to_owned();
        usage.query_async(&mut self.redis.clone()).await.unwrap()
    }

    /// Waits until no delivery is queued, in flight, waiting for a retry, or held for a busy endpoint (such deliveries
    /// are released within seconds).
    pub async fn drained(&self) {
        self.drained_within(SOON * 2).await;
    }

    /// The same, for a slow endpoint.
    pub async fn drained_within(&self, limit: Duration) {
        let what = format!("an empty queue, no retries and no releases soon under {}", self.prefix);
        eventually(limit, &what, async || {
            let mut redis = self.redis.clone();
            // Read all at once: between two reads, a delivery could move from one place to the other and be seen in
            // neither.
            let all = r"
                local waiting = redis.call('XLEN', KEYS[1]) + redis.call('ZCARD', KEYS[2])
                local soon = (redis.call('TIME')[1] + 20) * 1000
                for _, visit in ipairs(redis.call('ZRANGE', KEYS[3], '-inf', soon, 'BYSCORE')) do
                  waiting = waiting + redis.call('EXISTS', ARGV[1] .. string.match(visit, '[^/]*$'))
                end
                return waiting";
            let mut look = redis::cmd("EVAL");
            look.arg(all).arg(3).arg(self.key("queue")).arg(self.key("retries")).arg(self.key("releases"));
            look.arg(self.key("held:"));
            let waiting: u64 = look.query_async(&mut redis).await.unwrap();
            (waiting == 0).then_some(())
        })
        .await;
    }
}

pub fn account_id(account: &str) -> AccountId {
    account.parse().unwrap()
}

/// An event's first delivery to a webhook.
pub fn first(account: &str, webhook: WebhookId, event: &str) -> Delivery {
    Delivery::first(&event.parse().unwrap(), &account_id(account), webhook, None)
}

/// A delivery as stored in Redis.
pub fn text(delivery: &Delivery, envelope: &str) -> String {
    format!("{}\n{envelope}", delivery.line())
}

/// This connection, or one to the node that it names as the key's master.
async fn at_master(mut redis: MultiplexedConnection, key: &str) -> MultiplexedConnection {
    let kind: RedisResult<String> = redis::cmd("TYPE").arg(key).query_async(&mut redis).await;
    let Err(error) = kind else { return redis };
    let (address, _) = error.redirect_node().unwrap_or_else(|| panic!("TYPE {key}: {error}"));
    connect(&format!("redis://{address}/")).await
}

fn webhooks(settings: &Settings, store: Store) -> Webhooks {
    let vault = Vault::new(settings.secrets.key.as_ref()).unwrap();
    Webhooks::new(settings, store, vault).unwrap()
}
