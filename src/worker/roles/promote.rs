//! The promoter: it moves due retries to the queue.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::worker::{
    Worker,
    parts::heartbeat::Role,
    until_answered::{Backoff, tell},
};

/// The promoter looks at least this often.
const PROMOTE_EVERY: Duration = Duration::from_secs(1);
/// The shortest time between two runs. Retries that become due in between move together.
const PROMOTE_PACE: Duration = Duration::from_millis(5);

/// Moves due retries to the queue, and tells the releaser and the visitor of times that other workers have planned.
pub(crate) async fn promote(worker: Arc<Worker>, partition: u16) {
    let (mut backoff, here) = (Backoff::new(), worker.partition(partition));
    let mut not_before = Instant::now();
    loop {
        let due = here.alarms.promote.come(not_before, PROMOTE_EVERY);
        let Some(()) = worker.wait_for(Role::Promote, partition, due).await else { return };
        let sent = Instant::now();
        match worker.store.promote(partition, &here.clock.known()).await {
            Ok(promoted) => {
                backoff.reset();
                if promoted.moved > 0 {
                    worker.vitals.heartbeats.promoted();
                }
                worker.hear(partition, promoted.now_ms, sent);
                if let Some(release_in) = promoted.release_in {
                    here.alarms.release.by(Instant::now() + release_in);
                }
                if let Some(visit_in) = promoted.visit_in {
                    here.alarms.visit.by(Instant::now() + visit_in);
                }
                if let Some(wait) = promoted.next_in {
                    here.alarms.promote.by(Instant::now() + wait);
                }
            }
            Err(error) => {
                tell("promote", Some(partition), &error);
                backoff.pause(&worker.store).await;
                here.alarms.promote.by(Instant::now());
            }
        }
        not_before = Instant::now() + PROMOTE_PACE;
    }
}
