use proptest::prelude::*;
use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Case {
    ip: IpAddr,
    expect: String,
    why: String,
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn allow(entries: &[&str]) -> AllowList {
    AllowList::parse(&entries.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap()
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

/// The address with this number in the family of `like`; `None` past the family's ends.
fn address(like: IpAddr, number: Option<u128>) -> Option<IpAddr> {
    match like {
        IpAddr::V4(_) => Some(IpAddr::V4(u32::try_from(number?).ok()?.into())),
        IpAddr::V6(_) => Some(IpAddr::V6(number?.into())),
    }
}

#[test]
fn every_vector_is_judged_as_it_says() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../../../tests/vectors/ip_vectors.json")).unwrap();
    assert!(cases.len() > 80);
    for Case { ip, expect, why } in cases {
        match expect.as_str() {
            "public" => assert_eq!(judge(ip), Ok(()), "{ip}: {why}"),
            // "either" leaves the choice; all of them are refused here.
            "blocked" | "either" => assert!(judge(ip).is_err(), "{ip}: {why}"),
            other => panic!("unknown expectation {other}"),
        }
    }
}

/// The IANA special-purpose registries and the IPv4 and IPv6 address space registries, written down a second time, so
/// that a row that is lost from the table fails a test.
const REGISTRIES: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.31.196.0/24",
    "192.52.193.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "192.175.48.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "255.255.255.255/32",
    "168.63.129.16/32",
    "::/128",
    "::1/128",
    "::ffff:0:0/96",
    "::/96",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "100:0:0:1::/64",
    "2001::/23",
    "2001::/32",
    "2001:1::1/128",
    "2001:2::/48",
    "2001:3::/32",
    "2001:4:112::/48",
    "2001:10::/28",
    "2001:20::/28",
    "2001:30::/28",
    "2001:db8::/32",
    "2002::/16",
    "2620:4f:8000::/48",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
    "4000::/3",
    "6000::/3",
    "8000::/3",
    "a000::/3",
    "c000::/3",
    "e000::/4",
    "f000::/5",
    "f800::/6",
];

#[test]
fn both_ends_of_every_block_of_the_registries_are_refused() {
    for block in REGISTRIES {
        let network: IpNet = block.parse().unwrap();
        for end in [network.network(), network.broadcast()] {
            assert!(judge(end).is_err(), "{end} of {block} is taken for public");
        }
    }
}

#[test]
fn both_ends_of_every_block_are_refused_for_that_block_or_one_it_overlaps() {
    for block in SPECIAL_BLOCKS {
        assert_eq!(block.network, block.network.trunc(), "{} has bits beyond its prefix", block.network);
        for end in [block.network.network(), block.network.broadcast()] {
            match judge(end) {
                Err(AddressRefusal::Special { address, block: found }) => {
                    assert_eq!(address, end);
                    assert!(
                        found == block
                            || found.network.contains(&block.network)
                            || block.network.contains(&found.network),
                        "{end} of {} is refused for {}",
                        block.network,
                        found.network
                    );
                }
                other => panic!("{end} of {}: {other:?}", block.network),
            }
        }
    }
}

#[test]
fn the_neighbours_of_every_block_are_judged_by_themselves() {
    for block in SPECIAL_BLOCKS {
        let (first, last) = (block.network.network(), block.network.broadcast());
        let below = address(first, number(first).checked_sub(1));
        let above = address(last, number(last).checked_add(1));
        for neighbour in [below, above].into_iter().flatten() {
            let in_other_block =
                SPECIAL_BLOCKS.iter().any(|other| other != block && other.network.contains(&neighbour));
            let outside_global = matches!(neighbour, IpAddr::V6(address) if address.segments()[0] >> 13 != 1);
            assert_eq!(judge(neighbour).is_err(), in_other_block || outside_global, "{neighbour}: {}", block.network);
        }
    }
}

#[test]
fn addresses_just_outside_of_the_blocks_are_public() {
    for public in [
        "1.0.0.0",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "168.63.129.15",
        "168.63.129.17",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "191.255.255.255",
        "192.0.1.255",
        "192.0.3.0",
        "192.31.195.255",
        "192.31.197.0",
        "192.52.192.255",
        "192.52.194.0",
        "192.88.98.255",
        "192.88.100.0",
        "192.167.255.255",
        "192.169.0.0",
        "192.175.47.255",
        "192.175.49.0",
        "198.17.255.255",
        "198.20.0.0",
        "198.51.99.255",
        "198.51.101.0",
        "203.0.112.255",
        "203.0.114.0",
        "223.255.255.255",
        "2000::",
        "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "2001:200::",
        "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",
        "2001:db9::",
        "2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "2003::",
        "2620:4f:7fff:ffff:ffff:ffff:ffff:ffff",
        "2620:4f:8001::",
        "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "3fff:1000::",
        "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    ] {
        assert_eq!(judge(ip(public)), Ok(()), "{public}");
    }
}

#[test]
fn a_refusal_reads_as_a_sentence() {
    for (address, text) in [
        ("10.0.0.1", "10.0.0.1 is a private address (10.0.0.0/8, RFC 1918)"),
        ("169.254.169.254", "169.254.169.254 is a link-local address (169.254.0.0/16, RFC 3927)"),
        ("255.255.255.255", "255.255.255.255 is the broadcast address (255.255.255.255/32, RFC 919)"),
        ("::1", "::1 is the loopback address (::1/128, RFC 4291)"),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.1 is an IPv4 address mapped into IPv6 (::ffff:0.0.0.0/96, RFC 4291)"),
        ("64:ff9b::808:808", "64:ff9b::808:808 is an IPv4 address behind NAT64 (64:ff9b::/96, RFC 6052)"),
        ("2001:1::1", "2001:1::1 is reserved for protocol assignments (2001::/23, RFC 2928)"),
        ("4000::", "4000:: is not a global unicast address (outside 2000::/3, RFC 4291)"),
    ] {
        assert_eq!(judge(ip(address)).unwrap_err().to_string(), text);
    }
}

#[test]
fn an_empty_allow_list_permits_nothing() {
    let none = AllowList::default();
    assert!(none.is_empty());
    assert!(!none.permits_address(ip("127.0.0.1")) && !none.permits_host("localhost") && !none.permits_host(""));
    assert_eq!(AllowList::parse(&[]), Ok(none));
}

#[test]
fn a_network_permits_its_own_addresses_and_no_others() {
    let list = allow(&["127.0.0.0/8", "10.1.2.3", "fd00:1::/32", "::1", "192.168.7.9/24"]);
    assert!(!list.is_empty());
    for permitted in ["127.0.0.1", "127.255.255.255", "10.1.2.3", "fd00:1::5", "::1", "192.168.7.0"] {
        assert_eq!(judge_with(ip(permitted), &list), Ok(()), "{permitted}");
    }
    for refused in ["128.0.0.0", "10.1.2.2", "10.1.2.4", "fd00:2::", "::2", "192.168.8.0"] {
        assert!(!list.permits_address(ip(refused)), "{refused}");
        assert_eq!(judge_with(ip(refused), &list), judge(ip(refused)));
    }
    assert_eq!(judge_with(ip("8.8.8.8"), &list), Ok(()), "public addresses stay allowed");
}

#[test]
fn an_ipv4_mapped_address_matches_no_entry() {
    let list = allow(&["127.0.0.0/8", "10.0.0.1", "0.0.0.0/0", "::/0", "::/64"]);
    for mapped in ["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:8.8.8.8"] {
        assert!(judge_with(ip(mapped), &list).is_err(), "{mapped}");
    }
    assert_eq!(judge_with(ip("::7f00:1"), &list), Ok(()), "::/64 was listed");
    for entry in ["::ffff:0:0/96", "::ffff:127.0.0.1", "::ffff:10.0.0.0/104"] {
        assert_eq!(AllowList::parse(&[entry.to_owned()]), Err(AllowListError::Ipv4Mapped(entry.to_owned())));
    }
}

#[test]
fn a_host_permits_itself_in_any_case_and_nothing_beneath_or_above() {
    let list = allow(&["LocalHost.", "hooks.corp"]);
    for permitted in ["localhost", "LOCALHOST", "localhost.", "hooks.corp", "Hooks.Corp."] {
        assert!(list.permits_host(permitted), "{permitted}");
    }
    for refused in ["foo.localhost", "localhost6", "localhost..", "corp", "a.hooks.corp", "", "."] {
        assert!(!list.permits_host(refused), "{refused}");
    }
    assert_eq!(allow(&["10.1.2.3/8", "LocalHost."]).to_string(), "10.0.0.0/8, localhost");
}

#[test]
fn an_entry_that_is_neither_network_nor_address_nor_host_is_named() {
    for entry in [
        "",
        ".",
        " ",
        "10.0.0.0/33",
        "10.0.0/8",
        "127.1",
        "0x7f.1",
        "0x7f000001",
        "2130706433",
        "1.2.3.4.5",
        "fe80::1%eth0",
        "[::1]",
        "127.0.0.1:80",
        "*.corp",
        "-foo",
        "foo-",
        "a..b",
        ".corp",
        "https://localhost",
        "localhost ",
        "bücher.de",
        "::1/129",
        "/8",
        "localhost/8",
    ] {
        let error = AllowList::parse(&["localhost".to_owned(), entry.to_owned()]).unwrap_err();
        assert_eq!(error, AllowListError::NotUnderstood(entry.to_owned()));
        assert!(error.to_string().contains(&format!("{entry:?}")));
    }
    assert!(AllowList::parse(&["my_app".to_owned()]).unwrap().permits_host("MY_APP."));
    let label = |length: usize| "a".repeat(length);
    assert!(AllowList::parse(&[label(63)]).is_ok());
    assert!(AllowList::parse(&[label(64)]).is_err());
    assert!(AllowList::parse(&[[label(63), label(63), label(63), label(61)].join(".")]).is_ok());
    assert!(AllowList::parse(&[[label(63), label(63), label(63), label(62)].join(".")]).is_err());
}

proptest! {
    #[test]
    fn no_ipv4_address_is_public_in_a_mapped_or_embedded_spelling(bits: u32) {
        let v4 = Ipv4Addr::from(bits);
        let [high, low] = [(bits >> 16) as u16, (bits & 0xffff) as u16];
        let everything = allow(&["0.0.0.0/0", "::/0"]);
        prop_assert!(judge(v4.to_ipv6_compatible().into()).is_err());
        prop_assert!(judge_with(v4.to_ipv6_mapped().into(), &everything).is_err());
        prop_assert!(judge(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low).into()).is_err());
        prop_assert!(judge(Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1).into()).is_err());
    }

    #[test]
    fn only_global_unicast_is_public_in_ipv6(bits: u128) {
        if judge(Ipv6Addr::from(bits).into()).is_ok() {
            prop_assert_eq!(bits >> 125, 1);
        }
    }

    #[test]
    fn addresses_that_the_standard_library_calls_special_are_refused(bits: u32) {
        let v4 = Ipv4Addr::from(bits);
        let special = v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_multicast()
            || v4.is_documentation() || v4.is_broadcast() || v4.is_unspecified();
        prop_assert!(!special || judge(v4.into()).is_err());
    }

    #[test]
    fn reading_an_allow_list_never_panics(entry in ".*") {
        let _ = AllowList::parse(&[entry]);
    }
}
