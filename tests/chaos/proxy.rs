//! A TCP proxy between workers and Redis that fails like a network: it cuts connections, delays or withholds Redis's
//! answers, and loses answers after the command ran. It counts these faults.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
};

use crate::support::{SOON, eventually};

/// The treatment of Redis's answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    Fair,
    /// Every answer comes this much later.
    Slow(Duration),
    /// No answer comes until the weather changes.
    Withheld,
    /// The next answer on each connection is lost, and the connection with it.
    Lossy,
}

/// The counts of the proxy.
#[derive(Default)]
pub struct Tally {
    pub cuts: AtomicU64,
    pub lost_replies: AtomicU64,
    pub late_replies: AtomicU64,
    /// Open connections.
    open: AtomicU64,
}

#[derive(Clone, Copy)]
struct Sky {
    weather: Weather,
    /// Raised to cut every connection.
    cuts: u64,
}

/// A running proxy. Dropping it ends it and its connections.
pub struct Proxy {
    port: u16,
    sky: watch::Sender<Sky>,
    tally: Arc<Tally>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// A proxy to this port of 127.0.0.1.
    pub async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let (sky, seen) = watch::channel(Sky { weather: Weather::Fair, cuts: 0 });
        let tally = Arc::new(Tally::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, to, seen, tally.clone()));
        Self { port, sky, tally, _tasks: tasks }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The number of replies that met other than fair weather.
    pub fn spoiled(&self) -> u64 {
        self.tally.lost_replies.load(Relaxed) + self.tally.late_replies.load(Relaxed)
    }

    pub fn set(&self, weather: Weather) {
        self.sky.send_modify(|sky| sky.weather = weather);
    }

    /// Cuts every open connection; new ones are accepted.
    pub fn cut(&self) {
        self.sky.send_modify(|sky| sky.cuts += 1);
    }

    /// Cuts every connection and discards every withheld answer; from then on the weather is fair.
    pub async fn cut_and_clear(&self) {
        let (before, open) = (self.tally.cuts.load(Relaxed), self.tally.open.load(Relaxed));
        self.cut();
        let all_cut = async || (self.tally.cuts.load(Relaxed) >= before + open).then_some(());
        eventually(SOON, "every connection cut", all_cut).await;
        self.set(Weather::Fair);
    }
}

async fn accept(listener: TcpListener, to: u16, sky: watch::Receiver<Sky>, tally: Arc<Tally>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        connections.spawn(serve(client, to, sky.clone(), tally.clone()));
        while connections.try_join_next().is_some() {}
    }
}

/// Serves one connection until either side closes it or the proxy cuts it.
async fn serve(client: TcpStream, to: u16, mut sky: watch::Receiver<Sky>, tally: Arc<Tally>) -> io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", to)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let cuts = sky.borrow().cuts;
    let weather = sky.clone();
    tally.open.fetch_add(1, Relaxed);
    let ended = tokio::select! {
        ended = forward(from_client, to_server) => ended,
        ended = answer(from_server, to_client, weather, &tally) => ended,
        _ = sky.wait_for(|sky| sky.cuts > cuts) => {
            tally.cuts.fetch_add(1, Relaxed);
            Ok(())
        }
    };
    tally.open.fetch_sub(1, Relaxed);
    ended
}

async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> io::Result<()> {
    tokio::io::copy(&mut from, &mut to).await.map(drop)
}

async fn answer(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut sky: watch::Receiver<Sky>,
    tally: &Tally,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        let weather = sky.borrow_and_update().weather;
        if matches!(weather, Weather::Slow(_) | Weather::Withheld) {
            tally.late_replies.fetch_add(1, Relaxed);
        }
        match weather {
            Weather::Fair => {}
            Weather::Slow(delay) => tokio::time::sleep(delay).await,
            Weather::Withheld => {
                let changed = sky.wait_for(|sky| sky.weather != Weather::Withheld).await;
                changed.map(drop).map_err(io::Error::other)?;
            }
            Weather::Lossy => {
                tally.lost_replies.fetch_add(1, Relaxed);
                return Ok(());
            }
        }
        to.write_all(&buffer[..length]).await?;
    }
}

#[cfg(test)]
mod tests {
    use redis::AsyncCommands;

    use super::*;
    use crate::support::{AppendFsync, RedisServer};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_reply_is_lost_after_its_command_ran_and_connections_are_cut() {
        let redis = RedisServer::start(AppendFsync::No);
        let proxy = Proxy::start(redis.port()).await;
        let connect = async || {
            let client = redis::Client::open(proxy.url()).unwrap();
            let patient = redis::AsyncConnectionConfig::new().set_response_timeout(Some(SOON));
            client.get_multiplexed_async_connection_with_config(&patient).await.unwrap()
        };
        let mut connection = connect().await;
        let _: () = connection.set("key", 1).await.unwrap();
        proxy.set(Weather::Lossy);
        let lost: redis::RedisResult<i64> = connection.incr("key", 1).await;
        assert!(lost.is_err());
        proxy.set(Weather::Fair);
        let mut connection = connect().await;
        assert_eq!(connection.get::<_, i64>("key").await.unwrap(), 2, "the command ran");
        assert_eq!(proxy.tally().lost_replies.load(Relaxed), 1);
        proxy.cut();
        // Before the cut, the connection may still answer.
        let cut = async || (proxy.tally().cuts.load(Relaxed) == 1).then_some(());
        eventually(SOON, "one connection cut", cut).await;
        assert!(connection.get::<_, i64>("key").await.is_err());
    }
}
