//! The receiver of the demonstration: HTTPS on 127.0.0.1, with paths that succeed and paths that fail on demand.
//!
//! It judges nothing. It reports each request and its answer to the story before it sends the answer.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::{ServerConfig, crypto::aws_lc_rs};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::home::Home;
use crate::listen::{self, Limits, Turns};

/// The behaviour of the paths, for people.
pub(super) const PATHS: &str = "/crm 200 · /flaky 503, 503, 200 · /gone 404 · /status/NNN · /slow 200 after 12 s";

/// `/slow` answers after this time, which is longer than an attempt waits.
const SLOW: Duration = Duration::from_secs(12);
/// The size limit for a body, which is larger than any envelope.
const BODY_MAX_BYTES: usize = 32 << 20;
/// The limits of the server. `head_within` also limits how long the sender may keep a connection idle.
const LIMITS: Limits = Limits {
    connections_max: 1024,
    head_within: Duration::from_secs(30),
    exchange_within: None,
    head_max_bytes: 64 << 10,
};
/// The number of reported requests that may wait for the story; further requests wait until one is taken.
const UNTOLD_MAX: usize = 1024;
/// The number of events that are counted. Beyond it, all counts start again.
const REMEMBERED_MAX: usize = 100_000;
/// The time limit for a handshake, which is that of an attempt.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// One request. No `Debug`, because its headers hold secrets.
pub(super) struct Received {
    /// The time at which it had arrived completely.
    pub(super) at: Instant,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// The number of requests with this path and this `webhook-id`, including this one.
    pub(super) count: u32,
    pub(super) answer: Answer,
}

/// The answer of a path, and its delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) after: Duration,
}

/// The receiver, listening.
pub(super) struct Receiver {
    pub(super) port: u16,
    pub(super) received: mpsc::Receiver<Received>,
}

impl Received {
    /// A header's value; empty if it is absent or not text.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The event's id, which is the same for every attempt.
    pub(super) fn webhook_id(&self) -> &str {
        self.header("webhook-id")
    }
}

impl Receiver {
    /// Listens with a certificate for `localhost`, signed by an authority that is made for this run (`ca.pem`).
    pub(super) fn start(home: &Home) -> anyhow::Result<Self> {
        let (listener, port) = home.listen("receiver")?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let (ca, tls) = certificate().context("cannot create the receiver's certificate")?;
        home.write("ca.pem", &ca)?;
        let (told, received) = mpsc::channel(UNTOLD_MAX);
        let paths = Arc::new(Paths { told, counts: Mutex::default() });
        let answer = move |request| {
            let paths = paths.clone();
            async move { paths.answer(request).await }
        };
        let tls = (TlsAcceptor::from(Arc::new(tls)), HANDSHAKE);
        let turns = Arc::new(Turns::of("receiver"));
        tokio::spawn(listen::serve(listener, LIMITS, Some(tls), turns, CancellationToken::new(), answer));
        Ok(Self { port, received })
    }
}

/// Makes the authority (returned in PEM), and TLS with a certificate that it signed. The authority's key is dropped
/// here.
fn certificate() -> anyhow::Result<(String, ServerConfig)> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "lynkhook dev, of one run");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;

    let mut params = CertificateParams::new(["localhost".to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, "localhost");
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &authority)?;
    let key = key.serialize_der().try_into().map_err(|reason: &str| anyhow::anyhow!(reason))?;
    let mut tls = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.into()], key)?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((authority.pem(), tls))
}

struct Paths {
    told: mpsc::Sender<Received>,
    /// Path and `webhook-id` → number of requests.
    counts: Mutex<HashMap<(String, String), u32>>,
}

impl Paths {
    async fn answer(&self, request: Request<Incoming>) -> Response<Empty<Bytes>> {
        if request.method() != Method::POST {
            return empty(StatusCode::METHOD_NOT_ALLOWED);
        }
        let (head, body) = request.into_parts();
        let Ok(body) = Limited::new(body, BODY_MAX_BYTES).collect().await else {
            return empty(StatusCode::BAD_REQUEST);
        };
        let mut received = Received {
            at: Instant::now(),
            path: head.uri.path().to_owned(),
            headers: head.headers,
            body: body.to_bytes(),
            count: 0,
            answer: Answer { status: StatusCode::OK, after: Duration::ZERO },
        };
        received.count = self.count(&received);
        received.answer = answer(&received.path, received.count);
        let Answer { status, after } = received.answer;
        // Fails only while the program is ending; the sender still gets its answer.
        let _ = self.told.send(received).await;
        tokio::time::sleep(after).await;
        empty(status)
    }

    fn count(&self, received: &Received) -> u32 {
        let mut counts = self.counts.lock().expect("never poisoned");
        if counts.len() >= REMEMBERED_MAX {
            counts.clear();
        }
        let count = counts.entry((received.path.clone(), received.webhook_id().to_owned())).or_default();
        *count += 1;
        *count
    }
}

/// A path's answer to an event that arrives for the `count`th time.
fn answer(path: &str, count: u32) -> Answer {
    let status = match path {
        "/flaky" if count <= 2 => StatusCode::SERVICE_UNAVAILABLE,
        "/crm" | "/slow" | "/flaky" => StatusCode::OK,
        _ => told_status(path).unwrap_or(StatusCode::NOT_FOUND),
    };
    Answer { status, after: if path == "/slow" { SLOW } else { Duration::ZERO } }
}

/// `/status/503` → 503.
fn told_status(path: &str) -> Option<StatusCode> {
    let number: u16 = path.strip_prefix("/status/")?.parse().ok()?;
    // A status of 1xx is not a final answer.
    (200..=599).contains(&number).then(|| StatusCode::from_u16(number).ok())?
}

fn empty(status: StatusCode) -> Response<Empty<Bytes>> {
    let mut response = Response::new(Empty::new());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_gives_its_own_answer() {
        for (path, count, status) in [
            ("/crm", 1, 200),
            ("/crm", 9, 200),
            ("/flaky", 1, 503),
            ("/flaky", 2, 503),
            ("/flaky", 3, 200),
            ("/gone", 1, 404),
            ("/status/200", 1, 200),
            ("/status/599", 1, 599),
            ("/status/600", 1, 404),
            ("/status/199", 1, 404),
            ("/status/x", 1, 404),
            ("/slow", 1, 200),
        ] {
            assert_eq!(answer(path, count).status, status, "{path}, time {count}");
        }
        assert_eq!(answer("/slow", 1).after, SLOW);
        assert_eq!(answer("/crm", 1).after, Duration::ZERO);
    }
}
