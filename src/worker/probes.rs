//! The probes over HTTP: `/healthz` and `/readyz`. Both answer 200 or 503, and name the failed checks in JSON.

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
use crate::listen::{self, Limits, Turns};

/// The limits of probes. A probe sends its request at once; a connection that does not would block others.
const LIMITS: Limits = Limits {
    connections_max: 256,
    head_within: Duration::from_millis(500),
    exchange_within: Some(Duration::from_secs(2)),
    head_max_bytes: 8 << 10,
};

/// The workers of this process; each is set once it has started.
pub(super) type Workers = Arc<[OnceLock<Arc<Worker>>]>;

#[derive(Serialize)]
struct Answer {
    ok: bool,
    checks: Vec<Check>,
}

/// Opens the port for probes.
pub(super) async fn open(address: SocketAddr) -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind(address).await?;
    tracing::info!(address = %listener.local_addr()?, "probes are answered at /healthz and /readyz");
    Ok(listener)
}

/// Answers probes until the process ends.
pub(super) async fn serve(workers: Workers, listener: TcpListener) {
    let answer = move |request| std::future::ready(answer(&workers, &request));
    listen::serve(listener, LIMITS, None, Arc::new(Turns::of("probes")), CancellationToken::new(), answer).await;
}

/// The first failed check of `/healthz`, in words.
pub(super) fn fault(workers: &Workers) -> Option<String> {
    let failed = checks(workers, false).into_iter().find(|check| !check.ok)?;
    Some(format!("{}: {}", failed.name, failed.error.unwrap_or_default()))
}

fn answer(workers: &Workers, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return respond(StatusCode::METHOD_NOT_ALLOWED, String::new());
    }
    let ready = match request.uri().path() {
        "/healthz" => false,
        "/readyz" => true,
        _ => return respond(StatusCode::NOT_FOUND, String::new()),
    };
    let checks = checks(workers, ready);
    let ok = checks.iter().all(|check| check.ok);
    let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    respond(status, serde_json::to_string(&Answer { ok, checks }).expect("plain JSON"))
}

/// Each check of all workers; where several fail it, the first one's.
fn checks(workers: &Workers, ready: bool) -> Vec<Check> {
    let mut all: Vec<Check> = Vec::new();
    for slot in &**workers {
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
