//! The environment of a turn: the receiver and its names, which stay for a scenario ([`Stage`]), and a Redis of its own
//! for each turn, with webhooks and events ([`World`]).

use std::{io::Write, net::Ipv4Addr, path::Path, time::Duration};

use lynkhook::{
    config::Settings,
    domain::account::AccountId,
    secrets::Vault,
    store::{Store, keys::Keys},
    webhooks::{NewAuthentication, NewWebhook, Webhooks},
};
use redis::{AsyncCommands, aio::MultiplexedConnection};
use tempfile::NamedTempFile;

use crate::{
    accounting::redis_process,
    children::Child,
    producer::{ENVELOPE_BYTES, GROUP, Producer, account},
    receiver,
    support::{AppendFsync, DnsServer, RedisServer, SECRETS_KEY, eventually, refused_port},
};

const PREFIX: &str = "bench";

/// Unless a setup says otherwise, events go to at most the first 1,000 accounts; with more hosts, a scenario would
/// measure connections.
pub const ADDRESSED_MAX: usize = 1000;

/// The time that a worker has to begin.
const START: Duration = Duration::from_secs(10);

/// A receiver, and names that lead to it.
pub struct Stage {
    pub receiver: Child,
    ready: receiver::Ready,
    refused_port: u16,
    ca: NamedTempFile,
    dns: DnsServer,
}

/// The setup of a turn.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// The number of accounts, with one webhook each.
    pub accounts: usize,
    /// At most the first `addressed` of them get events.
    pub addressed: usize,
    pub names: Names,
    pub partitions: u16,
    /// Attempts in flight, per process.
    pub concurrency: usize,
    /// How the receiver answers account n's webhook, and the series that counts it: the n-th of these, in turn. Besides
    /// the receiver's own series, `reset`, `no-tls` and `refused` are endpoints that never get a request.
    pub series: &'static [&'static str],
    pub envelope_bytes: usize,
}

/// The hosts of webhooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// A lone webhook has `localhost`; several have `h<n>.hooks.test`.
    Each,
    /// All share `h0.hooks.test`, except the last in `series`, which has a name of its own.
    OneButLast,
}

/// The setup of most turns: one endpoint that answers at once, default settings.
pub const PLAIN: Setup = Setup {
    accounts: 1,
    addressed: ADDRESSED_MAX,
    names: Names::Each,
    partitions: 1,
    concurrency: 256,
    series: &["ok"],
    envelope_bytes: ENVELOPE_BYTES,
};

impl Stage {
    pub async fn new() -> Self {
        let (receiver, ready): (_, receiver::Ready) = Child::of_this_binary(vec![receiver::CHILD.into()]).await;
        let mut ca = NamedTempFile::new().expect("a file");
        ca.write_all(ready.ca.as_bytes()).expect("it can be written");
        Self { receiver, ready, refused_port: refused_port(), ca, dns: DnsServer::start().await }
    }

    /// The URLs of the accounts: account n uses the n-th of these, in turn, with `{n}` replaced by its number.
    pub fn urls(&self, setup: &Setup) -> Vec<String> {
        let url = |(at, series): (usize, &&'static str)| {
            let host = match setup.names {
                Names::Each if setup.accounts == 1 => "localhost",
                Names::OneButLast if at + 1 < setup.series.len() => "h0.hooks.test",
                Names::Each | Names::OneButLast => "h{n}.hooks.test",
            };
            let port = match *series {
                "reset" => self.ready.reset_port,
                "no-tls" => self.ready.no_tls_port,
                "refused" => self.refused_port,
                _ => self.ready.port,
            };
            format!("https://{host}:{port}/{series}/{{n}}")
        };
        setup.series.iter().enumerate().map(url).collect()
    }

    pub fn ca(&self) -> &Path {
        self.ca.path()
    }
}

