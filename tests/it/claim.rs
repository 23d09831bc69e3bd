//! A dead worker's entries are taken over in time, however busy the living workers are.

use std::time::{Duration, Instant};

use redis::{AsyncCommands, streams::StreamPendingReply};

use crate::support::*;

/// Timings with which a lease ends soon.
pub(crate) const QUICK: [(&str, &str); 6] = [
    ("LYNKHOOK_WORKER__LEASE", "4s"),
    ("LYNKHOOK_WORKER__RENEW_EVERY", "300ms"),
    ("LYNKHOOK_WORKER__START_WITHIN", "900ms"),
    ("LYNKHOOK_WORKER__CLAIM_EVERY", "300ms"),
    ("LYNKHOOK_DELIVERY__TIMEOUT", "1s"),
    ("LYNKHOOK_DELIVERY__RETRY_DELAYS", "10ms,10ms"),
];

/// About a quarter of the defaults.
const QUARTER: [(&str, &str); 5] = [
    ("LYNKHOOK_WORKER__LEASE", "6s"),
    ("LYNKHOOK_WORKER__RENEW_EVERY", "750ms"),
    ("LYNKHOOK_WORKER__START_WITHIN", "2s"),
    ("LYNKHOOK_WORKER__CLAIM_EVERY", "500ms"),
    ("LYNKHOOK_DELIVERY__TIMEOUT", "2s"),
];

/// An event that a worker took long enough ago and did not live to deliver.
async fn orphan(here: &Installation, account: &str) {
    let partition = account_id(account).partition(here.store.keys().partitions());
    here.store.ensure_group(partition).await.unwrap();
    let queue = here.store.keys().queue(partition);
    let mut redis = here.redis.clone();
    let fields = [("account", account), ("envelope", TRANSCRIPT)];
    let id: String = redis::AsyncCommands::xadd(&mut redis, &queue, "*", &fields).await.unwrap();
    let mut reader = here.reader(partition, "dead", Duration::from_millis(10)).await;
    assert_eq!(reader.read(1).await.unwrap().len(), 1);
    let mut age = redis::cmd("XCLAIM");
    age.arg(&queue).arg("workers").arg("dead").arg(0).arg(&id).arg("IDLE").arg(60_000).arg("JUSTID");
    let _: Vec<String> = age.query_async(&mut redis).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_slots_are_all_in_use_takes_an_orphan_over() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await.with("LYNKHOOK_WORKER__CONCURRENCY", "4").await;
    // Fast enough to use all free slots, and slow enough to use them for long.
    receiver.plan("/busy", [Answer::Delay(Duration::from_millis(30), Box::new(Answer::Status(200)))]);
    receiver.plan("/fine", [Answer::Status(200)]);
    let busy = here.add("busy", &receiver.url("/busy")).await;
    here.add("fine", &receiver.url("/fine")).await;
    orphan(&here, "fine").await;
    for _ in 0..400 {
        here.push("busy", TRANSCRIPT).await;
    }
    let _worker = here.program.worker(QUICK);
    receiver.wait_for("/fine", 1, SOON).await;
    let mut waiting: u64 = 0;
    for key in [here.key("queue"), here.key(&format!("held:{busy}"))] {
        waiting += redis::AsyncCommands::xlen::<_, u64>(&mut here.redis.clone(), key).await.unwrap();
    }
    assert!(waiting > 20, "the worker was busy all the time, and {waiting} still wait");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_no_more_slots_than_partitions_takes_an_orphan_over() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await.with("LYNKHOOK_WORKER__CONCURRENCY", "8").await;
    let here = here.with("LYNKHOOK_QUEUE__PARTITIONS", "8").await;
    receiver.plan("/fine", [Answer::Status(200)]);
    here.add("fine", &receiver.url("/fine")).await;
    orphan(&here, "fine").await;
    let _worker = here.program.worker(QUICK);
    receiver.wait_for("/fine", 1, SOON).await;
}

