//! The bytes of one connection, bounded and watched.
//!
//! An endpoint may send its response before it has read the request, and close. Then writing fails while the response
//! can still be read. So a write error is not passed on; reading shows how the connection ended.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use rustix::net::{RecvFlags, recv};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

/// The most bytes of a response besides its body: headers, interim responses, the framing of chunks.
const BESIDES_BYTES: u64 = 1024 * 1024;

/// The kind of error that ends a connection if it brings more bytes than a response may have. No system uses this kind
/// for a socket.
pub(super) const TOO_MUCH: io::ErrorKind = io::ErrorKind::QuotaExceeded;

/// The state of a connection while a request is on it; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// The bytes that the response may still bring.
    left_bytes: AtomicU64,
    /// Whether any byte of a response came.
    answered: AtomicBool,
    /// Whether the connection was idle, so that it must be checked before anything is sent.
    look: AtomicBool,
}

impl Watch {
    /// Prepares for a request; the body of its response may have `body_max_bytes`.
    pub(super) fn begin(&self, body_max_bytes: u64, reused: bool) {
        self.0.left_bytes.store(body_max_bytes.saturating_mul(2).saturating_add(BESIDES_BYTES), Relaxed);
        self.0.answered.store(false, Relaxed);
        self.0.look.store(reused, Relaxed);
    }

    /// Whether any byte of a response came.
    pub(super) fn answered(&self) -> bool {
        self.0.answered.load(Relaxed)
    }

    fn came(&self, bytes: usize) -> io::Result<()> {
        self.0.answered.store(true, Relaxed);
        let left = self.0.left_bytes.load(Relaxed).checked_sub(bytes as u64).ok_or(TOO_MUCH)?;
        self.0.left_bytes.store(left, Relaxed);
        Ok(())
    }
}

/// A connection after its handshake.
pub(super) struct Stream {
    tls: TlsStream<TcpStream>,
    watch: Watch,
    /// Whether writing failed. Then further writes are discarded.
    broken: bool,
}

impl Stream {
    pub(super) fn new(tls: TlsStream<TcpStream>, watch: Watch) -> Self {
        Self { tls, watch, broken: false }
    }

    /// Whether an idle connection ended, or brought bytes that no request asked for. The runtime learns of that from
    /// the system with a delay in which a request could still be sent, so this asks the socket itself.
    fn has_ended(&self) -> bool {
        let (tcp, _) = self.tls.get_ref();
        let mut byte = [0];
        let peeked = recv(tcp, byte.as_mut_slice(), RecvFlags::PEEK | RecvFlags::DONTWAIT);
        !matches!(peeked, Err(error) if error == rustix::io::Errno::AGAIN || error == rustix::io::Errno::INTR)
    }

    fn pretend(&mut self, wrote: Poll<io::Result<usize>>, bytes: usize) -> Poll<io::Result<usize>> {
        match wrote {
            Poll::Ready(Err(_)) => {
                self.broken = true;
                Poll::Ready(Ok(bytes))
            }
            wrote => wrote,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.tls).poll_read(cx, buffer);
        let came = buffer.filled().len() - before;
        if came > 0 {
            self.watch.came(came)?;
        }
        // The HTTP library reads before it takes a request. If that read returns the end, the request is given back
        // unsent.
        if read.is_pending() && self.watch.0.look.swap(false, Relaxed) && self.has_ended() {
            return Poll::Ready(Ok(()));
        }
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.broken {
            return Poll::Ready(Ok(bytes.len()));
        }
        let wrote = Pin::new(&mut self.tls).poll_write(cx, bytes);
        self.pretend(wrote, bytes.len())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.broken {
            return Poll::Ready(Ok(()));
        }
        let flushed = Pin::new(&mut self.tls).poll_flush(cx).map_ok(|()| 0);
        self.pretend(flushed, 0).map_ok(|_| ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes = slices.iter().map(|slice| slice.len()).sum();
        if self.broken {
            return Poll::Ready(Ok(bytes));
        }
        let wrote = Pin::new(&mut self.tls).poll_write_vectored(cx, slices);
        self.pretend(wrote, bytes)
    }
}
