//! The endpoint of the deliveries: an HTTPS server in a process of its own, as fast as possible. It counts requests and
//! measures the time from each event's `XADD` to its arrival.
//!
//! The first segment of a request's path says how the receiver answers ([`Behaviour`]), and is the name of the *series*
//! that counts the request: `/ok/…` and `/ok-quiet/…` get the same answers and are counted apart. An event's id, which
//! arrives as `webhook-id`, holds the moment it was sent: `<Unix microseconds>-<number>`. On standard input, the parent
//! asks for the counts, or tells the receiver to answer a series differently from now on. Connections that never bring
//! a request are served by [`faulty`], and counted as well.

mod faulty;
mod series;

use std::{
    collections::HashMap,
    io,
    process::ExitCode,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use rustls::crypto::aws_lc_rs::Ticketer;
use serde::{Deserialize, Serialize};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;

use self::series::Series;
pub use self::series::{Counts, Report};
use crate::{
    children,
    support::{Authority, Identity, server_config},
};

/// The first argument of a process that is a receiver.
pub const CHILD: &str = "receiver";

/// Flaky answers are the same in every run.
const SEED: u64 = 1;

/// The message that the receiver sends when it is ready.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ready {
    pub port: u16,
    /// The ports on which connections are reset, and on which TLS fails.
    pub reset_port: u16,
    pub no_tls_port: u16,
    /// The authority of the receiver's certificate, in PEM.
    pub ca: String,
}

/// The questions that the parent can ask.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Forget all counts.
    Reset,
    /// The number of requests in all series.
    Count,
    /// All counts.
    Report,
    /// Answer a series like another one from now on.
    Answer { series: String, like: String },
}

/// The way to answer a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behaviour {
    /// 200, at once: `ok`.
    Ok,
    /// 200, after this long: `slow-<ms>`.
    Slow(Duration),
    /// This status, at once: `status-<code>`.
    Status(StatusCode),
    /// 500 to this percentage of requests, at random, and 200 to the others, at once: `flaky-<percent>`.
    Flaky(u32),
    /// 200, like a server with this many threads that works on each request for this time: `few-<threads>-<ms>`.
    /// Requests beyond its threads wait their turn.
    Few { threads: usize, each: Duration },
    /// No answer while the client waits: `hang`.
    Hang,
    /// Closes the connection: `close`.
    Close,
}

impl Behaviour {
    fn of(series: &str) -> Self {
        let (name, argument) = series.split_once('-').unwrap_or((series, ""));
        match name {
            "ok" => Self::Ok,
            "slow" => Self::Slow(Duration::from_millis(argument.parse().unwrap_or(1000))),
            "status" => Self::Status(argument.parse().unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)),
            "flaky" => Self::Flaky(argument.parse().expect("flaky-<percent>")),
            "few" => {
                let (threads, ms) = argument.split_once('-').expect("few-<threads>-<ms>");
                let each = Duration::from_millis(ms.parse().expect("a number of ms"));
                Self::Few { threads: threads.parse().expect("a number of threads"), each }
            }
            "hang" => Self::Hang,
            "close" => Self::Close,
            _ => Self::Status(StatusCode::NOT_FOUND),
        }
    }
}

/// The state of a receiver.
struct State {
    series: Series,
    /// Series that are answered differently from their names.
    otherwise: HashMap<String, Behaviour>,
    /// The threads of the servers that have few, by series.
    threads: HashMap<String, Arc<Semaphore>>,
    dice: StdRng,
}

impl State {
    fn new() -> Self {
        let (series, otherwise, threads) = (Series::default(), HashMap::new(), HashMap::new());
        Self { series, otherwise, threads, dice: StdRng::seed_from_u64(SEED) }
    }

    /// Forgets all counts, and the queues of servers with few threads.
    fn reset(&mut self) {
        self.series.reset();
        self.threads.clear();
    }
}

type Shared = Arc<Mutex<State>>;

/// A request that has arrived and is not yet answered.
struct InFlight<'a>(&'a Shared, &'a str);

impl<'a> InFlight<'a> {
    /// Counts the request, and says how to answer it.
    fn arrived(shared: &'a Shared, series: &'a str, sent_us: Option<u64>) -> (Self, Behaviour) {
        let mut state = shared.lock().expect("never poisoned");
        state.series.arrived(series, now_micros(), sent_us);
        (Self(shared, series), state.otherwise.get(series).copied().unwrap_or_else(|| Behaviour::of(series)))
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.lock().expect("never poisoned").series.left(self.1);
    }
}

