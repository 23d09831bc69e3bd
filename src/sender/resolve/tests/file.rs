//! Name servers as the system's file names them.

use std::path::Path;

use super::*;

/// A resolver that asks the name servers in this file.
fn reading(file: &Path) -> Resolver {
    Resolver::new(&config::Dns { servers: Vec::new(), resolv_conf: file.to_owned() }, anybody(), ATTEMPT).unwrap()
}

#[tokio::test]
async fn without_a_name_server_nothing_can_be_looked_up_but_localhost_is_known() {
    let resolver = reading(Path::new("/dev/null"));
    assert_eq!(resolver.addresses(HOST).await, Err(LookupError::NoServer("no name server is configured")));
    assert_eq!(resolver.addresses("localhost").await.unwrap(), [Ipv4Addr::LOCALHOST]);
}

#[tokio::test]
async fn a_changed_file_is_read_again_and_one_that_names_no_server_changes_nothing() {
    let first = NameServer::knowing(ResponseCode::NoError, &["192.0.2.1"]).await;
    let second = NameServer::knowing(ResponseCode::NoError, &["192.0.2.2"]).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let write = |text: String| std::fs::write(file.path(), text).unwrap();
    let line = |server: &NameServer| format!("nameserver [127.0.0.1]:{}\n", server.address.port());
    write("search -x.local\n".to_owned());
    let resolver = reading(file.path());
    resolver.addresses(HOST).await.unwrap_err();
    let until_found = async |address: &str| {
        let began = Instant::now();
        while resolver.addresses(HOST).await.ok() != Some(list(&[address])) {
            assert!(began.elapsed() < Duration::from_secs(15), "{address} is never found");
            sleep(Duration::from_millis(50)).await;
        }
    };
    write(format!("search -x.local\noptions :\n{}", line(&first)));
    until_found("192.0.2.1").await;
    // A file that names no usable server changes nothing.
    write("nameserver nowhere\n".to_owned());
    sleep(Duration::from_secs(6)).await;
    until_found("192.0.2.1").await;
    write(format!("{}\n{}", line(&second), "\u{feff}\r\nrubbish"));
    until_found("192.0.2.2").await;
}

/// This needs an interface with a link-local address. The loopback interface has one only on some machines.
#[tokio::test]
async fn a_link_local_name_server_is_asked_through_its_interface() {
    let Some((address, zone)) = link_local() else {
        println!("skipped: no interface here has a link-local address");
        return;
    };
    let text = format!("[{address}%{zone}]:0");
    let bound = std::net::SocketAddrV6::new(address, 0, 0, zone);
    let server = NameServer::at(bound.into(), |_, _| Some((ResponseCode::NoError, list(&["192.0.2.1"])))).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let line = text.replace(":0", &format!(":{}", server.address.port()));
    std::fs::write(file.path(), format!("nameserver {line}\n")).unwrap();
    assert_eq!(reading(file.path()).addresses(HOST).await.unwrap(), list(&["192.0.2.1"]));
}

/// A link-local address of this machine, and the index of its interface.
fn link_local() -> Option<(std::net::Ipv6Addr, u32)> {
    let table = std::fs::read_to_string("/proc/net/if_inet6").ok()?;
    table.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let address = std::net::Ipv6Addr::from_bits(u128::from_str_radix(words.next()?, 16).ok()?);
        let zone = u32::from_str_radix(words.next()?, 16).ok()?;
        address.is_unicast_link_local().then_some((address, zone))
    })
}
