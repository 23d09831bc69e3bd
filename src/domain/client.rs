//! The address of a client. Behind a proxy, only the proxy knows it and adds it to the list in `X-Forwarded-For`, at the
//! end. Everything before that may come from the client, who can write any address there.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// The proxies whose `X-Forwarded-For` counts: the setting `server.trusted_proxies`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

/// The error for an entry that is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("server.trusted_proxies: {0:?} is neither a network (10.0.0.0/8) nor an address (10.0.0.1)")]
pub struct NotANetwork(String);

impl TrustedProxies {
    /// Reads networks (`10.0.0.0/8`) and single addresses. An IPv4 network is never written as IPv6 (`::ffff:10.0.0.0`).
    pub fn parse(entries: &[String]) -> Result<Self, NotANetwork> {
        let network = |entry: &String| {
            let network = entry.parse::<IpNet>().or_else(|_| entry.parse::<IpAddr>().map(IpNet::from)).ok();
            let is_own_form = |network: &IpNet| network.addr().to_canonical() == network.addr();
            network.filter(is_own_form).ok_or_else(|| NotANetwork(entry.clone()))
        };
        entries.iter().map(network).collect::<Result<_, _>>().map(Self)
    }

    /// The client of a request from `peer`, whose `X-Forwarded-For` has these items, the last one first: the nearest
    /// address that is no trusted proxy's. An item that is no address ends the search at the item behind it.
    pub fn client<'a>(&self, peer: IpAddr, last_first: impl IntoIterator<Item = &'a [u8]>) -> IpAddr {
        let mut client = peer.to_canonical();
        for item in last_first {
            if !self.0.iter().any(|network| network.contains(&client)) {
                break;
            }
            let Some(before) = address(item) else { break };
            client = before;
        }
        client
    }
}

/// The address of an item. Some proxies add the client's port.
fn address(item: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(item).ok()?.trim();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    text.parse().ok().or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusted(entries: &[&str]) -> TrustedProxies {
        TrustedProxies::parse(&entries.iter().map(|entry| (*entry).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn a_client_cannot_choose_its_address() {
        let nobody = trusted(&[]);
        let proxies = trusted(&["10.0.0.0/8", "fd00::1"]);
        for (list, peer, forwarded, client) in [
            (&nobody, "10.0.0.1", "1.1.1.1", "10.0.0.1"),
            (&nobody, "127.0.0.1", "1.1.1.1", "127.0.0.1"),
            (&proxies, "9.9.9.9", "1.1.1.1", "9.9.9.9"),
            (&proxies, "10.0.0.1", "", "10.0.0.1"),
            (&proxies, "10.0.0.1", "1.1.1.1", "1.1.1.1"),
            (&proxies, "10.0.0.1", "6.6.6.6, 1.1.1.1", "1.1.1.1"),
            (&proxies, "10.0.0.1", "6.6.6.6,1.1.1.1 , 10.2.3.4", "1.1.1.1"),
            (&proxies, "10.0.0.1", "10.0.0.7, 10.0.0.8", "10.0.0.7"),
            (&proxies, "10.0.0.1", "6.6.6.6, unknown, 10.0.0.8", "10.0.0.8"),
            (&proxies, "10.0.0.1", "6.6.6.6, 1.1.1.1, ", "10.0.0.1"),
            (&proxies, "10.0.0.1", "\u{ff}, 1.1.1.1", "1.1.1.1"),
            (&proxies, "10.0.0.1", "1.1.1.1:4711", "1.1.1.1"),
            (&proxies, "10.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
            (&proxies, "fd00::1", "2001:db8::1", "2001:db8::1"),
            (&proxies, "fd00::2", "2001:db8::1", "fd00::2"),
            (&proxies, "::ffff:10.0.0.1", "::ffff:1.1.1.1", "1.1.1.1"),
        ] {
            let items = forwarded.as_bytes().rsplit(|byte| *byte == b',');
            let found = list.client(peer.parse().unwrap(), items);
            assert_eq!(found.to_string(), client, "{peer} forwards {forwarded:?}");
        }
    }

    #[test]
    fn a_proxy_is_a_network_or_an_address_and_no_name() {
        assert_eq!(trusted(&["10.0.0.1"]), trusted(&["10.0.0.1/32"]));
        for bad in ["", "proxy.internal", "10.0.0.0/33", "*", "10.0.0.1:80", "::ffff:10.0.0.0/104"] {
            assert_eq!(TrustedProxies::parse(&[bad.to_owned()]), Err(NotANetwork(bad.to_owned())));
        }
    }
}
