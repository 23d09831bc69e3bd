//! Publishes this worker's figures.

use std::{sync::Arc, time::Duration};

use crate::worker::{Worker, until_answered::tell};

/// A worker's figures are published this often, so that they say what limits an endpoint now; they expire in 30 s.
const PUBLISH_EVERY: Duration = Duration::from_secs(2);

/// Publishes this worker's figures.
pub(crate) async fn publish(worker: Arc<Worker>) {
    loop {
        let figures = worker.vitals.counters.to_json(&worker);
        if let Err(error) = worker.store.publish_worker(&worker.name, &figures).await {
            tell("publish", None, &error);
        }
        tokio::select! {
            () = worker.stop.begins() => return,
            () = tokio::time::sleep(PUBLISH_EVERY) => {}
        }
    }
}
