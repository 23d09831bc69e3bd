//! Connections: one shared by all short commands, and one of its own for each blocking reader, because a blocked
//! read stalls every command behind it.
//!
//! A connection is given up on the first sign that it no longer serves: an I/O error, a timeout (its reply may come
//! later, out of step with what the caller believes), or a server that turned read-only. The next caller opens a new
//! one; callers that come meanwhile wait for that one. Nothing is resent here: who repeats a step knows why it may.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
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
    time::error::Elapsed,
};

use super::scripts::Run;
use crate::{
    config, failpoint,
    store::{StoreError, Unanswered, error::NO_TLS_IN_TIME},
};

/// An answer that is late gets this much more time, so that the socket is looked at once more.
const LAST_LOOK: Duration = Duration::from_millis(250);
/// A connection without an answer for this long may have been closed meanwhile. Asking costs one round trip in this
/// time at most.
const QUIET: Duration = Duration::from_millis(5);
/// Data that is sent and not acknowledged for this long breaks the connection.
const DEAD_PEER: Duration = Duration::from_secs(20);
/// How long, and for how many bytes, a Redis is listened to that closed a new connection.
const REFUSAL_WAIT: Duration = Duration::from_millis(500);
const REFUSAL_MAX_BYTES: u64 = 4096;

/// One server and the connections to it.
pub(in crate::store) struct Node {
    /// Without user, password and database: [`Node::introduce`] names them, for the library hides what Redis answers.
    client: redis::Client,
    /// The same with all of them, in the protocol in which Redis can tell something of its own accord.
    listening: redis::Client,
    connect_timeout: Duration,
    response_timeout: Duration,
    shared: Mutex<Option<Shared>>,
    /// How many connections were shared so far.
    opened: AtomicU64,
    /// When commands that are not safe to repeat last had an answer.
    answered: Mutex<Option<Instant>>,
    /// Held while one connects for all; when that failed last, and how.
    connecting: tokio::sync::Mutex<Option<(Instant, StoreError)>>,
}

/// The connection that short commands share, with a number that tells it from its successors.
#[derive(Clone)]
struct Shared {
    number: u64,
    connection: MultiplexedConnection,
}

