//! The resolver's sockets. The library's errors do not show a shortage of this machine, nor whether any name server
//! answers usefully, so the sockets note both. They also know the interface of a link-local name server.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hickory_resolver::{
    net::runtime::{DnsUdpSocket, RuntimeProvider, TokioRuntimeProvider},
    proto::op::ResponseCode,
};
use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::super::shortage::lacking;

/// Opens the library's sockets. Clones share their notes.
#[derive(Clone, Default)]
pub(super) struct Sockets {
    tokio: TokioRuntimeProvider,
    noted: Arc<Noted>,
}

#[derive(Default)]
struct Noted {
    lacking: Mutex<Option<(Instant, &'static str)>>,
    /// The time of the last useful answer.
    heard: Mutex<Option<Instant>>,
    /// Notified at each useful answer.
    bell: Notify,
}

/// A UDP socket that notes useful answers. TCP is used only after such an answer, if it was truncated.
pub(super) struct Udp {
    socket: <TokioRuntimeProvider as RuntimeProvider>::Udp,
    noted: Arc<Noted>,
}

impl Sockets {
    /// A shortage that this machine met since `then`, if any.
    pub(super) fn lacking_since(&self, then: Instant) -> Option<&'static str> {
        self.noted.lacking.lock().filter(|(when, _)| *when >= then).map(|(_, what)| what)
    }

    /// Whether a name server gave a useful answer to any question since `then`.
    pub(super) fn heard_since(&self, then: Instant) -> bool {
        self.noted.heard.lock().is_some_and(|when| when >= then)
    }

    /// Waits for a useful answer, or until the deadline.
    pub(super) async fn hear(&self, deadline: Instant) {
        let _ = timeout_at(deadline, self.noted.bell.notified()).await;
    }

    fn watch<T>(
        &self,
        opening: impl Future<Output = io::Result<T>> + Send + 'static,
    ) -> Pin<Box<dyn Future<Output = io::Result<T>> + Send>>
    where
        T: Send + 'static,
    {
        let noted = self.noted.clone();
        Box::pin(async move {
            opening.await.inspect_err(|error| {
                if let Some(what) = lacking(error) {
                    *noted.lacking.lock() = Some((Instant::now(), what));
                }
            })
        })
    }
}

impl RuntimeProvider for Sockets {
    type Handle = <TokioRuntimeProvider as RuntimeProvider>::Handle;
    type Timer = <TokioRuntimeProvider as RuntimeProvider>::Timer;
    type Udp = Udp;
    type Tcp = <TokioRuntimeProvider as RuntimeProvider>::Tcp;

    fn create_handle(&self) -> Self::Handle {
        self.tokio.create_handle()
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        from: Option<SocketAddr>,
        timeout: Option<Duration>,
    ) -> Pin<Box<dyn Future<Output = io::Result<Self::Tcp>> + Send>> {
        self.watch(self.tokio.connect_tcp(dialled(server), from, timeout))
    }

    fn bind_udp(
        &self,
        local: SocketAddr,
        server: SocketAddr,
    ) -> Pin<Box<dyn Future<Output = io::Result<Self::Udp>> + Send>> {
        let (opening, noted) = (self.tokio.bind_udp(local, server), self.noted.clone());
        self.watch(async move { Ok(Udp { socket: opening.await?, noted }) })
    }
}

impl DnsUdpSocket for Udp {
    type Time = <TokioRuntimeProvider as RuntimeProvider>::Timer;

    fn poll_recv_from(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<(usize, SocketAddr)>> {
        DnsUdpSocket::poll_recv_from(&self.socket, cx, buffer).map_ok(|(length, from)| {
            if is_useful(&buffer[..length]) {
                *self.noted.heard.lock() = Some(Instant::now());
                self.noted.bell.notify_waiters();
            }
            (length, SocketAddr::new(stand_in(from), from.port()))
        })
    }

    fn poll_send_to(&self, cx: &mut Context<'_>, message: &[u8], to: SocketAddr) -> Poll<io::Result<usize>> {
        DnsUdpSocket::poll_send_to(&self.socket, cx, message, dialled(to))
    }
}

/// Whether a message is a useful answer: that a name has something, or does not exist. SERVFAIL and REFUSED are not: a
/// forwarder answers every question so while the server behind it is down. The code is in the fourth byte (RFC 1035,
/// 4.1.1).
fn is_useful(message: &[u8]) -> bool {
    message.len() >= 12
        && [ResponseCode::NoError, ResponseCode::NXDomain].contains(&ResponseCode::from(0, message[3] & 0x0f))
}

/// The address by which the library knows this name server. The library knows no zones, so the zone of a link-local
/// address goes into the 32 bits after the first 32, which are always zero on the wire (RFC 4291, 2.5.6).
pub(super) fn stand_in(server: SocketAddr) -> IpAddr {
    match server {
        SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => {
            IpAddr::V6(Ipv6Addr::from_bits(v6.ip().to_bits() | u128::from(v6.scope_id()) << 64))
        }
        // A system takes "any address" as itself, but answers from another address.
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        _ => server.ip(),
    }
}

/// The address that a stand-in stands for.
fn dialled(stand_in: SocketAddr) -> SocketAddr {
    let zone_bits = u128::from(u32::MAX) << 64;
    match stand_in {
        SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => {
            let bits = v6.ip().to_bits();
            let zone = u32::try_from((bits & zone_bits) >> 64).expect("32 bits");
            SocketAddrV6::new(Ipv6Addr::from_bits(bits & !zone_bits), v6.port(), 0, zone).into()
        }
        _ => stand_in,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_local_servers_zone_survives_the_library_and_other_addresses_stay_as_they_are() {
        let zoned = |zone| SocketAddr::from(SocketAddrV6::new("fe80::1:2:3:4".parse().unwrap(), 53, 0, zone));
        for zone in [1, 2, 65_536, u32::MAX] {
            let stand_in = SocketAddr::new(stand_in(zoned(zone)), 53);
            assert_eq!(dialled(stand_in), zoned(zone));
            // An answer comes from the same address and interface, and is recognised by both.
            assert_eq!(super::stand_in(zoned(zone)), stand_in.ip());
        }
        assert_ne!(stand_in(zoned(1)), stand_in(zoned(2)), "the same address on two interfaces is two servers");
        for other in ["10.0.0.53:53", "[fd00::53]:5353", "[::1]:53"] {
            let other: SocketAddr = other.parse().unwrap();
            assert_eq!((stand_in(other), dialled(other)), (other.ip(), other));
        }
    }
}
