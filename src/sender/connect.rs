//! From addresses that were judged to a connection that is ready for requests: TCP, TLS, HTTP/1.1.

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

/// The next address is tried when the one before has not answered within this (RFC 8305 recommends 250 ms).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// An answer's headers may be this large: as much as common servers and clients allow. No more is read of anything before
/// it is dealt with.
const HEADERS_BYTES: usize = 16 * 1024;

/// A request as HTTP sends it.
pub(super) type Message = http::Request<Full<Bytes>>;

/// One HTTP/1.1 connection. Dropped, it closes once what it was doing is done; see [`Connection::abort`].
#[derive(Debug)]
pub(super) struct Connection {
    http: http1::SendRequest<Full<Bytes>>,
    task: JoinHandle<()>,
    watch: Watch,
}

impl Connection {
    /// HTTP over what TLS agreed on.
    pub(super) async fn over(tls: TlsStream<TcpStream>) -> Result<Self, hyper::Error> {
        let watch = Watch::default();
        let stream = TokioIo::new(Stream::new(tls, watch.clone()));
        // Headers are at most 100. That is the library's default; to say so costs a µs an answer, for then they are no longer
        // kept on the stack.
        let (http, serving) = http1::Builder::new().max_buf_size(HEADERS_BYTES).handshake(stream).await?;
        let task = tokio::spawn(async move {
            // The request on the connection gets the error.
            let _ = serving.await;
        });
        Ok(Self { http, task, watch })
    }

    /// Sends a request whose answer's body may have this many bytes. A request of which nothing was sent is in the error.
    pub(super) fn send(
        &mut self,
        message: Message,
        body_max_bytes: u64,
        reused: bool,
    ) -> impl Future<Output = Result<http::Response<Incoming>, TrySendError<Message>>> + use<> {
        self.watch.begin(body_max_bytes, reused);
        self.http.try_send_request(message)
    }

    /// Whether anything of an answer came.
    pub(super) fn answered(&self) -> bool {
        self.watch.answered()
    }

    /// Whether the request was sent and its answer read to the end, so that another request may follow.
    pub(super) async fn is_ready(&self) -> bool {
        if !self.http.is_ready() {
            // The answer's end may have been read by its task, which then had no turn to say that it is ready.
            tokio::task::yield_now().await;
        }
        self.http.is_ready()
    }

    /// Ends it without the farewell that an endpoint which reads nothing would never take.
    pub(super) fn abort(&self) {
        self.task.abort();
    }
}

impl Closable for Connection {
    fn is_closed(&self) -> bool {
        self.http.is_closed()
    }
}

/// Connects to whichever address answers first; the next one is tried when the one before fails or takes long.
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
        // No more sockets than the lookup took.
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

/// Whether this machine has an address to reach that one from. Where it has none, the system gives the same error as
/// where all local ports are taken. Nothing is sent.
async fn is_routed(address: SocketAddr) -> bool {
    let any = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { IpAddr::from(Ipv6Addr::UNSPECIFIED) };
    match UdpSocket::bind(SocketAddr::new(any, 0)).await {
        Ok(socket) => socket.connect(address).await.is_ok(),
        Err(_) => true,
    }
}
