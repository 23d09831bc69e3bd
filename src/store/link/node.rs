//! Connections: all short commands share one, and each blocking reader has its own, because a blocked read stalls every
//! command behind it.
//!
//! A connection is given up on the first sign that it no longer serves: an I/O error, a timeout (its reply may come
//! later, out of step with the caller), or a server that turned read-only. The next caller opens a new connection, and
//! later callers wait for that one. This module resends nothing: only the caller knows whether a step may be repeated.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD as STANDARD};
use redis::{
    AsyncConnectionConfig, ClientTlsConfig, Cmd, ConnectionAddr, FromRedisValue, IntoConnectionInfo, Pipeline,
    ProtocolVersion, PushInfo, RedisConnectionInfo, TlsCertificates, aio::MultiplexedConnection, io::tcp::TcpSettings,
};
use secrecy::ExposeSecret;
use tokio::{
    io::AsyncReadExt,
    net::{TcpStream, UnixStream},
    sync::watch,
    time::error::Elapsed,
};

use super::scripts::Run;
use crate::{
    config, failpoint,
    store::{
        StoreError, Unanswered,
        error::{NO_TLS_IN_TIME, no_longer_master},
    },
};

/// The extra time for a late answer, so that the socket is read once more.
const LAST_LOOK: Duration = Duration::from_millis(250);
/// The time without an answer after which a connection may have been closed. A check costs at most one round trip in
/// this time.
const QUIET: Duration = Duration::from_millis(5);
/// The time after which sent but unacknowledged data breaks the connection.
const DEAD_PEER: Duration = Duration::from_secs(20);
/// The time for which a Redis that closed a new connection is listened to.
const REFUSAL_WAIT: Duration = Duration::from_millis(500);
/// The most bytes that are read meanwhile.
const REFUSAL_MAX_BYTES: u64 = 4096;

/// The time in which a server that is no longer a master may still answer. One that was deposed on purpose has answers
/// on the way.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// The way to each server of an installation: the user, the certificates and the time limits.
pub(in crate::store) struct Way {
    info: redis::ConnectionInfo,
    certificates: Option<TlsCertificates>,
    connect_timeout: Duration,
    response_timeout: Duration,
}

/// One server and the connections to it.
pub(in crate::store) struct Node {
    /// The host and the port, if it is one of several.
    name: Option<Arc<str>>,
    /// Whether it is no longer a master. Only one of several servers can be deposed.
    deposed: Option<watch::Sender<bool>>,
    /// A client without user, password and database. [`Node::introduce`] sends them, because the library hides Redis's
    /// answers.
    client: redis::Client,
    /// A client with user, password and database, in the protocol with push messages (RESP3).
    listening: redis::Client,
    connect_timeout: Duration,
    response_timeout: Duration,
    shared: Mutex<Option<Shared>>,
    /// The number of shared connections opened so far.
    opened: AtomicU64,
    /// The time at which commands that are not safe to repeat last had an answer.
    answered: Mutex<Option<Instant>>,
    /// Held while one caller connects for all.
    connecting: tokio::sync::Mutex<()>,
    /// The end of the last attempt to connect, and its error, if it failed.
    failed: Mutex<Option<(Instant, StoreError)>>,
}

/// The connection that short commands share, with a number that tells it from its successors.
#[derive(Clone)]
struct Shared {
    number: u64,
    connection: MultiplexedConnection,
}

impl Way {
    /// The way of these settings, and the addresses that they name.
    pub(in crate::store) fn new(settings: &config::Redis) -> Result<(Self, Vec<Address>), StoreError> {
        let tcp = TcpSettings::default().set_nodelay(true).set_user_timeout(DEAD_PEER);
        let infos: Result<Vec<_>, _> = settings
            .servers
            .iter()
            .map(|url| url.expose_secret().into_connection_info().map_err(|error| unfit(&error)))
            .collect();
        let infos = infos?;
        let addresses = infos.iter().filter_map(|info| Address::of(info.addr())).collect();
        let info = infos.into_iter().next().expect("settings name a server").set_tcp_settings(tcp);
        let speaks_tls = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
        let way = Self {
            info,
            certificates: speaks_tls.then(|| certificates(&settings.tls)),
            connect_timeout: settings.connect_timeout,
            response_timeout: settings.response_timeout,
        };
        Ok((way, addresses))
    }

