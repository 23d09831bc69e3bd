//! A listener where nobody may ever connect, and which counts those who do.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// It accepts, remembers who came, and closes. It ends when it is dropped.
pub struct Tripwire {
    address: SocketAddr,
    peers: watch::Receiver<Vec<SocketAddr>>,
    /// How many of them were this tripwire's own.
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

    /// Asserts that nobody has connected.
    ///
    /// Connections are accepted in the order in which they were made, so once a connection of our own has been
    /// accepted, every earlier one was too.
    pub async fn assert_untouched(&mut self) {
        self.probe().await.expect("it is listening");
        let seen = self.peers.borrow().clone();
        assert!(seen.len() == self.probes, "{} was connected to, {} times by us: {seen:?}", self.address, self.probes);
    }

    /// A tripwire that nobody can trip proves nothing.
    async fn tested(mut self) -> io::Result<Self> {
        self.probe().await.map(|()| self)
    }

    /// Connects, and waits until that is counted.
    async fn probe(&mut self) -> io::Result<()> {
        let before = self.peers.borrow().len();
        self.probes += 1;
        let own = TcpStream::connect(self.address).await?.local_addr()?;
        self.peers.wait_for(|peers| peers[before..].contains(&own)).await.map_err(io::Error::other)?;
        Ok(())
    }
}
