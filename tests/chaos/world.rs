//! The installation that a storm strikes: a Redis of its own behind a proxy, webhooks and receivers; and a connection
//! to Redis for producers and books that survives every fault.

use std::{
    collections::HashMap,
    sync::{Mutex, atomic::AtomicU64},
    time::{Duration, Instant},
};

use lynkhook::{
    domain::{account::AccountId, webhook::WebhookId},
    webhooks::{NewAuthentication, NewWebhook, WebhooksError},
};
use redis::{Cmd, FromRedisValue, Pipeline, RedisResult, aio::MultiplexedConnection};

use crate::{
    plan::{ACCOUNTS, HOOKS, Plan, answer},
    proxy::Proxy,
    support::*,
};

/// Timings so short that a short run sees many leases end. The rule requires `start_within` + timeout + 2 s.
const HASTE: [(&str, &str); 5] = [
    ("LYNKHOOK_WORKER__LEASE", "3900ms"),
    ("LYNKHOOK_WORKER__RENEW_EVERY", "200ms"),
    ("LYNKHOOK_WORKER__START_WITHIN", "700ms"),
    ("LYNKHOOK_WORKER__CLAIM_EVERY", "300ms"),
    ("LYNKHOOK_DELIVERY__TIMEOUT", "1200ms"),
];
/// The lease in [`HASTE`].
pub const LEASE: Duration = Duration::from_millis(3900);
/// Longer than any fault lasts.
const PATIENCE: Duration = Duration::from_secs(60);
/// Few attempts at once in a worker, so that a crash may repeat only a small number.
pub const CONCURRENCY: usize = 16;

pub struct World {
    pub here: Installation,
    pub program: Program,
    pub proxy: Proxy,
    pub receiver: Receiver,
    pub redis_url: String,
    /// Account n is in partition n.
    pub accounts: Vec<AccountId>,
    /// The current webhook of each hook.
    pub webhooks: Mutex<Vec<WebhookId>>,
    pub notes: Mutex<Notes>,
    pub refused: AtomicU64,
}

/// The knowledge of producers and customers.
#[derive(Default)]
pub struct Notes {
    /// The ids of the events that Redis accepted, by account.
    pub accepted: Vec<Vec<String>>,
    /// The time at which Redis confirmed each event.
    pub accepted_at: HashMap<String, Instant>,
    /// The customers' switches: webhook, on or off, and the span of the change.
    pub switches: Vec<(String, bool, (Instant, Instant))>,
    /// The number of the next event.
    pub next: usize,
    /// Each deletion: account, and when it was done.
    pub deletions: Vec<(usize, Instant)>,
    /// The number of customers' changes, by kind.
    pub deeds: HashMap<&'static str, usize>,
}

impl World {
    pub async fn new(redis: &RedisServer, plan: &Plan) -> Self {
        let receiver = Receiver::start().await;
        for hook in 0..HOOKS.len() {
            let (seed, path) = (plan.seed, path(hook));
            let mut times: HashMap<String, usize> = HashMap::new();
            receiver.plan_each(&path.clone(), move |request| {
                let event = request.header("webhook-id").unwrap_or_default().to_owned();
                let nth = times.entry(event.clone()).or_default();
                *nth += 1;
                answer(seed, &path, &event, *nth)
            });
        }
        let here = Installation::on(redis, &receiver).await;
        let here = here.with("LYNKHOOK_QUEUE__PARTITIONS", &ACCOUNTS.to_string()).await;
        let here = here.with("LYNKHOOK_FAILED__LIMIT", "1000000").await;
        let here = here.with("LYNKHOOK_HELD__LIMIT", "1000000").await;
        let proxy = Proxy::start(redis.port()).await;
        let program = program(&here, &proxy, plan);
        let keys = here.store.keys();
        let account = |partition| {
            let names = (0..).map(|number| account_id(&format!("account-{number}")));
            names.into_iter().find(|account| usize::from(keys.partition(account)) == partition).expect("one of them")
        };
        let accounts: Vec<AccountId> = (0..ACCOUNTS).map(account).collect();
        let notes = Notes { accepted: vec![Vec::new(); ACCOUNTS], ..Notes::default() };
        let world = Self {
            here,
            program,
            proxy,
            receiver,
            redis_url: redis.url(),
            accounts,
            webhooks: Mutex::default(),
            notes: Mutex::new(notes),
            refused: AtomicU64::new(0),
        };
        for hook in 0..HOOKS.len() {
            let webhook = world.add(hook, true).await;
            world.webhooks.lock().unwrap().push(webhook);
        }
        world
    }

