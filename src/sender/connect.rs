//! Opens connections that are ready for requests (TCP, TLS, HTTP/1.1), only to addresses that were checked.

use std::{
    collections::VecDeque,
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1},
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpStream, UdpSocket},
    task::{AbortHandle, JoinHandle, JoinSet},
};
use tokio_rustls::client::TlsStream;

use super::{
    pool::Closable,
    shortage::lacking,
    stream::{Stream, Watch},
};

/// The time without an answer after which the next address is tried (RFC 8305 recommends 250 ms).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// The largest size of a response's headers: as much as common servers and clients allow. It is also the most that is
/// read ahead of anything.
const HEADERS_BYTES: usize = 16 * 1024;

/// A request as HTTP sends it.
pub(super) type Message = http::Request<Full<Bytes>>;

/// One HTTP/1.1 connection. If dropped, it closes after it finishes its present work; see [`Connection::abort`].
#[derive(Debug)]
pub(super) struct Connection {
    http: http1::SendRequest<Full<Bytes>>,
    task: JoinHandle<()>,
    watch: Watch,
}

impl Connection {
    /// Starts HTTP on a TLS connection.
    pub(super) async fn over(tls: TlsStream<TcpStream>) -> Result<Self, hyper::Error> {
        let watch = Watch::default();
        let stream = TokioIo::new(Stream::new(tls, watch.clone()));
        // A response has at most 100 headers. That is the library's default. Setting it explicitly would cost 1 µs for
        // each response, because the headers are then no longer kept on the stack.
        let (http, serving) = http1::Builder::new().max_buf_size(HEADERS_BYTES).handshake(stream).await?;
        let task = tokio::spawn(async move {
            // Ignore the error here: the request on the connection gets it.
            let _ = serving.await;
        });
        Ok(Self { http, task, watch })
    }

    /// Sends a request; the body of its response may have `body_max_bytes`. If nothing was sent, the error contains the
    /// request.
    pub(super) fn send(
        &mut self,
        message: Message,
        body_max_bytes: u64,
        reused: bool,
    ) -> impl Future<Output = Result<http::Response<Incoming>, TrySendError<Message>>> + use<> {
        self.watch.begin(body_max_bytes, reused);
        self.http.try_send_request(message)
    }

    /// Whether any byte of a response came.
    pub(super) fn answered(&self) -> bool {
        self.watch.answered()
    }

    /// Whether the request was sent and its response read to the end, so that another request may follow.
    pub(super) async fn is_ready(&self) -> bool {
        if !self.http.is_ready() {
            // The connection's task may have read the end of the response without a turn to report that it is ready.
            tokio::task::yield_now().await;
        }
        self.http.is_ready()
    }

    /// Ends the connection at once, without TLS's closing message: an endpoint that reads nothing would never take it.
    pub(super) fn abort(&self) {
        self.task.abort();
    }
}

impl Closable for Connection {
    fn is_closed(&self) -> bool {
        self.http.is_closed()
    }
}

/// Connects to the address that answers first. The next one is tried when the one before fails or takes long.
pub(super) async fn dial(addresses: &[IpAddr], port: u16) -> io::Result<TcpStream> {
    if let [address] = addresses {
        return dial_one(SocketAddr::new(*address, port)).await;
    }
    let (mut dialled, mut latest) = (JoinSet::new(), VecDeque::new());
    let mut next = addresses.iter();
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        match next.next() {
            Some(address) => latest.push_back(dialled.spawn(dial_one(SocketAddr::new(*address, port)))),
            None if dialled.is_empty() => return Err(failure),
            None => {}
        }
        // Use no more sockets than the lookup did.
        if latest.len() > 2 {
            latest.pop_front().inspect(AbortHandle::abort);
        }
        let patience = if next.len() > 0 { NEXT_ADDRESS } else { Duration::MAX };
        let next_one = async {
            loop {
                match dialled.join_next().await {
                    Some(Err(_aborted)) => {}
                    ended => break ended.and_then(Result::ok),
                }
            }
        };
        match tokio::time::timeout(patience, next_one).await {
            Ok(Some(Ok(stream))) => return Ok(stream),
            Ok(Some(Err(error))) if lacking(&error).is_some() => return Err(error),
            Ok(Some(Err(error))) => failure = error,
            Ok(None) | Err(_) => {}
        }
    }
}

async fn dial_one(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = match TcpStream::connect(address).await {
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable && !is_routed(address).await => {
            return Err(io::ErrorKind::NetworkUnreachable.into());
        }
        connected => connected?,
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Whether this machine has an address from which to reach `address`. If it has none, the system gives the same error
/// as if all local ports were taken. Nothing is sent.
async fn is_routed(address: SocketAddr) -> bool {
    let any = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { IpAddr::from(Ipv6Addr::UNSPECIFIED) };
    match UdpSocket::bind(SocketAddr::new(any, 0)).await {
        Ok(socket) => socket.connect(address).await.is_ok(),
        Err(_) => true,
    }
}
