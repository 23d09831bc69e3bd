//! An endpoint that a test serves itself counts its connections, and its front refuses those beyond its limit.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::support::{Endpoint, Front, eventually};

const SOON: Duration = Duration::from_secs(10);

fn address(endpoint: &Endpoint) -> SocketAddr {
    let url = endpoint.url("/");
    let port = url.trim_end_matches('/').rsplit(':').next().unwrap();
    SocketAddr::new(Front::default().address, port.parse().unwrap())
}

#[tokio::test]
async fn a_front_closes_connections_beyond_its_limit_and_has_room_again_when_one_leaves() {
    let front = Front { connections_max: 1, ..Front::default() };
    let endpoint = Endpoint::behind(front, async |mut connection, _| connection.drain().await).await;
    let first = TcpStream::connect(address(&endpoint)).await.unwrap();
    eventually(SOON, "the first is accepted", async || (endpoint.open() == 1).then_some(())).await;
    let mut second = TcpStream::connect(address(&endpoint)).await.unwrap();
    assert_eq!(second.read(&mut [0; 1]).await.unwrap(), 0);
    drop(first);
    eventually(SOON, "the first is gone", async || (endpoint.open() == 0).then_some(())).await;
    let _third = TcpStream::connect(address(&endpoint)).await.unwrap();
    eventually(SOON, "the third is accepted", async || (endpoint.open() == 1).then_some(())).await;
    assert_eq!((endpoint.accepted(), endpoint.refused()), (2, 1));
}
