//! Workers survive being killed, being stopped, and faults of Redis.

use std::{collections::HashMap, time::Duration};

use redis::AsyncCommands;

use crate::support::*;

/// A lease short enough that a test sees it end. The rule requires `start_within` + timeout + 2 s.
const SHORT_LEASE: [(&str, &str); 5] = [
    ("LYNKHOOK_WORKER__LEASE", "4s"),
    ("LYNKHOOK_WORKER__RENEW_EVERY", "400ms"),
    ("LYNKHOOK_WORKER__START_WITHIN", "1s"),
    ("LYNKHOOK_WORKER__CLAIM_EVERY", "1s"),
    ("LYNKHOOK_DELIVERY__TIMEOUT", "1s"),
];

fn numbered(number: usize) -> String {
    TRANSCRIPT.replace("6601abc123def4567890abcd", &format!("message-{number}"))
}

/// Waits until every entry of `webhook` is settled, and asserts that each event's log ends with success.
async fn assert_whole(here: &Installation, receiver: &Receiver, path: &str, events: usize) {
    eventually(SOON * 2, "all events at the receiver", async || {
        (receiver.arrivals(path).len() == events).then_some(())
    })
    .await;
    here.drained().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_worker_finishes_a_killed_workers_attempts() {
    let redis = RedisServer::start(AppendFsync::Always);
    let receiver = Receiver::start().await;
    let gate = Gate::new();
    // The first 100 requests hang until the gate opens, and their worker never gets the answers.
    let mut plan = vec![gate.before(Answer::Status(200)); 100];
    plan.push(Answer::Status(200));
    receiver.plan("/hook", plan);
    let here = Installation::on(&redis, &receiver).await;
    let mut webhooks = Vec::new();
    // Fifty accounts with two events each, because a new endpoint gets few attempts at once.
    for account in 0..50 {
        webhooks.push(here.add(&format!("account-{account}"), &receiver.url("/hook")).await);
    }
    let mut first = here.program.worker(SHORT_LEASE);
    for number in 0..100 {
        here.push(&format!("account-{}", number % 50), numbered(number)).await;
    }
    receiver.wait_for("/hook", 100, SOON).await;
    first.kill9().await;
    gate.open();

    let _second = here.program.worker(SHORT_LEASE);
    receiver.wait_for("/hook", 200, SOON).await;
    here.drained().await;
    let arrivals = receiver.arrivals("/hook");
    assert_eq!(arrivals.len(), 100, "the receiver has all events");
    assert!(arrivals.values().all(|&times| times <= 2), "no event arrives more than twice: {arrivals:?}");
    for webhook in webhooks {
        let log = here.log(webhook).await;
        assert_eq!(log.len(), 2, "the log is complete: one entry for each event");
        assert!(log.iter().all(|entry| entry["attempt"] == 1 && entry["final"] == true), "{log:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_goes_on_when_group_stream_or_scripts_vanish() {
    let redis = RedisServer::start(AppendFsync::Always);
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(200)]);
    let here = Installation::on(&redis, &receiver).await;
    here.add("acme", &receiver.url("/hook")).await;
    let mut worker = here.program.worker([]);
    let mut connection = here.redis.clone();
    let mut events = 0;
    for nemesis in 0..6 {
        here.push("acme", numbered(events)).await;
        events += 1;
        receiver.wait_for("/hook", events, SOON).await;
        here.drained().await;
        let command = match nemesis % 3 {
            0 => redis::cmd("XGROUP").arg("DESTROY").arg(here.key("queue")).arg("workers").to_owned(),
            1 => redis::cmd("DEL").arg(here.key("queue")).to_owned(),
            _ => redis::cmd("SCRIPT").arg("FLUSH").to_owned(),
        };
        command.exec_async(&mut connection).await.unwrap();
    }
    // The group is destroyed with attempts in flight: these are repeated, or settled in the new group, and never lost.
    let gate = Gate::new();
    receiver.plan("/hook", [gate.before(Answer::Status(200)), Answer::Status(200)]);
    here.push("acme", numbered(events)).await;
    receiver.wait_for("/hook", events + 1, SOON).await;
    let _: i64 = redis::cmd("XGROUP")
        .arg("DESTROY")
        .arg(here.key("queue"))
        .arg("workers")
        .query_async(&mut connection)
        .await
        .unwrap();
    gate.open();
    assert_whole(&here, &receiver, "/hook", events + 1).await;
    worker.sigterm();
    assert_eq!(worker.wait().await, Some(0), "{}", worker.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_redis_under_load_loses_nothing() {
    let mut redis = RedisServer::start(AppendFsync::Always);
    let receiver = Receiver::start().await;
    let slow = Answer::Delay(Duration::from_millis(50), Box::new(Answer::Status(200)));
    receiver.plan("/hook", [slow]);
    let here = Installation::on(&redis, &receiver).await;
    here.add("acme", &receiver.url("/hook")).await;
    let mut worker = here.program.worker([]);
    for number in 0..500 {
        here.push("acme", numbered(number)).await;
    }
    receiver.wait_for("/hook", 100, SOON).await;
    redis.kill9();
    // Long enough for attempts to finish while their results cannot be written.
    receiver.wait_for_ended("/hook", receiver.requests("/hook").len(), SOON).await;
    redis.restart();
    let here = Installation { redis: redis.connection().await, ..here };
    assert_whole(&here, &receiver, "/hook", 500).await;
    let repeated = receiver.arrivals("/hook").values().filter(|&&times| times > 1).count();
    assert_eq!(repeated, 0, "attempts in flight are settled by the worker that has them");
    worker.sigterm();
    assert_eq!(worker.wait().await, Some(0), "{}", worker.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_worker_finishes_its_attempts_gives_the_rest_back_and_leaves() {
    for interrupt in [false, true] {
        let receiver = Receiver::start().await;
        let gate = Gate::new();
        receiver.plan("/hook", [gate.before(Answer::Status(200)), Answer::Status(200)]);
        let here = Installation::new(&receiver).await;
        let webhook = here.add("acme", &receiver.url("/hook")).await;
        let mut worker = here.program.worker([]);
        here.push("acme", TRANSCRIPT).await;
        receiver.wait_for("/hook", 1, SOON).await;
        if interrupt {
            worker.sigint();
        } else {
            worker.sigterm();
        }
        worker.wait_for_line("stopping").await;
        here.push("acme", TRANSCRIPT).await;
        gate.open();
        assert_eq!(worker.wait().await, Some(0), "{}", worker.stderr());
        assert_eq!(here.finished(webhook).await.len(), 1, "the attempt in flight was finished");
        assert_eq!(receiver.requests("/hook").len(), 1, "and nothing more was taken");
        let mut connection = here.redis.clone();
        let waiting: usize = connection.xlen(here.key("queue")).await.unwrap();
        assert_eq!(waiting, 1);
        let groups: Vec<HashMap<String, redis::Value>> =
            redis::cmd("XINFO").arg("GROUPS").arg(here.key("queue")).query_async(&mut connection).await.unwrap();
        assert_eq!(groups[0]["consumers"], redis::Value::Int(0), "the consumer left");
        let workers: Vec<String> = connection.keys(format!("{}:workers:*", here.prefix)).await.unwrap();
        assert!(workers.is_empty(), "{workers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_a_worker_at_once() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Silence]);
    let here = Installation::new(&receiver).await;
    here.add("acme", &receiver.url("/hook")).await;
    let mut worker = here.program.worker([]);
    here.push("acme", TRANSCRIPT).await;
    receiver.wait_for("/hook", 1, SOON).await;
    worker.sigterm();
    worker.wait_for_line("stopping").await;
    let told = std::time::Instant::now();
    worker.sigterm();
    assert_eq!(worker.wait().await, Some(1));
    assert!(told.elapsed() < Duration::from_secs(2), "{:?}", told.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn several_workers_share_one_queue() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Delay(Duration::from_millis(20), Box::new(Answer::Status(200)))]);
    let here = Installation::new(&receiver).await;
    here.add("acme", &receiver.url("/hook")).await;
    let few = [("LYNKHOOK_WORKER__CONCURRENCY", "4"), ("LYNKHOOK_LOG__FILTER", "debug")];
    let workers = [here.program.worker(few), here.program.worker(few), here.program.worker(few)];
    for worker in &workers {
        worker.wait_for_line("worker started").await;
    }
    for number in 0..200 {
        here.push("acme", numbered(number)).await;
    }
    assert_whole(&here, &receiver, "/hook", 200).await;
    assert_eq!(receiver.requests("/hook").len(), 200, "none twice");
    for worker in &workers {
        assert!(worker.stderr().contains("\"attempt\":1"), "each worker had its share");
    }
}
