//! A listener that must never get a connection, and that counts those it gets.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// It accepts a connection, records its peer, and closes it. Dropping it ends it.
pub struct Tripwire {
    address: SocketAddr,
    peers: watch::Receiver<Vec<SocketAddr>>,
    /// The number of connections that the tripwire made itself.
    probes: usize,
    _tasks: JoinSet<()>,
}

impl Tripwire {
    /// On any free port of 127.0.0.1.
    pub async fn start() -> Self {
        Self::on("127.0.0.1:0".parse().expect("an address")).await.expect("a free port")
    }

    pub async fn on(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let (sender, peers) = watch::channel(Vec::new());
        let address = listener.local_addr()?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                let Ok((_, peer)) = listener.accept().await else { continue };
                sender.send_modify(|peers: &mut Vec<SocketAddr>| peers.push(peer));
            }
        });
        Self { address, peers, probes: 0, _tasks: tasks }.tested().await
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Asserts that no other connection was made.
    ///
    /// Connections are accepted in the order in which they were made. So once the tripwire's own connection has been
    /// accepted, every earlier one has been as well.
    pub async fn assert_untouched(&mut self) {
        self.probe().await.expect("it is listening");
        let seen = self.peers.borrow().clone();
        assert!(seen.len() == self.probes, "{} was connected to, {} times by us: {seen:?}", self.address, self.probes);
    }

    /// A tripwire that cannot trip would prove nothing, so it is tested first.
    async fn tested(mut self) -> io::Result<Self> {
        self.probe().await.map(|()| self)
    }

    /// Connects, and waits until the connection is counted.
    async fn probe(&mut self) -> io::Result<()> {
        let before = self.peers.borrow().len();
        self.probes += 1;
        let own = TcpStream::connect(self.address).await?.local_addr()?;
        self.peers.wait_for(|peers| peers[before..].contains(&own)).await.map_err(io::Error::other)?;
        Ok(())
    }
}
