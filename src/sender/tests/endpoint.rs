//! A customer's endpoint on 127.0.0.1 whose behaviour a test sets.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::CertificateDer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// An authority that the sender under test trusts.
pub(super) static TRUSTED: LazyLock<CertifiedIssuer<'static, KeyPair>> = LazyLock::new(|| authority("trusted"));

pub(super) fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// TLS of a well-kept endpoint, for HTTP/1.1.
pub(super) fn good_tls() -> ServerConfig {
    tls(&TRUSTED, "localhost", 2500)
}

/// TLS with a certificate for `name` that expires at the start of `year`.
pub(super) fn tls(issuer: &CertifiedIssuer<'static, KeyPair>, name: &str, year: i32) -> ServerConfig {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.not_after = date_time_ymd(year, 1, 1);
    showing(vec![params.signed_by(&key, issuer).unwrap().into()], &key)
}

/// An intermediate authority, signed by `issuer`.
pub(super) fn intermediate(issuer: &CertifiedIssuer<'static, KeyPair>) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "intermediate");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), issuer).unwrap()
}

/// TLS with a good certificate from `issuer`, and with these authorities' certificates sent along.
pub(super) fn chain(
    issuer: &CertifiedIssuer<'static, KeyPair>,
    sent: &[&CertifiedIssuer<'static, KeyPair>],
) -> ServerConfig {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let own: CertificateDer<'static> = params.signed_by(&key, issuer).unwrap().into();
    showing([own].into_iter().chain(sent.iter().map(|authority| authority.der().clone())).collect(), &key)
}

/// TLS of an endpoint that shows an authority's own certificate as if it were a server's.
pub(super) fn tls_of_authority(authority: &CertifiedIssuer<'static, KeyPair>) -> ServerConfig {
    showing(vec![authority.der().clone()], authority.key())
}

fn showing(certificates: Vec<CertificateDer<'static>>, key: &KeyPair) -> ServerConfig {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates, key.serialize_der().try_into().unwrap())
        .unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

pub(super) struct Endpoint {
    pub(super) port: u16,
    pub(super) connections: Arc<AtomicUsize>,
}

/// Listens, and has each connection served by `serve`.
pub(super) async fn listen<F: Future<Output = ()> + Send + 'static>(
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = connections.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            // As servers do. Otherwise a reset discards the bytes that the system has not sent yet.
            stream.set_nodelay(true).unwrap();
            tokio::spawn(serve(stream));
        }
    });
    Endpoint { port, connections }
}

/// Listens, and has each connection served by `serve` once its handshake is done.
pub(super) async fn listen_tls<F: Future<Output = ()> + Send + 'static>(
    tls: ServerConfig,
    serve: impl Fn(TlsStream<TcpStream>) -> F + Clone + Send + Sync + 'static,
) -> Endpoint {
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    listen(move |stream| {
        let (acceptor, serve) = (acceptor.clone(), serve.clone());
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                serve(stream).await;
            }
        }
    })
    .await
}

/// Answers every request with `response`, and closes only when the other side does.
pub(super) async fn answering(response: impl Into<Vec<u8>>) -> Endpoint {
    let response: Arc<[u8]> = response.into().into();
    listen_tls(good_tls(), move |mut stream| {
        let response = response.clone();
        async move {
            while read_request(&mut stream).await.is_some() {
                let _ = stream.write_all(&response).await;
            }
        }
    })
    .await
}

/// Answers the first request with `start`, then resets the connection.
pub(super) async fn resetting_after(start: &'static [u8]) -> Endpoint {
    listen_tls(good_tls(), move |mut stream| async move {
        read_request(&mut stream).await;
        stream.write_all(start).await.unwrap();
        stream.flush().await.unwrap();
        stream.get_ref().0.set_zero_linger().unwrap();
    })
    .await
}

/// Answers the first request with `start`, then with one more letter every 20 ms while the other side listens.
pub(super) async fn dripping_after(start: &'static [u8]) -> Endpoint {
    listen_tls(good_tls(), move |mut stream| async move {
        read_request(&mut stream).await;
        stream.write_all(start).await.unwrap();
        while stream.write_all(b"x").await.is_ok() && stream.flush().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

/// The next request as text, its body included; `None` when the connection has ended.
pub(super) async fn read_request(stream: &mut TlsStream<TcpStream>) -> Option<String> {
    let mut request = String::new();
    loop {
        if let Some((headers, body)) = request.split_once("\r\n\r\n") {
            let length = headers.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return Some(request);
            }
        }
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
        request.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
}
