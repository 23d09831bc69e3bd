//! A customer's endpoint: a real HTTPS server on 127.0.0.1 that records every request. It answers each path as the test
//! says, properly or in one of the ways in which endpoints fail.
//!
//! It runs on the test's own runtime and ends when it is dropped. HTTP/1.1 is written by hand ([`http1`]), because a
//! server library refuses to misbehave.

mod answer;
mod http1;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method};
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::certificates::{Authority, Identity, server_config};
pub use answer::{Answer, Gate};

/// One complete request.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: Method,
    /// Without the query.
    pub path: String,
    pub query: Option<String>,
    pub headers: HeaderMap,
    /// Byte for byte, with chunks joined.
    pub body: Bytes,
    /// The number of the accepted TCP connection that it came on, from 1.
    pub connection: usize,
    /// The time when its head was complete.
    pub arrived: Instant,
    /// The time when the answer ended, or when the client gave up waiting for it; `None` before either. It is read just
    /// *before* the last byte, the close or the reset is sent, so a client cannot have seen the end any earlier.
    pub ended: Option<Instant>,
}

impl Received {
    /// The value of a header that occurs once and is text; otherwise `None`.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?.to_str().ok()?;
        values.next().is_none().then_some(value)
    }
}

/// A running receiver.
pub struct Receiver {
    address: SocketAddr,
    ledger: Arc<Ledger>,
    ca_file: NamedTempFile,
    _tasks: JoinSet<()>,
}

impl Receiver {
    /// Starts a receiver with a valid certificate and HTTP/1.1, with which it can give every [`Answer`].
    pub async fn start() -> Self {
        Self::with_certificate(Identity::Trusted).await
    }

    /// The same on another address of this machine, such as 127.0.0.2.
    pub async fn at(address: IpAddr) -> Self {
        Self::start_at(address, Identity::Trusted).await
    }

    /// The same with another certificate, or none.
    pub async fn with_certificate(identity: Identity) -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST.into(), identity).await
    }

    async fn start_at(address: IpAddr, identity: Identity) -> Self {
        let ca_file = tempfile::Builder::new().prefix("lynkhook-ca-").suffix(".pem").tempfile().expect("a CA file");
        std::fs::write(&ca_file, Authority::shared().pem()).expect("the CA file can be written");
        let listener = TcpListener::bind((address, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let ledger = Arc::new(Ledger::default());
        let acceptor = server_config(identity, &["http/1.1"]).map(TlsAcceptor::from);
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, identity, acceptor, Arc::clone(&ledger)));
        Self { address, ledger, ca_file, _tasks: tasks }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The authority to trust, as PEM. It is the same for all receivers of a test process, whatever certificate they
    /// show.
    pub fn ca_file(&self) -> &Path {
        self.ca_file.path()
    }

    /// `https://localhost:<port><path>`
    pub fn url(&self, path: &str) -> String {
        self.url_for("localhost", path)
    }

    /// The same with another host name. The certificate is valid for `hooks.test` and every `….hooks.test`.
    pub fn url_for(&self, host: &str, path: &str) -> String {
        format!("https://{host}:{}{path}", self.address.port())
    }

    /// Answers requests for `path` (without query) with these answers, one after another; the last answer repeats. A
    /// path without a plan answers 404. A new plan for a path replaces the old one and starts at its first answer.
    pub fn plan(&self, path: &str, answers: impl Into<Vec<Answer>>) {
        let answers = answers.into();
        assert!(!answers.is_empty(), "a plan needs at least one answer");
        let mut plans = self.ledger.plans.lock().expect("no test panicked in here");
        plans.insert(path.to_owned(), Plan::InOrder { answers, given: 0 });
    }

    /// Answers requests for `path` as `choose` says for each, in whatever order they come.
    pub fn plan_each(&self, path: &str, choose: impl FnMut(&Received) -> Answer + Send + 'static) {
        let mut plans = self.ledger.plans.lock().expect("no test panicked in here");
        plans.insert(path.to_owned(), Plan::Each(Box::new(choose)));
    }

    /// The requests for `path` so far, in the order in which they were complete.
    pub fn requests(&self, path: &str) -> Vec<Received> {
        for_path(&self.ledger.requests.borrow(), path)
    }

    /// The requests for all paths so far.
    pub fn all_requests(&self) -> Vec<Received> {
        self.ledger.requests.borrow().clone()
    }

    /// The number of arrivals of each event at `path`, by `webhook-id`.
    pub fn arrivals(&self, path: &str) -> HashMap<String, usize> {
        let mut counts = HashMap::new();
        for request in self.requests(path) {
            *counts.entry(request.header("webhook-id").unwrap().to_owned()).or_default() += 1;
        }
        counts
    }

    /// The number of requests for `path` that are being answered now.
    pub fn in_flight(&self, path: &str) -> usize {
        self.requests(path).iter().filter(|request| request.ended.is_none()).count()
    }

    /// The number of accepted TCP connections so far, including those that never completed TLS.
    pub fn connections(&self) -> usize {
        self.ledger.connections.load(Ordering::SeqCst)
    }

    /// Waits until `count` requests for `path` have arrived, answered or not.
    pub async fn wait_for(&self, path: &str, count: usize, deadline: Duration) -> Vec<Received> {
        self.wait_until(path, count, deadline, "came in", |_| true).await
    }

    /// Waits until the answers to `count` requests for `path` have ended, or their clients gave up.
    pub async fn wait_for_ended(&self, path: &str, count: usize, deadline: Duration) -> Vec<Received> {
        self.wait_until(path, count, deadline, "ended", |request| request.ended.is_some()).await
    }

    async fn wait_until(
        &self,
        path: &str,
        count: usize,
        deadline: Duration,
        what: &str,
        counts: impl Fn(&Received) -> bool,
    ) -> Vec<Received> {
        let mut changes = self.ledger.requests.subscribe();
        let enough = |all: &Vec<Received>| all.iter().filter(|one| one.path == path && counts(one)).count() >= count;
        let waited = tokio::time::timeout(deadline, changes.wait_for(enough)).await.map(drop);
        assert!(
            waited.is_ok(),
            "not within {deadline:?}: {count} requests for {path} that {what}. All there were: {:#?}",
            self.all_requests()
        );
        self.requests(path)
    }
}

