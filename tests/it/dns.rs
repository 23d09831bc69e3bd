//! Names that cannot be looked up. If one name gets no answer, the attempts at its endpoint fail. If no name server
//! answers, deliveries wait and no endpoint is blamed. Real name servers on 127.0.0.1, and a real worker.

use std::{net::Ipv4Addr, path::Path, time::Duration};

use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{health::Probed, support::*};

const NETWORK_ERROR: &str = "Network Error";

/// A receiver, a name server that resolves these hosts to it, and an installation that allows webhooks there.
async fn scene(hosts: &[String]) -> (Receiver, DnsServer, Installation) {
    let (receiver, dns) = (Receiver::start().await, DnsServer::start().await);
    for host in hosts {
        dns.set(host, [Ipv4Addr::LOCALHOST.into()]);
    }
    receiver.plan("/hook", [Answer::Status(200)]);
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let here = Installation::new(&receiver).await.allowing_hosts(&hosts);
    (receiver, dns, here)
}

fn hosts(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("h{number}.hooks.test")).collect()
}

/// The account whose webhook is at this host: `h0` for `h0.hooks.test`.
fn account(host: &str) -> &str {
    host.split('.').next().unwrap()
}

/// A program that logs its attempts.
fn telling(program: &Program) -> Program {
    TELLING.iter().fold(program.clone(), |program, (name, value)| program.env(name, value))
}

/// The attempts for an account's events, once each event has had its last.
async fn finished(times: &Timetable, worker: &Process, account: &str) -> Record {
    eventually(SOON * 2, &format!("the last attempt of each event of {account}"), async || {
        let record = times.of(account, &[worker.stderr()]);
        let is_done = record.events.values().all(|(_, attempts)| attempts.last().is_some_and(|last| last.last));
        if !is_done {
            sleep(Duration::from_millis(100)).await;
        }
        is_done.then_some(record)
    })
    .await
}

/// The lateness of the first attempts that began, in ms, the largest first.
fn lateness(record: &Record) -> Vec<i64> {
    let firsts = record.attempts().filter(|attempt| attempt.number == 1);
    let mut late: Vec<i64> = firsts.filter_map(Timed::late_ms).collect();
    late.sort_unstable_by_key(|ms| -ms);
    late
}

