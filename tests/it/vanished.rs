//! Nothing vanishes unseen: whatever an operator does to the queue's group and stream, entries are found again, and
//! removed ones are reported.

use std::{collections::HashMap, time::Duration};

use redis::AsyncCommands;
use serde_json::{Value, json};

use crate::support::*;

const MINUTE: Duration = Duration::from_secs(60);
const LARGEST: &str = "18446744073709551615-18446744073709551615";

/// The verdict and the text of one of doctor's checks.
async fn check(here: &Installation, name: &str) -> (String, String) {
    let findings: Value = serde_json::from_str(&here.program.run(["doctor", "--json"]).await.stdout).unwrap();
    let found = findings.as_array().unwrap().iter().find(|finding| finding["check"] == name).unwrap().clone();
    (found["verdict"].as_str().unwrap().to_owned(), format!("{} {}", found["found"], found["advice"]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_workers_entries_are_delivered_within_a_minute_even_if_its_consumer_was_deleted() {
    let receiver = Receiver::start().await;
    let gate = Gate::new();
    let mut plan = vec![gate.before(Answer::Status(200)); 20];
    plan.push(Answer::Status(200));
    receiver.plan("/dead", plan);
    receiver.plan("/alive", [gate.before(Answer::Status(200))]);
    let here = Installation::new(&receiver).await;
    let mut ids = Vec::new();
    for account in 0..20 {
        here.add(&format!("dead-{account}"), &receiver.url("/dead")).await;
        ids.push(here.add(&format!("alive-{account}"), &receiver.url("/alive")).await);
    }
    let mut killed = here.program.worker([]);
    for account in 0..20 {
        here.push(&format!("dead-{account}"), TRANSCRIPT).await;
    }
    receiver.wait_for("/dead", 20, SOON).await;
    killed.kill9().await;
    let queue = here.key("queue");
    let consumers: Vec<HashMap<String, redis::Value>> = here.cli(&format!("XINFO CONSUMERS {queue} workers")).await;
    let [dead] = &consumers[..] else { panic!("{consumers:?}") };
    let dead: String = redis::from_redis_value(dead["name"].clone()).unwrap();
    // Another worker has as many in hand, and must keep them.
    let alive = here.program.worker([("LYNKHOOK_DELIVERY__TIMEOUT", "60s"), ("LYNKHOOK_WORKER__LEASE", "80s")]);
    for account in 0..20 {
        here.push(&format!("alive-{account}"), TRANSCRIPT).await;
    }
    receiver.wait_for("/alive", 20, SOON).await;
    assert_eq!(here.cli::<u64>(&format!("XGROUP DELCONSUMER {queue} workers {dead}")).await, 20);
    let (verdict, text) = check(&here, "held").await;
    assert!(verdict == "fail" && text.contains("20 entries were read, and no worker holds them"), "{verdict} {text}");

    let second = here.program.worker([]);
    receiver.wait_for("/dead", 40, MINUTE).await;
    gate.open();
    here.drained().await;
    assert!(receiver.arrivals("/dead").values().all(|times| *times == 2), "{:?}", receiver.arrivals("/dead"));
    assert_eq!(receiver.arrivals("/alive").values().collect::<Vec<_>>(), [&1; 20]);
    for id in ids {
        assert_eq!(here.log(id).await.len(), 1);
    }
    assert_eq!(check(&here, "held").await.0, "pass");
    assert_eq!(check(&here, "trims").await.0, "pass", "no entry was taken out");
    let told = [second.stderr(), alive.stderr()].concat();
    assert!(told.contains("taking over entries that no worker held"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_trimmed_unread_are_counted_warned_of_and_fail_doctor() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(200)]);
    let here = Installation::new(&receiver).await;
    here.add("acme", &receiver.url("/hook")).await;
    let first = here.program.worker([]);
    let audited = here.key("audit");
    eventually(SOON, "a first look", async || {
        here.redis.clone().exists::<_, bool>(&audited).await.unwrap().then_some(())
    })
    .await;
    first.sigterm();
    drop(first.output(SOON).await);
    for _ in 0..30 {
        here.push("acme", TRANSCRIPT).await;
    }
    assert_eq!(check(&here, "trims").await.0, "pass");
    assert_eq!(here.cli::<u64>(&format!("XTRIM {} MAXLEN 10", here.key("queue"))).await, 20);
    let (verdict, text) = check(&here, "trims").await;
    assert!(verdict == "fail" && text.contains("just now: 20"), "before any worker looks: {verdict} {text}");

    let worker = here.program.worker([]);
    receiver.wait_for("/hook", 10, SOON).await;
    worker.wait_for_line("somebody took entries out of the queue").await;
    assert_eq!((here.counted("trims_seen").await, here.counted("entries_trimmed").await), (1, 20));
    let (verdict, text) = check(&here, "trims").await;
    assert!(verdict == "fail" && text.contains("ago") && text.contains("never use MAXLEN"), "{verdict} {text}");
    let day_ago = now_ms() - 24 * 3_600_000 - 60_000;
    here.cli::<u64>(&format!("HSET {audited} noticed {day_ago}")).await;
    let (verdict, text) = check(&here, "trims").await;
    assert!(verdict == "pass" && text.contains("1day") && text.contains("none since"), "{verdict} {text}");
    here.drained().await;
    assert_eq!(receiver.requests("/hook").len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_whose_entries_are_trimmed_are_logged_and_go_on_as_planned() {
    const TRIM: &str = "XTRIM {queue} MAXLEN 0";
    const DELETE: &str = "DEL {queue}";
    tokio::join!(
        attempts_go_on_although_their_entries_are_lost(&[TRIM]),
        attempts_go_on_although_their_entries_are_lost(&[DELETE]),
        attempts_go_on_although_their_entries_are_lost(&["XGROUP DELCONSUMER {queue} workers {worker}", TRIM]),
        attempts_go_on_although_their_entries_are_lost(&[DELETE, "XGROUP CREATE {queue} workers 0 MKSTREAM"]),
    );
}

async fn attempts_go_on_although_their_entries_are_lost(lose: &[&str]) {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Silence]);
    let here = Installation::new(&receiver).await;
    let here = here.with("LYNKHOOK_DELIVERY__TIMEOUT", "5s").await;
    let mut webhooks = Vec::new();
    for account in 0..5 {
        webhooks.push(here.add(&format!("account-{account}"), &receiver.url("/hook")).await);
    }
    let worker = here.program.worker([]);
    for account in 0..5 {
        here.push(&format!("account-{account}"), TRANSCRIPT).await;
    }
    receiver.wait_for("/hook", 5, SOON).await;
    let queue = here.key("queue");
    let consumers: Vec<HashMap<String, redis::Value>> = here.cli(&format!("XINFO CONSUMERS {queue} workers")).await;
    let consumer: String = redis::from_redis_value(consumers[0]["name"].clone()).unwrap();
    // In one step, so that the worker notices nothing in between.
    let mut steps = redis::pipe();
    steps.atomic();
    for command in lose {
        let command = command.replace("{queue}", &queue).replace("{worker}", &consumer);
        let mut words = command.split(' ');
        steps.cmd(words.next().unwrap()).arg(words.collect::<Vec<_>>());
    }
    let _: redis::Value = steps.query_async(&mut here.redis.clone()).await.unwrap();
    for webhook in webhooks {
        let log = here.finished(webhook).await;
        let attempts: Vec<_> =
            log.iter().map(|entry| (entry["attempt"].clone(), entry["httpStatus"].clone())).collect();
        assert_eq!(attempts, [1, 2, 3].map(|attempt| (json!(attempt), json!("Network Error"))), "{lose:?} {log:#?}");
        let kept: usize = here.redis.clone().xlen(here.key(&format!("failed:{webhook}"))).await.unwrap();
        assert_eq!(kept, 1, "and the failed delivery can be redelivered");
    }
    assert!(worker.stderr().contains("while they were in hand"), "{}", worker.stderr());
    assert_eq!(here.counted("entries_trimmed").await, 5, "{lose:?}");
    eventually(MINUTE, "a look that notices it", async || (here.counted("trims_seen").await > 0).then_some(())).await;
    assert_eq!(receiver.requests("/hook").len(), 15);
}

#[tokio::test(flavor = "multi_thread")]
async fn log_entries_that_redis_refuses_are_counted_and_warned_of_and_the_event_is_delivered() {
    let redis = RedisServer::start(AppendFsync::Always);
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(200)]);
    let here = Installation::on(&redis, &receiver).await;
    let webhook = here.add("acme", &receiver.url("/hook")).await;
    here.cli::<()>("ACL SETUSER poor on >secret ~* &* +@all").await;
    let poor =
        here.program.clone().env("LYNKHOOK_REDIS__URL", format!("redis://poor:secret@127.0.0.1:{}/", redis.port()));
    let worker = poor.worker([]);
    worker.wait_for_line("worker started").await;
    here.cli::<()>("ACL SETUSER poor -lpushx").await;
    here.push("acme", TRANSCRIPT).await;
    receiver.wait_for("/hook", 1, SOON).await;
    worker.wait_for_line("Redis refused log entries").await;
    here.drained().await;
    assert_eq!(here.counted("log_entries_refused").await, 1);
    assert_eq!(receiver.requests("/hook").len(), 1, "the delivery is settled");
    assert_eq!(here.log(webhook).await.len(), 0);
    let shown = here.program.run(["queue", "status"]).await.stdout;
    assert!(shown.contains("log_entries_refused"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_with_the_largest_id_blocks_its_queue_for_less_than_a_minute() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(200)]);
    let here = Installation::new(&receiver).await;
    here.add("acme", &receiver.url("/hook")).await;
    let queue = here.key("queue");
    let fields = [("account", "acme"), ("envelope", TRANSCRIPT)];
    let _: String = here.redis.clone().xadd(&queue, LARGEST, &fields).await.unwrap();
    let (verdict, text) = check(&here, "group").await;
    assert_eq!(verdict, "warn", "{text}");
    here.store.ensure_group(0).await.unwrap();
    let (verdict, text) = check(&here, "ids").await;
    assert!(
        verdict == "fail" && text.contains("largest possible id") && text.contains("start a worker"),
        "{verdict} {text}"
    );
    let worker = here.program.worker([]);
    let pushed = eventually(MINUTE, "a queue that takes more", async || {
        here.redis.clone().xadd::<_, _, _, _, String>(&queue, "*", &fields).await.ok()
    })
    .await;
    assert!(!pushed.starts_with("1844"), "{pushed}");
    receiver.wait_for("/hook", 2, SOON).await;
    here.drained().await;
    assert_eq!(receiver.requests("/hook").len(), 2);
    assert_eq!(check(&here, "ids").await.0, "pass");
    assert_eq!(check(&here, "trims").await.0, "pass");
    assert!(worker.stderr().contains("the largest possible"), "{}", worker.stderr());
}

/// The commands that deploy/README.md gives for a queue that takes nothing, for when no worker can be started.
#[tokio::test(flavor = "multi_thread")]
async fn the_documented_cure_opens_the_queue_and_loses_nothing() {
    let readme = include_str!("../../deploy/README.md");
    let cure = readme.split("### A queue that takes nothing").nth(1).expect("deploy/README.md has the cure");
    let cure = cure.split("```sh").nth(1).unwrap().split("```").next().unwrap();
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(200)]);
    let here = Installation::new(&receiver).await;
    here.add("acme", &receiver.url("/hook")).await;
    here.store.ensure_group(0).await.unwrap();
    let queue = here.key("queue");
    let fields = [("account", "acme"), ("envelope", TRANSCRIPT)];
    here.push("acme", TRANSCRIPT).await;
    let _: String = here.redis.clone().xadd(&queue, LARGEST, &fields).await.unwrap();
    let port = RedisServer::shared().port();
    let script = cure.replace("redis-cli", &format!("redis-cli -p {port}")).replace("lynkhook:{0}:", &here.key(""));
    let done = tokio::process::Command::new("bash").arg("-ec").arg(&script).output().await.unwrap();
    assert!(done.status.success(), "{done:?}");
    here.push("acme", TRANSCRIPT).await;
    let _worker = here.program.worker([]);
    receiver.wait_for("/hook", 3, SOON).await;
    here.drained().await;
    assert_eq!(receiver.requests("/hook").len(), 3);
    assert_eq!(check(&here, "ids").await.0, "pass");
}
