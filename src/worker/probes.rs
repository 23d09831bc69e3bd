//! The port of a worker: the probes `/healthz` and `/readyz`, which answer 200 or 503 and name the failed checks in JSON,
//! and `/metrics`.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::body::Incoming;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Worker, parts::heartbeat::Check};
use crate::{
    listen::{self, Limits, Turns},
    scrape::Scrape,
    telemetry::metrics::{self, OfWorker},
};

const JSON: &str = "application/json";

/// The limits of probes. A probe sends its request at once; a connection that does not would block others.
const LIMITS: Limits = Limits {
    connections_max: 256,
    head_within: Duration::from_millis(500),
    // A scrape may have to wait for Redis.
    exchange_within: Some(Duration::from_secs(6)),
    head_max_bytes: 8 << 10,
};

/// The workers of this process.
pub(super) struct Workers {
    /// Each is set once it has started.
    each: Vec<OnceLock<Arc<Worker>>>,
    /// The metrics that they share.
    pub(super) metrics: OfWorker,
}

impl Workers {
    /// As many workers, of which none has started.
    pub(super) fn new(count: usize, metrics: OfWorker) -> Self {
        Self { each: (0..count).map(|_| OnceLock::new()).collect(), metrics }
    }

    /// Notes that the `nth` worker has started, and returns whether all have now.
    pub(super) fn are_started_with(&self, nth: usize, worker: &Arc<Worker>) -> bool {
        let _ = self.each[nth].set(worker.clone());
        self.each.iter().all(|worker| worker.get().is_some())
    }

    fn started(&self) -> impl Iterator<Item = &Arc<Worker>> {
        self.each.iter().filter_map(OnceLock::get)
    }

    /// Tells the metrics what the workers have in hand now.
    fn measure(&self) {
        let in_flight = self.started().map(|worker| worker.in_hand.leases.count()).sum();
        let concurrency = self.started().map(|worker| worker.rules.concurrency).sum();
        let busy_percent = self.started().map(|worker| worker.room.endpoints.busy().percent).max().unwrap_or(0);
        self.metrics.load(in_flight, concurrency, busy_percent);
    }
}

#[derive(Serialize)]
struct Answer {
    ok: bool,
    checks: Vec<Check>,
}

/// Opens the port for probes.
pub(super) async fn open(address: SocketAddr) -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind(address).await?;
    tracing::info!(address = %listener.local_addr()?, "probes are answered at /healthz and /readyz, scrapes at /metrics");
    Ok(listener)
}

/// Answers probes and scrapes until the process ends.
pub(super) async fn serve(workers: Arc<Workers>, scrape: Scrape, listener: TcpListener) {
    let scrape = Arc::new(scrape);
    let answer = move |request: Request<Incoming>| {
        let (workers, scrape) = (workers.clone(), scrape.clone());
        async move { answer(&workers, &scrape, &request).await }
    };
    listen::serve(listener, LIMITS, None, Arc::new(Turns::of("probes")), CancellationToken::new(), answer).await;
}

/// The first failed check of `/healthz`, in words.
pub(super) fn fault(workers: &Workers) -> Option<String> {
    let failed = checks(workers, false).into_iter().find(|check| !check.ok)?;
    Some(format!("{}: {}", failed.name, failed.error.unwrap_or_default()))
}

async fn answer(workers: &Workers, scrape: &Scrape, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return respond(StatusCode::METHOD_NOT_ALLOWED, JSON, String::new());
    }
    let ready = match request.uri().path() {
        "/healthz" => false,
        "/readyz" => true,
        "/metrics" => {
            workers.measure();
            return respond(StatusCode::OK, metrics::CONTENT_TYPE, scrape.text().await);
        }
        _ => return respond(StatusCode::NOT_FOUND, JSON, String::new()),
    };
    let checks = checks(workers, ready);
    let ok = checks.iter().all(|check| check.ok);
    let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    respond(status, JSON, serde_json::to_string(&Answer { ok, checks }).expect("plain JSON"))
}

/// Each check of all workers; where several fail it or warn, the first one's.
fn checks(workers: &Workers, ready: bool) -> Vec<Check> {
    let mut all: Vec<Check> = Vec::new();
    for slot in &workers.each {
        let Some(worker) = slot.get() else {
            if ready {
                all.push(Check::new("started", false, || "a worker has not started yet".to_owned()));
            }
            continue;
        };
        let stopping = worker.stop.has_begun();
        let mut own = worker.vitals.alive(stopping);
        if ready {
            own.extend(worker.vitals.ready(stopping));
        }
        for check in own {
            match all.iter_mut().find(|known| known.name == check.name) {
                Some(known) if known.ok && (!check.ok || known.warning.is_none()) => *known = check,
                Some(_) => {}
                None => all.push(check),
            }
        }
    }
    all
}

fn respond(status: StatusCode, content_type: &'static str, text: String) -> Response<Full<Bytes>> {
    let response = Response::builder().status(status).header(CONTENT_TYPE, content_type);
    response.body(Full::new(Bytes::from(text))).expect("constant headers")
}
