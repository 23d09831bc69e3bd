//! Idle partitions take nothing from busy ones: no slots, no time, and no events when a worker stops.

use std::time::{Duration, Instant};

use super::*;

const PARTITIONS: u16 = 64;
/// A worker delivers as much with many partitions as with one. Next to other tests a run may be half as fast as
/// another. When idle partitions held slots, one busy partition reached 0.03.
const LEAST: f64 = 0.5;

/// An account for each of 64 partitions; the accounts also spread evenly over 16.
fn one_for_each_partition() -> Vec<String> {
    let name = |partition| {
        let names = (0..).map(|number: u32| format!("account-{number}"));
        names.into_iter().find(|name| account_id(name).partition(PARTITIONS) == partition).unwrap()
    };
    (0..PARTITIONS).map(name).collect()
}

/// An installation with this many partitions, a Redis of its own, and a webhook for each of these accounts.
async fn installation(redis: &RedisServer, receiver: &Receiver, partitions: u16, accounts: &[String]) -> Installation {
    let here =
        Installation::on(redis, receiver).await.with("LYNKHOOK_QUEUE__PARTITIONS", &partitions.to_string()).await;
    for account in accounts {
        here.add(account, &receiver.url("/hook")).await;
    }
    here
}

async fn push(here: &Installation, accounts: &[String], each: usize) {
    let keys = here.store.keys();
    let mut events = redis::pipe();
    for account in accounts.iter().cycle().take(accounts.len() * each) {
        let queue = keys.queue(account_id(account).partition(keys.partitions()));
        events.xadd(queue, "*", &[("account", account.as_str()), ("envelope", TRANSCRIPT)]).ignore();
    }
    let _: () = events.query_async(&mut here.redis.clone()).await.unwrap();
}

/// Waits until this many readers wait for entries.
async fn until_blocked(here: &Installation, readers: usize) {
    eventually(SOON, "readers that wait", async || {
        let info = redis::cmd("INFO").arg("clients").query_async(&mut here.redis.clone()).await;
        let info: redis::InfoDict = info.unwrap();
        (info.get::<usize>("blocked_clients")? == readers).then_some(())
    })
    .await;
}

/// The number of entries that workers have in hand, and the number queued in all.
async fn in_hand(here: &Installation) -> (usize, usize) {
    let (mut pending, mut queued) = (0, 0);
    for partition in 0..here.store.keys().partitions() {
        let queue = here.store.keys().queue(partition);
        let mut redis = here.redis.clone();
        let summary: redis::streams::StreamPendingReply = redis.xpending(&queue, "workers").await.unwrap();
        pending += summary.count();
        queued += redis.xlen::<_, usize>(&queue).await.unwrap();
    }
    (pending, queued)
}