/// The recorded requests and the planned answers, shared by all connections.
#[derive(Default)]
struct Ledger {
    plans: Mutex<HashMap<String, Plan>>,
    requests: watch::Sender<Vec<Received>>,
    connections: AtomicUsize,
}

enum Plan {
    InOrder { answers: Vec<Answer>, given: usize },
    Each(Box<dyn FnMut(&Received) -> Answer + Send>),
}

impl Ledger {
    /// Records a request and says how to answer it.
    fn begin(self: &Arc<Self>, request: Received) -> (Exchange, Answer) {
        // The lock is held until the request is recorded, so that the n-th recorded request gets the n-th answer of its
        // plan.
        let mut plans = self.plans.lock().expect("no test panicked in here");
        let answer = match plans.get_mut(&request.path) {
            None => Answer::Status(404),
            Some(Plan::InOrder { answers, given }) => {
                *given += 1;
                answers[(*given).min(answers.len()) - 1].clone()
            }
            Some(Plan::Each(choose)) => choose(&request),
        };
        let mut index = 0;
        self.requests.send_modify(|requests| {
            index = requests.len();
            requests.push(request);
        });
        (Exchange { ledger: Arc::clone(self), index }, answer)
    }
}

/// A request that is being answered. It ends when [`end`](Self::end) is called, or when this is dropped because the
/// client has left.
struct Exchange {
    ledger: Arc<Ledger>,
    index: usize,
}

impl Exchange {
    fn end(&self) {
        let now = Instant::now();
        self.ledger.requests.send_if_modified(|requests| {
            let first = requests[self.index].ended.is_none();
            requests[self.index].ended.get_or_insert(now);
            first
        });
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.end();
    }
}

fn for_path(requests: &[Received], path: &str) -> Vec<Received> {
    requests.iter().filter(|request| request.path == path).cloned().collect()
}

async fn accept(listener: TcpListener, identity: Identity, acceptor: Option<TlsAcceptor>, ledger: Arc<Ledger>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let number = ledger.connections.fetch_add(1, Ordering::SeqCst) + 1;
        connections.spawn(serve(stream, identity, acceptor.clone(), Arc::clone(&ledger), number));
        while connections.try_join_next().is_some() {}
    }
}

/// Serves one connection to its end. Its errors are ignored: half of the tests cause them on purpose.
async fn serve(
    mut stream: TcpStream,
    identity: Identity,
    acceptor: Option<TlsAcceptor>,
    ledger: Arc<Ledger>,
    number: usize,
) -> io::Result<()> {
    // Send small writes at once: a reset that follows must not overtake them.
    stream.set_nodelay(true)?;
    let Some(acceptor) = acceptor else {
        let mut buffer = [0; 4096];
        while stream.read(&mut buffer).await? > 0 {
            if identity == Identity::PlainTcp {
                stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await?;
                return stream.shutdown().await;
            }
        }
        return Ok(());
    };
    http1::serve(acceptor.accept(stream).await?, ledger, number).await
}
