//! One attempt: one HTTP request to an address that a stranger typed in, from the lookup of the name to the outcome.
//!
//! [`Sender::attempt`] reads top to bottom. A fault of the endpoint is an [`Outcome`], never an error.
//!
//! This module must never connect to an address that `domain::address` has not passed; follow a redirect or a proxy;
//! send a request twice; put a path, a query or a secret into a text, a log line or a `Debug`; or blame an endpoint for
//! a connection that broke through our fault, or for a shortage of this machine.
//!
//! * `request.rs` builds the request;
//! * `pool` decides which connection a request uses and how many there may be; `in_use.rs` holds those that are in use;
//! * `connect.rs` opens connections; `stream.rs` bounds the bytes that they bring, and reads those that came before
//!   they broke;
//! * `resolve` looks names up and has every address checked; only checked addresses are ever dialled;
//! * `tls.rs` decides which certificates to trust; `chain.rs` says why one is refused;
//! * `seen.rs` keeps the part of a response that the test button shows;
//! * `progress.rs` tracks the phase of an attempt and the time of each part;
//! * `shortage.rs` tells this machine's own troubles from the endpoint's;
//! * `fault.rs` translates library errors into the texts that customers read.

mod chain;
mod connect;
mod fault;
mod in_use;
mod pool;
mod progress;
mod request;
mod resolve;
mod seen;
mod shortage;
mod stream;
#[cfg(test)]
mod tests;
mod tls;

use std::{error::Error, fmt, io, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method,
    header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT},
};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use rustls::pki_types::ServerName;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use url::{Host, Position, Url};

use self::{
    connect::{Connection, Message, dial},
    in_use::{Connections, Line},
    pool::Limits,
    progress::Progress,
};
pub use self::{
    request::Request,
    resolve::{LookupError, Resolver},
    seen::{SEEN_MAX_BYTES, Seen},
};
use crate::{
    config,
    domain::{
        address::{AllowList, AllowListError},
        failure::Failure,
        outcome::{NetworkFault, Outcome, Phase, Phases},
    },
    secrets::SecretsError,
};

const AGENT: &str = concat!("Lynkhook/", env!("CARGO_PKG_VERSION"));

/// Sends requests. Cheap to clone; clones share connections, TLS sessions and looked-up names.
#[derive(Clone)]
pub struct Sender(Arc<Shared>);

struct Shared {
    resolver: Resolver,
    tls: TlsConnector,
    connections: Connections,
    timeout: Duration,
    response_max_bytes: u64,
}

/// The result of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Its outcome.
    pub outcome: Outcome,
    /// The time from its start until the response body was read (as far as it is read), or the attempt was given up.
    pub duration: Duration,
    /// The time of each part.
    pub phases: Phases,
}

impl Attempt {
    /// The result if the credentials cannot be used: a request never goes without its authentication. If this worker
    /// lacks a key, the attempt is repeated, because other workers may have it, for example in the middle of a
    /// rotation. A secret that no key opens fails at once. In either case the delivery ends among the failed ones,
    /// whole, and can be redelivered when the keys are right.
    pub fn without_credentials(error: &SecretsError) -> Self {
        let fault = NetworkFault::NoCredentials;
        let outcome = match error {
            SecretsError::NoKey | SecretsError::OtherKey { .. } => Outcome::NetworkError(fault),
            _ => Outcome::Refused(fault.to_string()),
        };
        Self { outcome, duration: Duration::ZERO, phases: Phases::default() }
    }
}

