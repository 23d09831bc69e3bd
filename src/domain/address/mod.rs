//! The addresses to which a delivery may be sent: only those of the public internet.
//!
//! One table, [`SPECIAL_BLOCKS`], names every refused block and the document that set it aside. Its sources are the
//! IANA IPv4 and IPv6 Special-Purpose Address Registries. If they call a block inside another reachable (anycast
//! helpers such as 192.0.0.9), the outer block decides, because no endpoint is there. Of IPv6, only `2000::/3` is
//! assigned as global unicast, so every address outside it is refused too, whether the table names it or not.
//!
//! An IPv4 address inside an IPv6 one (mapped, NAT64, 6to4) is never unwrapped and checked again. The whole form is
//! refused, so that there is one spelling of each address and one answer for it.
//!
//! [`AllowList`] is the operator's `egress.allow`. Its networks are checked here, when a connection is made; its host
//! names are checked when a webhook is saved ([`EndpointUrl::parse`](crate::domain::url::EndpointUrl::parse)). A host
//! name on the list does not allow the addresses to which it resolves.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A block of addresses to which no delivery goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpecialBlock {
    /// Its addresses.
    pub network: IpNet,
    /// The description of an address in the block, after "10.0.0.1 is …".
    pub reason: &'static str,
    /// The document that set it aside.
    pub source: &'static str,
}

/// Every refused block; where two overlap, the first one that matches gives the reason.
pub const SPECIAL_BLOCKS: &[SpecialBlock] = &[
    v4([0, 0, 0, 0], 8, "an address of \"this network\"", "RFC 791"),
    v4([10, 0, 0, 0], 8, "a private address", "RFC 1918"),
    v4([100, 64, 0, 0], 10, "a shared (carrier-grade NAT) address", "RFC 6598"),
    v4([127, 0, 0, 0], 8, "a loopback address", "RFC 1122"),
    v4([168, 63, 129, 16], 32, "the Azure platform's own address", "Microsoft Azure"),
    v4([169, 254, 0, 0], 16, "a link-local address", "RFC 3927"),
    v4([172, 16, 0, 0], 12, "a private address", "RFC 1918"),
    v4([192, 0, 0, 0], 24, "reserved for protocol assignments", "RFC 6890"),
    v4([192, 0, 2, 0], 24, "a documentation address", "RFC 5737"),
    v4([192, 31, 196, 0], 24, "an AS112 sink address", "RFC 7535"),
    v4([192, 52, 193, 0], 24, "an AMT relay address", "RFC 7450"),
    v4([192, 88, 99, 0], 24, "a 6to4 relay address", "RFC 7526"),
    v4([192, 168, 0, 0], 16, "a private address", "RFC 1918"),
    v4([192, 175, 48, 0], 24, "an AS112 sink address", "RFC 7534"),
    v4([198, 18, 0, 0], 15, "a benchmarking address", "RFC 2544"),
    v4([198, 51, 100, 0], 24, "a documentation address", "RFC 5737"),
    v4([203, 0, 113, 0], 24, "a documentation address", "RFC 5737"),
    v4([224, 0, 0, 0], 4, "a multicast address", "RFC 5771"),
    v4([255, 255, 255, 255], 32, "the broadcast address", "RFC 919"),
    v4([240, 0, 0, 0], 4, "a reserved address", "RFC 1112"),
    v6(&[0, 0, 0, 0, 0, 0, 0, 0], 128, "the unspecified address", "RFC 4291"),
    v6(&[0, 0, 0, 0, 0, 0, 0, 1], 128, "the loopback address", "RFC 4291"),
    v6(&[0, 0, 0, 0, 0, 0xffff], 96, "an IPv4 address mapped into IPv6", "RFC 4291"),
    v6(&[0, 0, 0, 0, 0xffff, 0], 96, "an IPv4 address translated into IPv6", "RFC 7915"),
    v6(&[0, 0, 0, 0, 0, 0], 96, "an IPv4 address written as IPv6", "RFC 4291"),
    v6(&[0x64, 0xff9b, 0, 0, 0, 0], 96, "an IPv4 address behind NAT64", "RFC 6052"),
    v6(&[0x64, 0xff9b, 1], 48, "an IPv4 address behind a local NAT64", "RFC 8215"),
    v6(&[0x100, 0, 0, 0], 64, "a discard-only address", "RFC 6666"),
    v6(&[0x100, 0, 0, 1], 64, "a dummy address", "RFC 9780"),
    v6(&[0x2001, 0], 32, "a Teredo tunnel address", "RFC 4380"),
    v6(&[0x2001, 2, 0], 48, "a benchmarking address", "RFC 5180"),
    v6(&[0x2001], 23, "reserved for protocol assignments", "RFC 2928"),
    v6(&[0x2001, 0xdb8], 32, "a documentation address", "RFC 3849"),
    v6(&[0x2002], 16, "a 6to4 tunnel address", "RFC 3056"),
    v6(&[0x2620, 0x4f, 0x8000], 48, "an AS112 sink address", "RFC 7534"),
    v6(&[0x3fff], 20, "a documentation address", "RFC 9637"),
    v6(&[0x5f00], 16, "a segment routing identifier", "RFC 9602"),
    v6(&[0xfc00], 7, "a private (unique local) address", "RFC 4193"),
    v6(&[0xfe80], 10, "a link-local address", "RFC 4291"),
    v6(&[0xfec0], 10, "a site-local address", "RFC 3879"),
    v6(&[0xff00], 8, "a multicast address", "RFC 4291"),
];