/// Deliveries per second of a worker with 4 threads and 32 slots, to endpoints that answer after 200 ms.
async fn per_second(partitions: u16, accounts: &[String]) -> f64 {
    const EVENTS: usize = 384;
    // Leaves out the beginning, when a new endpoint gets few attempts, and the end, when partitions become empty.
    const COUNTED: std::ops::Range<u32> = 48..336;
    let (redis, receiver) = (RedisServer::start(AppendFsync::No), Receiver::start().await);
    receiver.plan("/hook", [Answer::Delay(Duration::from_millis(200), Box::new(Answer::Status(200)))]);
    let here = installation(&redis, &receiver, partitions, accounts).await;
    let threads = ("LYNKHOOK_WORKER__THREADS", "4");
    let _worker = here.program.worker([threads, ("LYNKHOOK_WORKER__CONCURRENCY", "32")]);
    until_blocked(&here, 4 * usize::from(partitions)).await;
    push(&here, accounts, EVENTS / accounts.len()).await;
    receiver.wait_for("/hook", EVENTS, SOON * 2).await;
    let mut arrived: Vec<Instant> = receiver.requests("/hook").iter().map(|request| request.arrived).collect();
    arrived.sort_unstable();
    let [from, to] = [COUNTED.start, COUNTED.end].map(|number| arrived[number as usize]);
    f64::from(COUNTED.end - COUNTED.start) / (to - from).as_secs_f64()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_many_partitions_delivers_as_fast_as_with_one() {
    let accounts = one_for_each_partition();
    let with_one = per_second(1, &accounts).await;
    for partitions in [16, PARTITIONS] {
        let ratio = per_second(partitions, &accounts).await / with_one;
        assert!(ratio >= LEAST, "{partitions} partitions: {ratio:.2} of {with_one:.0} deliveries a second with one");
    }
    let one_busy = &accounts[..1];
    let ratio = per_second(PARTITIONS, one_busy).await / per_second(1, one_busy).await;
    assert!(ratio >= LEAST, "one busy partition beside 63 idle ones: {ratio:.2} of what it delivers alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_partitions_first_event_arrives_at_once() {
    const EVENTS: usize = 20;
    let accounts = &one_for_each_partition()[..EVENTS];
    let (redis, receiver) = (RedisServer::start(AppendFsync::No), Receiver::start().await);
    receiver.plan("/hook", [Answer::Status(200)]);
    let here = installation(&redis, &receiver, PARTITIONS, accounts).await;
    let _worker = here.program.worker([("LYNKHOOK_WORKER__THREADS", "4")]);
    until_blocked(&here, 4 * usize::from(PARTITIONS)).await;
    let mut waited = Vec::new();
    for (number, account) in accounts.iter().enumerate() {
        let pushed = Instant::now();
        push(&here, std::slice::from_ref(account), 1).await;
        receiver.wait_for("/hook", number + 1, SOON).await;
        waited.push(receiver.requests("/hook")[number].arrived - pushed);
    }
    waited.sort_unstable();
    assert!(waited[EVENTS / 2] < 3 * Duration::from_millis(50), "{waited:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stops_while_entries_wait_for_a_slot_gives_them_back() {
    const USED: usize = 8;
    let accounts = &one_for_each_partition()[..USED];
    let (redis, receiver, gate) = (RedisServer::start(AppendFsync::No), Receiver::start().await, Gate::new());
    receiver.plan("/hook", [gate.before(Answer::Status(200)), Answer::Status(200)]);
    let here = installation(&redis, &receiver, PARTITIONS, accounts).await;
    let mut worker = here.program.worker([("LYNKHOOK_WORKER__CONCURRENCY", "1")]);
    until_blocked(&here, PARTITIONS.into()).await;
    push(&here, accounts, 2).await;
    receiver.wait_for("/hook", 1, SOON).await;
    eventually(SOON, "one entry of each partition in hand, with one slot", async || {
        (in_hand(&here).await == (USED, 2 * USED)).then_some(())
    })
    .await;
    worker.sigterm();
    worker.wait_for_line("stopping").await;
    gate.open();
    assert_eq!(worker.wait().await, Some(0), "{}", worker.stderr());
    assert_eq!(receiver.requests("/hook").len(), 1, "the attempt in flight was finished");
    assert_eq!(in_hand(&here).await, (0, 2 * USED - 1), "the rest was given back");

    // With memory for one event at a time: readers that wait for memory do not keep entries in hand from their slot.
    let mut next = here.program.worker([("LYNKHOOK_WORKER__MAX_BYTES", "1"), ("LYNKHOOK_WORKER__CONCURRENCY", "2")]);
    receiver.wait_for("/hook", 2 * USED, SOON).await;
    next.sigterm();
    assert_eq!(next.wait().await, Some(0), "{}", next.stderr());
    assert_eq!(receiver.requests("/hook").len(), 2 * USED, "nothing was lost, and nothing came twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_waits_for_a_slot_longer_than_a_lease_stays_with_its_worker() {
    const USED: usize = 8;
    let quick = [
        ("LYNKHOOK_WORKER__LEASE", "4s"),
        ("LYNKHOOK_WORKER__RENEW_EVERY", "300ms"),
        ("LYNKHOOK_WORKER__START_WITHIN", "900ms"),
        ("LYNKHOOK_WORKER__CLAIM_EVERY", "300ms"),
        ("LYNKHOOK_DELIVERY__TIMEOUT", "1s"),
        ("LYNKHOOK_WORKER__CONCURRENCY", "1"),
    ];
    let accounts = &one_for_each_partition()[..USED];
    let (redis, receiver) = (RedisServer::start(AppendFsync::No), Receiver::start().await);
    receiver.plan("/hook", [Answer::Delay(Duration::from_millis(700), Box::new(Answer::Status(200)))]);
    let here = installation(&redis, &receiver, PARTITIONS, accounts).await;
    let first = here.program.worker(quick);
    until_blocked(&here, PARTITIONS.into()).await;
    push(&here, accounts, 1).await;
    eventually(SOON, "all entries in hand", async || (in_hand(&here).await.0 == USED).then_some(())).await;
    let second = here.program.worker(quick);
    receiver.wait_for("/hook", USED, SOON).await;
    eventually(SOON, "an empty queue", async || (in_hand(&here).await.1 == 0).then_some(())).await;
    assert_eq!(receiver.requests("/hook").len(), USED, "no event came twice");
    for worker in [first, second] {
        assert!(!worker.stderr().contains("took over"), "{}", worker.stderr());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_needs_more_clients_than_redis_allows_is_refused_at_start() {
    let (redis, receiver) = (RedisServer::start(AppendFsync::No), Receiver::start().await);
    let here = installation(&redis, &receiver, 16, &[]).await;
    let mut limit = redis::cmd("CONFIG");
    limit.arg("SET").arg("maxclients").arg(40).exec_async(&mut here.redis.clone()).await.unwrap();
    let many = here.program.clone().env("LYNKHOOK_WORKER__THREADS", "4");
    let output = many.run(["worker"]).await;
    assert_eq!(output.code, Some(2), "{output:?}");
    for part in ["allows 40 clients", "needs 68 connections", "maxclients", "worker.threads", "queue.partitions"] {
        assert!(output.stderr.contains(part), "{part:?} is missing: {output:?}");
    }
    let doctor = many.run(["doctor"]).await;
    assert!(doctor.stdout.lines().any(|line| line.starts_with("FAIL  clients")), "{doctor:?}");
    let few = here.program.worker([("LYNKHOOK_WORKER__THREADS", "2")]);
    few.wait_for_line("worker started").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_threads_need_more_files_than_it_may_open_is_refused_at_start() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await.with("LYNKHOOK_QUEUE__PARTITIONS", "64").await;
    let program = here.program.clone().env("LYNKHOOK_WORKER__THREADS", "8");
    let output = program.worker_with_files(800).output(SOON).await;
    assert_eq!(output.code, Some(2), "{output:?}");
    for part in ["800 files", "616 are for", "lower worker.threads or queue.partitions"] {
        assert!(output.stderr.contains(part), "{part:?} is missing: {output:?}");
    }
}
