//! One bounded HTTP/1.1 server, for every port that this program opens. It does not look at the requests and answers.
//!
//! It limits the number of connections, the time for a request's head and for a TLS handshake, the time in which a client
//! takes an answer, the number of exchanges of a connection and, if the port asks for it, the time for a whole exchange.
//! If no connection can be accepted, because no file descriptor is left, the server pauses before it tries again.
//!
//! An answer may come before its request was read, for example to a body that is too large. The server then discards the
//! rest for a while before it closes the connection. Otherwise the client would see a reset instead of the answer.

mod turns;

use std::{
    convert::Infallible,
    error::Error,
    future::poll_fn,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use http::{HeaderValue, Request, Response, header::CONNECTION};
use hyper::{
    body::{Body, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{either::Either, sync::CancellationToken};

pub use self::turns::Turns;

/// The pause after a failure to accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The bounds of one port.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most connections at a time; further ones wait until one of these ends.
    pub connections_max: usize,
    /// The time for a request's head. A connection that is ready for a request is closed if no head arrives within it.
    pub head_within: Duration,
    /// The time for one exchange. With a limit, a connection serves one request and is closed after this time at the
    /// latest; with `None` it is kept for further requests.
    pub exchange_within: Option<Duration>,
    /// The most bytes of a request's head, 8 KiB or more. A larger head is answered with the status alone.
    pub head_max_bytes: usize,
}

/// The most headers of a request.
const HEADERS_MAX: usize = 256;
/// A connection serves this many exchanges, so that a client that sends requests without end gives it back at times.
const EXCHANGES_MAX: usize = 10_000;
/// A client that has not taken a whole answer after this time, and the time for a head, loses its connection.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);
/// The rest of a request is discarded for this long at most …
const DISCARD_WITHIN: Duration = Duration::from_secs(10);
/// … and while bytes come within this time.
const QUIET_AFTER: Duration = Duration::from_secs(1);

/// The address of the client, or of the proxy before it, from which a request came. Each request has it as an extension.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// TLS, and the time that a handshake may take.
pub type Tls = (TlsAcceptor, Duration);

/// Serves the port until `stop` is cancelled. Then the server accepts no more connections, closes idle ones, and
/// returns when the exchanges in progress have ended. Dropping the future cuts every connection at once.
///
/// An answer's body is complete, not a stream that goes on for minutes: the time to take it begins with its head.
/// `turns` shows whether the server still accepts connections.
pub async fn serve<F, B>(
    listener: TcpListener,
    limits: Limits,
    tls: Option<Tls>,
    turns: Arc<Turns>,
    stop: CancellationToken,
    answer: impl Fn(Request<Incoming>) -> F + Clone + Send + Unpin + 'static,
) where
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        turns.take().await;
        tokio::select! {
            () = stop.cancelled() => break,
            () = sleep(turns::TURN_EVERY) => {}
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < limits.connections_max => match accepted {
                Ok((stream, peer)) => {
                    let answer = answer.clone();
                    let answer = move |mut request: Request<Incoming>| {
                        request.extensions_mut().insert(Peer(peer));
                        answer(request)
                    };
                    connections.spawn(converse(stream, limits, tls.clone(), stop.clone(), answer));
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// One connection. Its errors are ignored: a client that is slow or breaks the protocol needs no answer.
async fn converse<F, B>(
    stream: TcpStream,
    limits: Limits,
    tls: Option<Tls>,
    stop: CancellationToken,
    answer: impl Fn(Request<Incoming>) -> F + Send + Unpin,
) where
    F: Future<Output = Response<B>> + Send,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    // Without this, an answer may be delayed by 40 ms.
    let _ = stream.set_nodelay(true);
    let stream = match tls {
        None => Either::Left(stream),
        Some((tls, within)) => match timeout(within, tls.accept(stream)).await {
            Ok(Ok(stream)) => Either::Right(stream),
            _ => return,
        },
    };
    // Every exchange counts twice: when it begins and when its answer is there.
    let turns = Arc::new(AtomicUsize::new(0));
    let exchanges = turns.clone();
    let service = service_fn(move |request| {
        let (answer, turns) = (answer(request), exchanges.clone());
        Box::pin(async move {
            turns.fetch_add(1, Relaxed);
            let mut response = answer.await;
            if turns.fetch_add(1, Relaxed) / 2 + 1 >= EXCHANGES_MAX {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        })
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.head_within).keep_alive(limits.exchange_within.is_none());
    http.max_buf_size(limits.head_max_bytes).max_headers(HEADERS_MAX);
    let mut connection = http.serve_connection(TokioIo::new(stream), service);
    let served = async {
        tokio::select! {
            _ = poll_fn(|context| connection.poll_without_shutdown(context)) => {}
            () = stop.cancelled() => {
                std::pin::Pin::new(&mut connection).graceful_shutdown();
                let _ = poll_fn(|context| connection.poll_without_shutdown(context)).await;
            }
        }
        close(connection.into_parts().io.into_inner()).await;
    };
    let late = async {
        match limits.exchange_within {
            Some(within) => sleep(within).await,
            None => not_taken(&turns, limits.head_within + TAKEN_WITHIN).await,
        }
    };
    tokio::select! {
        () = served => {}
        () = late => {}
    }
}

/// Returns when nothing has followed an answer for this time, or for twice the time at most. The client then does not take
/// the answer: an idle connection has been closed long before, by the time limit of the next head.
async fn not_taken(turns: &AtomicUsize, within: Duration) {
    loop {
        let seen = turns.load(Relaxed);
        sleep(within).await;
        if seen.is_multiple_of(2) && turns.load(Relaxed) == seen {
            return;
        }
    }
}

/// Closes a connection so that the client can read the last answer, even if it is still sending.
async fn close(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let _ = stream.shutdown().await;
    let discard = async {
        let mut rest = vec![0; 16 << 10];
        while let Ok(Ok(1..)) = timeout(QUIET_AFTER, stream.read(&mut rest)).await {}
    };
    let _ = timeout(DISCARD_WITHIN, discard).await;
}

#[cfg(test)]
mod tests;
