//! The end of a worker: it finishes the attempts in flight, gives back the entries that it did not start, and leaves
//! the consumer groups.

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinSet, time::Instant};

use super::{
    Worker,
    parts::{batch, in_hand::Unstarted},
};
use crate::store::{Fence, StoreError};

/// The time that Redis has to answer the last steps of a worker that leaves.
const LEAVING: Duration = Duration::from_secs(3);

impl Worker {
    /// Waits for the readers, then for the deliveries in flight; for both until the deadline.
    pub(super) async fn finish(&self, taking: &mut JoinSet<()>, deadline: Instant) {
        self.in_hand.deliveries.close();
        let finished = async {
            while let Some(ended) = taking.join_next().await {
                self.stop.note_end(&ended);
            }
            self.in_hand.deliveries.wait().await;
        };
        if tokio::time::timeout_at(deadline, finished).await.is_err() {
            tracing::warn!(
                in_flight = self.in_hand.leases.count(),
                "the grace is over; entries in flight stay pending, and another worker takes them over"
            );
        }
    }

    /// Gives back the entries that were not started, and removes this consumer from the groups, at all nodes of
    /// Redis side by side and within [`LEAVING`].
    pub(super) async fn leave(self: &Arc<Self>) {
        let unstarted = std::mem::take(&mut *self.in_hand.unstarted.lock().await);
        let mut by_partition: Vec<Vec<Unstarted>> = (0..self.store.keys().partitions()).map(|_| Vec::new()).collect();
        for entry in unstarted {
            by_partition[usize::from(entry.lease.partition())].push(entry);
        }
        let mut leaving = JoinSet::new();
        for partitions in self.store.by_node() {
            let at_node = partitions
                .iter()
                .map(|&partition| (partition, std::mem::take(&mut by_partition[usize::from(partition)])));
            let (worker, at_node) = (self.clone(), at_node.collect());
            leaving.spawn(async move { worker.leave_node(at_node).await });
        }
        let worker = self.clone();
        leaving.spawn(async move { worker.store.withdraw_worker(&worker.name).await });
        let left = async {
            while let Some(left) = leaving.join_next().await {
                if let Ok(Err(error)) = left {
                    tracing::warn!(%error, "could not leave; another worker takes over when the leases end");
                }
            }
        };
        if tokio::time::timeout(LEAVING, left).await.is_err() {
            tracing::warn!("could not leave in time; another worker takes over when the leases end");
        }
        tracing::info!(worker = self.name, "worker stopped");
    }

    /// Gives back the entries of one node's partitions. Stops at the first error, because the node is probably away.
    async fn leave_node(&self, partitions: Vec<(u16, Vec<Unstarted>)>) -> Result<(), StoreError> {
        for (partition, mut unstarted) in partitions {
            // At least once, even without entries: this step also removes the consumer from the group.
            loop {
                let batch: Vec<Unstarted> = batch::first(&mut unstarted, |entry| entry.bytes);
                let given: Vec<(Fence, String)> =
                    batch.iter().map(|entry| (entry.lease.fence().0, entry.event_id.clone())).collect();
                let given = self.store.leave(partition, &self.name, true, &given).await?;
                if given > 0 {
                    tracing::info!(partition, given, "gave unstarted entries back");
                }
                if unstarted.is_empty() {
                    break;
                }
            }
        }
        Ok(())
    }
}
