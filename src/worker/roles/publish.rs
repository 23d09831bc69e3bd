//! The publisher: it publishes this worker's figures.

use std::{sync::Arc, time::Duration};

use crate::worker::{Worker, parts::heartbeat::Role, until_answered::tell};

/// The interval at which figures are published: short, so that they show what limits an endpoint now. They expire after
/// 30 s.
const PUBLISH_EVERY: Duration = Duration::from_secs(2);

/// Publishes at intervals until the worker stops.
pub(crate) async fn publish(worker: Arc<Worker>) {
    loop {
        let (now, in_flight) = (worker.partition(0).clock.now(), worker.in_hand.leases.count());
        let figures = worker.vitals.published(now, (in_flight, worker.rules.concurrency), &worker.room.endpoints);
        if let Err(error) = worker.store.publish_worker(&worker.name, &figures.to_json()).await {
            tell("publish", None, &error);
        }
        let Some(()) = worker.wait_for(Role::Publish, 0, tokio::time::sleep(PUBLISH_EVERY)).await else { return };
    }
}