    /// Adds a hook's webhook. If no answer comes, checks whether the webhook exists.
    pub async fn add(&self, hook: usize, active: bool) -> WebhookId {
        let (account, url) = (&self.accounts[HOOKS[hook].0], self.receiver.url(&path(hook)));
        let description = format!("added at {:?}", Instant::now());
        loop {
            let mut there = Vec::new();
            if let Ok(found) = self.here.webhooks.list(account).await {
                there = found;
            }
            if let Some(view) = there.into_iter().find(|view| view.description == description) {
                return view.id;
            }
            let new = NewWebhook {
                url: url.clone(),
                events: None,
                authentication: NewAuthentication::None,
                description: description.clone(),
                active,
            };
            match self.here.webhooks.add(account, new).await {
                Ok(view) => return view.id,
                Err(WebhooksError::Store(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// A key of an account's partition.
    pub fn key(&self, account: usize, rest: &str) -> String {
        format!("{}:{{{account}}}:{rest}", self.here.prefix)
    }

    pub fn wire(&self) -> Wire {
        Wire { url: self.redis_url.clone(), connection: None }
    }

    pub fn webhook(&self, hook: usize) -> WebhookId {
        self.webhooks.lock().unwrap()[hook]
    }
}

/// Workers that reach Redis through the proxy.
fn program(here: &Installation, proxy: &Proxy, plan: &Plan) -> Program {
    let program = HASTE.into_iter().fold(here.program.clone(), |program, (name, value)| program.env(name, value));
    let delays = plan.delays.map(|delay| format!("{}ms", delay.as_millis()));
    program
        .env("LYNKHOOK_REDIS__URL", proxy.url())
        .env("LYNKHOOK_REDIS__RESPONSE_TIMEOUT", "1s")
        .env("LYNKHOOK_REDIS__CONNECT_TIMEOUT", "1s")
        .env("LYNKHOOK_DELIVERY__RETRY_DELAYS", delays.join(","))
        .env("LYNKHOOK_WORKER__CONCURRENCY", CONCURRENCY.to_string())
        .env("LYNKHOOK_WORKER__SHUTDOWN_GRACE", "5s")
        // Nothing here is poison, and bad luck alone must not set an entry aside.
        .env("LYNKHOOK_WORKER__MAX_LOSSES", "1000")
        .env("LYNKHOOK_LOG__FILTER", "info,lynkhook::worker=debug")
        .env("LYNKHOOK_LOG__FORMAT", "json")
}

/// The envelope of an event: each differs from all others, and in length.
pub fn envelope(event: &str) -> String {
    let blanks = event.bytes().fold(0, |sum, byte| (sum * 7 + usize::from(byte)) % 400);
    TRANSCRIPT.replace("6601abc123def4567890abcd", &format!("{event}é\\u0000{}", " ".repeat(blanks)))
}

pub fn path(hook: usize) -> String {
    format!("/hook-{hook}")
}

/// A connection to Redis itself, not through the proxy; reopened when it breaks.
pub struct Wire {
    url: String,
    connection: Option<MultiplexedConnection>,
}

impl Wire {
    /// Runs a command that may be repeated, until Redis answers.
    pub async fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> T {
        let started = Instant::now();
        loop {
            match self.once(async |connection| command.query_async(connection).await).await {
                Ok(answer) => return answer,
                Err(error) => assert!(started.elapsed() < PATIENCE, "Redis does not answer {command:?}: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The same with several commands in one transaction.
    pub async fn ask_all<T: FromRedisValue>(&mut self, pipeline: &Pipeline) -> T {
        let started = Instant::now();
        loop {
            match self.once(async |connection| pipeline.query_async(connection).await).await {
                Ok(answer) => return answer,
                Err(error) => assert!(started.elapsed() < PATIENCE, "Redis does not answer: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Runs a command once; a connection that broke is not used again.
    pub async fn once<T>(
        &mut self,
        run: impl AsyncFnOnce(&mut MultiplexedConnection) -> RedisResult<T>,
    ) -> RedisResult<T> {
        if self.connection.is_none() {
            let config = redis::AsyncConnectionConfig::new()
                .set_connection_timeout(Some(Duration::from_secs(10)))
                .set_response_timeout(Some(Duration::from_secs(10)));
            let client = redis::Client::open(self.url.as_str())?;
            self.connection = Some(client.get_multiplexed_async_connection_with_config(&config).await?);
        }
        let answer = run(self.connection.as_mut().expect("it was just opened")).await;
        if answer.as_ref().is_err_and(|error| error.is_io_error() || error.is_unrecoverable_error()) {
            self.connection = None;
        }
        answer
    }
}