/// The only part of IPv6 that IANA assigns as global unicast.
const GLOBAL_UNICAST: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// The addresses that reach IPv4 through an IPv6 socket.
const IPV4_MAPPED: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96);

const fn v4(address: [u8; 4], prefix: u8, reason: &'static str, source: &'static str) -> SpecialBlock {
    let [a, b, c, d] = address;
    SpecialBlock { network: IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)), reason, source }
}

/// A block of IPv6 addresses; groups that are not given are zero.
const fn v6(leading: &[u16], prefix: u8, reason: &'static str, source: &'static str) -> SpecialBlock {
    let mut g = [0; 8];
    let mut index = 0;
    while index < leading.len() {
        g[index] = leading[index];
        index += 1;
    }
    let address = Ipv6Addr::new(g[0], g[1], g[2], g[3], g[4], g[5], g[6], g[7]);
    SpecialBlock { network: IpNet::V6(Ipv6Net::new_assert(address, prefix)), reason, source }
}

/// The reason why an address is refused. Customers read its `Display`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressRefusal {
    /// It is in a block of the table.
    #[error("{address} is {} ({}, {})", block.reason, block.network, block.source)]
    Special {
        /// The refused address.
        address: IpAddr,
        /// Its block.
        block: &'static SpecialBlock,
    },
    /// It is IPv6, outside the part that is assigned.
    #[error("{address} is not a global unicast address (outside {GLOBAL_UNICAST}, RFC 4291)")]
    NotGlobalUnicast {
        /// The refused address.
        address: Ipv6Addr,
    },
}

/// Checks that `ip` is an address of the public internet; the error says what it is instead.
pub fn judge(ip: IpAddr) -> Result<(), AddressRefusal> {
    if let Some(block) = SPECIAL_BLOCKS.iter().find(|block| block.network.contains(&ip)) {
        return Err(AddressRefusal::Special { address: ip, block });
    }
    match ip {
        IpAddr::V6(address) if !GLOBAL_UNICAST.contains(&address) => Err(AddressRefusal::NotGlobalUnicast { address }),
        _ => Ok(()),
    }
}

/// Like [`judge`], but addresses on the operator's allow list pass.
pub fn judge_with(ip: IpAddr, allow: &AllowList) -> Result<(), AddressRefusal> {
    if allow.permits_address(ip) { Ok(()) } else { judge(ip) }
}

