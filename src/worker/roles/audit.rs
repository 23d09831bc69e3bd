//! The auditor: it looks for lost entries, which are entries that no worker holds and entries that somebody took out of
//! the queue. Operators can change Redis's bookkeeping of the group (`XGROUP`, `XTRIM`), so one worker at a time
//! compares it with the entries that are there.

use std::{sync::Arc, time::Duration};

use crate::{
    store::Audit,
    worker::{Worker, parts::heartbeat::Role, until_answered::tell},
};

/// Each worker looks this often (± 25 %), unless another looked within 10 s. So lost entries are found well within a
/// minute.
const AUDIT_EVERY: Duration = Duration::from_secs(20);

/// Looks until the worker stops.
pub(crate) async fn audit(worker: Arc<Worker>, partition: u16) {
    loop {
        let due = tokio::time::sleep(AUDIT_EVERY.mul_f64(rand::random_range(0.75..1.25)));
        let Some(()) = worker.wait_for(Role::Audit, partition, due).await else { return };
        audit_once(&worker, partition, false).await;
    }
}

/// Looks once. If `due`, looks even if another worker looked just now.
pub(crate) async fn audit_once(worker: &Worker, partition: u16, due: bool) {
    match worker.store.audit(partition, &worker.name, worker.rules.leases.lease, due).await {
        Ok(Some(seen)) => {
            worker.vitals.counters.metrics.orphans(seen.unheld);
            warn_of(partition, &seen);
        }
        Ok(None) => {}
        Err(error) => tell("audit", Some(partition), &error),
    }
}

fn warn_of(partition: u16, seen: &Audit) {
    let Audit { unheld, trimmed, entries_trimmed, is_exhausted, is_beyond, .. } = *seen;
    if unheld > 0 {
        tracing::warn!(
            partition,
            entries = unheld,
            "taking over entries that no worker held: somebody changed the consumer group"
        );
    }
    if trimmed && entries_trimmed > 0 {
        tracing::warn!(partition, entries = entries_trimmed, "somebody took entries out of the queue");
    } else if trimmed {
        tracing::warn!(partition, "somebody took entries out of the queue; their number is unknown");
    }
    if is_exhausted {
        tracing::warn!(
            partition,
            "the queue's last id was the largest possible, so no entry could be added; setting it back"
        );
    } else if is_beyond {
        tracing::warn!(partition, "the consumer group's position was beyond every id to come; setting it back");
    }
}
