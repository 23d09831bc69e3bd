//! Whether this worker gets on: each of its loops leaves a mark when it has turned, and a loop that leaves none in its
//! time is wedged. A process that merely runs proves nothing.
//!
//! `/healthz` asks whether the loops turn and no retry is forgotten: where not, restart the worker.
//! `/readyz` asks besides whether Redis answers, the machine has what requests take, and the worker is not stopping. So an outage of Redis makes workers
//! unready and restarts none of them. Both answer 200 or 503, and say in JSON which check failed.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::{net::TcpListener, sync::Semaphore};

use super::{Worker, heartbeat::Check};
use crate::store::StoreError;

/// A retry that still waits so long after its time was forgotten.
const RETRY_LATE: Duration = Duration::from_secs(30);
/// Redis is asked this often …
const ASK_EVERY: Duration = Duration::from_secs(1);
/// … and has this long to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Whoever probes has this long to say what it wants, and to hear the answer.
const EXCHANGE_WITHIN: Duration = Duration::from_secs(2);
/// A probe says at once what it wants; who does not is in the way of those that do.
const SAY_WITHIN: Duration = Duration::from_millis(500);
/// Probes at a time.
const CONNECTIONS_MAX: usize = 256;
/// The pause when no connection can be accepted (no file descriptor is left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The workers of this process, each in its place from when it has started.
pub(super) type Workers = Arc<[OnceLock<Arc<Worker>>]>;

#[derive(Serialize)]
struct Answer {
    ok: bool,
    checks: Vec<Check>,
}

/// Opens the port for probes.
pub(super) async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind(address).await?;
    tracing::info!(address = %listener.local_addr()?, "health at /healthz and /readyz");
    Ok(listener)
}

/// Answers probes until the process ends.
pub(super) async fn serve(crew: Workers, listener: TcpListener) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let connection = connections.clone().acquire_owned().await.expect("never closed");
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let crew = crew.clone();
        tokio::spawn(async move {
            let answer = service_fn(|request| {
                let crew = crew.clone();
                async move { Ok::<_, Infallible>(answer(&crew, &request)) }
            });
            let mut http = http1::Builder::new();
            let exchange = http
                .timer(TokioTimer::new())
                .header_read_timeout(SAY_WITHIN)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), answer);
            // Whoever is slow or talks nonsense is none to be told of it.
            let _ = tokio::time::timeout(EXCHANGE_WITHIN, exchange).await;
            drop(connection);
        });
    }
}

fn answer(crew: &Workers, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return respond(StatusCode::METHOD_NOT_ALLOWED, String::new());
    }
    let ready = match request.uri().path() {
        "/healthz" => false,
        "/readyz" => true,
        _ => return respond(StatusCode::NOT_FOUND, String::new()),
    };
    let checks = checks(crew, ready);
    let ok = checks.iter().all(|check| check.ok);
    let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    respond(status, serde_json::to_string(&Answer { ok, checks }).expect("plain JSON"))
}

/// Each check of all workers; where several fail it, the first one's.
fn checks(crew: &Workers, ready: bool) -> Vec<Check> {
    let mut all: Vec<Check> = Vec::new();
    for place in &**crew {
        let Some(worker) = place.get() else {
            if ready {
                all.push(Check::new("started", false, || "a worker has not started yet".to_owned()));
            }
            continue;
        };
        for check in worker.checks(ready) {
            match all.iter_mut().find(|known| known.name == check.name) {
                Some(known) if known.ok => *known = check,
                Some(_) => {}
                None => all.push(check),
            }
        }
    }
    all
}

fn respond(status: StatusCode, json: String) -> Response<Full<Bytes>> {
    let response = Response::builder().status(status).header(CONTENT_TYPE, "application/json");
    response.body(Full::new(Bytes::from(json))).expect("constant headers")
}

/// What Redis said last.
#[derive(Default)]
pub(super) struct RedisHealth(Mutex<Option<Result<Duration, String>>>);

/// Asks Redis again and again how late the oldest retry is, so that probes are answered at once though Redis hangs.
pub(super) async fn listen_to_redis(worker: Arc<Worker>) {
    loop {
        let late = match tokio::time::timeout(ANSWER_WITHIN, worker.latest_retry()).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {ANSWER_WITHIN:?}")),
        };
        *worker.vitals.redis.0.lock() = Some(late);
        tokio::time::sleep(ASK_EVERY).await;
    }
}

impl Worker {
    fn checks(&self, ready: bool) -> Vec<Check> {
        let mut checks = self.vitals.heartbeats.checks();
        let heard = self.vitals.redis.0.lock().clone();
        if let Some(Ok(late)) = &heard {
            // While they go out, an outage is being made up for, and a restart would only hold that up.
            let forgotten = *late > RETRY_LATE && self.vitals.heartbeats.since_promoted() > RETRY_LATE;
            checks.push(Check::new("retries", !forgotten, || {
                format!("the oldest due retry has waited for {late:.1?} since its time, and none is promoted")
            }));
        }
        if ready {
            let why = || match &heard {
                Some(Err(error)) => error.clone(),
                _ => "it was not asked yet".to_owned(),
            };
            checks.push(Check::new("redis", matches!(heard, Some(Ok(_))), why));
            let lacking = self.vitals.exhaustion.lacking();
            checks.push(Check::new("resources", lacking.is_none(), || {
                format!("{}; deliveries wait", lacking.unwrap_or_default())
            }));
            checks.push(Check::new("running", !self.stop.has_begun(), || "it is stopping".to_owned()));
        }
        checks
    }

    /// How long ago the oldest retry of any partition was due.
    async fn latest_retry(&self) -> Result<Duration, StoreError> {
        let mut latest = Duration::ZERO;
        for partition in 0..self.store.keys().partitions() {
            let clock = self.partition(partition).clock.known();
            latest = latest.max(self.store.retry_late_by(partition, &clock).await?);
        }
        Ok(latest)
    }
}
