//! A worker with few files: it closes idle connections to make room, deliveries wait, and no endpoint is blamed.

use std::{net::Ipv4Addr, time::Instant};

use redis::AsyncCommands;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;
use uuid::Uuid;

use super::*;
use crate::health::Probed;

fn host(number: usize) -> String {
    format!("h{number}.hooks.test")
}

/// An installation with webhooks at up to this many hosts, all of which resolve to this machine.
async fn many_hosts(count: usize) -> (Receiver, DnsServer, Installation) {
    let (receiver, dns) = (Receiver::start().await, DnsServer::start().await);
    let hosts: Vec<String> = (0..count).map(host).collect();
    for host in &hosts {
        dns.set(host, [Ipv4Addr::LOCALHOST.into()]);
    }
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let here = Installation::new(&receiver).await.allowing_hosts(&hosts);
    (receiver, dns, here)
}

/// Writes a webhook for each host into Redis, in the library's own form, and pushes some rounds of events for all.
async fn crowd(here: &Installation, receiver: &Receiver, count: usize, rounds: usize) -> Vec<String> {
    const PAGE: usize = 1000;
    let first = here.add("account-0", &receiver.url_for(&host(0), "/hook")).await.to_string();
    let mut redis = here.redis.clone();
    let settings: String = redis.hget(here.key("webhooks:account-0"), &first).await.unwrap();
    let _: () = redis.del(here.key("webhooks:account-0")).await.unwrap();
    let ids: Vec<String> = (0..count).map(|_| format!("wh_{}", Uuid::now_v7())).collect();
    let accounts: Vec<String> = (0..count).map(|number| format!("account-{number}")).collect();
    for (number, (account, id)) in accounts.iter().zip(&ids).enumerate() {
        let settings = settings.replace(&first, id).replace(&host(0), &host(number));
        let _: () = redis.hset(here.key(&format!("webhooks:{account}")), id, settings).await.unwrap();
    }
    let accounts: Vec<&String> = (0..rounds).flat_map(|_| &accounts).collect();
    for page in accounts.chunks(PAGE) {
        let mut put = redis::pipe();
        for account in page {
            put.xadd(here.key("queue"), "*", &[("account", account.as_str()), ("envelope", TRANSCRIPT)]).ignore();
        }
        let _: () = put.query_async(&mut redis).await.unwrap();
    }
    ids
}

/// The logs of the webhooks that did not get exactly one successful attempt for each event.
async fn others(here: &Installation, webhooks: &[String], rounds: usize) -> Vec<Vec<Value>> {
    let mut read = redis::pipe();
    for webhook in webhooks {
        read.lrange(here.key(&format!("logs:{webhook}")), 0, -1);
    }
    let logs: Vec<Vec<String>> = read.query_async(&mut here.redis.clone()).await.unwrap();
    let parsed = |log: &Vec<String>| log.iter().map(|entry| serde_json::from_str(entry).unwrap()).collect();
    let logs = logs.iter().map(parsed);
    let is_good = |entry: &Value| entry["status"] == "success" && entry["attempt"] == 1;
    logs.filter(|log: &Vec<Value>| log.len() != rounds || !log.iter().all(is_good)).collect()
}

/// The receiver runs in this process, and its connections need files as well.
fn raise_file_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .expect("a process may raise its own limit so far");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_1024_files_delivers_to_3000_hosts_and_no_event_fails() {
    const HOSTS: usize = 3000;
    const ROUNDS: usize = 2;
    const EVENTS: usize = HOSTS * ROUNDS;
    const LEAST_PER_SECOND: u128 = 100;
    raise_file_limit();
    let (receiver, dns, here) = many_hosts(HOSTS).await;
    receiver.plan("/hook", [Answer::Status(200)]);
    let webhooks = crowd(&here, &receiver, HOSTS, ROUNDS).await;
    let worker = here.program.clone().resolving_with(&dns).worker_with_files(1024);
    worker.wait_for_line("worker started").await;
    let started = Instant::now();
    here.drained().await;
    let took = started.elapsed();
    let others = others(&here, &webhooks, ROUNDS).await;
    println!("{EVENTS} events in {took:?}; {} webhooks missed one at first", others.len());
    assert!(others.is_empty(), "{} of {HOSTS} webhooks, such as {:#?}", others.len(), others[0]);
    let per_second = u128::try_from(EVENTS).unwrap() * 1000 / took.as_millis().max(1);
    assert!(per_second >= LEAST_PER_SECOND, "{EVENTS} events in {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shortage_of_files_spends_no_attempt_in_a_lookup_either_and_readyz_says_so_while_it_lasts() {
    const HOSTS: usize = 60;
    let (receiver, dns, here) = many_hosts(HOSTS).await;
    receiver.plan("/hook", [Answer::Delay(Duration::from_millis(200), Box::new(Answer::Status(200)))]);
    let probed = Probed::start(&here.program.clone().resolving_with(&dns), None).await;
    eventually(SOON, "a worker that is ready", async || (probed.get("/readyz").await.0 == 200).then_some(())).await;
    probed.worker.limit_files(Some(probed.worker.open_files() + 8));
    let webhooks = crowd(&here, &receiver, HOSTS, 1).await;
    let until_named = async {
        loop {
            // A probe needs a file as well, and may have to wait for one.
            let asked = tokio::time::timeout(Duration::from_secs(1), probed.get("/readyz")).await;
            if asked.is_ok_and(|(status, body)| status == 503 && body.contains("file")) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let is_named = tokio::select! {
        () = until_named => true,
        () = here.drained() => false,
    };
    here.drained().await;
    let others = others(&here, &webhooks, 1).await;
    assert!(others.is_empty(), "{} of {HOSTS} webhooks, such as {:#?}", others.len(), others[0]);
    assert!(probed.worker.stderr().contains("file"), "the limit was reached");
    assert!(is_named, "/readyz did not report the shortage of files");
    probed.worker.limit_files(None);
    eventually(SOON, "a worker that is ready again", async || (probed.get("/readyz").await.0 == 200).then_some(()))
        .await;
}
