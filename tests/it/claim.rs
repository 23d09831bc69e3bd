//! What a dead worker held is taken over in time, however busy the living are.

use std::time::Duration;

use crate::support::*;

/// Timings under which a lease ends soon.
const QUICK: [(&str, &str); 6] = [
    ("LYNKHOOK_WORKER__LEASE", "4s"),
    ("LYNKHOOK_WORKER__RENEW_EVERY", "300ms"),
    ("LYNKHOOK_WORKER__START_WITHIN", "900ms"),
    ("LYNKHOOK_WORKER__CLAIM_EVERY", "300ms"),
    ("LYNKHOOK_DELIVERY__TIMEOUT", "1s"),
    ("LYNKHOOK_DELIVERY__RETRY_DELAYS", "10ms,10ms"),
];

/// An event that a worker took and did not live to deliver, long enough ago.
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
    // Quick enough to use all that is free, and slow enough to use it for long.
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
    assert!(waiting > 20, "it was busy all the time, and {waiting} still wait");
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
