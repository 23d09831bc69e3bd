//! One attempt: one HTTP request to an address a stranger typed in, from the name's lookup to the outcome.
//!
//! [`Sender::attempt`] reads top to bottom. What goes wrong at the endpoint is an [`Outcome`], never an error.
//!
//! What must never happen here: a connection to an address that `domain::address` has not passed; a redirect or a
//! proxy followed; a request sent twice; a path, a query or a secret in a text, a log line or a `Debug`.
//!
//! * `request.rs` says what is sent;
//! * `resolve.rs` looks names up and has every address judged; only judged addresses are ever dialled;
//! * `tls.rs` says which certificates are believed;
//! * `trace.rs` knows what an attempt is doing and how long each part took;
//! * `fault.rs` puts library errors into the customer's words.

mod fault;
mod request;
mod resolve;
#[cfg(test)]
mod tests;
mod tls;
mod trace;

use std::{fmt, io, path::PathBuf, time::Duration};

use http::{
    HeaderValue, Method,
    header::{CONTENT_TYPE, USER_AGENT},
};
use tokio::time::{Instant, timeout_at};
use url::{Host, Url};

use self::trace::{ConnectLayer, Trace};
pub use self::{
    request::Request,
    resolve::{LookupError, Resolver},
};
use crate::{
    config,
    domain::{
        address::{AllowList, AllowListError},
        outcome::{NetworkFault, Outcome, Phases},
    },
};

/// A kept-alive connection unused for this long is closed: below the 60 to 90 s after which servers and address
/// translators commonly drop one themselves, so that a request rarely meets a connection that is just going away.
const IDLE_LIMIT: Duration = Duration::from_secs(30);

/// At most this many unused connections are kept for one host and port.
const IDLE_PER_HOST: usize = 32;

/// An HTTP/2 connection that is silent for this long is asked whether it is still there …
const PING_EVERY: Duration = Duration::from_secs(10);

/// … and closed when it has not answered within this.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// How much of one HTTP/2 response, and of all on one connection, may arrive before it is read: bounds on memory.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

/// A response has at most this many headers over HTTP/1.1. The library bounds their size to 408 KiB and lets nobody
/// choose; over HTTP/2 it bounds the size of all of them, unpacked.
const HTTP1_HEADERS: usize = 100;
const HTTP2_HEADERS_BYTES: u32 = 16 * 1024;

const AGENT: &str = concat!("Lynkhook/", env!("CARGO_PKG_VERSION"));

/// Sends requests. Cheap to clone; clones share connections, TLS sessions and looked-up names.
#[derive(Clone)]
pub struct Sender {
    client: reqwest::Client,
    timeout: Duration,
    response_max_bytes: u64,
}

/// What one attempt met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// What it met.
    pub outcome: Outcome,
    /// From its start until the response body was read as far as it is read, or the attempt was given up.
    pub duration: Duration,
    /// How long each part took.
    pub phases: Phases,
}

/// Why no [`Sender`] could be made: something is wrong with the settings or with this machine.
#[derive(Debug, thiserror::Error)]
pub enum SenderError {
    /// `egress.allow` names what is neither a network nor a host.
    #[error(transparent)]
    Allow(#[from] AllowListError),
    /// `egress.extra_ca` could not be read.
    #[error("egress.extra_ca: cannot read {}", path.display())]
    ExtraCa {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// `egress.extra_ca` holds no certificate that could be trusted.
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
    /// The HTTP client could not be made.
    #[error("cannot set up the HTTP client")]
    Client(#[from] reqwest::Error),
}

impl Sender {
    /// A sender that dials only public addresses, and those that `egress.allow` names. Reads the system's certificates and name servers once.
    pub fn new(delivery: &config::Delivery, egress: &config::Egress, dns: &config::Dns) -> Result<Self, SenderError> {
        let client = reqwest::Client::builder()
            .https_only(true)
            .tls_backend_preconfigured(tls::client_config(egress.extra_ca.as_deref())?)
            .dns_resolver(Resolver::new(&dns.servers, AllowList::parse(&egress.allow)?)?)
            .connector_layer(ConnectLayer)
            // Divided by the number of addresses: a silent first address leaves time for the next one. As a limit
            // on the whole it lies beyond `delivery.timeout`, which is the one that counts.
            .connect_timeout(delivery.timeout + Duration::from_secs(1))
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            .tcp_nodelay(true)
            .pool_idle_timeout(IDLE_LIMIT)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .http1_max_headers(HTTP1_HEADERS)
            .http2_max_header_list_size(HTTP2_HEADERS_BYTES)
            .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
            .http2_initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_keep_alive_interval(PING_EVERY)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .http2_keep_alive_while_idle(true)
            .build()?;
        Ok(Self { client, timeout: delivery.timeout, response_max_bytes: delivery.response_max_bytes })
    }

    /// Sends one request and waits for its outcome, `delivery.timeout` at most. Never fails: what went wrong at the
    /// endpoint is the outcome.
    pub async fn attempt(&self, request: Request) -> Attempt {
        let started = Instant::now();
        let trace = Trace::begin();
        let outcome = match refusal(&request.url) {
            Some(why) => Outcome::Refused(why),
            None => self.exchange(request, &trace, started + self.timeout).await,
        };
        Attempt { outcome, duration: started.elapsed(), phases: trace.phases() }
    }

    async fn exchange(&self, request: Request, trace: &Trace, deadline: Instant) -> Outcome {
        let headers = trace.follow(self.client.execute(request.into_http()));
        match timeout_at(deadline, headers).await {
            Err(_) => Outcome::NetworkError(NetworkFault::TimedOut { after: self.timeout, phase: trace.phase() }),
            Ok(Err(error)) => fault::outcome(&error.without_url(), trace.phase()),
            Ok(Ok(response)) => {
                trace.headers_arrived();
                let status = response.status();
                if status.is_informational() {
                    // 101: the endpoint speaks another protocol from here on, which nobody asked it to.
                    return Outcome::NetworkError(NetworkFault::InvalidResponse(format!(
                        "status {} as the final one",
                        status.as_u16()
                    )));
                }
                // Whatever becomes of the body, the headers were complete: the outcome stands.
                let _ = timeout_at(deadline, read_away(response, self.response_max_bytes)).await;
                Outcome::Response { status: status.as_u16() }
            }
        }
    }
}

/// Why this URL gets no request at all, before any name is looked up.
///
/// IP addresses never reach a resolver in the HTTP client, so that they would never be judged: refused, always.
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

/// Reads a body to its end, so that its connection can be used again; one of more than `max_bytes` is dropped, and
/// its connection (HTTP/1.1) or stream (HTTP/2) with it.
async fn read_away(mut response: reqwest::Response, max_bytes: u64) {
    let mut read_bytes = 0;
    if response.content_length().is_some_and(|announced| announced > max_bytes) {
        return;
    }
    while let Ok(Some(chunk)) = response.chunk().await {
        read_bytes += chunk.len() as u64;
        if read_bytes > max_bytes {
            return;
        }
    }
}

impl Request {
    /// As the HTTP client takes it. What every delivery carries wins over the caller's headers.
    fn into_http(self) -> reqwest::Request {
        let mut http = reqwest::Request::new(Method::POST, self.url);
        *http.headers_mut() = self.headers;
        http.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        http.headers_mut().insert(USER_AGENT, HeaderValue::from_static(AGENT));
        *http.body_mut() = Some(self.body.into());
        http
    }
}

impl fmt::Debug for Request {
    /// Host and sizes: the path, the query, the headers' values and the body are the customer's.
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
        f.debug_struct("Sender").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}
