//! A thousand hostile endpoints answer at once, and the worker stays small.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use super::hostile::*;
use crate::support::*;

const ATTEMPTS: usize = 1000;
/// The most that the worker may grow over a thousand hostile answers, in KiB: 100 KiB per attempt. An open TLS
/// connection alone takes 50.
const GROWTH_LIMIT_KIB: u64 = 100 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_hostile_answers_at_once_do_not_make_the_worker_large() {
    let head = |rest: &str| send(format!("HTTP/1.1 200 OK\r\n{rest}"));
    let endless = "content-length: 1000000000\r\n\r\n";
    let small_headers = send("a: b\r\n".repeat(90));
    let endpoints = [
        Hostile::start(vec![head(endless), flood("x")]).await,
        Hostile::start(vec![head("connection: close\r\n\r\n"), flood("x")]).await,
        Hostile::start(vec![head("content-encoding: gzip\r\nconnection: close\r\n\r\n"), flood("\0")]).await,
        // A long header, and then the client waits for its end.
        Hostile::start(vec![head("long: "), send("x".repeat(400 * 1024))]).await,
        Hostile::start(vec![head("long: "), flood("x")]).await,
        Hostile::start(vec![head(""), small_headers, drip("x")]).await,
        Hostile::start(vec![head(endless), drip("x")]).await,
        Hostile::start(vec![flood("HTTP/1.1 103 Early Hints\r\n\r\n")]).await,
        Hostile::start(vec![head("transfer-encoding: chunked\r\n\r\n"), flood("1\r\nx\r\n")]).await,
        Hostile::start(vec![head("transfer-encoding: chunked\r\n\r\n0\r\n"), flood("a: b\r\n")]).await,
    ];
    let dns = DnsServer::start().await;
    let authority = Receiver::start().await;
    let mut here = Installation::new(&authority).await;
    // Each request has a host of its own, so that no limit per host applies.
    for number in 0..ATTEMPTS {
        let host = host(number);
        here = here.allowing(&format!("https://{host}/"));
        dns.set(&host, [Ipv4Addr::LOCALHOST.into()]);
    }
    let mut webhooks = Vec::new();
    for number in 0..ATTEMPTS {
        let url = endpoints[number % endpoints.len()].url_for(&host(number));
        webhooks.push(here.add(&format!("account-{number}"), &url).await);
    }
    let worker = here.program.clone().resolving_with(&dns).worker([
        ("LYNKHOOK_WORKER__CONCURRENCY", "1000"),
        ("LYNKHOOK_DELIVERY__TIMEOUT", "5s"),
        ("LYNKHOOK_DELIVERY__RETRY_DELAYS", ""),
    ]);
    worker.wait_for_line("worker started").await;
    let before = worker.memory_kib("VmRSS");
    let started = Instant::now();
    for number in 0..ATTEMPTS {
        here.push(&format!("account-{number}"), TRANSCRIPT).await;
    }
    here.drained().await;
    let took = started.elapsed();
    let peak = worker.memory_kib("VmHWM");
    println!("{ATTEMPTS} hostile answers: {before} KiB before, {peak} KiB at the peak, {took:?}");
    for webhook in webhooks {
        let log = here.log(webhook).await;
        assert_eq!((log.len(), &log[0]["final"]), (1, &true.into()), "{log:#?}");
    }
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert!(peak - before < GROWTH_LIMIT_KIB, "{before} KiB before, {peak} KiB at the peak");
}

fn host(number: usize) -> String {
    format!("h{number}.hooks.test")
}
