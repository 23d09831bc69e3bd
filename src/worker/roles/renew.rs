//! The renewer: it renews the leases of this worker.

use std::sync::Arc;

use tokio::{task::JoinSet, time::Instant};

use crate::{
    store::{Fence, StoreError},
    worker::{Worker, parts::heartbeat::Role, until_answered::tell},
};

/// The most leases that one script renews.
const RENEW_BATCH: usize = 100;

/// Renews the leases of this worker, also while the worker finishes the entries in hand.
pub(crate) async fn renew(worker: Arc<Worker>) {
    let mut before = Instant::now();
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
        worker.beating(Role::Renew, 0, due).await;
        before = Instant::now();
        renew_round(&worker).await;
    }
}

/// Renews all leases, at all nodes of Redis at the same time, so that one slow node does not delay the others.
async fn renew_round(worker: &Arc<Worker>) {
    let mut nodes = JoinSet::new();
    for partitions in worker.store.by_node() {
        nodes.spawn(renew_at_node(worker.clone(), partitions));
    }
    // A panic in one of these tasks is passed on to the renewer.
    nodes.join_all().await;
}

/// Renews the leases of one node's partitions. Stops at the first error: the others would probably get no answer
/// either, and each would wait for one.
async fn renew_at_node(worker: Arc<Worker>, partitions: Vec<u16>) {
    for partition in partitions {
        let mut leases = worker.in_hand.leases.due(partition, worker.rules.leases.may_wait());
        // Sorted, so that one script looks at entries that lie together.
        leases.sort_unstable_by_key(|fence| fence.entry.order());
        for leases in leases.chunks(RENEW_BATCH) {
            if let Err(error) = renew_some(&worker, partition, leases).await {
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