impl Node {
    pub(in crate::store) fn new(settings: &config::Redis) -> Result<Self, StoreError> {
        let unfit = |e: redis::RedisError| StoreError::Unfit(format!("redis.url cannot be used: {}", e.category()));
        let tcp = TcpSettings::default().set_nodelay(true).set_user_timeout(DEAD_PEER);
        let info = settings.url.expose_secret().into_connection_info().map_err(unfit)?.set_tcp_settings(tcp);
        let resp3 = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let silent = RedisConnectionInfo::default();
        let speaks_tls = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
        let certificates = speaks_tls.then(|| certificates(&settings.tls));
        let client = |info: redis::ConnectionInfo| match certificates.clone() {
            Some(certificates) => redis::Client::build_with_tls(info, certificates),
            None => redis::Client::open(info),
        };
        Ok(Self {
            client: client(info.clone().set_redis_settings(silent)).map_err(unfit)?,
            listening: client(info.set_redis_settings(resp3)).map_err(unfit)?,
            connect_timeout: settings.connect_timeout,
            response_timeout: settings.response_timeout,
            shared: Mutex::new(None),
            opened: AtomicU64::new(0),
            answered: Mutex::new(None),
            connecting: tokio::sync::Mutex::new(None),
        })
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

    /// Runs several commands in one round trip, each with an answer of its own: the server may take some and refuse
    /// others. For commands that are not safe to repeat: they are sent only on a connection that serves, and what is
    /// known of a failure is said.
    pub(in crate::store) async fn run_each<T: FromRedisValue>(
        &self,
        pipeline: &mut Pipeline,
    ) -> Result<Vec<Result<T, StoreError>>, Unanswered> {
        let mut shared = self.proven().await.map_err(Unanswered::NotSent)?;
        let answers: redis::RedisResult<Vec<redis::RedisResult<T>>> =
            self.in_time(pipeline.ignore_errors().query_async(&mut shared.connection)).await;
        let answers = self.judge(shared.number, answers).map_err(Unanswered::Unknown)?;
        *locked(&self.answered) = Some(Instant::now());
        Ok(answers.into_iter().map(|answer| self.judge(shared.number, answer)).collect())
    }

    /// Runs a script, loading it first where the server does not know it.
    pub(in crate::store) async fn run_script<T: FromRedisValue>(&self, run: &Run<'_>) -> Result<T, StoreError> {
        let mut shared = self.shared().await?;
        failpoint::before(run.name, "");
        let answer = self.in_time(run.invoke(&mut shared.connection)).await;
        failpoint::after(run.name, "");
        self.judge(shared.number, answer)
    }

    /// A connection of one's own, for reads that block; its user awaits its answers with [`answered`]. What Redis tells
    /// of its own accord is `heard` in its order among the answers: before those that were sent after it.
    pub(in crate::store) async fn dedicated(
        &self,
        heard: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<MultiplexedConnection, StoreError> {
        let heard = move |push| -> Result<(), std::convert::Infallible> {
            heard(push);
            Ok(())
        };
        self.open(&self.listening, self.config().set_push_sender(heard)).await
    }

    /// How long the answer to a command that does not block may take.
    pub(in crate::store) fn response_timeout(&self) -> Duration {
        self.response_timeout
    }

    /// Awaits the answer to a command that does not block.
    async fn in_time<T>(&self, asking: impl Future<Output = redis::RedisResult<T>>) -> redis::RedisResult<T> {
        answered(self.response_timeout, asking).await
    }

    /// The shared connection, replaced if it was closed while nothing was sent on it: by Redis (`timeout`, `CLIENT
    /// KILL`), or by a proxy that may not even say so.
    async fn proven(&self) -> Result<Shared, StoreError> {
        let mut shared = self.shared().await?;
        let answered = *locked(&self.answered);
        if answered.is_some_and(|answered| answered.elapsed() < QUIET) {
            return Ok(shared);
        }
        let answer = self.in_time(redis::cmd("PING").query_async::<()>(&mut shared.connection)).await;
        // Any answer proves that it serves, also that this user may not ask.
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
        let mut last_failure = self.connecting.lock().await;
        if let Some(shared) = self.present() {
            return Ok(shared);
        }
        // A caller that waited while it failed has waited enough: one after the other, many would wait for minutes.
        if let Some((failed, error)) = &*last_failure
            && *failed >= asked
        {
            return Err(error.clone());
        }
        // In a box: this happens seldom, and whatever asks Redis, every delivery above all, would keep as much room for
        // it.
        let opened = Box::pin(self.open_shared()).await;
        *last_failure = opened.as_ref().err().map(|error| (Instant::now(), error.clone()));
        let connection = opened?;
        let shared = Shared { number: self.opened.fetch_add(1, Relaxed), connection };
        *locked(&self.shared) = Some(shared.clone());
        Ok(shared)
    }

    fn present(&self) -> Option<Shared> {
        locked(&self.shared).clone()
    }

    fn judge<T>(&self, number: u64, answer: redis::RedisResult<T>) -> Result<T, StoreError> {
        answer.map_err(StoreError::from).inspect_err(|error| {
            if matches!(error, StoreError::Unreachable(_)) {
                let mut shared = locked(&self.shared);
                shared.take_if(|present| present.number == number);
            }
        })
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

    /// Says to Redis who connects, and to which database.
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
        // The handshake is inside too: a server that accepts and never answers must not hold us.
        let in_time = tokio::time::timeout(self.connect_timeout, opened).await;
        match in_time.unwrap_or_else(too_late) {
            Err(error) if error.is_timeout() => Err(StoreError::Unreachable(self.not_opened_in_time().into())),
            Err(error) if error.is_io_error() && !error.is_connection_refusal() => Err(self.last_words(error).await),
            opened => opened.map_err(StoreError::from),
        }
    }

    /// A server that does not speak TLS may wait for the end of what it takes for a command.
    fn not_opened_in_time(&self) -> std::io::Error {
        let late = std::io::ErrorKind::TimedOut;
        match self.client.get_connection_info().addr() {
            ConnectionAddr::TcpTls { .. } => std::io::Error::new(late, NO_TLS_IN_TIME),
            _ => late.into(),
        }
    }

    /// Why Redis closed a new connection. It says so (too many clients, protected mode) before it is asked for
    /// anything, and whoever has written by then may lose it: so this connects once more and only listens.
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
                // Nothing is said before the TLS handshake.
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

/// The authorities that are believed, and the certificate that is shown.
fn certificates(tls: &config::RedisTls) -> TlsCertificates {
    let client_tls = tls.client.as_ref().map(|(certificate, key)| ClientTlsConfig {
        client_cert: certificate.clone(),
        client_key: key.expose_secret().as_bytes().to_vec(),
    });
    TlsCertificates { client_tls, root_cert: tls.ca.clone().or_else(authorities_of_the_system) }
}

/// The system's authorities, in PEM; nothing where there are none, and the client believes its built-in list. What
/// cannot be read is left out: left to itself, the client would refuse all of them for its sake, and at each
/// connection.
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

/// Awaits an answer for up to `limit`. When a process goes on that stood still, its timers are over and the answer lies
/// unread in the socket. The client's own limit would drop that answer, so this one lets the socket be read once more.
pub(in crate::store) async fn answered<T>(
    limit: Duration,
    asking: impl Future<Output = redis::RedisResult<T>>,
) -> redis::RedisResult<T> {
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