    /// The first server that the settings name.
    pub(in crate::store) fn first(&self) -> Result<Node, StoreError> {
        self.node(&self.info, None)
    }

    /// The server at an address, one of several.
    pub(in crate::store) fn to(&self, address: &Address) -> Result<Node, StoreError> {
        let Address { host, port } = address.clone();
        let is_at = match self.info.addr() {
            ConnectionAddr::TcpTls { insecure, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: None }
            }
            _ => ConnectionAddr::Tcp(host, port),
        };
        self.node(&self.info.clone().set_addr(is_at), Some(address.to_string().into()))
    }

    fn node(&self, info: &redis::ConnectionInfo, name: Option<Arc<str>>) -> Result<Node, StoreError> {
        let client = |settings: RedisConnectionInfo| {
            let info = info.clone().set_redis_settings(settings);
            match self.certificates.clone() {
                Some(certificates) => redis::Client::build_with_tls(info, certificates),
                None => redis::Client::open(info),
            }
        };
        let resp3 = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        Ok(Node {
            deposed: name.is_some().then(|| watch::Sender::new(false)),
            name,
            client: client(RedisConnectionInfo::default()).map_err(|error| unfit(&error))?,
            listening: client(resp3).map_err(|error| unfit(&error))?,
            connect_timeout: self.connect_timeout,
            response_timeout: self.response_timeout,
            shared: Mutex::new(None),
            opened: AtomicU64::new(0),
            answered: Mutex::new(None),
            connecting: tokio::sync::Mutex::default(),
            failed: Mutex::default(),
        })
    }
}

fn unfit(error: &redis::RedisError) -> StoreError {
    StoreError::Unfit(format!("redis.url cannot be used: {}", error.category()))
}

/// The host and the port of a server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::store) struct Address {
    pub(in crate::store) host: String,
    pub(in crate::store) port: u16,
}

impl Address {
    /// `None` for a socket of this machine.
    fn of(address: &ConnectionAddr) -> Option<Self> {
        match address {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                Some(Self { host: host.clone(), port: *port })
            }
            _ => None,
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Node {
    /// The address; `None` if it is a socket of this machine.
    pub(in crate::store) fn address(&self) -> Option<Address> {
        Address::of(self.client.get_connection_info().addr())
    }

    /// Notes that it is no longer a master, and ends all that waits for an answer of it.
    pub(in crate::store) fn depose(&self) {
        if let Some(deposed) = &self.deposed {
            deposed.send_replace(true);
        }
    }

    /// Awaits an answer of this server; if the server is deposed meanwhile, an error.
    async fn unless_deposed<T>(&self, answer: impl Future<Output = redis::RedisResult<T>>) -> redis::RedisResult<T> {
        let Some(deposed) = &self.deposed else { return answer.await };
        let mut seen = deposed.subscribe();
        let is_deposed = async {
            let _ = seen.wait_for(|deposed| *deposed).await;
            tokio::time::sleep(LAST_WORDS).await;
        };
        tokio::select! {
            biased;
            answer = answer => answer,
            () = is_deposed => Err(no_longer_master().into()),
        }
    }

    /// The host and the port, as text; `None` if it is the only server.
    pub(in crate::store) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The user in `redis.url`.
    pub(in crate::store) fn user(&self) -> String {
        let redis = self.listening.get_connection_info().redis_settings();
        redis.username().unwrap_or("default").to_owned()
    }

    /// Runs one command on the shared connection.
    pub(in crate::store) async fn run<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        let mut shared = self.shared().await?;
        let answer = self.in_time(command.query_async(&mut shared.connection)).await;
        self.judge(shared.number, answer)
    }

    /// Runs several commands in one round trip.
    pub(in crate::store) async fn run_pipeline<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, StoreError> {
        let mut shared = self.shared().await?;
        let answer = self.in_time(pipeline.query_async(&mut shared.connection)).await;
        self.judge(shared.number, answer)
    }

    /// Runs one command for a key that is on its way to this server, while its slot moves here.
    pub(in crate::store) async fn run_arriving<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("ASKING").ignore().add_command(command.clone());
        let (answer,) = self.run_pipeline(&pipeline).await?;
        Ok(answer)
    }