/// Kills a worker with at least 200 attempts in flight. Answers how much later another worker has taken over all of
/// them.
async fn takeover<const N: usize>(settings: [(&str, &str); N]) -> Duration {
    const EVENTS: usize = 256;
    let (redis, receiver, gate) = (RedisServer::start(AppendFsync::No), Receiver::start().await, Gate::new());
    receiver.plan("/hook", [gate.before(Answer::Status(200))]);
    let here = Installation::on(&redis, &receiver).await;
    for account in 0..EVENTS {
        here.add(&format!("account-{account}"), &receiver.url("/hook")).await;
    }
    // Slow endpoints share half of the slots.
    let program = here.program.clone().env("LYNKHOOK_WORKER__CONCURRENCY", "512");
    let mut first = program.worker(settings);
    first.wait_for_line("worker started").await;
    let consumers = async || {
        let pending = here.redis.clone().xpending(here.key("queue"), "workers").await.unwrap();
        match pending {
            StreamPendingReply::Data(pending) => pending.consumers,
            _ => Vec::new(),
        }
    };
    let mut events = redis::pipe();
    for account in 0..EVENTS {
        let fields = [("account", format!("account-{account}")), ("envelope", TRANSCRIPT.to_owned())];
        events.xadd(here.key("queue"), "*", &fields).ignore();
    }
    let _: () = events.query_async(&mut here.redis.clone()).await.unwrap();
    eventually(SOON, "200 attempts in flight", async || (receiver.in_flight("/hook") >= 200).then_some(())).await;
    first.kill9().await;
    let killed = Instant::now();
    gate.open();
    let [dead] = consumers().await.try_into().expect("one worker");
    assert!(dead.pending >= 200, "only {} were in flight", dead.pending);
    let _second = program.worker(settings);
    eventually(SOON * 2, "all entries taken over", async || {
        consumers().await.iter().all(|consumer| consumer.name != dead.name).then_some(())
    })
    .await;
    let took = killed.elapsed();
    here.drained().await;
    took
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_worker_with_few_slots_takes_all_orphans_over_at_once_though_its_reader_waits() {
    const ORPHANS: usize = 24;
    let receiver = Receiver::start().await;
    receiver.plan("/slow", [Answer::Delay(Duration::from_secs(1), Box::new(Answer::Status(200)))]);
    let here = Installation::new(&receiver).await;
    let worker = here.program.worker([
        ("LYNKHOOK_WORKER__CONCURRENCY", "64"),
        ("LYNKHOOK_WORKER__CLAIM_EVERY", "300ms"),
        ("LYNKHOOK_WORKER__LEASE", "20s"),
    ]);
    worker.wait_for_line("worker started").await;
    // Each has an endpoint of its own, so that none has to wait for another.
    for number in 0..ORPHANS {
        here.add(&format!("slow-{number}"), &receiver.url("/slow")).await;
    }
    let mut reader = here.reader(0, "dead", Duration::from_millis(10)).await;
    let mut redis = here.redis.clone();
    // The worker waits for an entry, and this consumer reads only its own.
    let mut orphans = redis::pipe();
    for number in 0..ORPHANS {
        let fields = [("account", format!("slow-{number}")), ("envelope", TRANSCRIPT.to_owned())];
        orphans.xadd(here.key("queue"), "*", &fields);
    }
    worker.sigstop();
    let ids: Vec<String> = orphans.query_async(&mut redis).await.unwrap();
    reader.read(ORPHANS).await.unwrap();
    let mut age = redis::cmd("XCLAIM");
    age.arg(here.key("queue")).arg("workers").arg("dead").arg(0).arg(&ids).arg("IDLE").arg(60_000).arg("JUSTID");
    let _: Vec<String> = age.query_async(&mut redis).await.unwrap();
    let began = Instant::now();
    worker.sigcont();
    receiver.wait_for("/slow", ORPHANS, SOON).await;
    let took = began.elapsed();
    println!("taken over within {took:.1?}");
    // One by one, as slots become free after a second each, this would take longer.
    assert!(took < Duration::from_secs(4), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_workers_entries_are_taken_over_one_lease_and_one_look_later() {
    // The next look comes at most 1.5 x claim_every later.
    let (lease, look) = (Duration::from_secs(6), Duration::from_millis(750));
    let took = takeover(QUARTER).await;
    assert!(took < lease + look * 3, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes 25 s: make test runs it"]
async fn serial_a_killed_workers_entries_are_taken_over_within_25_s_by_default() {
    let took = takeover([]).await;
    println!("256 entries of a killed worker were taken over within {took:.1?}");
    assert!(took < Duration::from_secs(25), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_renewal_is_made_up_for_by_the_next_and_nothing_is_taken_over() {
    const EVENTS: usize = 100;
    let (mut redis, receiver) = (RedisServer::start(AppendFsync::No), Receiver::start().await);
    receiver.plan("/hook", [Answer::Delay(Duration::from_millis(1500), Box::new(Answer::Status(200)))]);
    let here = Installation::on(&redis, &receiver).await;
    for account in 0..EVENTS {
        here.add(&format!("account-{account}"), &receiver.url("/hook")).await;
    }
    let few = here.program.clone().env("LYNKHOOK_WORKER__CONCURRENCY", "16").env("LYNKHOOK_LOG__FILTER", "debug");
    let few = few.env("LYNKHOOK_REDIS__RESPONSE_TIMEOUT", "300ms").env("LYNKHOOK_REDIS__CONNECT_TIMEOUT", "300ms");
    let workers = [few.worker(QUARTER), few.worker(QUARTER)];
    for account in 0..EVENTS {
        here.push(&format!("account-{account}"), TRANSCRIPT).await;
    }
    receiver.wait_for("/hook", 32, SOON).await;
    // Pauses Redis until a renewal of each lease has got no answer.
    redis.pause();
    for worker in &workers {
        worker.wait_for_line(r#""step":"renew""#).await;
    }
    redis.resume();
    receiver.wait_for("/hook", EVENTS, SOON).await;
    here.drained().await;
    assert_eq!(receiver.requests("/hook").len(), EVENTS, "no event came twice");
    for worker in workers {
        assert!(!worker.stderr().contains("took over"), "{}", worker.stderr());
    }
}