fn is_delivered_at_once(record: &Record) -> bool {
    record.events.values().all(|(_, attempts)| attempts.len() == 1 && attempts[0].is_good() && attempts[0].number == 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn while_no_name_server_answers_deliveries_wait_unattempted_and_those_to_known_hosts_go_out() {
    const HOSTS: usize = 10;
    const DOWN: Duration = Duration::from_secs(20);
    let hosts = hosts(HOSTS);
    let (receiver, dns, here) = scene(&hosts).await;
    for host in &hosts {
        here.add(account(host), &receiver.url_for(host, "/hook")).await;
    }
    here.add("known", &receiver.url("/hook")).await;
    let program = telling(&here.program).resolving_with(&dns);
    let probed = Probed::start(&program, None).await;
    let times = Timetable::watch(&here);
    dns.set_down(true);
    let began = Instant::now();
    let mut round = 0;
    while began.elapsed() < DOWN {
        times.push(&here, account(&hosts[round % HOSTS])).await;
        times.push(&here, "known").await;
        round += 1;
        sleep(Duration::from_millis(200)).await;
        if round == 50 {
            let (status, body) = probed.get("/readyz").await;
            assert!(status == 503 && body.contains("no name server answers"), "{status} {body}");
            let findings = here.program.run(["doctor", "--json"]).await.stdout;
            assert!(findings.contains("no name server answers") && findings.contains("dns.servers"), "{findings}");
            let id = here.add("tested", &receiver.url_for(&hosts[0], "/hook")).await.to_string();
            let tested = program.run(["webhook", "test", "--account", "tested", &id]).await;
            let said = "no request was made: no name server answers; try again later";
            assert!(tested.code == Some(1) && tested.stderr.contains(said), "{tested:?}");
        }
    }
    for host in &hosts {
        let record = times.of(account(host), &[probed.worker.stderr()]);
        assert_eq!(record.attempts().count(), 0, "{host}: no attempt is made");
    }
    let told = probed.worker.stderr().matches("this machine cannot make requests").count();
    assert!((1..=20).contains(&told), "told {told} times in {DOWN:?}");
    dns.set_down(false);
    let back = Instant::now();
    for host in &hosts {
        let record = finished(&times, &probed.worker, account(host)).await;
        assert!(is_delivered_at_once(&record), "{host}: {:?}", record.events);
    }
    println!("{round} deliveries arrived {:?} after the name server came back", back.elapsed());
    assert!(back.elapsed() < Duration::from_secs(15), "{:?}", back.elapsed());
    let known = finished(&times, &probed.worker, "known").await;
    let late = lateness(&known);
    println!("known host: {} deliveries, at most {} ms late", late.len(), late[0]);
    assert!(is_delivered_at_once(&known) && late[late.len() / 100] < 1000, "{late:?}");
    here.drained().await;
}

/// A forwarder whose own server is down answers with an error, and it answered well a moment before.
#[tokio::test(flavor = "multi_thread")]
async fn while_a_name_server_fails_for_every_name_deliveries_wait_unattempted_and_then_go_out() {
    const DOWN: Duration = Duration::from_secs(15);
    let hosts = hosts(5);
    let (receiver, dns, here) = scene(&hosts).await;
    for host in &hosts {
        here.add(account(host), &receiver.url_for(host, "/hook")).await;
    }
    let probed = Probed::start(&telling(&here.program).resolving_with(&dns), None).await;
    let times = Timetable::watch(&here);
    let (first, hosts) = hosts.split_first().unwrap();
    times.push(&here, account(first)).await;
    assert!(is_delivered_at_once(&finished(&times, &probed.worker, account(first)).await));
    dns.set_failing(true);
    let began = Instant::now();
    while began.elapsed() < DOWN {
        for host in hosts {
            times.push(&here, account(host)).await;
        }
        sleep(Duration::from_millis(500)).await;
    }
    let (status, body) = probed.get("/readyz").await;
    assert!(status == 503 && body.contains("no name server answers"), "{status} {body}");
    let attempts = |host: &String| times.of(account(host), &[probed.worker.stderr()]).attempts().count();
    assert_eq!(hosts.iter().map(attempts).collect::<Vec<_>>(), [0; 4], "no attempt is made");
    dns.set_failing(false);
    let back = Instant::now();
    for host in hosts {
        let record = finished(&times, &probed.worker, account(host)).await;
        assert!(is_delivered_at_once(&record), "{host}: {:?}", record.events);
    }
    println!("all arrived {:?} after the name server came back", back.elapsed());
    assert!(back.elapsed() < Duration::from_secs(15), "{:?}", back.elapsed());
    here.drained().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_deliveries_than_the_worker_has_slots_wait_for_a_name_and_others_still_go_out() {
    const WAITING: usize = 100;
    let hosts = hosts(1);
    let (receiver, dns, here) = scene(&hosts).await;
    here.add("waiting", &receiver.url_for(&hosts[0], "/hook")).await;
    here.add("known", &receiver.url("/hook")).await;
    dns.set_down(true);
    let program = telling(&here.program).resolving_with(&dns);
    let worker = program.worker([("LYNKHOOK_WORKER__CONCURRENCY", "8")]);
    let times = Timetable::watch(&here);
    for _ in 0..WAITING {
        times.push(&here, "waiting").await;
    }
    worker.wait_for_line("no name server answers").await;
    eventually(SOON, "all of them put off once", async || {
        let waiting: usize =
            redis::cmd("ZCARD").arg(here.key("retries")).query_async(&mut here.redis.clone()).await.unwrap();
        (waiting > WAITING / 2).then_some(())
    })
    .await;
    for _ in 0..50 {
        times.push(&here, "known").await;
        sleep(Duration::from_millis(100)).await;
    }
    let late = lateness(&finished(&times, &worker, "known").await);
    println!("at most {} ms late", late[0]);
    assert!(late[0] < 1500 && late[late.len() / 10] < 500, "{late:?}");
    dns.set_down(false);
    assert!(is_delivered_at_once(&finished(&times, &worker, "waiting").await));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_zone_costs_its_own_attempts_and_delays_no_others() {
    const GOOD: usize = 100;
    let mut hosts = hosts(GOOD);
    hosts.push("silent.hooks.test".to_owned());
    let (receiver, dns, here) = scene(&hosts).await;
    dns.silent("silent.hooks.test");
    for host in &hosts {
        here.add(account(host), &receiver.url_for(host, "/hook")).await;
    }
    let worker = telling(&here.program).resolving_with(&dns).worker([]);
    worker.wait_for_line("worker started").await;
    let times = Timetable::watch(&here);
    for round in 0..200 {
        for number in 0..4 {
            times.push(&here, account(&hosts[(round * 4 + number) % GOOD])).await;
        }
        if round % 20 == 0 {
            times.push(&here, "silent").await;
        }
        sleep(Duration::from_millis(100)).await;
    }
    let silent = finished(&times, &worker, "silent").await;
    assert_eq!(silent.events.len(), 10);
    for (event, (_, attempts)) in &silent.events {
        let numbers: Vec<u8> = attempts.iter().map(|attempt| attempt.number).collect();
        assert_eq!(numbers, [1, 2, 3], "{event}: {attempts:?}");
        for attempt in attempts {
            let text = "DNS: looking up silent.hooks.test failed (no answer from the name servers)";
            assert_eq!((attempt.status.as_str(), attempt.error.as_deref()), (NETWORK_ERROR, Some(text)), "{event}");
            assert!(attempt.ended_ms - attempt.started_ms < 8000, "{attempt:?}");
        }
    }
    let mut late = Vec::new();
    for host in &hosts[..GOOD] {
        let record = finished(&times, &worker, account(host)).await;
        assert!(is_delivered_at_once(&record), "{host}: {:?}", record.events);
        late.extend(lateness(&record));
    }
    late.sort_unstable_by_key(|ms| -ms);
    println!("{} first attempts: p99 {} ms late", late.len(), late[late.len() / 100]);
    assert!(late.len() == 800 && late[late.len() / 100] < 1000, "{late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_or_refusal_for_one_name_is_logged_as_three_attempts_of_that_endpoint() {
    let hosts = ["fails.hooks.test".to_owned(), "refused.hooks.test".to_owned()];
    let (receiver, dns, here) = scene(&hosts).await;
    dns.servfail(&hosts[0]);
    dns.refuse(&hosts[1]);
    let _worker = here.program.clone().resolving_with(&dns).worker([]);
    for (host, why) in hosts.iter().zip(["the name server failed", "the name server refused to answer"]) {
        let webhook = here.add(host, &receiver.url_for(host, "/hook")).await;
        here.push(host, TRANSCRIPT).await;
        let log = here.finished(webhook).await;
        let error = format!("DNS: looking up {host} failed ({why})");
        let met: Vec<_> = log.iter().map(|entry| (&entry["attempt"], &entry["httpStatus"], &entry["error"])).collect();
        let status = Value::from(NETWORK_ERROR);
        let error = Value::from(error);
        assert_eq!(met, [1, 2, 3].map(Value::from).each_ref().map(|attempt| (attempt, &status, &error)), "{host}");
    }
}

/// Pushes an event, and answers the log entry of its first attempt.
async fn delivered(here: &Installation, account: &str, webhook: lynkhook::domain::webhook::WebhookId) -> Value {
    let before = here.log(webhook).await.len();
    here.push(account, TRANSCRIPT).await;
    eventually(SOON, "a new log entry", async || {
        let log = here.log(webhook).await;
        (log.len() > before).then(|| log[0].clone())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_name_servers_are_read_from_resolv_conf_also_after_a_change() {
    let hosts = hosts(1);
    let (receiver, first, here) = scene(&hosts).await;
    let second = DnsServer::start().await;
    second.set(&hosts[0], [Ipv4Addr::LOCALHOST.into()]);
    let file = tempfile::NamedTempFile::new().unwrap();
    let write = |text: String| replace(file.path(), &text);
    write("# managed by nobody\nsearch -x.local\n".to_owned());
    // No connection is kept, so that each delivery looks the name up.
    let program = here.program.clone().env("LYNKHOOK_EGRESS__IDLE_CONNECTIONS_PER_HOST", "0");
    let program = program.allowing(&hosts[0]).env("LYNKHOOK_DNS__RESOLV_CONF", file.path());
    let probed = Probed::start(&program, None).await;
    let webhook = here.add("acme", &receiver.url_for(&hosts[0], "/hook")).await;

    here.push("acme", TRANSCRIPT).await;
    eventually(SOON, "a worker that tells what is missing", async || {
        let (status, body) = probed.get("/readyz").await;
        (status == 503 && body.contains("no name server is configured")).then_some(())
    })
    .await;
    assert!(here.log(webhook).await.is_empty(), "nothing was attempted");

    let line = |dns: &DnsServer| format!("nameserver [127.0.0.1]:{}", dns.address().port());
    let spoilt = |dns: &DnsServer| {
        format!("search -x.local ..\r\ndomain -\noptions ndots:-1 :\nnameserver nonsense\nrubbish\n{} x\n", line(dns))
    };
    write(spoilt(&first));
    let log = here.finished(webhook).await;
    assert_eq!((log.len(), &log[0]["httpStatus"], &log[0]["attempt"]), (1, &200.into(), &1.into()), "{log:?}");
    assert!(first.queries(&hosts[0]) > 0);
    eventually(SOON, "a worker that is ready again", async || (probed.get("/readyz").await.0 == 200).then_some(()))
        .await;

    let checked = program.run(["egress", "check", "--resolve", &hosts[0]]).await;
    assert!(checked.code == Some(0) && checked.stdout.contains("127.0.0.1"), "{checked:?}");

    write(spoilt(&second));
    first.set_down(true);
    eventually(SOON, "a lookup at the new name server", async || {
        let checked = delivered(&here, "acme", webhook).await;
        assert_eq!(checked["httpStatus"], 200, "{checked}");
        (second.queries(&hosts[0]) > 0).then_some(())
    })
    .await;
}

fn replace(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_family_that_is_never_answered_delays_a_new_connection_by_half_a_second_at_most() {
    let hosts = hosts(1);
    let (receiver, dns, here) = scene(&hosts).await;
    dns.by_family(&hosts[0], Reply::Addresses(vec![Ipv4Addr::LOCALHOST.into()]), Reply::Silence);
    let worker = here.program.clone().resolving_with(&dns).worker([]);
    worker.wait_for_line("worker started").await;
    let webhook = here.add("acme", &receiver.url_for(&hosts[0], "/hook")).await;
    let entry = delivered(&here, "acme", webhook).await;
    assert_eq!(entry["httpStatus"], 200, "{entry}");
    let dns_ms = entry["phasesMs"]["dns"].as_u64().unwrap();
    println!("{dns_ms} ms");
    assert!((200..=500).contains(&dns_ms), "{entry}");
}

#[tokio::test(flavor = "multi_thread")]
async fn egress_check_says_that_no_name_server_answers_or_is_configured() {
    let (receiver, dns, here) = scene(&hosts(1)).await;
    dns.set_down(true);
    drop(receiver);
    for (program, said) in [
        (here.program.clone().allowing("h0.hooks.test").resolving_with(&dns), "no name server answers"),
        (
            here.program.clone().allowing("h0.hooks.test").env("LYNKHOOK_DNS__RESOLV_CONF", "/dev/null"),
            "no name server is configured",
        ),
    ] {
        let checked = program.run(["egress", "check", "--resolve", "h0.hooks.test"]).await;
        assert!(checked.code == Some(4) && checked.stdout.contains(said), "{checked:?}");
    }
}