    /// Runs several commands in one round trip, each with its own answer: the server may accept some and refuse others.
    /// It is for commands that are not safe to repeat: it sends them only on a connection that serves, and says whether
    /// failed ones were sent.
    pub(in crate::store) async fn run_each<T: FromRedisValue>(
        &self,
        pipeline: &mut Pipeline,
    ) -> Result<Vec<Result<T, Unanswered>>, Unanswered> {
        let mut shared = self.proven().await.map_err(Unanswered::NotDone)?;
        let answers: redis::RedisResult<Vec<redis::RedisResult<T>>> =
            self.in_time(pipeline.ignore_errors().query_async(&mut shared.connection)).await;
        let answers = self.judge(shared.number, answers).map_err(Unanswered::Unknown)?;
        *locked(&self.answered) = Some(Instant::now());
        Ok(answers.into_iter().map(|answer| self.judge(shared.number, answer).map_err(Unanswered::NotDone)).collect())
    }

    /// Runs a script, and loads it first if the server does not know it.
    pub(in crate::store) async fn run_script<T: FromRedisValue>(&self, run: &Run<'_>) -> Result<T, StoreError> {
        let mut shared = self.shared().await?;
        failpoint::before(run.name, "");
        let answer = self.in_time(run.invoke(&mut shared.connection)).await;
        failpoint::after(run.name, "");
        self.judge(shared.number, answer)
    }

    /// Runs a script that is not safe to repeat: on a connection that serves.
    pub(in crate::store) async fn run_script_once<T: FromRedisValue>(&self, run: &Run<'_>) -> Result<T, Unanswered> {
        let mut shared = self.proven().await.map_err(Unanswered::NotDone)?;
        failpoint::before(run.name, "");
        let answer = self.in_time(run.invoke(&mut shared.connection)).await;
        failpoint::after(run.name, "");
        let is_answer = answer.as_ref().map_or_else(|error| error.code().is_some(), |_| true);
        if is_answer {
            *locked(&self.answered) = Some(Instant::now());
        }
        let why = if is_answer { Unanswered::NotDone } else { Unanswered::Unknown };
        self.judge(shared.number, answer).map_err(why)
    }

