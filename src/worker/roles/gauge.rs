//! The gauge: it measures whether this worker's thread has time left.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::worker::{Worker, parts::heartbeat::Role};

/// The time that one measurement covers.
const GAUGE_EVERY: Duration = Duration::from_millis(250);

/// Measures at intervals until the worker stops.
pub(crate) async fn gauge(worker: Arc<Worker>) {
    let metrics = tokio::runtime::Handle::current().metrics();
    let busy = || (0..metrics.num_workers()).map(|thread| metrics.worker_total_busy_duration(thread)).sum::<Duration>();
    let (mut from, mut before) = (Instant::now(), busy());
    loop {
        let Some(()) = worker.wait_for(Role::Gauge, 0, tokio::time::sleep(GAUGE_EVERY)).await else { return };
        let (to, now) = (Instant::now(), busy());
        let percent = now.saturating_sub(before).as_micros() * 100 / (to - from).as_micros().max(1);
        worker.room.endpoints.note_busy(u8::try_from(percent).unwrap_or(100));
        (from, before) = (to, now);
    }
}
