//! Settings: `config/default.toml`, then a file, then the environment, then flags. They are checked before anything
//! runs.
//!
//! `default.toml` is embedded. It is the source of every default, the list of every name, and the reference manual.
//! `layers.rs` combines the layers and refuses unknown names; `read` checks each value.
//! To add a setting, add a key there, a field here and a line in `read`.
//! No error and no `Debug` of this module shows a secret.

use std::{collections::BTreeMap, ffi::OsString, net::SocketAddr, path::Path, path::PathBuf, time::Duration};

use secrecy::SecretString;

pub use crate::domain::event::EventType;
use crate::domain::{event::Catalogue, origin::WebOrigin};

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
/// The most partitions that an installation may have.
pub const PARTITIONS_MAX: u16 = 1024;
/// A new installation begins with this many partitions, unless `queue.partitions` says otherwise.
const PARTITIONS_OF_A_SERVER: u16 = 1;
/// The same on a cluster: enough for up to four masters.
const PARTITIONS_OF_A_CLUSTER: u16 = 16;

/// Every setting, checked. The shape mirrors `config/default.toml`, which documents each key.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The connection to Redis.
    pub redis: Redis,
    /// The queue's shape.
    pub queue: Queue,
    /// The behaviour of a worker.
    pub worker: Worker,
    /// The HTTP server and its limits.
    pub server: Server,
    /// The rules of an attempt.
    pub delivery: Delivery,
    /// Limits on events, and their types.
    pub event: Event,
    /// The bound on idempotency keys.
    pub idempotency: Idempotency,
    /// Limits on webhooks.
    pub webhooks: Webhooks,
    /// Bounds on held deliveries.
    pub held: Retention,
    /// Bounds on failed deliveries.
    pub failed: Retention,
    /// Bounds on rejected entries.
    pub rejected: Retention,
    /// Rules for the addresses that requests may go to.
    pub egress: Egress,
    /// The name servers.
    pub dns: Dns,
    /// The rules for links to the portal.
    pub portal: Portal,
    /// Keys that seal customers' secrets at rest.
    pub secrets: Secrets,
    /// The filter and the format of the logs.
    pub log: Log,
}

impl Settings {
    /// The settings from the defaults, a file and an environment (`std::env::vars_os()`). Each overrides the one
    /// before.
    ///
    /// In the environment, `LYNKHOOK_<SECTION>__<KEY>` is read, and `REDIS_URL` if `LYNKHOOK_REDIS__URL` is absent. The
    /// function reads the settings file and the files that `secrets.key_file`, `redis.ca`, `redis.client_cert` and
    /// `redis.client_key` name, and nothing else.
    ///
    /// # Errors
    /// The first fault, with its place and the value to write instead.
    pub fn load<K, V>(file: Option<&Path>, env: impl IntoIterator<Item = (K, V)>) -> Result<Self, ConfigError>
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        Self::load_with(file, env, &[])
    }

    /// The least `egress.max_connections`. Each attempt in flight has a connection, and some more are needed because a
    /// new connection may be opened before an old one is closed.
    pub fn connections_needed(&self) -> usize {
        self.worker.concurrency + SPARE_CONNECTIONS
    }

    /// The number of workers, each on a thread, in a process: at most `worker.concurrency`.
    pub fn threads(&self) -> usize {
        self.worker.threads.min(self.worker.concurrency)
    }

    /// The number of a worker process's connections to Redis: each thread has one for short commands, and one for
    /// reading from each partition.
    pub fn redis_connections(&self, partitions: u16) -> usize {
        self.threads() * (usize::from(partitions) + 1)
    }

    /// The number of partitions with which a new installation begins. It keeps that number, so everything else asks the
    /// store for it.
    pub fn partitions_at_first(&self) -> u16 {
        let default = if self.redis.is_cluster { PARTITIONS_OF_A_CLUSTER } else { PARTITIONS_OF_A_SERVER };
        self.queue.partitions.unwrap_or(default)
    }

    /// The event types that customers can subscribe to, with the largest envelope.
    pub fn catalogue(&self) -> Catalogue {
        let max_bytes = usize::try_from(self.event.max_bytes).unwrap_or(usize::MAX);
        Catalogue::new(self.event.types.clone(), max_bytes)
    }

    /// Like [`Settings::load`], with flags as the last layer: keys such as `redis.url`, values in the form of the
    /// environment.
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
    /// A URL for each server that `redis.url` names: `redis://`, `rediss://` or `redis+unix:///path`; it may hold a
    /// password. There are several only for a cluster.
    pub servers: Vec<SecretString>,
    /// Whether they are nodes of a cluster.
    pub is_cluster: bool,
    /// The certificates for TLS.
    pub tls: RedisTls,
    /// The prefix of every key.
    pub prefix: String,
    /// The `maxmemory-policy` that is accepted although it is not `noeviction`; empty: none.
    pub accept_eviction: String,
    /// Time limit of opening a connection.
    pub connect_timeout: Duration,
    /// Time limit of one command.
    pub response_timeout: Duration,
}