pub fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be started");
    runtime.block_on(run());
    ExitCode::SUCCESS
}

async fn run() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let mut tls = Arc::unwrap_or_clone(server_config(Identity::Trusted, &["http/1.1"]).expect("it speaks TLS"));
    tls.ticketer = Ticketer::new().expect("a key for tickets");
    let port = listener.local_addr().expect("it is bound").port();
    let shared: Shared = Arc::new(Mutex::new(State::new()));
    let (reset_port, no_tls_port) =
        (faulty::resetting(Arc::clone(&shared)).await, faulty::without_tls(Arc::clone(&shared)).await);
    children::say(&Ready { port, reset_port, no_tls_port, ca: Authority::shared().pem() });
    tokio::spawn(accept(listener, TlsAcceptor::from(Arc::new(tls)), Arc::clone(&shared)));
    let mut questions = children::Questions::new();
    while let Some(ask) = questions.next().await {
        let mut state = shared.lock().expect("never poisoned");
        match ask {
            Ask::Reset => {
                state.reset();
                children::say(&());
            }
            Ask::Count => children::say(&state.series.total()),
            Ask::Report => children::say(&state.series.report()),
            Ask::Answer { series, like } => {
                state.otherwise.insert(series, Behaviour::of(&like));
                children::say(&());
            }
        }
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, shared: Shared) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            shared.lock().expect("never poisoned").series.connected();
            // Ignore the error: a client may leave at any time.
            let _ = serve(stream, acceptor, Arc::clone(&shared)).await;
            shared.lock().expect("never poisoned").series.disconnected();
        });
    }
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, shared: Shared) -> Result<(), hyper::Error> {
    let _ = stream.set_nodelay(true);
    let Ok(stream) = acceptor.accept(stream).await else { return Ok(()) };
    let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
}

async fn answer(request: http::Request<Incoming>, shared: Shared) -> io::Result<Response<Empty<Bytes>>> {
    let (head, mut body) = request.into_parts();
    let sent = head.headers.get("webhook-id").and_then(|id| sent_micros(id.as_bytes()));
    let series = head.uri.path().split('/').nth(1).unwrap_or_default();
    let (_in_flight, behaviour) = InFlight::arrived(&shared, series, sent);
    while let Some(Ok(_)) = body.frame().await {}
    let status = match behaviour {
        Behaviour::Ok => StatusCode::OK,
        Behaviour::Status(status) => status,
        Behaviour::Slow(wait) => {
            tokio::time::sleep(wait).await;
            StatusCode::OK
        }
        Behaviour::Flaky(percent) => {
            let fails = shared.lock().expect("never poisoned").dice.random_range(0..100) < percent;
            if fails { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }
        }
        Behaviour::Few { threads, each } => {
            serve_in_turn(&shared, series, threads, each).await;
            StatusCode::OK
        }
        Behaviour::Hang => std::future::pending().await,
        Behaviour::Close => return Err(io::ErrorKind::ConnectionAborted.into()),
    };
    let mut response = Response::new(Empty::new());
    *response.status_mut() = status;
    Ok(response)
}

/// Returns when one of the server's threads has served this request. If the client leaves while the request waits, it
/// is not served. A request that is being served occupies its thread to the end, because the thread cannot know that
/// the client has left.
async fn serve_in_turn(shared: &Shared, series: &str, threads: usize, each: Duration) {
    let threads = {
        let mut state = shared.lock().expect("never poisoned");
        let threads = state.threads.entry(series.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(threads)));
        Arc::clone(threads)
    };
    let thread = threads.acquire_owned().await.expect("never closed");
    let served = tokio::spawn(async move {
        tokio::time::sleep(each).await;
        drop(thread);
    });
    served.await.expect("it does not panic");
}

/// The clock of this machine, which the producer also uses.
pub fn now_micros() -> u64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970");
    u64::try_from(since_1970.as_micros()).expect("before the year 500,000")
}

fn sent_micros(id: &[u8]) -> Option<u64> {
    std::str::from_utf8(id).ok()?.split('-').next()?.parse().ok()
}
