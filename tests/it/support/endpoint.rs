//! An HTTPS endpoint whose connections a test serves itself, for behaviour that no [`Answer`](super::Answer) has:
//! before, between or instead of requests.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use rustls::server::Acceptor;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::LazyConfigAcceptor;

use super::certificates::{Identity, server_config};
use super::connection::Connection;

/// The part of an endpoint that accepts connections.
#[derive(Clone, Copy, Debug)]
pub struct Front {
    pub address: IpAddr,
    /// The protocols that it accepts in the TLS handshake, the preferred one first.
    pub protocols: &'static [&'static str],
    /// Connections beyond this number are accepted and closed at once, before the handshake.
    pub connections_max: usize,
    /// Whether it resets such connections instead of closing them.
    pub resets: bool,
}

impl Default for Front {
    fn default() -> Self {
        Self {
            address: Ipv4Addr::LOCALHOST.into(),
            protocols: &["http/1.1"],
            connections_max: usize::MAX,
            resets: false,
        }
    }
}

/// A running endpoint. Dropping it ends it.
pub struct Endpoint {
    address: SocketAddr,
    seen: Arc<Seen>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Seen {
    accepted: AtomicUsize,
    refused: AtomicUsize,
    open: AtomicUsize,
    offered: Mutex<Vec<Vec<String>>>,
}

/// An open connection.
struct Open(Arc<Seen>);

impl Endpoint {
    /// Serves each connection after its handshake. The number of a connection counts from 1.
    pub async fn start<Serving>(serve: impl Fn(Connection, usize) -> Serving + Clone + Send + Sync + 'static) -> Self
    where
        Serving: Future<Output = io::Result<()>> + Send + 'static,
    {
        Self::behind(Front::default(), serve).await
    }

    /// The same with another front.
    pub async fn behind<Serving>(
        front: Front,
        serve: impl Fn(Connection, usize) -> Serving + Clone + Send + Sync + 'static,
    ) -> Self
    where
        Serving: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind((front.address, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let seen = Arc::<Seen>::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, front, Arc::clone(&seen), serve));
        Self { address, seen, _tasks: tasks }
    }

    /// `https://localhost:<port><path>`
    pub fn url(&self, path: &str) -> String {
        self.url_for("localhost", path)
    }

    /// The same with another host name. The certificate is valid for `hooks.test` and every `….hooks.test`.
    pub fn url_for(&self, host: &str, path: &str) -> String {
        format!("https://{host}:{}{path}", self.address.port())
    }

    /// The number of accepted connections so far, without those that the front closed at once.
    pub fn accepted(&self) -> usize {
        self.seen.accepted.load(SeqCst)
    }

    /// The number of connections that the front closed at once.
    pub fn refused(&self) -> usize {
        self.seen.refused.load(SeqCst)
    }

    /// The number of open connections.
    pub fn open(&self) -> usize {
        self.seen.open.load(SeqCst)
    }

    /// The protocols that each client offered in its first handshake message (ALPN), in order.
    pub fn offered(&self) -> Vec<Vec<String>> {
        self.seen.offered.lock().expect("no test panicked in here").clone()
    }
}

impl Open {
    fn new(seen: &Arc<Seen>) -> Self {
        seen.open.fetch_add(1, SeqCst);
        Self(Arc::clone(seen))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, SeqCst);
    }
}

async fn accept<Serving>(
    listener: TcpListener,
    front: Front,
    seen: Arc<Seen>,
    serve: impl Fn(Connection, usize) -> Serving + Clone + Send + Sync + 'static,
) where
    Serving: Future<Output = io::Result<()>> + Send + 'static,
{
    let tls = server_config(Identity::Trusted, front.protocols).expect("this one speaks TLS");
    let mut connections = JoinSet::<io::Result<()>>::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        if seen.open.load(SeqCst) >= front.connections_max {
            if front.resets {
                stream.set_zero_linger().expect("it is a socket");
            }
            seen.refused.fetch_add(1, SeqCst);
            continue;
        }
        let (number, open) = (seen.accepted.fetch_add(1, SeqCst) + 1, Open::new(&seen));
        let (tls, seen, serve) = (Arc::clone(&tls), Arc::clone(&seen), serve.clone());
        connections.spawn(async move {
            let served = async {
                // Send small writes at once: a reset that follows must not overtake them.
                stream.set_nodelay(true)?;
                let greeted = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
                let names = greeted.client_hello().alpn().into_iter().flatten();
                let names = names.map(|name| String::from_utf8_lossy(name).into_owned()).collect();
                seen.offered.lock().expect("no test panicked in here").push(names);
                serve(Connection::new(greeted.into_stream(tls).await?), number).await
            };
            let served = served.await;
            drop(open);
            served
        });
        while connections.try_join_next().is_some() {}
    }
}
