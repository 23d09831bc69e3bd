//! An entry whose read lost its answer is attempted as soon as its worker reads again; no lease has to end for it.

use std::time::{Duration, Instant};

use redis::AsyncCommands;

use crate::{
    proxy::{Proxy, Weather},
    support::*,
};

/// How often each pending entry was given to a worker.
async fn deliveries(here: &Installation, queue: &str) -> Vec<u64> {
    let mut look = redis::cmd("XPENDING");
    look.arg(queue).arg("workers").arg("-").arg("+").arg(100);
    let pending: Vec<(String, String, u64, u64)> = look.query_async(&mut here.redis.clone()).await.unwrap();
    pending.into_iter().map(|(.., deliveries)| deliveries).collect()
}

/// A connection breaks between a read and its answer, in a queue of this many partitions. A lease lasts 20 s.
async fn a_read_loses_its_answer(partitions: &str) {
    let (redis, receiver, gate) = (RedisServer::start(AppendFsync::No), Receiver::start().await, Gate::new());
    let here = Installation::on(&redis, &receiver).await.with("LYNKHOOK_QUEUE__PARTITIONS", partitions).await;
    receiver.plan("/hook", [Answer::Status(200), gate.before(Answer::Status(200))]);
    here.add("acme", &receiver.url("/hook")).await;
    let proxy = Proxy::start(redis.port()).await;
    let worker = here.program.clone().env("LYNKHOOK_REDIS__URL", proxy.url()).worker([]);
    let keys = here.store.keys();
    let queue = keys.queue(keys.partition(&account_id("acme")));
    let push = async || {
        let fields = [("account", "acme"), ("envelope", TRANSCRIPT)];
        let _: String = here.redis.clone().xadd(&queue, "*", &fields).await.unwrap();
    };
    push().await;
    receiver.wait_for("/hook", 1, SOON).await;
    eventually(SOON, "the first event settled", async || deliveries(&here, &queue).await.is_empty().then_some(()))
        .await;

    proxy.set(Weather::Withheld);
    push().await;
    eventually(SOON, "the entry read", async || (deliveries(&here, &queue).await == [1]).then_some(())).await;
    proxy.cut_and_clear().await;
    let cut = Instant::now();
    receiver.wait_for("/hook", 2, SOON).await;
    let took = cut.elapsed();
    println!("{partitions} partition(s): attempted {took:.1?} after the connection was lost");
    assert!(took < Duration::from_secs(6), "{took:?}: it waited for the end of its lease");
    assert_eq!(deliveries(&here, &queue).await, [1], "it is not counted as lost");
    gate.open();
    eventually(SOON, "the entry settled", async || deliveries(&here, &queue).await.is_empty().then_some(())).await;
    assert_eq!(receiver.requests("/hook").len(), 2, "each event once");
    assert!(worker.stderr().contains("took back"), "{}", worker.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_whose_claim_lost_its_answer_is_attempted_soon_and_is_counted_as_lost_once() {
    let (redis, receiver, gate) = (RedisServer::start(AppendFsync::No), Receiver::start().await, Gate::new());
    let here = Installation::on(&redis, &receiver).await;
    receiver.plan("/hook", [Answer::Status(200), gate.before(Answer::Status(200))]);
    here.add("acme", &receiver.url("/hook")).await;
    let proxy = Proxy::start(redis.port()).await;
    let worker = here.program.clone().env("LYNKHOOK_REDIS__URL", proxy.url()).worker([]);
    let queue = here.key("queue");
    // In one step, so that the living worker reads nothing of it.
    let script = "local id = redis.call('XADD', KEYS[1], '*', 'account', 'acme', 'envelope', ARGV[1])
        redis.call('XREADGROUP', 'GROUP', 'workers', 'dead', 'STREAMS', KEYS[1], '>')
        redis.call('XCLAIM', KEYS[1], 'workers', 'dead', 0, id, 'IDLE', 60000, 'JUSTID')";
    let abandon = async || {
        let mut abandon = redis::cmd("EVAL");
        abandon.arg(script).arg(1).arg(&queue).arg(TRANSCRIPT);
        let _: redis::Value = abandon.query_async(&mut here.redis.clone()).await.unwrap();
    };
    // From the first on Redis knows the script that claims.
    worker.wait_for_line("worker started").await;
    here.store.ensure_group(0).await.unwrap();
    abandon().await;
    receiver.wait_for("/hook", 1, SOON).await;
    eventually(SOON, "the first event settled", async || deliveries(&here, &queue).await.is_empty().then_some(()))
        .await;
    abandon().await;
    // The next claim is the one that takes it.
    proxy.set(Weather::Withheld);
    eventually(SOON, "the entry claimed", async || (deliveries(&here, &queue).await == [2]).then_some(())).await;
    proxy.cut_and_clear().await;
    let cut = Instant::now();
    receiver.wait_for("/hook", 2, SOON).await;
    let took = cut.elapsed();
    println!("attempted {took:.1?} after the connection was lost");
    // The next claim comes within 1.5 x 2 s, once the worker has connected.
    assert!(took < Duration::from_secs(8), "{took:?}: it waited for the end of its lease");
    assert_eq!(deliveries(&here, &queue).await, [2], "it is counted as lost once, for the dead worker");
    gate.open();
    eventually(SOON, "the entry settled", async || deliveries(&here, &queue).await.is_empty().then_some(())).await;
    assert_eq!(receiver.requests("/hook").len(), 2, "each event once");
    assert!(worker.stderr().contains("took back"), "{}", worker.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_whose_read_lost_its_answer_is_attempted_on_reconnecting_and_is_not_counted_as_lost() {
    tokio::join!(a_read_loses_its_answer("1"), a_read_loses_its_answer("4"));
}
