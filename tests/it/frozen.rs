//! A worker that stalls for a while, as in a debugger or on a suspended machine, and then resumes.

use std::time::{Duration, Instant};

use crate::support::*;

/// Each pending entry's idle time in ms, and its delivery count.
async fn pending(here: &Installation) -> Vec<(u64, u64)> {
    let mut look = redis::cmd("XPENDING");
    look.arg(here.key("queue")).arg("workers").arg("-").arg("+").arg(100);
    let pending: Vec<(String, String, u64, u64)> = look.query_async(&mut here.redis.clone()).await.unwrap();
    pending.into_iter().map(|(_, _, idle_ms, deliveries)| (idle_ms, deliveries)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stalled_for_15_s_attempts_its_entries_within_2_s_of_resuming() {
    let (receiver, gate) = (Receiver::start().await, Gate::new());
    receiver.plan("/hook", [Answer::Status(200), gate.before(Answer::Status(200))]);
    let here = Installation::new(&receiver).await;
    here.add("acme", &receiver.url("/hook")).await;
    let worker = here.program.worker([]);
    here.push("acme", TRANSCRIPT).await;
    receiver.wait_for("/hook", 1, SOON).await;
    here.drained().await;

    // The worker's reader waits for an entry, so Redis gives it this one, and the answer stays in its socket.
    worker.sigstop();
    here.push("acme", TRANSCRIPT).await;
    eventually(SOON, "15 s since the entry was read", async || {
        matches!(pending(&here).await[..], [(15_000.., 1)]).then_some(())
    })
    .await;
    worker.sigcont();
    let woken = Instant::now();
    receiver.wait_for("/hook", 2, SOON).await;
    let took = woken.elapsed();
    println!("attempted {took:.1?} after the worker went on");
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(matches!(pending(&here).await[..], [(_, 1)]), "it is not counted as lost");
    gate.open();
    here.drained().await;
    assert_eq!(receiver.requests("/hook").len(), 2, "each event once");
}
