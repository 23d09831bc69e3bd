//! If the answer to a read or a claim is lost, its entry is attempted as soon as the worker asks again, before its
//! lease ends.

use std::time::{Duration, Instant};

use redis::AsyncCommands;

use crate::{
    proxy::{Proxy, Weather},
    support::*,
};

/// A worker behind a proxy, and an endpoint that answers its second request when the gate opens. A lease lasts 20 s.
struct Scene {
    receiver: Receiver,
    gate: Gate,
    here: Installation,
    proxy: Proxy,
    worker: Process,
    /// The account's queue.
    queue: String,
    _redis: RedisServer,
}

impl Scene {
    /// A scene with this many partitions.
    async fn set(partitions: &str) -> Self {
        let (redis, receiver, gate) = (RedisServer::start(AppendFsync::No), Receiver::start().await, Gate::new());
        let here = Installation::on(&redis, &receiver).await.with("LYNKHOOK_QUEUE__PARTITIONS", partitions).await;
        receiver.plan("/hook", [Answer::Status(200), gate.before(Answer::Status(200))]);
        here.add("acme", &receiver.url("/hook")).await;
        let proxy = Proxy::start(redis.port()).await;
        let worker = here.program.clone().env("LYNKHOOK_REDIS__URL", proxy.url()).worker([]);
        let keys = here.store.keys();
        let queue = keys.queue(keys.partition(&account_id("acme")));
        Self { receiver, gate, here, proxy, worker, queue, _redis: redis }
    }

    /// The delivery count of each pending entry.
    async fn deliveries(&self) -> Vec<u64> {
        let pending: Vec<(String, String, u64, u64)> =
            self.here.cli(&format!("XPENDING {} workers - + 100", self.queue)).await;
        pending.into_iter().map(|(.., deliveries)| deliveries).collect()
    }

    async fn wait_for_deliveries(&self, what: &str, expected: &[u64]) {
        eventually(SOON, what, async || (self.deliveries().await == expected).then_some(())).await;
    }

    async fn first_is_delivered(&self) {
        self.receiver.wait_for("/hook", 1, SOON).await;
        self.wait_for_deliveries("the first event settled", &[]).await;
    }

    /// The connection breaks between the command that takes the second entry, with this delivery count, and its answer.
    async fn second_is_delivered_once_though_the_answer_is_lost(&self, count: u64, within: Duration) {
        self.wait_for_deliveries("the entry taken", &[count]).await;
        self.proxy.cut_and_clear().await;
        let cut = Instant::now();
        self.receiver.wait_for("/hook", 2, SOON).await;
        let took = cut.elapsed();
        println!("attempted {took:.1?} after the connection was lost");
        assert!(took < within, "{took:?}: the entry waited for its lease to end");
        assert_eq!(self.deliveries().await, [count], "the lost answer is not counted as a loss");
        self.gate.open();
        self.wait_for_deliveries("the entry settled", &[]).await;
        assert_eq!(self.receiver.requests("/hook").len(), 2, "each event once");
        assert!(self.worker.stderr().contains("took back"), "{}", self.worker.stderr());
    }
}

async fn a_read_loses_its_answer(partitions: &str) {
    let scene = Scene::set(partitions).await;
    let push = async || {
        let fields = [("account", "acme"), ("envelope", TRANSCRIPT)];
        let _: String = scene.here.redis.clone().xadd(&scene.queue, "*", &fields).await.unwrap();
    };
    push().await;
    scene.first_is_delivered().await;
    scene.proxy.set(Weather::Withheld);
    push().await;
    scene.second_is_delivered_once_though_the_answer_is_lost(1, Duration::from_secs(6)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_whose_read_lost_its_answer_is_attempted_on_reconnecting_and_is_not_counted_as_lost() {
    tokio::join!(a_read_loses_its_answer("1"), a_read_loses_its_answer("4"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_whose_claim_lost_its_answer_is_attempted_soon_and_is_counted_as_lost_once() {
    let scene = Scene::set("1").await;
    // In one step, so that the living worker cannot read the entry.
    let script = "local id = redis.call('XADD', KEYS[1], '*', 'account', 'acme', 'envelope', ARGV[1])
        redis.call('XREADGROUP', 'GROUP', 'workers', 'dead', 'STREAMS', KEYS[1], '>')
        redis.call('XCLAIM', KEYS[1], 'workers', 'dead', 0, id, 'IDLE', 60000, 'JUSTID')";
    let abandon = async || {
        let mut abandon = redis::cmd("EVAL");
        abandon.arg(script).arg(1).arg(&scene.queue).arg(TRANSCRIPT);
        let _: redis::Value = abandon.query_async(&mut scene.here.redis.clone()).await.unwrap();
    };
    // After the first worker has started, Redis knows the script that claims.
    scene.worker.wait_for_line("worker started").await;
    scene.here.store.ensure_group(0).await.unwrap();
    abandon().await;
    scene.first_is_delivered().await;
    abandon().await;
    // The next claim takes the entry, once for the dead worker. The claim after that comes within 1.5 x 2 s, once the
    // worker has reconnected.
    scene.proxy.set(Weather::Withheld);
    scene.second_is_delivered_once_though_the_answer_is_lost(2, Duration::from_secs(8)).await;
}
