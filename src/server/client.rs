//! The address of the client that sent a request.

use std::net::{IpAddr, Ipv4Addr};

use http::{Extensions, HeaderMap};

use crate::{domain::client::TrustedProxies, listen::Peer};

/// The address: the peer's, or that for which trusted proxies forwarded the request. Several lines of `X-Forwarded-For`
/// are one list.
pub(super) fn address(trusted: &TrustedProxies, extensions: &Extensions, headers: &HeaderMap) -> IpAddr {
    // Every port puts the peer into its requests.
    let peer = extensions.get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Peer(address)| address.ip());
    let lines = headers.get_all("x-forwarded-for").iter();
    let items = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    trusted.client(peer, items.rev())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn all_lines_are_one_list_and_bytes_that_are_no_text_spoil_only_their_item() {
        let trusted = TrustedProxies::parse(&["10.0.0.0/8".to_owned()]).unwrap();
        let client = |peer: &str, lines: &[&[u8]]| {
            let mut extensions = Extensions::new();
            extensions.insert(Peer(format!("{peer}:1").parse().unwrap()));
            let lines = lines.iter().map(|line| HeaderValue::from_bytes(line).unwrap());
            let headers = lines.map(|line| (http::HeaderName::from_static("x-forwarded-for"), line)).collect();
            address(&trusted, &extensions, &headers).to_string()
        };
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &[b"6.6.6.6", b"1.1.1.1"]), "1.1.1.1");
        assert_eq!(client("10.0.0.1", &[b"6.6.6.6, 1.1.1.1", b"10.0.0.2, 10.0.0.3"]), "1.1.1.1");
        assert_eq!(client("10.0.0.1", &[b"\xff\xfe, 1.1.1.1"]), "1.1.1.1");
        assert_eq!(client("10.0.0.1", &[b"1.1.1.1", b"\xff"]), "10.0.0.1");
        assert_eq!(client("9.9.9.9", &[b"1.1.1.1"]), "9.9.9.9");
    }
}
