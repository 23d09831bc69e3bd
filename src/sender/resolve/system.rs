//! The system's name servers: the `nameserver` lines of `/etc/resolv.conf`, and nothing else in that file.
//!
//! Every other line is skipped, so that no line of the file can spoil a delivery. Search domains are never used. The
//! format is that of resolv.conf(5), with one address after the word. As on BSD, an address in brackets may have a
//! port.

use std::{
    fs::File,
    io::{self, Read},
    net::{IpAddr, SocketAddr, SocketAddrV6},
    path::Path,
};

/// The port on which name servers listen.
const PORT: u16 = 53;
/// The most bytes of the file that are read.
const FILE_MAX_BYTES: u64 = 64 * 1024;
/// The most name servers that are asked; other systems ask at most three.
const SERVERS_MAX: usize = 8;

/// The name servers that a file names.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) servers: Vec<SocketAddr>,
    /// Addresses that cannot be used.
    pub(super) unusable: Vec<String>,
}

/// The name servers that this file names now.
pub(super) fn read(path: &Path) -> io::Result<Named> {
    let mut text = Vec::new();
    File::open(path)?.take(FILE_MAX_BYTES).read_to_end(&mut text)?;
    Ok(parse(&text, interface))
}

fn parse(file: &[u8], interface: impl Fn(&str) -> Option<u32>) -> Named {
    let mut named = Named::default();
    let file = String::from_utf8_lossy(file);
    for line in file.trim_start_matches('\u{feff}').split(['\n', '\r']) {
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some("nameserver") {
            continue;
        }
        let address = words.next().unwrap_or_default().split(['#', ';']).next().unwrap_or_default();
        match server(address, &interface) {
            Some(server) if named.servers.contains(&server) || named.servers.len() == SERVERS_MAX => {}
            Some(server) => named.servers.push(server),
            None => named.unusable.push(address.to_owned()),
        }
    }
    named
}

/// `10.0.0.53`, `fd00::53`, `fe80::1%eth0`, or one of these in brackets and with a port.
fn server(text: &str, interface: impl Fn(&str) -> Option<u32>) -> Option<SocketAddr> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            let port = if port.is_empty() { PORT } else { port.strip_prefix(':')?.parse().ok()? };
            (host, port)
        }
        None => (text, PORT),
    };
    let (ip, zone) = host.split_once('%').map_or((host, None), |(ip, zone)| (ip, Some(zone)));
    match (ip.parse().ok()?, zone) {
        (IpAddr::V6(ip), Some(zone)) if ip.is_unicast_link_local() => {
            let zone = zone.parse().ok().or_else(|| interface(zone)).filter(|zone| *zone > 0)?;
            Some(SocketAddrV6::new(ip, port, 0, zone).into())
        }
        // A link-local address needs a zone, which is missing.
        (IpAddr::V6(ip), None) if ip.is_unicast_link_local() => None,
        // Other addresses need no zone.
        (IpAddr::V6(ip), _) => Some(SocketAddr::new(ip.into(), port)),
        (ip, None) => Some(SocketAddr::new(ip, port)),
        (IpAddr::V4(_), Some(_)) => None,
    }
}

/// The index of a network interface that exists now.
#[cfg(target_os = "linux")]
fn interface(name: &str) -> Option<u32> {
    // Any socket will do.
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").ok()?;
    rustix::net::netdevice::name_to_index(socket, name).ok()
}

