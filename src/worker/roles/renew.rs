//! The renewer: it renews the leases of this worker.

use std::{collections::HashSet, sync::Arc};

use tokio::{task::JoinSet, time::Instant};

use crate::{
    store::{Fence, StoreError},
    worker::{Worker, parts::heartbeat::Role, until_answered::tell},
};

/// The most leases that one script renews.
const RENEW_BATCH: usize = 100;

/// Renews the leases of this worker, also while the worker finishes the entries in hand. Each node of Redis has a task of
/// its own, so that leases at one node do not end because another node does not answer.
pub(crate) async fn renew(worker: Arc<Worker>) {
    let (mut before, mut tasks, mut asked) = (Instant::now(), JoinSet::new(), HashSet::new());
    loop {
        // The interval counts from the start of the last round, so a round without an answer is followed by the next
        // without delay. A request that waits for a renewal gets one at once, for example after the process stood
        // still.
        let next = before + worker.rules.leases.renew_every.mul_f64(rand::random_range(0.8..1.2));
        let due = async {
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                () = worker.in_hand.leases.wanted() => {}
            }
        };
        let mut due = std::pin::pin!(worker.beating(Role::Renew, 0, due));
        loop {
            tokio::select! {
                () = &mut due => break,
                Some(done) = tasks.join_next() => {
                    // A panic in one of these tasks is passed on to the renewer.
                    let done: Vec<u16> = done.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
                    asked.retain(|partition| !done.contains(partition));
                }
            }
        }
        before = Instant::now();
        for mut partitions in worker.store.by_node() {
            partitions.retain(|partition| asked.insert(*partition));
            let worker = worker.clone();
            tasks.spawn(async move {
                renew_at_node(&worker, &partitions).await;
                partitions
            });
        }
    }
}

/// Renews the leases of one node's partitions. Stops at the first error: the others would probably get no answer
/// either, and each would wait for one.
async fn renew_at_node(worker: &Worker, partitions: &[u16]) {
    for &partition in partitions {
        let mut leases = worker.in_hand.leases.due(partition, worker.rules.leases.may_wait());
        // Sorted, so that one script looks at entries that lie together.
        leases.sort_unstable_by_key(|fence| fence.entry.order());
        for leases in leases.chunks(RENEW_BATCH) {
            if let Err(error) = renew_some(worker, partition, leases).await {
                return tell("renew", Some(partition), &error);
            }
            worker.vitals.heartbeats.note(Role::Renew, 0);
        }
    }
}

async fn renew_some(worker: &Worker, partition: u16, leases: &[Fence]) -> Result<(), StoreError> {
    let sent = Instant::now();
    let found = worker.store.renew(partition, &worker.name, leases).await?;
    let gone = worker.in_hand.leases.renewed(leases, &found, worker.rules.leases.lease, sent);
    let entries = found[1].len() as u64 + gone;
    if gone > 0
        && let Err(error) = worker.store.count_trimmed(partition, gone).await
    {
        tell("count", Some(partition), &error);
    }
    if entries > 0 {
        tracing::warn!(partition, entries, "somebody took entries out of the queue while they were in hand");
    }
    Ok(())
}
