//! One attempt: one HTTP request to an address a stranger typed in, from the name's lookup to the outcome.
//!
//! [`Sender::attempt`] reads top to bottom. What goes wrong at the endpoint is an [`Outcome`], never an error.
//!
//! What must never happen here: a connection to an address that `domain::address` has not passed; a redirect or a
//! proxy followed; a request sent twice; a path, a query or a secret in a text, a log line or a `Debug`.
//!
//! * `request.rs` says what is sent;
//! * `connect.rs` makes connections, keeps them, and bounds what they hold in memory;
//! * `intake.rs` bounds what a connection brings;
//! * `resolve.rs` looks names up and has every address judged; only judged addresses are ever dialled;
//! * `tls.rs` says which certificates are believed;
//! * `trace.rs` knows what an attempt is doing and how long each part took;
//! * `shortage.rs` tells this machine's own troubles from the endpoint's;
//! * `fault.rs` puts library errors into the customer's words.

mod connect;
mod fault;
mod intake;
mod request;
mod resolve;
mod shortage;
#[cfg(test)]
mod tests;
mod tls;
mod trace;

use std::{fmt, io, path::PathBuf, time::Duration};

use bytes::Bytes;
use http::{
    HeaderValue, Method,
    header::{ACCEPT, CONTENT_TYPE, USER_AGENT},
};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper_util::client::legacy::ResponseFuture;
use tokio::time::{Instant, timeout_at};
use url::{Host, Url};

use self::{connect::HttpClient, intake::Intake, trace::Trace};
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

const AGENT: &str = concat!("Lynkhook/", env!("CARGO_PKG_VERSION"));

/// Sends requests. Cheap to clone; clones share connections, TLS sessions and looked-up names.
#[derive(Clone)]
pub struct Sender {
    client: HttpClient,
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
}

impl Sender {
    /// A sender that dials only public addresses, and those that `egress.allow` names. Reads the system's certificates and name servers once.
    pub fn new(delivery: &config::Delivery, egress: &config::Egress, dns: &config::Dns) -> Result<Self, SenderError> {
        let resolver = Resolver::new(&dns.servers, AllowList::parse(&egress.allow)?)?;
        // Divided by the number of addresses: a silent first address leaves time for the next one. As a limit
        // on the whole it lies beyond `delivery.timeout`, which is the one that counts.
        let connect_timeout = delivery.timeout + Duration::from_secs(1);
        let tls = tls::client_config(egress.extra_ca.as_deref())?;
        let response_max_bytes = delivery.response_max_bytes;
        let client = connect::client(resolver, tls, connect_timeout, response_max_bytes);
        Ok(Self { client, timeout: delivery.timeout, response_max_bytes })
    }

    /// Sends one request and waits for its outcome, `delivery.timeout` at most. Never fails: what went wrong at the
    /// endpoint is the outcome.
    pub fn attempt(&self, request: Request) -> impl Future<Output = Attempt> {
        let (started, trace) = (Instant::now(), Trace::begin());
        // Before the future: there the request would stand beside what is made of it, for as long as the attempt takes.
        let response = self.begin(request);
        async move {
            let outcome = match response {
                Err(why) => Outcome::Refused(why),
                Ok(response) => self.exchange(response, &trace, started + self.timeout).await,
            };
            Attempt { outcome, duration: started.elapsed(), phases: trace.phases() }
        }
    }

    /// The response to come, or why no request is made.
    fn begin(&self, request: Request) -> Result<ResponseFuture, String> {
        if let Some(why) = refusal(&request.url) {
            return Err(why);
        }
        let request = request.into_http().ok_or("the URL cannot be requested")?;
        Ok(self.client.request(request))
    }

    async fn exchange(&self, response: ResponseFuture, trace: &Trace, deadline: Instant) -> Outcome {
        let response = match timeout_at(deadline, trace.follow(response)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return fault::outcome(&error, trace.phase()),
            Err(_) => {
                let timed_out = NetworkFault::TimedOut { after: self.timeout, phase: trace.phase() };
                return Outcome::NetworkError(timed_out);
            }
        };
        trace.headers_arrived();
        let status = response.status();
        if status.is_informational() {
            // 101: the endpoint speaks another protocol from here on, which nobody asked it to.
            let why = format!("status {} as the final one", status.as_u16());
            return Outcome::NetworkError(NetworkFault::InvalidResponse(why));
        }
        // Whatever becomes of the body, the headers were complete: the outcome stands.
        let reading = Intake::reading(&response);
        let whole = timeout_at(deadline, read_away(response.into_body(), self.response_max_bytes)).await;
        if let (Some(reading), Ok(true)) = (reading, whole) {
            reading.ended();
        }
        Outcome::Response { status: status.as_u16() }
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
/// its connection (HTTP/1.1) or stream (HTTP/2) with it. Whether it was read to its end.
async fn read_away(mut body: Incoming, max_bytes: u64) -> bool {
    if body.size_hint().exact().is_some_and(|announced| announced > max_bytes) {
        return false;
    }
    let mut read_bytes = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        read_bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
        if read_bytes > max_bytes {
            return false;
        }
    }
    true
}

impl Request {
    /// As the HTTP client takes it, if the URL can be a request's. What every delivery carries wins over the caller's
    /// headers.
    fn into_http(self) -> Option<http::Request<Full<Bytes>>> {
        let mut http = http::Request::new(Full::new(self.body));
        *http.method_mut() = Method::POST;
        *http.uri_mut() = self.url.as_str().parse().ok()?;
        *http.headers_mut() = self.headers;
        http.headers_mut().insert(ACCEPT, HeaderValue::from_static("*/*"));
        http.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        http.headers_mut().insert(USER_AGENT, HeaderValue::from_static(AGENT));
        Some(http)
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