/// The zone as a number, which is its only form on other systems.
#[cfg(not(target_os = "linux"))]
fn interface(_name: &str) -> Option<u32> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(file: impl AsRef<[u8]>) -> Vec<String> {
        let interfaces = |name: &str| (name == "eth0").then_some(7);
        parse(file.as_ref(), interfaces).servers.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_name_servers_are_read_whatever_else_the_file_says() {
        let table: [(&[u8], &str); 13] = [
            (b"search -x.local\nnameserver 10.0.0.1\n", "the library refuses this search domain"),
            (b"domain ..\nnameserver 10.0.0.1", "no newline at the end"),
            (b"options ndots:x timeout:-1 \nsortlist a/b/c\nnameserver 10.0.0.1\n", "options that are none"),
            (b"rubbish\n\n=\nnameserver 10.0.0.1\nmore rubbish\n", "lines that mean nothing"),
            (b"search a\r\nnameserver 10.0.0.1\r\n", "lines that end as on Windows"),
            (b"search a\rnameserver 10.0.0.1\r", "lines that end as on old Macs"),
            (b"#nameserver 10.0.0.2\n; nameserver 10.0.0.3\nnameserver 10.0.0.1 # the router\n", "comments"),
            (b"nameserver 10.0.0.1;x\nnameserver 10.0.0.1#x\n", "comments without a space before them"),
            (b"search \xff\xfe\nnameserver 10.0.0.1\n\x00\xc3\n", "bytes that are not UTF-8"),
            (b"\xef\xbb\xbfnameserver 10.0.0.1\n", "a byte order mark"),
            (b"\tnameserver\t\t10.0.0.1\t\n", "tabs"),
            (b"nameserver 10.0.0.1 10.0.0.2 rubbish\n", "words after the address"),
            (b"nameservers 10.0.0.2\nnameserver10.0.0.3\nNAMESERVER 10.0.0.4\nnameserver 10.0.0.1\n", "other words"),
        ];
        for (file, what) in table {
            assert_eq!(servers(file), ["10.0.0.1:53"], "{what}");
        }
    }

    #[test]
    fn an_address_may_have_a_zone_or_a_port() {
        let table = [
            ("::1", Some("[::1]:53")),
            ("fd00::53", Some("[fd00::53]:53")),
            ("[fd00::53]:5353", Some("[fd00::53]:5353")),
            ("[10.0.0.53]:5353", Some("10.0.0.53:5353")),
            ("[10.0.0.53]", Some("10.0.0.53:53")),
            ("fe80::1%eth0", Some("[fe80::1%7]:53")),
            ("fe80::1%3", Some("[fe80::1%3]:53")),
            ("[fe80::1%eth0]:5353", Some("[fe80::1%7]:5353")),
            ("::1%lo", Some("[::1]:53")),
            ("fe80::1", None),
            ("fe80::1%", None),
            ("fe80::1%0", None),
            ("fe80::1%gone0", None),
            ("10.0.0.53%eth0", None),
            ("10.0.0.53:5353", None),
            ("[10.0.0.53", None),
            ("[10.0.0.53]5353", None),
            ("[10.0.0.53]:x", None),
            ("10.0.0", None),
            ("resolver.example", None),
            ("", None),
        ];
        for (text, expected) in table {
            let read = parse(format!("nameserver {text}\n").as_bytes(), |name| (name == "eth0").then_some(7));
            let server = read.servers.first().map(ToString::to_string);
            assert_eq!(server.as_deref(), expected, "{text}");
            let unusable: &[&str] = if expected.is_some() { &[] } else { &[text] };
            assert_eq!(read.unusable, unusable, "{text}: what cannot be used is told");
        }
    }

    #[test]
    fn a_server_counts_once_and_eight_at_most() {
        let lines: Vec<String> = (0..20).map(|nth| format!("nameserver 10.0.0.{}", nth / 2)).collect();
        let file = lines.join("\n");
        assert_eq!(servers(&file).len(), 8);
        assert_eq!(servers(&file)[..2], ["10.0.0.0:53", "10.0.0.1:53"]);
    }

    #[test]
    fn a_file_without_name_servers_names_none_and_a_missing_one_is_an_error() {
        assert_eq!(servers("search example.org\noptions edns0\n"), [""; 0]);
        assert_eq!(servers(""), [""; 0]);
        assert!(read(Path::new("/does/not/exist")).is_err());
    }
}
