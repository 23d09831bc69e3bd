//! Whether this worker gets on: each of its loops leaves a mark when it has turned, and a loop that leaves none in its
//! time is wedged. A process that merely runs proves nothing.
//!
//! `/healthz` asks whether the loops turn and no retry lies about long after its time: where not, restart the worker.
//! `/readyz` asks besides whether Redis answers and the worker is not stopping. So an outage of Redis makes workers
//! unready and restarts none of them. Both answer 200 or 503, and say in JSON which check failed.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::{net::TcpListener, sync::Semaphore};

use super::{Worker, turns::Check};

/// A retry that still waits so long after its time was forgotten.
const RETRY_LATE: Duration = Duration::from_secs(30);
/// Redis has this long to answer a probe.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Whoever probes has this long to say what it wants, and to hear the answer.
const EXCHANGE_WITHIN: Duration = Duration::from_secs(5);
/// Probes at a time.
const CONNECTIONS_MAX: usize = 16;
/// The pause when no connection can be accepted (no file descriptor is left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
pub(super) async fn serve(worker: Arc<Worker>, listener: TcpListener) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let connection = connections.clone().acquire_owned().await.expect("never closed");
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let worker = worker.clone();
        tokio::spawn(async move {
            let answer = service_fn(|request| {
                let worker = worker.clone();
                async move { Ok::<_, Infallible>(answer(&worker, &request).await) }
            });
            let mut http = http1::Builder::new();
            let exchange =
                http.timer(TokioTimer::new()).keep_alive(false).serve_connection(TokioIo::new(stream), answer);
            // Whoever is slow or talks nonsense is none to be told of it.
            let _ = tokio::time::timeout(EXCHANGE_WITHIN, exchange).await;
            drop(connection);
        });
    }
}

async fn answer(worker: &Worker, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return respond(StatusCode::METHOD_NOT_ALLOWED, String::new());
    }
    let ready = match request.uri().path() {
        "/healthz" => false,
        "/readyz" => true,
        _ => return respond(StatusCode::NOT_FOUND, String::new()),
    };
    let checks = worker.checks(ready).await;
    let ok = checks.iter().all(|check| check.ok);
    let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    respond(status, serde_json::to_string(&Answer { ok, checks }).expect("plain JSON"))
}

fn respond(status: StatusCode, json: String) -> Response<Full<Bytes>> {
    let response = Response::builder().status(status).header(CONTENT_TYPE, "application/json");
    response.body(Full::new(Bytes::from(json))).expect("constant headers")
}

impl Worker {
    async fn checks(&self, ready: bool) -> Vec<Check> {
        let mut checks = self.turns.checks();
        let late = tokio::time::timeout(ANSWER_WITHIN, self.latest_retry()).await;
        if let Ok(Ok(late)) = &late {
            checks.push(Check::new("retries", *late <= RETRY_LATE, || {
                format!("the oldest due retry has waited for {late:.1?} since its time")
            }));
        }
        if ready {
            let why = || match &late {
                Ok(Err(error)) => error.to_string(),
                _ => format!("no answer within {ANSWER_WITHIN:?}"),
            };
            checks.push(Check::new("redis", matches!(late, Ok(Ok(_))), why));
            checks.push(Check::new("running", !self.stop.is_cancelled(), || "it is stopping".to_owned()));
        }
        checks
    }

    /// How long ago the oldest retry of any partition was due.
    async fn latest_retry(&self) -> Result<Duration, crate::store::StoreError> {
        let mut latest = Duration::ZERO;
        for partition in 0..self.partitions() {
            latest = latest.max(self.store.retry_late_by(partition).await?);
        }
        Ok(latest)
    }
}