/// A Redis with webhooks.
pub struct World {
    pub setup: Setup,
    pub redis: MultiplexedConnection,
    pub redis_process: u32,
    pub queues: Vec<String>,
    /// The worker's settings.
    pub environment: Vec<(&'static str, String)>,
    pub producer: Producer,
    keys: Keys,
    server: RedisServer,
}

impl World {
    pub async fn new(stage: &Stage, setup: Setup) -> Self {
        let server = RedisServer::start(AppendFsync::EverySecond);
        let mut redis = server.connection().await;
        // A rewrite of the append-only file would slow some turns and not others.
        let mut no_rewrite = redis::cmd("CONFIG");
        no_rewrite.arg("SET").arg("auto-aof-rewrite-percentage").arg(0);
        no_rewrite.exec_async(&mut redis).await.expect("Redis is configured");
        let environment = environment(&server, stage, &setup);
        let settings = Settings::load(None, environment.clone()).expect("settings");
        let store = Store::open(&settings).await.expect("Redis is fit");
        let queues: Vec<_> = (0..setup.partitions).map(|partition| store.keys().queue(partition)).collect();
        for queue in &queues {
            let _: () = redis.xgroup_create_mkstream(queue, GROUP, "0").await.expect("a group");
        }
        subscribe(&settings, &store, &mut redis, &stage.urls(&setup), setup.accounts).await;
        let addressed = 0..setup.accounts.min(setup.addressed);
        let producer = producer(&redis, &queues, &setup, addressed.clone());
        let keys = store.keys().clone();
        for n in addressed.filter(|_| setup.accounts > 1) {
            stage.dns.set(&format!("h{n}.hooks.test"), [Ipv4Addr::LOCALHOST.into()]);
        }
        let redis_process = redis_process(&mut redis).await;
        Self { setup, redis, redis_process, queues, environment, producer, keys, server }
    }

    pub fn redis_port(&self) -> u16 {
        self.server.port()
    }

    pub fn redis_url(&self) -> String {
        self.server.url()
    }

    /// The number of entries that wait or are in flight.
    pub async fn waiting(&mut self) -> usize {
        let mut waiting = 0;
        for queue in &self.queues {
            waiting += self.redis.xlen::<_, usize>(queue).await.expect("Redis answers");
        }
        waiting
    }

    /// One more producer, for the events of some accounts.
    pub fn producer_for(&self, accounts: impl Iterator<Item = usize>) -> Producer {
        producer(&self.redis, &self.queues, &self.setup, accounts)
    }

    /// The sorted sets of failed attempts that wait for their retry.
    pub fn retries(&self) -> Vec<String> {
        (0..self.setup.partitions).map(|partition| self.keys.retries(partition)).collect()
    }

    /// The number of failed attempts that wait for their retry.
    pub async fn retrying(&mut self) -> usize {
        let mut retrying = 0;
        for retries in self.retries() {
            retrying += self.redis.zcard::<_, usize>(retries).await.expect("Redis answers");
        }
        retrying
    }

    /// Whether nothing waits, neither for a first attempt nor for a retry.
    pub async fn has_ended(&mut self) -> bool {
        self.waiting().await == 0 && self.retrying().await == 0 && self.held_and_failed(None).await.0 == 0
    }

    /// Waits until a worker waits for entries: its reader is the client that Redis keeps blocked.
    pub async fn is_read(&mut self) {
        eventually(START, "a worker reads", async || {
            let info: redis::InfoDict = redis::cmd("INFO").arg("clients").query_async(&mut self.redis).await.ok()?;
            (info.get::<u16>("blocked_clients")? > 0).then_some(())
        })
        .await;
    }

