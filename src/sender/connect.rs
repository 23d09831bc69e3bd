//! From a URL to a connection that is ready for requests: judged addresses, TCP, TLS, and the protocol agreed on.
//!
//! The HTTP client is put together here rather than taken ready-made, because how much of a response it keeps in
//! memory has to be bounded, and the ready-made one does not let anybody choose.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::Uri;
use http_body_util::Full;
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection, HttpConnector},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tower::{BoxError, Layer, Service};

use super::{
    intake::Intake,
    resolve::Resolver,
    trace::{ConnectLayer, TracedConnector},
};

/// A kept-alive connection unused for this long is closed: below the 60 to 90 s after which servers and address
/// translators commonly drop one themselves, so that a request rarely meets a connection that is just going away.
const IDLE_LIMIT: Duration = Duration::from_secs(30);

/// At most this many unused connections are kept for one host and port: as many as a worker may have in flight, commonly.
/// Fewer would close under load what the next attempt needs, and a new connection costs as much as 20 attempts.
const IDLE_PER_HOST: usize = 1024;

/// An HTTP/2 connection that is silent for this long is asked whether it is still there …
const PING_EVERY: Duration = Duration::from_secs(10);

/// … and closed when it has not answered within this.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// How much of one HTTP/2 response, and of all on one connection, may arrive before it is read: bounds on memory.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

/// A response's headers may be this large, unpacked: as much as common servers and clients allow. Over HTTP/1.1 no more
/// than this is read of anything before it is dealt with.
const HEADERS_BYTES: u32 = 16 * 1024;

/// So much is read of a connection at a stretch; then whoever waits for what was read has a turn. Without this, the
/// HTTP/2 library queues a hundred thousand interim responses before the attempt has a chance to discard one.
const TURN_BYTES: usize = 16 * 1024;

/// Requests over kept connections; clones share them.
pub(super) type HttpClient = Client<TracedConnector<HttpsConnector>, Full<Bytes>>;

/// A client that gives up on connecting after `connect_timeout`, and on a connection that brings more than the bodies it
/// reads, of `body_max_bytes` each. It knows neither redirects nor proxies nor compression, and sends a request a second time
/// only if nothing of it had been sent.
pub(super) fn client(
    resolver: Resolver,
    tls: ClientConfig,
    connect_timeout: Duration,
    body_max_bytes: u64,
) -> HttpClient {
    let mut tcp = HttpConnector::new_with_resolver(resolver);
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(connect_timeout));
    // Of a body that is too long, as much may be under way when it is given up as its window holds; around what is read,
    // HTTP puts its own.
    let around = u64::from(STREAM_WINDOW_BYTES + 2 * HEADERS_BYTES);
    let response_bytes = body_max_bytes.saturating_mul(2).saturating_add(around);
    let https = HttpsConnector { tcp, tls: Arc::new(tls).into(), response_bytes };
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_LIMIT)
        .pool_max_idle_per_host(IDLE_PER_HOST)
        .http1_max_buf_size(HEADERS_BYTES as usize)
        // HTTP/1.1 headers are at most 100. That is the library's default; to say so costs a µs a response, for then they are
        // no longer kept on the stack.
        .http2_max_header_list_size(HEADERS_BYTES)
        .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
        .http2_initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keep_alive_interval(PING_EVERY)
        .http2_keep_alive_timeout(PING_TIMEOUT)
        .http2_keep_alive_while_idle(true)
        .build(ConnectLayer.layer(https))
}

/// TCP to a judged address, then TLS with the host that the URL names.
#[derive(Clone)]
pub(super) struct HttpsConnector {
    tcp: HttpConnector<Resolver>,
    tls: TlsConnector,
    /// What one response may bring.
    response_bytes: u64,
}

impl Service<Uri> for HttpsConnector {
    type Response = TokioIo<HttpsConnection>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<TokioIo<HttpsConnection>, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let name = ServerName::try_from(uri.host().unwrap_or_default().to_owned());
        let (tcp, tls) = (self.tcp.call(uri), self.tls.clone());
        let intake = Intake::new(self.response_bytes);
        Box::pin(async move {
            let stream = tls.connect(name?, tcp.await?.into_inner()).await?;
            Ok(TokioIo::new(HttpsConnection { stream, turn_bytes: 0, intake }))
        })
    }
}

/// A connection after its handshake, which never keeps its reader busy for long, and ends where it brings too much.
pub(super) struct HttpsConnection {
    stream: TlsStream<TcpStream>,
    /// Read since the others last had a turn.
    turn_bytes: usize,
    intake: Intake,
}

impl Connection for HttpsConnection {
    fn connected(&self) -> Connected {
        let (_, tls) = self.stream.get_ref();
        let connected = Connected::new().extra(self.intake.clone());
        if tls.alpn_protocol() == Some(b"h2") { connected.negotiated_h2() } else { connected }
    }
}

impl AsyncRead for HttpsConnection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.turn_bytes >= TURN_BYTES {
            self.turn_bytes = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let came = buffer.filled().len() - before;
        // When nothing is there, the reader waits anyhow.
        self.turn_bytes = if read.is_ready() { self.turn_bytes + came } else { 0 };
        if came > 0 {
            self.intake.came(came)?;
        }
        read
    }
}

impl AsyncWrite for HttpsConnection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }
}
