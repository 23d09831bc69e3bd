//! If a name has an address that does not answer, the next address is tried soon.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::*;

const LIVE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const DEAD: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const DEAD_V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
/// A dead address may cost 0.4 s, and twice that on a machine that is busy with other tests.
const COSTS_MAX_MS: i64 = 2 * 400;

/// A listener that accepts no more connections. The one connection that waits to be accepted fills its queue, so the
/// kernel drops the first packet of every other.
struct Dead {
    _listener: TcpListener,
    _first: TcpStream,
}

impl Dead {
    async fn at(address: SocketAddr) -> std::io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.bind(address)?;
        let listener = socket.listen(0)?;
        Ok(Self { _first: TcpStream::connect(address).await?, _listener: listener })
    }
}

/// A receiver, and two dead addresses with the same port.
async fn receiver_beside_dead_addresses() -> (Receiver, [Dead; 2]) {
    for _ in 0..100 {
        let receiver = Receiver::at(LIVE).await;
        let port = receiver.address().port();
        let dead = (Dead::at(SocketAddr::new(DEAD, port)).await, Dead::at(SocketAddr::new(DEAD_V6, port)).await);
        if let (Ok(v4), Ok(v6)) = dead {
            return (receiver, [v4, v6]);
        }
    }
    panic!("no port was free on 127.0.0.1, 127.0.0.2 and ::1 alike in 100 tries");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_first_address_costs_an_attempt_less_than_a_second() {
    let (receiver, _dead) = receiver_beside_dead_addresses().await;
    receiver.plan("/hook", [Answer::Status(200)]);
    let dns = DnsServer::start().await;
    let addresses = format!("{LIVE}/32,{DEAD}/32,{DEAD_V6}/128");
    let servers = dns.address().to_string();
    let mut scene =
        Scene::start(&[("LYNKHOOK_DNS__SERVERS", &servers), ("LYNKHOOK_EGRESS__ALLOW", &addresses), NO_RETRIES]).await;
    let rows = [
        ("alone", vec![LIVE]),
        ("dead-first", vec![DEAD, LIVE]),
        ("dead-last", vec![LIVE, DEAD]),
        ("dead-v6", vec![DEAD_V6, LIVE]),
        ("two-dead", vec![DEAD_V6, DEAD, LIVE]),
    ];
    let mut took = Vec::new();
    for (name, addresses) in rows {
        let (host, dead) = (format!("{name}.hooks.test"), addresses.len() - 1);
        dns.set(&host, addresses);
        let url = receiver.url_for(&host, "/hook");
        scene.here = scene.here.allowing(&url);
        scene.here.add(name, &url).await;
        scene.push(name).await;
        let record = scene.finished(name).await;
        let attempt = record.attempts().next().unwrap();
        took.push((name, dead, attempt.ended_ms - attempt.started_ms, attempt.status.clone()));
    }
    println!("{took:?}");
    let alone_ms = took[0].2;
    for (name, dead, took_ms, status) in &took {
        assert_eq!(status, "200", "{name}: {took:?}");
        let costs_ms = took_ms - alone_ms;
        assert!(costs_ms <= i64::try_from(*dead).unwrap() * COSTS_MAX_MS + 50, "{name} took {took_ms} ms: {took:?}");
    }
}
