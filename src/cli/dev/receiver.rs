//! A receiver to deliver to: HTTPS on 127.0.0.1, and paths that succeed and fail as told.
//!
//! It judges nothing; it tells what came and what it answered, before it answers.

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
use crate::listen::{self, Limits};

/// What the paths do, for people.
pub(super) const PATHS: &str = "/crm 200 · /flaky 503, 503, 200 · /gone 404 · /status/NNN · /slow 200 after 12 s";

/// `/slow` answers after this, which is more than an attempt waits.
const SLOW: Duration = Duration::from_secs(12);
/// More than an envelope may have.
const BODY_MAX_BYTES: usize = 32 << 20;
/// The sender may keep a connection idle for as long as a head may take.
const LIMITS: Limits = Limits { connections_max: 1024, head_within: Duration::from_secs(30), exchange_within: None };
/// Requests that wait to be told, before further ones wait too.
const UNTOLD_MAX: usize = 1024;
/// How many events are remembered; beyond this their counts begin anew.
const REMEMBERED_MAX: usize = 100_000;
/// A handshake takes no longer than an attempt.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// One request that came. No `Debug`: its headers hold secrets.
pub(super) struct Received {
    /// When it was there as a whole.
    pub(super) at: Instant,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// How often this path has had this `webhook-id`, this time included.
    pub(super) count: u32,
    pub(super) answer: Answer,
}

/// What a path answers, and when.
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
    /// A header's value; empty where it is absent or no text.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The event's id, which is the same for every attempt.
    pub(super) fn webhook_id(&self) -> &str {
        self.header("webhook-id")
    }
}

impl Receiver {
    /// Listens, with a certificate for `localhost` of an authority that is made for this run (`ca.pem`).
    pub(super) fn start(home: &Home) -> anyhow::Result<Self> {
        let (listener, port) = home.listen("receiver")?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let (ca, tls) = certificate().context("cannot make the receiver's certificate")?;
        home.write("ca.pem", &ca)?;
        let (told, received) = mpsc::channel(UNTOLD_MAX);
        let paths = Arc::new(Paths { told, counts: Mutex::default() });
        let answer = move |request| {
            let paths = paths.clone();
            async move { paths.answer(request).await }
        };
        let tls = (TlsAcceptor::from(Arc::new(tls)), HANDSHAKE);
        tokio::spawn(listen::serve(listener, LIMITS, Some(tls), CancellationToken::new(), answer));
        Ok(Self { port, received })
    }
}

/// The authority in PEM, and TLS with a certificate that it signed. Its key is dropped here.
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
    /// Path and `webhook-id` → how often they came.
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
        // Nobody listens any more once the program is ending; the sender still gets its answer.
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

/// What a path answers to an event that it has for the `count`th time.
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
    // 1xx is no final answer.
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
    fn paths_answer_as_they_are_told() {
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