/// The reason why no attempt was made. It says nothing about the endpoint, and costs the delivery no attempt: try again
/// later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotMade {
    /// This machine or this process lacks something that a request needs, such as a file descriptor.
    #[error("{0}")]
    Lacking(&'static str),
    /// There is no name server, or none answers.
    #[error("{0}")]
    NoNameServer(&'static str),
    /// As far as is known, the host allows no more connections than are open, and all of them have a request.
    #[error("the endpoint's host allows no more connections")]
    HostFull,
}

/// The reason why no [`Sender`] could be made: a fault in the settings or of this machine.
#[derive(Debug, thiserror::Error)]
pub enum SenderError {
    /// `egress.allow` has an entry that is neither a network nor a host.
    #[error(transparent)]
    Allow(#[from] AllowListError),
    /// `egress.extra_ca` could not be read.
    #[error("egress.extra_ca: cannot read {}", path.display())]
    ExtraCa {
        /// The file.
        path: PathBuf,
        /// Its fault.
        source: io::Error,
    },
    /// `egress.extra_ca` contains no usable certificate.
    #[error("egress.extra_ca: {} holds no usable certificate in PEM", path.display())]
    NoExtraCa {
        /// The file.
        path: PathBuf,
    },
    /// The TLS library refused its configuration.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
    /// The DNS client could not be made.
    #[error("cannot set up DNS")]
    Dns(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl SenderError {
    /// The kind of failure.
    pub fn failure(&self) -> Failure {
        Failure::Usage
    }
}

impl Sender {
    /// A sender that dials only public addresses, and those that `egress.allow` names. It reads the system's
    /// certificates once, and the system's name servers again when they change.
    pub fn new(delivery: &config::Delivery, egress: &config::Egress, dns: &config::Dns) -> Result<Self, SenderError> {
        let limits = Limits { idle_per_host: egress.idle_connections_per_host, total: egress.max_connections };
        Ok(Self(Arc::new(Shared {
            resolver: Resolver::new(dns, AllowList::parse(&egress.allow)?, delivery.timeout)?,
            tls: Arc::new(tls::client_config(egress.extra_ca.as_deref())?).into(),
            connections: Connections::new(limits),
            timeout: delivery.timeout,
            response_max_bytes: delivery.response_max_bytes,
        })))
    }

    /// Sends one request and waits for its outcome, for `delivery.timeout` at most. A fault of the endpoint is an
    /// outcome.
    ///
    /// # Errors
    /// If no attempt was made, for which the endpoint is not to blame.
    pub async fn attempt(&self, request: Request) -> Result<Attempt, NotMade> {
        self.attempt_and_keep(request, None).await
    }

    /// The same, with the response as far as it is shown; `None` if no complete headers arrived.
    ///
    /// # Errors
    /// As for [`attempt`](Self::attempt).
    pub async fn attempt_seeing(&self, request: Request) -> Result<(Attempt, Option<Seen>), NotMade> {
        let mut seen = None;
        let attempt = self.attempt_and_keep(request, Some(&mut seen)).await?;
        Ok((attempt, seen))
    }

    async fn attempt_and_keep(&self, request: Request, seen: Option<&mut Option<Seen>>) -> Result<Attempt, NotMade> {
        let mut progress = Progress::begin();
        let exchange = timeout_at(progress.began + self.0.timeout, self.exchange(request, &mut progress, seen));
        let met = exchange.await.unwrap_or_else(|_| {
            let is_resolving = progress.phase == Phase::Resolving;
            match is_resolving.then(|| self.0.resolver.silent_since(progress.began)).flatten() {
                Some(why) => Err(NotMade::NoNameServer(why)),
                None => Ok(progress.outcome_at(self.0.timeout)),
            }
        });
        if let Err(NotMade::Lacking(_)) = met {
            self.0.connections.pool().make_room(Instant::now());
        }
        Ok(Attempt { outcome: met?, duration: progress.began.elapsed(), phases: progress.phases })
    }

    /// The number of further requests that a [`host`] would take now, as far as its limit on connections is known.
    pub fn room(&self, host: &str) -> usize {
        self.0.connections.pool().room(host, Instant::now())
    }

    /// Sends the request and reads its response, and keeps in `seen` what is shown of it.
    async fn exchange(
        &self,
        request: Request,
        progress: &mut Progress,
        seen: Option<&mut Option<Seen>>,
    ) -> Result<Outcome, NotMade> {
        if let Some(why) = refusal(&request.url) {
            return Ok(Outcome::Refused(why));
        }
        let since = request.answered_within.map(|within| progress.began - within);
        let Some((url, mut message)) = request.into_http() else {
            return Ok(Outcome::Refused("the URL cannot be requested".to_owned()));
        };
        let mut line = self.0.connections.take(host(&url), since)?;
        let answer = loop {
            if !line.is_open()
                && let Err(met) = Box::pin(self.open(&mut line, &url, progress)).await
            {
                return met;
            }
            let mut error = match line.send(message, self.0.response_max_bytes).await {
                Ok(answer) => break answer,
                Err(error) => error,
            };
            match error.take_message().filter(|_| line.is_reused) {
                // The connection had ended, and nothing was sent.
                Some(unsent) => (message, line) = (unsent, line.anew()?),
                None => return fault::no_answer(&error.into_error(), line.has_answer(), progress),
            }
        };
        let status = answer.status();
        if status.is_informational() {
            // 101: the endpoint switches to another protocol, which the request did not ask for.
            let why = format!("status {} as the final one", status.as_u16());
            return Ok(Outcome::NetworkError(NetworkFault::InvalidResponse(why)));
        }
        // The headers are complete, so the outcome is certain. The body does not matter.
        progress.answered(status.as_u16());
        let keep_alive = keep_alive(answer.headers());
        let seen = seen.map(|seen| seen.insert(Seen { headers: answer.headers().clone(), ..Seen::default() }));
        if read_away(answer.into_body(), self.0.response_max_bytes, seen).await {
            line.put_back(keep_alive).await;
        }
        Ok(Outcome::Response { status: status.as_u16() })
    }

    /// Opens a connection to a checked address of the URL's host. The error is the attempt's result.
    async fn open(&self, line: &mut Line, url: &Url, progress: &mut Progress) -> Result<(), Result<Outcome, NotMade>> {
        let connected = self.connect(line, url, progress).await;
        let error = match connected {
            Ok(connection) => {
                line.opened(connection);
                return Ok(());
            }
            Err(error) => error,
        };
        Err(match fault::met(&*error, progress.phase) {
            Ok(Outcome::NetworkError(fault)) if fault.is_refusal() && line.refused() => Err(NotMade::HostFull),
            met => met,
        })
    }

    async fn connect(
        &self,
        line: &mut Line,
        url: &Url,
        progress: &mut Progress,
    ) -> Result<Connection, Box<dyn Error + Send + Sync>> {
        let name = url.host_str().unwrap_or_default();
        progress.enter(Phase::Resolving);
        let addresses = self.0.resolver.addresses(name).await?;
        line.looked_up();
        progress.enter(Phase::Connecting);
        let tcp = dial(&addresses, url.port_or_known_default().unwrap_or_default()).await?;
        progress.enter(Phase::Handshaking);
        let tls = self.0.tls.connect(ServerName::try_from(name.to_owned())?, tcp).await?;
        progress.enter(Phase::Waiting);
        progress.is_protocol_unknown = tls.get_ref().1.alpn_protocol().is_none();
        Ok(Connection::over(tls).await?)
    }
}

/// The reason why this URL gets no request at all, before any name is looked up.
///
/// An IP address is always refused, because it is not a name that can be looked up and checked.
fn refusal(url: &Url) -> Option<String> {
    if url.scheme() != "https" {
        return Some(format!("{}: requests are sent with https only", url.scheme()));
    }
    match url.host() {
        Some(Host::Domain(_)) => None,
        Some(Host::Ipv4(address)) => Some(format!("{address} is an IP address; a host name is needed")),
        Some(Host::Ipv6(address)) => Some(format!("{address} is an IP address; a host name is needed")),
        None => Some("the URL has no host".to_owned()),
    }
}

/// The host of a URL, and its port if that is not 443. It is the key under which connections are kept.
pub fn host(url: &Url) -> &str {
    &url[Position::BeforeHost..Position::AfterPort]
}

/// The time for which the endpoint keeps an idle connection open, if it says so: `Keep-Alive: timeout=5`.
fn keep_alive(headers: &HeaderMap) -> Option<Duration> {
    let parameters = headers.get("keep-alive")?.to_str().ok()?.split(',');
    let seconds = parameters.map(str::trim).find_map(|parameter| parameter.strip_prefix("timeout="))?;
    seconds.parse().ok().map(Duration::from_secs)
}

/// Reads a body to its end, so that its connection can be used again. A body of more than `max_bytes` is dropped, and
/// its connection with it; if it is announced, only the part that is shown is read. Returns whether the body was read
/// to its end.
async fn read_away(mut body: Incoming, max_bytes: u64, mut seen: Option<&mut Seen>) -> bool {
    let is_too_long = body.size_hint().exact().is_some_and(|announced| announced > max_bytes);
    let mut read_bytes = 0;
    while !is_too_long || seen.as_ref().is_some_and(|seen| seen.has_room()) {
        let Some(frame) = body.frame().await else {
            if let Some(seen) = seen {
                seen.is_whole = seen.body.len() as u64 == read_bytes;
            }
            return true;
        };
        let Ok(frame) = frame else { return false };
        read_bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
        if let (Some(seen), Some(data)) = (&mut seen, frame.data_ref()) {
            seen.add(data);
        }
        if read_bytes > max_bytes {
            return false;
        }
    }
    false
}

impl Request {
    /// The URL, and the request as HTTP sends it; `None` if the URL cannot be used for a request.
    fn into_http(self) -> Option<(Url, Message)> {
        let mut http = http::Request::new(Full::new(self.body));
        *http.method_mut() = Method::POST;
        *http.uri_mut() = self.url[Position::BeforePath..Position::AfterQuery].parse().ok()?;
        *http.headers_mut() = completed(self.headers, &self.url)?;
        Some((self.url, http))
    }

    /// The headers that are sent, with that of the body's length. The secret is marked as sensitive.
    pub fn headers_sent(&self) -> HeaderMap {
        let mut headers = completed(self.headers.clone(), &self.url).unwrap_or_default();
        headers.insert(CONTENT_LENGTH, self.body.len().into());
        headers
    }
}

/// These headers with those of every delivery, which replace the caller's.
fn completed(mut headers: HeaderMap, url: &Url) -> Option<HeaderMap> {
    headers.insert(HOST, HeaderValue::from_str(host(url)).ok()?);
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    Some(headers)
}

impl fmt::Debug for Request {
    /// Shows only the host and sizes: path, query, header values and body are the customer's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("host", &self.url.host_str())
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("timeout", &self.0.timeout).finish_non_exhaustive()
    }
}