    /// The numbers of deliveries that are held and that failed for good: of account n, or of all.
    pub async fn held_and_failed(&mut self, of: Option<usize>) -> (u64, u64) {
        let of = of.map(account);
        let (mut held, mut failed) = (0, 0);
        for partition in 0..self.setup.partitions {
            let visits: Vec<String> =
                self.redis.zrange(self.keys.visits(partition), 0, -1).await.expect("Redis answers");
            let webhooks = visits.iter().filter_map(|member| Keys::parse_member(member));
            for (_, webhook) in webhooks.filter(|(account, _)| of.as_ref().is_none_or(|of| of == account)) {
                held += self.redis.xlen::<_, u64>(self.keys.held(partition, webhook)).await.expect("Redis answers");
                failed += self.redis.xlen::<_, u64>(self.keys.failed(partition, webhook)).await.expect("Redis answers");
            }
            // This count is for all accounts together. A caller asks for one account only if no other fails as often.
            let dropped = self.redis.hget::<_, _, Option<u64>>(self.keys.counts(partition), "failed_overflow");
            failed += dropped.await.expect("Redis answers").unwrap_or(0);
        }
        (held, failed)
    }
}

fn producer(
    redis: &MultiplexedConnection,
    queues: &[String],
    setup: &Setup,
    accounts: impl Iterator<Item = usize>,
) -> Producer {
    let with_queue = |n| {
        let account: AccountId = account(n);
        let queue = queues[usize::from(account.partition(setup.partitions))].clone();
        (account, queue)
    };
    Producer::new(redis.clone(), accounts.map(with_queue).collect(), setup.envelope_bytes)
}

/// Default settings, except those that a test must set: addresses and files.
fn environment(server: &RedisServer, stage: &Stage, setup: &Setup) -> Vec<(&'static str, String)> {
    let mut environment = vec![
        ("LYNKHOOK_REDIS__URL", server.url()),
        ("LYNKHOOK_REDIS__PREFIX", PREFIX.to_owned()),
        ("LYNKHOOK_SECRETS__KEY", SECRETS_KEY.to_owned()),
        // Names are checked when a webhook is added, and only the first webhook, on h0, is added.
        ("LYNKHOOK_EGRESS__ALLOW", "127.0.0.0/8,localhost,h0.hooks.test".to_owned()),
        ("LYNKHOOK_EGRESS__EXTRA_CA", stage.ca().display().to_string()),
        ("LYNKHOOK_QUEUE__PARTITIONS", setup.partitions.to_string()),
        ("LYNKHOOK_WORKER__CONCURRENCY", setup.concurrency.to_string()),
    ];
    if setup.accounts > 1 {
        environment.push(("LYNKHOOK_DNS__SERVERS", stage.dns.address().to_string()));
    }
    environment
}

/// The URL of account n's events.
pub fn url_of(urls: &[String], n: usize) -> String {
    urls[n % urls.len()].replace("{n}", &n.to_string())
}

/// One webhook for each account. The first is added the usual way; the others are copies of it.
async fn subscribe(
    settings: &Settings,
    store: &Store,
    redis: &mut MultiplexedConnection,
    urls: &[String],
    accounts: usize,
) {
    let vault = Vault::new(settings.secrets.key.as_ref()).expect("a key");
    let webhooks = Webhooks::new(settings, store.clone(), vault).expect("settings");
    let url_of = |n| url_of(urls, n);
    let new = NewWebhook {
        url: url_of(0),
        events: None,
        authentication: NewAuthentication::None,
        description: String::new(),
        active: true,
    };
    let first = webhooks.add(&account(0), new).await.expect("a webhook").id.to_string();
    let settings: String = redis.hget(store.keys().webhooks(&account(0)), &first).await.expect("it is there");
    // As if each webhook had been visited a moment ago: the start is not measured.
    let in_an_hour = store.now(0).await.expect("Redis answers").timestamp_millis() + 3_600_000;
    for page in (0..accounts).collect::<Vec<_>>().chunks(5000) {
        let mut put = redis::pipe();
        for &n in page {
            let id = if n == 0 { first.clone() } else { format!("wh_{}", uuid::Uuid::now_v7()) };
            let copy = settings.replace(&first, &id).replace(&url_of(0), &url_of(n));
            let visits = store.keys().visits(account(n).partition(store.keys().partitions()));
            put.hset(store.keys().webhooks(&account(n)), &id, copy).ignore();
            put.zadd(visits, format!("{}/{id}", account(n)), in_an_hour).ignore();
        }
        put.exec_async(redis).await.expect("Redis takes them");
    }
}
