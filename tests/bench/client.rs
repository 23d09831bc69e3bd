//! The two HTTP clients that a bare loop can use: hyper's, on which the worker is built, with the pool of hyper-util;
//! and reqwest, the most common choice. Both use rustls with aws-lc-rs, offer only HTTP/1.1, resume TLS sessions, send
//! without Nagle's delay, and keep every connection open.
//!
//! A request has the same headers and bytes as a worker's.

use std::{
    convert::Infallible,
    future::Ready,
    iter,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    task::{Context, Poll},
    time::SystemTime,
};

use bytes::Bytes;
use clap::ValueEnum;
use http::{
    HeaderMap, HeaderValue, Method, Request, StatusCode, Uri,
    header::{ACCEPT, CONTENT_TYPE, HeaderName, USER_AGENT},
};
use http_body_util::{BodyExt, Full};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{
        Client as HyperClient,
        connect::{HttpConnector, dns::Name},
    },
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};
use tower::{BoxError, Service};
use url::Url;

/// The same as the worker's.
pub const AGENT: &str = concat!("Lynkhook/", env!("CARGO_PKG_VERSION"));

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    Hyper,
    Reqwest,
}

/// The target of a POST in each client's own type, so that no client parses it again for every request.
pub struct Endpoint {
    uri: Uri,
    url: Url,
}

impl Endpoint {
    pub fn parse(url: &str) -> Self {
        Self { uri: url.parse().expect("a URI"), url: url.parse().expect("a URL") }
    }
}

/// A client, with its connections.
#[allow(clippy::large_enum_variant, reason = "a process has one")]
pub enum Client {
    Hyper(HyperClient<HttpsConnector<HttpConnector<Here>>, Full<Bytes>>),
    Reqwest(reqwest::Client),
}

impl Client {
    /// A client that trusts the authority in this file and resolves every name to this machine.
    pub fn new(kind: Kind, ca: &Path) -> Self {
        let tls = tls(ca);
        match kind {
            Kind::Hyper => {
                let mut tcp = HttpConnector::new_with_resolver(Here);
                tcp.enforce_http(false);
                tcp.set_nodelay(true);
                let https = HttpsConnector::from((tcp, tls));
                Self::Hyper(HyperClient::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(https))
            }
            Kind::Reqwest => {
                let client = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().dns_resolver(Here);
                Self::Reqwest(client.redirect(reqwest::redirect::Policy::none()).build().expect("a client"))
            }
        }
    }

    /// POSTs an event, and reads the whole answer.
    pub async fn post(&self, endpoint: &Endpoint, id: &[u8], envelope: Bytes) -> Result<StatusCode, BoxError> {
        let headers = headers(id)?;
        match self {
            Self::Hyper(client) => {
                let mut request = Request::new(Full::new(envelope));
                *request.method_mut() = Method::POST;
                *request.uri_mut() = endpoint.uri.clone();
                *request.headers_mut() = headers;
                let mut response = client.request(request).await?;
                while let Some(frame) = response.body_mut().frame().await {
                    frame?;
                }
                Ok(response.status())
            }
            Self::Reqwest(client) => {
                let request = client.post(endpoint.url.clone()).headers(headers).body(envelope);
                let response = request.send().await?;
                let status = response.status();
                response.bytes().await?;
                Ok(status)
            }
        }
    }
}

fn headers(id: &[u8]) -> Result<HeaderMap, BoxError> {
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(HeaderName::from_static("webhook-id"), HeaderValue::from_bytes(id)?);
    headers.insert(HeaderName::from_static("webhook-timestamp"), HeaderValue::from(seconds));
    Ok(headers)
}

fn tls(ca: &Path) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).expect("a certificate in PEM")).expect("an authority");
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider knows TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    // The worker delivers over HTTP/1.1 only.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // The same number as the worker keeps.
    config.resumption = rustls::client::Resumption::in_memory_sessions(4096);
    config
}

/// Resolves every name to this machine.
#[derive(Clone)]
pub struct Here;

impl Service<Name> for Here {
    type Response = iter::Once<SocketAddr>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Name) -> Self::Future {
        std::future::ready(Ok(iter::once(SocketAddr::from(([127, 0, 0, 1], 0)))))
    }
}

impl reqwest::dns::Resolve for Here {
    fn resolve(&self, _: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let here: reqwest::dns::Addrs = Box::new(iter::once(SocketAddr::from(([127, 0, 0, 1], 0))));
        Box::pin(std::future::ready(Ok(here)))
    }
}
