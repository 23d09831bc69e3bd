//! The endpoint that deliveries go to: an HTTPS server in a process of its own, as quick as it can be, that counts what
//! arrives and how long after its `XADD` it came.
//!
//! The first segment of a request's path says how it is answered ([`Behaviour`]), and is the name of the *series* it is
//! counted in: `/ok/…` and `/ok-quiet/…` are answered alike and counted apart. When an event was sent stands in its id,
//! which arrives as `webhook-id`: `<Unix microseconds>-<number>`. On standard input it is asked what it counted, and told
//! to answer a series otherwise from now on. Connections that never bring a request are served by [`faulty`], and counted too.

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

/// What it says when it is ready.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ready {
    pub port: u16,
    /// Here connections are reset, and here TLS fails.
    pub reset_port: u16,
    pub no_tls_port: u16,
    /// The authority of its certificate, PEM.
    pub ca: String,
}

/// What it can be asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Forget what was counted.
    Reset,
    /// How many requests came, of all series.
    Count,
    /// Everything.
    Report,
    /// Answer a series as another one is, from now on.
    Answer { series: String, like: String },
}

/// How a request is answered.
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
    /// 200, as a server with this many threads answers that spends this long on each request: `few-<threads>-<ms>`.
    /// Requests beyond its threads wait their turn.
    Few { threads: usize, each: Duration },
    /// Not at all, for as long as the client waits: `hang`.
    Hang,
    /// By closing the connection: `close`.
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

/// What a receiver knows.
struct State {
    series: Series,
    /// What is answered otherwise than its name says.
    otherwise: HashMap<String, Behaviour>,
    /// The threads of servers that have few, by series.
    threads: HashMap<String, Arc<Semaphore>>,
    dice: StdRng,
}

impl State {
    fn new() -> Self {
        let (series, otherwise, threads) = (Series::default(), HashMap::new(), HashMap::new());
        Self { series, otherwise, threads, dice: StdRng::seed_from_u64(SEED) }
    }

    /// Forgets what was counted, and whose turn it is at servers with few threads.
    fn reset(&mut self) {
        self.series.reset();
        self.threads.clear();
    }
}

type Shared = Arc<Mutex<State>>;

/// A request that has arrived and is not answered yet.
struct InFlight<'a>(&'a Shared, &'a str);

impl<'a> InFlight<'a> {
    /// Counts it, and says how it is to be answered.
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
            // That a client goes away is no concern of the one that counts.
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

/// Returns when one of the server's threads has served this request. A request whose client leaves while it waits is not
/// served; one that is being served takes its thread to the end, because the thread cannot know that the client has left.
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

/// The clock of this machine, which the producer uses as well.
pub fn now_micros() -> u64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970");
    u64::try_from(since_1970.as_micros()).expect("before the year 500,000")
}

fn sent_micros(id: &[u8]) -> Option<u64> {
    std::str::from_utf8(id).ok()?.split('-').next()?.parse().ok()
}