/// The content of the files `redis.ca`, `redis.client_cert` and `redis.client_key` at start: PEM.
#[derive(Debug, Clone, Default)]
pub struct RedisTls {
    /// The authorities to trust instead of the system's.
    pub ca: Option<Vec<u8>>,
    /// The client certificate, and its key.
    pub client: Option<(Vec<u8>, SecretString)>,
}

/// `[queue]`
#[derive(Debug, Clone)]
pub struct Queue {
    /// Number of partitions, 1 to 1024; `None`: the number that Redis has noted, see
    /// [`Settings::partitions_at_first`].
    pub partitions: Option<u16>,
}

/// `[worker]`
#[derive(Debug, Clone)]
pub struct Worker {
    /// Attempts in flight at once.
    pub concurrency: usize,
    /// Workers in this process, each a thread; together they have `concurrency` and `max_bytes`.
    pub threads: usize,
    /// Bytes of entries in hand at which the worker stops reading.
    pub max_bytes: u64,
    /// Attempts a second, while the worker is busy, that failing endpoints share: those whose last attempts all failed.
    pub failing_rate: u32,
    /// An entry that was not renewed for this long is taken over by another worker.
    pub lease: Duration,
    /// The interval at which a worker renews its leases (± 20 %).
    pub renew_every: Duration,
    /// No request starts on a lease that was last renewed longer ago than this.
    pub start_within: Duration,
    /// The interval at which a worker looks for entries of dead workers (± 50 %).
    pub claim_every: Duration,
    /// An entry that was lost with its worker this many times is set aside.
    pub max_losses: u32,
    /// The address at which a worker answers health probes; `None`: none.
    pub health_bind: Option<SocketAddr>,
    /// How long a stopping worker waits for attempts in flight.
    pub shutdown_grace: Duration,
}

/// `[server]`
#[derive(Debug, Clone)]
pub struct Server {
    /// The address of the API.
    pub bind: SocketAddr,
    /// The address at which people reach this server, without a final `/`; `None`: there are no portal links.
    pub public_url: Option<String>,
    /// The address of a port for health probes alone; `None`: none.
    pub health_bind: Option<SocketAddr>,
    /// Connections at once.
    pub max_connections: usize,
    /// The largest head of a request.
    pub header_max_bytes: usize,
    /// Time limit of a request's head.
    pub header_timeout: Duration,
    /// The largest body that is neither an event nor a batch.
    pub body_max_bytes: usize,
    /// Time limit of a request's body.
    pub body_timeout: Duration,
    /// Time limit of the answer to a complete request.
    pub request_timeout: Duration,
    /// Bytes of all bodies in hand at once.
    pub max_bytes: u64,
    /// Requests a second of one API key.
    pub requests_per_second: u32,
    /// Tests of one webhook in ten seconds.
    pub tests_per_10s: u32,
    /// Networks and addresses of the proxies whose `X-Forwarded-For` counts, as written.
    pub trusted_proxies: Vec<String>,
    /// How long a stopping server waits for requests in progress.
    pub shutdown_grace: Duration,
}

/// `[delivery]`
#[derive(Debug, Clone)]
pub struct Delivery {
    /// One deadline over DNS, connect, TLS, request, headers and the part of the body that is read.
    pub timeout: Duration,
    /// Delays before the second, third, … attempt.
    pub retry_delays: Vec<Duration>,
    /// The most bytes of a response body that are read.
    pub response_max_bytes: u64,
    /// Whether endpoints get the producer's trace context.
    pub send_traceparent: bool,
}

/// `[event]`
#[derive(Debug, Clone)]
pub struct Event {
    /// The largest envelope.
    pub max_bytes: u64,
    /// The catalogue: event types by name.
    pub types: BTreeMap<String, EventType>,
}

/// `[idempotency]`
#[derive(Debug, Clone)]
pub struct Idempotency {
    /// The most bytes of a partition's idempotency keys.
    pub max_bytes: u64,
}

/// `[webhooks]`
#[derive(Debug, Clone)]
pub struct Webhooks {
    /// The most webhooks of an account.
    pub limit_per_account: usize,
}

/// `[held]`, `[failed]`, `[rejected]`: how much is kept beside the queue, and how long.
#[derive(Debug, Clone)]
pub struct Retention {
    /// The most entries of a key.
    pub limit: u64,
    /// The most bytes of a key, as Redis counts them.
    pub max_bytes: u64,
    /// Entries older than this are dropped and counted.
    pub retention: Duration,
}

/// `[egress]`
#[derive(Debug, Clone)]
pub struct Egress {
    /// Networks and host names that are allowed although they are not public, as written.
    pub allow: Vec<String>,
    /// A CA file (PEM) to trust in addition to the system's.
    pub extra_ca: Option<PathBuf>,
    /// Idle connections to one host and port that are kept open.
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

/// `[portal]`
#[derive(Debug, Clone)]
pub struct Portal {
    /// The platform's origins: they may show the portal in a frame, and the portal may lead back to them.
    pub embed_origins: Vec<WebOrigin>,
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
    /// The format of lines.
    pub format: LogFormat,
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Human on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}