/// The hosts and networks that may be reached although they are not public, for development and closed networks. It is
/// empty unless configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowList {
    networks: Vec<IpNet>,
    /// Host names in lower case, without a trailing dot.
    hosts: Vec<String>,
}

/// The error for an entry of the allow list that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AllowListError {
    /// Neither a network, nor an address, nor a host name.
    #[error("{0:?} is neither a network (10.0.0.0/8), nor an address (10.0.0.1), nor a host name (localhost)")]
    NotUnderstood(String),
    /// It is an IPv4-mapped network. Such addresses are never connected to, so the entry could only mislead.
    #[error("{0:?} lies in {IPV4_MAPPED}, which is always refused; write the IPv4 network instead")]
    Ipv4Mapped(String),
}

impl AllowList {
    /// Reads the entries of `egress.allow`: networks (`10.0.0.0/8`; bits beyond the prefix are ignored), bare
    /// addresses (a network of one), and host names, which stand for themselves only, not for their subdomains.
    pub fn parse(entries: &[String]) -> Result<Self, AllowListError> {
        let mut list = Self::default();
        for entry in entries {
            let network = entry.parse::<IpNet>().or_else(|_| entry.parse::<IpAddr>().map(IpNet::from));
            match network {
                Ok(IpNet::V6(network)) if IPV4_MAPPED.contains(&network) => {
                    return Err(AllowListError::Ipv4Mapped(entry.clone()));
                }
                Ok(network) => list.networks.push(network.trunc()),
                Err(_) => list.hosts.push(canonical_host(entry).ok_or(AllowListError::NotUnderstood(entry.clone()))?),
            }
        }
        Ok(list)
    }

    /// Whether one of the networks contains `ip`. An IPv4 network never contains the IPv6 spelling of its addresses,
    /// and an IPv6 network, however wide, never contains an IPv4-mapped address.
    pub fn permits_address(&self, ip: IpAddr) -> bool {
        let mapped = matches!(ip, IpAddr::V6(address) if IPV4_MAPPED.contains(&address));
        !mapped && self.networks.iter().any(|network| network.contains(&ip))
    }

    /// Whether `host` itself is on the list. Letter case and a trailing dot do not matter. `localhost` does not permit
    /// `foo.localhost`.
    pub fn permits_host(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        self.hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(host))
    }

    /// Whether nothing is allowed beyond the public internet.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && self.hosts.is_empty()
    }
}

/// The entries, comma-separated, for the log line at start.
impl fmt::Display for AllowList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let networks = self.networks.iter().map(ToString::to_string);
        f.write_str(&networks.chain(self.hosts.iter().cloned()).collect::<Vec<_>>().join(", "))
    }
}

/// The most octets that a host name may have (RFC 1035, 2.3.4, less the length octets).
pub(super) const HOST_MAX_BYTES: usize = 253;
/// The most octets that one label of a host name may have.
pub(super) const LABEL_MAX_BYTES: usize = 63;

/// Whether `label` consists of letters, digits, inner hyphens (RFC 952, RFC 1123) and underscores, without wildcards.
/// The DNS, browsers and wildcard certificates accept underscores anywhere in a label, as in `my_app.example.com`.
pub(super) fn is_host_label(label: &str) -> bool {
    !label.is_empty()
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Whether a parser may read a host name that ends in `label` as an IPv4 address (WHATWG "ends in a number").
pub(super) fn is_number(label: &str) -> bool {
    let hex = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    match hex {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => label.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

/// The host name `entry` in lower case without a trailing dot, if it is one.
fn canonical_host(entry: &str) -> Option<String> {
    let host = entry.strip_suffix('.').unwrap_or(entry);
    let labels_fit = host.split('.').all(|label| is_host_label(label) && label.len() <= LABEL_MAX_BYTES);
    let is_address = host.rsplit('.').next().is_some_and(is_number);
    (labels_fit && !is_address && host.len() <= HOST_MAX_BYTES).then(|| host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests;