    /// A separate connection, for reads that block. Its user awaits answers with [`Node::answered`]. Push messages of Redis
    /// are passed to `heard` in their order among the answers: before the answers that were sent after them.
    pub(in crate::store) async fn dedicated(
        &self,
        heard: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<MultiplexedConnection, StoreError> {
        let heard = move |push| -> Result<(), std::convert::Infallible> {
            heard(push);
            Ok(())
        };
        let opened = self.open(&self.listening, self.config().set_push_sender(heard)).await;
        opened.map_err(|error| self.named(error))
    }

    /// Awaits the answer to a command on a connection of its own, which may take up to `limit`.
    pub(in crate::store) async fn answered<T>(
        &self,
        limit: Duration,
        asking: impl Future<Output = redis::RedisResult<T>>,
    ) -> Result<T, StoreError> {
        let answer = self.unless_deposed(answered(limit, asking)).await;
        answer.map_err(|error| self.named(error.into()))
    }

    /// Awaits the end of several questions to this server, for up to `limit`.
    pub(in crate::store) async fn within<T>(
        &self,
        limit: Duration,
        asking: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let in_time = tokio::time::timeout(limit, asking).await;
        in_time.unwrap_or_else(|late| too_late(late).map_err(|error| self.named(error.into())))
    }

    /// The longest time that the answer to a command may take if it does not block.
    pub(in crate::store) fn response_timeout(&self) -> Duration {
        self.response_timeout
    }

    /// Awaits the answer to a command that does not block.
    async fn in_time<T>(&self, asking: impl Future<Output = redis::RedisResult<T>>) -> redis::RedisResult<T> {
        self.unless_deposed(answered(self.response_timeout, asking)).await
    }

    /// The shared connection. It is replaced if it was closed while nothing was sent on it: by Redis (`timeout`,
    /// `CLIENT KILL`), or by a proxy, perhaps silently.
    async fn proven(&self) -> Result<Shared, StoreError> {
        let mut shared = self.shared().await?;
        let answered = *locked(&self.answered);
        if answered.is_some_and(|answered| answered.elapsed() < QUIET) {
            return Ok(shared);
        }
        let answer = self.in_time(redis::cmd("PING").query_async::<()>(&mut shared.connection)).await;
        // Any answer proves that the connection serves, even the answer that this user may not ask.
        match self.judge(shared.number, answer) {
            Err(StoreError::Unreachable(_)) => self.shared().await,
            _ => Ok(shared),
        }
    }

    async fn shared(&self) -> Result<Shared, StoreError> {
        if let Some(shared) = self.present() {
            return Ok(shared);
        }
        let asked = Instant::now();
        let failed = || locked(&self.failed).clone();
        let connecting = match (self.connecting.try_lock(), failed()) {
            (Ok(connecting), _) => connecting,
            // One of several servers hangs, and a caller tries it again. The others need not wait to hear the same.
            (Err(_), Some((_, error))) if self.name.is_some() => return Err(error),
            (Err(_), _) => self.connecting.lock().await,
        };
        if let Some(shared) = self.present() {
            return Ok(shared);
        }
        // A caller that waited while connecting failed gets that error. If each tried again, one after the other, many
        // would wait for minutes.
        if let Some((_, error)) = failed().filter(|(failed, _)| *failed >= asked) {
            return Err(error);
        }
        // Boxed: connecting is rare, and without the box the future of every call, thus of every delivery, would be as
        // large.
        let opened = self.unless_deposed(async { Ok(self.open_shared().await) });
        let opened = Box::pin(opened).await.map_err(StoreError::from).flatten().map_err(|error| self.named(error));
        *locked(&self.failed) = opened.as_ref().err().map(|error| (Instant::now(), error.clone()));
        let shared = Shared { number: self.opened.fetch_add(1, Relaxed), connection: opened? };
        *locked(&self.shared) = Some(shared.clone());
        drop(connecting);
        Ok(shared)
    }

    fn present(&self) -> Option<Shared> {
        locked(&self.shared).clone()
    }

    fn judge<T>(&self, number: u64, answer: redis::RedisResult<T>) -> Result<T, StoreError> {
        answer.map_err(|error| self.named(error.into())).inspect_err(|error| {
            // An answer that the key is elsewhere is no fault of the connection.
            if matches!(error, StoreError::Unreachable(_)) && !error.is_of_a_slot() {
                let mut shared = locked(&self.shared);
                shared.take_if(|present| present.number == number);
            }
        })
    }

    /// An error that says which server it is about, if there are several.
    fn named(&self, error: StoreError) -> StoreError {
        match error {
            StoreError::Unreachable(mut silence) if self.name.is_some() => {
                silence.at.clone_from(&self.name);
                StoreError::Unreachable(silence)
            }
            other => other,
        }
    }

    fn config(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new().set_connection_timeout(Some(self.connect_timeout)).set_response_timeout(None)
    }

    async fn open_shared(&self) -> Result<MultiplexedConnection, StoreError> {
        let mut connection = self.open(&self.client, self.config()).await?;
        match self.in_time(self.introduce(&mut connection)).await {
            Err(error) if error.is_io_error() && !error.is_timeout() => Err(self.last_words(error).await),
            introduced => introduced.map(|()| connection).map_err(StoreError::from),
        }
    }

    /// Sends user, password and database to Redis.
    async fn introduce(&self, connection: &mut MultiplexedConnection) -> redis::RedisResult<()> {
        let who = self.listening.get_connection_info().redis_settings();
        if let Some(password) = who.password() {
            let mut auth = redis::cmd("AUTH");
            who.username().map(|user| auth.arg(user));
            auth.arg(password).query_async::<()>(connection).await?;
        }
        match who.db() {
            0 => Ok(()),
            database => redis::cmd("SELECT").arg(database).query_async(connection).await,
        }
    }

    async fn open(
        &self,
        client: &redis::Client,
        config: AsyncConnectionConfig,
    ) -> Result<MultiplexedConnection, StoreError> {
        let opened = client.get_multiplexed_async_connection_with_config(&config);
        // The time limit includes the handshake, so a server that accepts and never answers cannot hold us.
        let in_time = tokio::time::timeout(self.connect_timeout, opened).await;
        match in_time.unwrap_or_else(too_late) {
            Err(error) if error.is_timeout() => Err(redis::RedisError::from(self.not_opened_in_time()).into()),
            Err(error) if error.is_io_error() && !error.is_connection_refusal() => Err(self.last_words(error).await),
            opened => opened.map_err(StoreError::from),
        }
    }

    /// The error for a connection that was not opened in time. With TLS it has its own text, because a server without
    /// TLS may wait for the rest of what looks to it like a command.
    fn not_opened_in_time(&self) -> std::io::Error {
        let late = std::io::ErrorKind::TimedOut;
        match self.client.get_connection_info().addr() {
            ConnectionAddr::TcpTls { .. } => std::io::Error::new(late, NO_TLS_IN_TIME),
            _ => late.into(),
        }
    }

    /// The reason why Redis closed a new connection. Redis states it (too many clients, protected mode) before it is
    /// asked for anything, and a client that has written by then may lose it. So this connects once more and only
    /// listens.
    async fn last_words(&self, error: redis::RedisError) -> StoreError {
        let mut line = Vec::new();
        let listening = async {
            match self.client.get_connection_info().addr() {
                ConnectionAddr::Tcp(host, port) => {
                    let socket = TcpStream::connect((host.as_str(), *port)).await?;
                    socket.take(REFUSAL_MAX_BYTES).read_to_end(&mut line).await
                }
                ConnectionAddr::Unix(path) => {
                    UnixStream::connect(path).await?.take(REFUSAL_MAX_BYTES).read_to_end(&mut line).await
                }
                // Before the TLS handshake, Redis states nothing.
                _ => Ok(0),
            }
        };
        let _ = tokio::time::timeout(REFUSAL_WAIT, listening).await;
        let said = redis::parse_redis_value(&line).and_then(redis::Value::extract_error);
        match said.err().filter(|refusal| refusal.code().is_some()) {
            Some(refusal) => refusal.into(),
            None => error.into(),
        }
    }
}

/// A panic under the lock leaves the value whole, so a poisoned lock is taken like any other.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The certificate authorities to trust, and the client certificate to present.
fn certificates(tls: &config::RedisTls) -> TlsCertificates {
    let client_tls = tls.client.as_ref().map(|(certificate, key)| ClientTlsConfig {
        client_cert: certificate.clone(),
        client_key: key.expose_secret().as_bytes().to_vec(),
    });
    TlsCertificates { client_tls, root_cert: tls.ca.clone().or_else(authorities_of_the_system) }
}

/// The system's certificate authorities, in PEM; `None` if there are none, and then the client library trusts its
/// built-in list. An authority that cannot be read is left out. The library itself would refuse all of them because of
/// that one, at each connection.
fn authorities_of_the_system() -> Option<Vec<u8>> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "a certificate authority of this system cannot be read, so redis.url does not trust it");
    }
    let usable = found.certs.iter().filter(|der| webpki::anchor_from_trusted_cert(der).is_ok());
    let in_pem = |der| format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(der));
    let pem: String = usable.map(in_pem).collect();
    (!pem.is_empty()).then(|| pem.into_bytes())
}

/// Awaits an answer for up to `limit`. After a process stood still, its timers have expired while the answer is unread
/// in the socket. The library's own time limit would drop that answer; this one has the socket read once more.
async fn answered<T>(limit: Duration, asking: impl Future<Output = redis::RedisResult<T>>) -> redis::RedisResult<T> {
    let mut asking = std::pin::pin!(asking);
    if let Ok(answer) = tokio::time::timeout(limit, &mut asking).await {
        return answer;
    }
    let late = tokio::time::timeout(LAST_LOOK, asking).await;
    late.unwrap_or_else(too_late)
}

fn too_late<T>(_: Elapsed) -> redis::RedisResult<T> {
    Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into())
}
