//! Settings: `config/default.toml`, then a file, then the environment, then flags, checked before anything runs.
//!
//! `default.toml` is embedded; it is the source of every default, the list of every name, and the reference manual.
//! `layers.rs` lays the layers over each other and refuses unknown names, `read` says what each value must be.
//! A new setting is a key there, a field here and a line in `read`.
//! Nothing here ever shows a secret, in an error or in `Debug`.

use std::{collections::BTreeMap, ffi::OsString, net::SocketAddr, path::Path, path::PathBuf, time::Duration};

use secrecy::SecretString;

use crate::domain::event::Catalogue;
pub use crate::domain::event::EventType;

mod error;
mod layers;
mod read;
mod redis_url;
#[cfg(test)]
mod tests;

pub use error::{ConfigError, Origin};
use layers::Layers;

/// `egress.max_connections` is at least this much more than `worker.concurrency`.
const SPARE_CONNECTIONS: usize = 64;

/// Every setting, checked. The shape mirrors `config/default.toml`, which documents each key.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How to reach Redis.
    pub redis: Redis,
    /// The queue's shape.
    pub queue: Queue,
    /// How a worker behaves.
    pub worker: Worker,
    /// The rules of an attempt.
    pub delivery: Delivery,
    /// Limits on events, and their types.
    pub event: Event,
    /// Limits on webhooks.
    pub webhooks: Webhooks,
    /// Bounds on held deliveries.
    pub held: Retention,
    /// Bounds on failed deliveries.
    pub failed: Retention,
    /// Bounds on rejected entries.
    pub rejected: Retention,
    /// Which addresses requests may go to.
    pub egress: Egress,
    /// The name servers.
    pub dns: Dns,
    /// Keys that seal customers' secrets at rest.
    pub secrets: Secrets,
    /// The filter and the format of the logs.
    pub log: Log,
}

impl Settings {
    /// The settings of the defaults, a file and an environment (`std::env::vars_os()`), each over the one before.
    ///
    /// Of the environment, `LYNKHOOK_<SECTION>__<KEY>` is read, and `REDIS_URL` where `LYNKHOOK_REDIS__URL` is absent.
    /// Reads the file, and the file that `secrets.key_file` names; touches nothing else.
    ///
    /// # Errors
    /// The first thing that is wrong, with where it stands and what to write instead.
    pub fn load<K, V>(file: Option<&Path>, env: impl IntoIterator<Item = (K, V)>) -> Result<Self, ConfigError>
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        Self::load_with(file, env, &[])
    }

    /// The least `egress.max_connections`: each attempt in flight has a connection, and some more are needed to open one before
    /// another is closed.
    pub fn connections_needed(&self) -> usize {
        self.worker.concurrency + SPARE_CONNECTIONS
    }

    /// How many workers, each a thread, a process has: never more than attempts that may be in flight.
    pub fn threads(&self) -> usize {
        self.worker.threads.min(self.worker.concurrency)
    }

    /// A worker process's connections to Redis: each of its threads has one for short commands, and one for reading in each
    /// partition.
    pub fn redis_connections(&self) -> usize {
        self.threads() * (usize::from(self.queue.partitions) + 1)
    }

    /// The event types that customers can subscribe to, with the largest envelope.
    pub fn catalogue(&self) -> Catalogue {
        let max_bytes = usize::try_from(self.event.max_bytes).unwrap_or(usize::MAX);
        Catalogue::new(self.event.types.clone(), max_bytes)
    }

    /// [`Settings::load`], and flags over all: keys such as `redis.url`, values written as in the environment.
    pub fn load_with<K, V>(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (K, V)>,
        overrides: &[(&str, String)],
    ) -> Result<Self, ConfigError>
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let mut layers = Layers::defaults();
        if let Some(path) = file {
            layers.file(path)?;
        }
        layers.environment(env)?;
        layers.overrides(overrides)?;
        read::settings(&layers)
    }
}

/// `[redis]`
#[derive(Debug, Clone)]
pub struct Redis {
    /// `redis://`, `rediss://` or `redis+unix:///path`; may hold a password.
    pub url: SecretString,
    /// How `rediss://` is believed, beside the name in the URL.
    pub tls: RedisTls,
    /// The beginning of every key.
    pub prefix: String,
    /// The `maxmemory-policy` that is accepted although it is not `noeviction`; empty: none.
    pub accept_eviction: String,
    /// Time limit of opening a connection.
    pub connect_timeout: Duration,
    /// Time limit of one command.
    pub response_timeout: Duration,
}

