//! Settling: what finished while the last script ran is settled by the next one, up to a bound. Never waits to fill.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::{Worker, batch, persist::until_answered};
use crate::store::{Attempted, BATCH_MAX, Settled};

/// An attempt to settle, and where its answer goes.
pub(super) struct Settlement {
    pub(super) attempt: Attempted,
    pub(super) envelope_bytes: usize,
    pub(super) answer: oneshot::Sender<Settled>,
}

/// Settles one partition's attempts until the worker's other parts are gone.
pub(super) async fn settle(worker: Arc<Worker>, partition: u16, mut finished: mpsc::Receiver<Settlement>) {
    let mut waiting = Vec::new();
    loop {
        if waiting.is_empty() && finished.recv_many(&mut waiting, BATCH_MAX).await == 0 {
            return;
        }
        let batch = batch::first(&mut waiting, |settlement: &Settlement| settlement.envelope_bytes);
        let (attempts, answers): (Vec<_>, Vec<_>) = batch.into_iter().map(|s| (s.attempt, s.answer)).unzip();
        let settled = match until_answered!("settle", worker.store.settle(partition, &worker.consumer, &attempts)) {
            Ok(settled) => settled,
            Err(error) => {
                tracing::error!(%error, partition, "Redis refuses to settle; the entries stay pending");
                vec![Settled::Broken(error.to_string()); attempts.len()]
            }
        };
        for (answer, settled) in answers.into_iter().zip(settled) {
            // Nobody waits for it any more: the worker is stopping.
            let _ = answer.send(settled);
        }
    }
}
