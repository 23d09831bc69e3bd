//! The sweeper: it removes leftovers that nobody needs any longer from the queues' bookkeeping.

use std::{sync::Arc, time::Duration};

use crate::{
    store::StoreError,
    worker::{Worker, parts::heartbeat::Role, until_answered::tell},
};

/// The interval at which consumers of long dead workers, and rejected entries that are too old, are looked for (± 50
/// %).
const SWEEP_EVERY: Duration = Duration::from_mins(10);

/// Removes consumers whose workers are long dead and hold nothing, and rejected entries that are too old.
pub(crate) async fn sweep(worker: Arc<Worker>) {
    loop {
        for partitions in worker.store.by_node() {
            sweep_at_node(&worker, partitions).await;
        }
        let due = tokio::time::sleep(SWEEP_EVERY.mul_f64(rand::random_range(0.5..1.5)));
        let Some(()) = worker.wait_for(Role::Sweep, 0, due).await else { return };
    }
}

/// Sweeps one node's partitions, until one gets no answer: then the others would not either, and each would wait for it anew.
async fn sweep_at_node(worker: &Worker, partitions: Vec<u16>) {
    for partition in partitions {
        if worker.stop.has_begun() {
            return;
        }
        if let Err(error) = sweep_one(worker, partition).await {
            tell("sweep", Some(partition), &error);
            if error.is_passing() {
                return;
            }
        }
    }
}

async fn sweep_one(worker: &Worker, partition: u16) -> Result<(), StoreError> {
    let beat = || worker.vitals.heartbeats.note(Role::Sweep, partition);
    beat();
    // If the clock has just leapt forward, ages are wrong; the next round looks again.
    if !worker.is_clock_believed(partition).await? {
        return Ok(());
    }
    beat();
    let left = worker.store.leave(partition, &worker.name, false, &[]).await;
    beat();
    while worker.store.sweep(partition).await? {
        beat();
    }
    left.map(drop)
}
