//! The DNS server is asked by the same resolver as the program's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;

use crate::support::DnsServer;

fn v4(last: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, last).into()
}

fn resolver(dns: &DnsServer) -> TokioResolver {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = dns.address().port();
        connection
    });
    let server = NameServerConfig::new(dns.address().ip(), true, connections.to_vec());
    let mut options = ResolverOpts::default();
    options.attempts = 0;
    options.timeout = Duration::from_millis(500);
    options.edns0 = true;
    let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    *builder.options_mut() = options;
    builder.build().unwrap()
}

/// The addresses of a name, sorted; or the error as text.
async fn lookup(dns: &DnsServer, name: &str) -> Result<Vec<IpAddr>, String> {
    let found = resolver(dns).lookup_ip(format!("{name}.")).await.map_err(|error| error.to_string())?;
    let mut addresses: Vec<IpAddr> = found.iter().collect();
    addresses.sort();
    Ok(addresses)
}

#[tokio::test]
async fn a_name_has_the_addresses_it_was_given_in_any_case() {
    let dns = DnsServer::start().await;
    let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
    dns.set("Hooks.Test", [v4(1), v4(2), v6]);
    // Either family may come first; that depends on the resolver.
    let found = lookup(&dns, "hooks.TEST").await.unwrap();
    assert!(!found.is_empty() && found.iter().all(|address| [v4(1), v4(2), v6].contains(address)), "{found:?}");
    assert!(dns.queries("hooks.test.") > 0);
}

#[tokio::test]
async fn a_sequence_moves_on_with_each_query_and_its_last_list_stays() {
    let dns = DnsServer::start().await;
    dns.sequence("hooks.test", [vec![v4(1)], vec![v4(2), v4(3)], vec![v4(4)]]);
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(lookup(&dns, "hooks.test").await.unwrap());
    }
    assert_eq!(answers, [vec![v4(1)], vec![v4(2), v4(3)], vec![v4(4)], vec![v4(4)]]);
}

#[tokio::test]
async fn an_alias_has_the_addresses_of_its_target() {
    let dns = DnsServer::start().await;
    dns.cname("alias.test", "hooks.test");
    dns.set("hooks.test", [v4(1)]);
    assert_eq!(lookup(&dns, "alias.test").await.unwrap(), [v4(1)]);
}

#[tokio::test]
async fn an_answer_too_large_for_udp_comes_over_tcp() {
    let dns = DnsServer::start().await;
    let many: Vec<IpAddr> = (0..200).map(v4).collect();
    dns.set("hooks.test", many.clone());
    assert_eq!(lookup(&dns, "hooks.test").await.unwrap(), many);
}

#[tokio::test]
async fn each_failure_is_what_its_name_says() {
    let dns = DnsServer::start().await;
    dns.servfail("broken.test");
    dns.refuse("refused.test");
    dns.silent("silent.test");
    let missing = lookup(&dns, "missing.test").await.unwrap_err();
    let broken = lookup(&dns, "broken.test").await.unwrap_err();
    let refused = lookup(&dns, "refused.test").await.unwrap_err();
    let silent = lookup(&dns, "silent.test").await.unwrap_err();
    assert!(missing.contains("no records found"), "{missing}");
    assert!(!broken.contains("no records found") && !broken.contains("timed out"), "{broken}");
    assert!(!refused.contains("no records found") && !refused.contains("timed out") && refused != broken, "{refused}");
    assert!(silent.contains("timed out"), "{silent}");
    assert!(dns.queries("silent.test") > 0, "it is silent as it was told, and not because there were no queries");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_down_answers_nothing_until_it_is_up_again() {
    let dns = DnsServer::start().await;
    dns.set("hooks.test", [v4(1)]);
    dns.set_down(true);
    assert!(lookup(&dns, "hooks.test").await.unwrap_err().contains("timed out"));
    dns.set_down(false);
    assert_eq!(lookup(&dns, "hooks.test").await.unwrap(), [v4(1)]);
}
