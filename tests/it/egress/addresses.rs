//! Names with forbidden addresses: both the worker and the test button check the addresses when they connect.

use std::{net::IpAddr, time::Duration};

use serde_json::{Value, json};

use super::{PRIVATE, PRIVATE_V6, PUBLIC, Site};
use crate::support::*;

/// Shorter than 10 s, longer than the resolver's 4 s.
const TIMEOUT: (&str, &str) = ("LYNKHOOK_DELIVERY__TIMEOUT", "8s");

/// As many addresses as fit in one TCP answer if every name in it is written out.
const THOUSANDS: u16 = 2000;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Far more addresses than fit in a UDP answer: all public, with this one at the end.
fn thousands_and(last: IpAddr) -> Vec<IpAddr> {
    (0..THOUSANDS).map(|n| IpAddr::from([8, 8, n.to_be_bytes()[0], n.to_be_bytes()[1]])).chain([last]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_has_one_address_that_is_not_public_is_refused_and_nothing_is_dialled() {
    let nat64 = "64:ff9b::7f00:1";
    let table: [(&str, &[&str], &str); 13] = [
        ("loopback", &["127.0.0.1"], "127.0.0.1"),
        ("mixed", &["127.0.0.2", "127.0.0.1"], "127.0.0.1"),
        ("bad-first", &["127.0.0.1", "127.0.0.2"], "127.0.0.1"),
        ("other-family", &["127.0.0.2", "::1"], "::1"),
        ("aaaa-only", &["::1"], "::1"),
        ("mapped", &["::ffff:127.0.0.1"], "::ffff:127.0.0.1"),
        ("mapped-public", &["::ffff:127.0.0.2"], "::ffff:127.0.0.2"),
        ("compatible", &["::7f00:1"], "::7f00:1"),
        ("nat64", &[nat64], nat64),
        ("six-to-four", &["2002:7f00:1::"], "2002:7f00:1::"),
        ("zero", &["0.0.0.0"], "0.0.0.0"),
        ("zero-v6", &["::"], "::"),
        ("metadata", &["127.0.0.2", "169.254.169.254"], "169.254.169.254"),
    ];
    let aliases = ["chain", "bare-chain", "to-localhost", "to-mixed", "huge"];
    let hosts: Vec<String> =
        table.iter().map(|row| row.0).chain(aliases).map(|name| format!("{name}.hooks.test")).collect();
    let mut site = Site::new(&hosts.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut refused: Vec<(String, String)> = Vec::new();
    for (name, addresses, why) in table {
        let host = format!("{name}.hooks.test");
        site.dns.set(&host, addresses.iter().map(|address| ip(address)).collect::<Vec<_>>());
        refused.push((host, why.to_owned()));
    }
    for (name, next) in [("chain", "one.test"), ("one.test", "two.test"), ("two.test", "loopback.hooks.test")] {
        site.dns.cname(&name.replace("chain", "chain.hooks.test"), next);
        site.dns.bare_cname(
            &format!("bare-{name}").replace("bare-chain", "bare-chain.hooks.test"),
            &match next {
                "loopback.hooks.test" => next.to_owned(),
                next => format!("bare-{next}"),
            },
        );
    }
    site.dns.bare_cname("to-localhost.hooks.test", "localhost");
    site.dns.cname("to-mixed.hooks.test", "mixed.hooks.test");
    site.dns.set("huge.hooks.test", thousands_and(PRIVATE));
    refused.extend(aliases.map(|name| (format!("{name}.hooks.test"), "127.0.0.1".to_owned())));

    let _worker = site.program.worker([TIMEOUT]);
    let mut webhooks = Vec::new();
    for (number, (host, _)) in refused.iter().enumerate() {
        let account = format!("account-{number}");
        webhooks.push((account.clone(), site.here.add(&account, &site.receiver.url_for(host, "/")).await));
        site.here.push(&account, TRANSCRIPT).await;
    }
    for ((host, address), (account, webhook)) in refused.iter().zip(&webhooks) {
        let log = site.here.finished(*webhook).await;
        assert_eq!(log.len(), 1, "{host}: refused is final: {log:#?}");
        let pressed = site.pressed(account, *webhook).await;
        for entry in [&log[0], &pressed] {
            assert_eq!((&entry["httpStatus"], &entry["final"]), (&json!("Network Error"), &json!(true)), "{entry}");
            let error = entry["error"].as_str().unwrap();
            let expected = format!("refused to connect: {host} resolves to {address}; {address} is ");
            assert!(error.starts_with(&expected), "{host}: {error}");
        }
    }
    site.assert_tripwires_untouched().await;
    assert_eq!(site.receiver.connections(), 0, "not even the allowed one of several addresses is dialled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_changes_its_mind_after_the_check_is_dialled_where_it_was_judged() {
    const HOST: &str = "rebind.hooks.test";
    let mut site = Site::new(&[HOST]).await;
    // The first answer is good, and every later one is bad; each has a TTL of 0, so none is cached.
    site.dns.sequence(HOST, [vec![PUBLIC], vec![PRIVATE, PRIVATE_V6]]);
    // The connection ends after the first answer, so the second event needs another one.
    site.receiver.plan("/", [Answer::ResetInBody]);
    let webhook = site.here.add("acme", &site.receiver.url_for(HOST, "/")).await;
    let _worker = site.program.worker([TIMEOUT]);
    site.here.push("acme", TRANSCRIPT).await;
    let log = site.here.finished(webhook).await;
    assert_eq!(log[0]["httpStatus"], 200, "{log:#?}");
    assert_eq!(site.dns.queries(HOST), 2, "A and AAAA, once: the checked address is the dialled one");

    site.here.push("acme", TRANSCRIPT).await;
    let log = eventually(SOON, "the second event's log entry", async || {
        let log = site.here.log(webhook).await;
        (log.len() == 2).then_some(log)
    })
    .await;
    assert_refused(&log[0]);
    assert_eq!(site.dns.queries(HOST), 4, "an answer with a TTL of 0 is not kept");
    assert_refused(&site.pressed("acme", webhook).await);
    site.assert_tripwires_untouched().await;
    assert_eq!((site.receiver.connections(), site.receiver.requests("/").len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_test_button_dials_what_it_judged_although_the_name_changes_its_mind() {
    const HOST: &str = "button.hooks.test";
    let mut site = Site::new(&[HOST]).await;
    site.dns.sequence(HOST, [vec![PUBLIC], vec![PRIVATE]]);
    site.receiver.plan("/", [Answer::Status(204)]);
    let webhook = site.here.add("acme", &site.receiver.url_for(HOST, "/")).await;
    let entry = site.pressed("acme", webhook).await;
    assert_eq!((&entry["httpStatus"], site.dns.queries(HOST)), (&json!(204), 2), "{entry}");
    assert_refused(&site.pressed("acme", webhook).await);
    site.assert_tripwires_untouched().await;
}

fn assert_refused(entry: &Value) {
    let error = entry["error"].as_str().unwrap_or_default();
    assert!(error.starts_with("refused to connect: "), "{entry}");
    assert_eq!(entry["final"], true, "{entry}");
}

/// If one family of addresses cannot be looked up, the other family's answer is checked and used. An unchecked address
/// is never dialled.
#[tokio::test(flavor = "multi_thread")]
async fn a_family_that_is_not_answered_neither_helps_nor_hinders_the_other() {
    let addresses = |list: &[IpAddr]| Reply::Addresses(list.to_vec());
    let cases = [
        ("v6-fails", addresses(&[PUBLIC]), Reply::ServerFailure, "200"),
        ("v6-silent", addresses(&[PUBLIC]), Reply::Silence, "200"),
        ("v6-fails-v4-bad", addresses(&[PRIVATE]), Reply::ServerFailure, "refused to connect: "),
        ("v6-silent-v4-bad", addresses(&[PUBLIC, PRIVATE]), Reply::Silence, "refused to connect: "),
        ("v4-silent-v6-bad", Reply::Silence, addresses(&[PRIVATE_V6]), "refused to connect: "),
        ("v4-fails-v6-bad", Reply::ServerFailure, addresses(&[PRIVATE_V6]), "refused to connect: "),
        ("v4-fails-v6-none", Reply::ServerFailure, addresses(&[]), "DNS: looking up "),
        ("both-fail", Reply::ServerFailure, Reply::ServerFailure, "DNS: looking up "),
        ("both-silent", Reply::Silence, Reply::Silence, "DNS: looking up "),
    ];
    let hosts = cases.each_ref().map(|(name, ..)| format!("{name}.hooks.test"));
    let mut site = Site::new(&hosts.each_ref().map(String::as_str)).await;
    site.receiver.plan("/", [Answer::Status(200)]);
    let _worker = site.program.worker([TIMEOUT]);
    let mut webhooks = Vec::new();
    for (host, (name, v4, v6, _)) in hosts.iter().zip(&cases) {
        site.dns.by_family(host, v4.clone(), v6.clone());
        webhooks.push(site.here.add(name, &site.receiver.url_for(host, "/")).await);
        site.here.push(name, TRANSCRIPT).await;
    }
    for ((name, .., expected), webhook) in cases.iter().zip(webhooks) {
        let first =
            eventually(SOON, "the first attempt's log entry", async || site.here.log(webhook).await.pop()).await;
        let met = first["error"].as_str().map_or(first["httpStatus"].to_string(), str::to_owned);
        assert!(met.starts_with(expected), "{name}: {first}");
        assert!(first["durationMs"].as_u64().unwrap() < 6000, "{name}: well within an attempt's 10 s: {first}");
    }
    site.assert_tripwires_untouched().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_answer_and_a_long_chain_of_aliases_are_delivered_to_and_one_cut_off_is_not() {
    let mut site = Site::new(&["many.hooks.test", "aliased.hooks.test"]).await;
    site.dns.set("many.hooks.test", vec![PUBLIC; THOUSANDS.into()]);
    for (name, next) in [("aliased.hooks.test", "a.test"), ("a.test", "b.test"), ("b.test", "many.hooks.test")] {
        site.dns.bare_cname(name, next);
    }
    site.receiver.plan("/", [Answer::Status(200)]);
    for (account, host) in [("many", "many.hooks.test"), ("aliased", "aliased.hooks.test")] {
        let webhook = site.here.add(account, &site.receiver.url_for(host, "/")).await;
        let entry = site.pressed(account, webhook).await;
        assert_eq!(entry["httpStatus"], 200, "{host}: {entry}");
    }
    site.dns.set("many.hooks.test", vec![PUBLIC; 2 * usize::from(THOUSANDS)]);
    let webhook = site.here.add("too-many", &site.receiver.url_for("many.hooks.test", "/")).await;
    let too_large = "DNS: looking up many.hooks.test failed (the answer is too large)";
    assert_eq!(site.pressed("too-many", webhook).await["error"], too_large, "a truncated answer cannot be checked");
    site.assert_tripwires_untouched().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aliases_without_end_are_a_failed_lookup_and_not_a_hang() {
    let mut site = Site::new(&["circle.hooks.test"]).await;
    site.dns.bare_cname("circle.hooks.test", "back.test");
    site.dns.bare_cname("back.test", "circle.hooks.test");
    let webhook = site.here.add("acme", &site.receiver.url_for("circle.hooks.test", "/")).await;
    let entry = site.pressed("acme", webhook).await;
    assert!(entry["error"].as_str().unwrap().starts_with("DNS: "), "{entry}");
    let took = Duration::from_millis(entry["durationMs"].as_u64().unwrap());
    assert!(took < Duration::from_secs(6), "{entry}");
    assert!(site.dns.queries("circle.hooks.test") < 50, "{} queries", site.dns.queries("circle.hooks.test"));
    site.assert_tripwires_untouched().await;
}