/// The files of `redis.ca`, `redis.client_cert` and `redis.client_key`, as they were at start: PEM.
#[derive(Debug, Clone, Default)]
pub struct RedisTls {
    /// The authorities to believe instead of the system's.
    pub ca: Option<Vec<u8>>,
    /// The certificate to show, and its key.
    pub client: Option<(Vec<u8>, SecretString)>,
}

/// `[queue]`
#[derive(Debug, Clone)]
pub struct Queue {
    /// Number of partitions, 1 to 1024.
    pub partitions: u16,
}

/// `[worker]`
#[derive(Debug, Clone)]
pub struct Worker {
    /// Attempts in flight at once.
    pub concurrency: usize,
    /// Workers in this process, each a thread; together they have `concurrency` and `max_bytes`.
    pub threads: usize,
    /// Bytes of entries in hand beyond which nothing more is read.
    pub max_bytes: u64,
    /// Attempts a second that endpoints share whose attempts all fail, while the worker is busy.
    pub failing_rate: u32,
    /// An entry idle this long is taken over by another worker.
    pub lease: Duration,
    /// How often a worker renews what it holds (± 20 %).
    pub renew_every: Duration,
    /// No request starts on a lease last renewed longer ago than this.
    pub start_within: Duration,
    /// How often a worker looks for entries whose worker died (± 50 %).
    pub claim_every: Duration,
    /// An entry lost by its worker this many times is set aside.
    pub max_losses: u32,
    /// The address at which a worker answers health probes; `None`: none.
    pub health_bind: Option<SocketAddr>,
    /// How long a stopping worker waits for what is in flight.
    pub shutdown_grace: Duration,
}

/// `[delivery]`
#[derive(Debug, Clone)]
pub struct Delivery {
    /// One deadline over DNS, connect, TLS, request, headers and the part of the body that is read.
    pub timeout: Duration,
    /// Delays before the second, third, … attempt.
    pub retry_delays: Vec<Duration>,
    /// At most this much of a response body is read.
    pub response_max_bytes: u64,
}

/// `[event]`
#[derive(Debug, Clone)]
pub struct Event {
    /// The largest envelope.
    pub max_bytes: u64,
    /// The catalogue: event types by name.
    pub types: BTreeMap<String, EventType>,
}

/// `[webhooks]`
#[derive(Debug, Clone)]
pub struct Webhooks {
    /// At most this many an account.
    pub limit_per_account: usize,
}

/// `[held]`, `[failed]`, `[rejected]`: how much is kept beside the queue, and how long.
#[derive(Debug, Clone)]
pub struct Retention {
    /// At most this many entries a key.
    pub limit: u64,
    /// At most this many bytes a key, as Redis counts them.
    pub max_bytes: u64,
    /// Entries older than this are dropped and counted.
    pub retention: Duration,
}

/// `[egress]`
#[derive(Debug, Clone)]
pub struct Egress {
    /// Networks and host names allowed although not public, as written.
    pub allow: Vec<String>,
    /// A CA file (PEM) to trust besides the system's.
    pub extra_ca: Option<PathBuf>,
    /// Connections to one host and port that are kept open while no request is on them.
    pub idle_connections_per_host: usize,
    /// Connections that this process may have open. At least `worker.concurrency` + 64.
    pub max_connections: usize,
}

/// `[dns]`
#[derive(Debug, Clone)]
pub struct Dns {
    /// Name servers instead of the system's.
    pub servers: Vec<SocketAddr>,
    /// The file that names the system's.
    pub resolv_conf: PathBuf,
}

/// `[secrets]`
#[derive(Debug, Clone)]
pub struct Secrets {
    /// The sealing key, or several as one text, read from `key` or `key_file`; `None` when neither is set.
    pub key: Option<SecretString>,
}

/// `[log]`
#[derive(Debug, Clone)]
pub struct Log {
    /// A tracing filter, e.g. `info` or `lynkhook=debug`.
    pub filter: String,
    /// How lines look.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Human on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}
