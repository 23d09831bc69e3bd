//! Whether entries got lost: some that nobody holds, some that somebody took out of the queue. Redis's own bookkeeping of the
//! group is in the operators' hands (`XGROUP`, `XTRIM`), so one worker at a time compares it with what is there.

use std::{sync::Arc, time::Duration};

use crate::{
    failpoint,
    store::Audit,
    worker::{Worker, until_answered::tell},
};

/// Each worker looks this often (± 25 %), unless another looked within 10 s: what was lost is attempted well within a minute.
const AUDIT_EVERY: Duration = Duration::from_secs(20);

/// Looks until the worker stops.
pub(crate) async fn audit(worker: Arc<Worker>, partition: u16) {
    loop {
        tokio::select! {
            () = worker.stop.begins() => return,
            () = tokio::time::sleep(AUDIT_EVERY.mul_f64(rand::random_range(0.75..1.25))) => {}
        }
        failpoint::wedge("audit").await;
        audit_once(&worker, partition, false).await;
    }
}

/// Looks once, if it is `due` though another worker looked just now.
pub(crate) async fn audit_once(worker: &Worker, partition: u16, due: bool) {
    match worker.store.audit(partition, &worker.name, worker.rules.leases.lease, due).await {
        Ok(Some(seen)) => warn_of(partition, &seen),
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
            "entries that nobody held are taken over: somebody changed the group"
        );
    }
    if trimmed && entries_trimmed > 0 {
        tracing::warn!(partition, entries = entries_trimmed, "somebody took entries out of the queue");
    } else if trimmed {
        tracing::warn!(partition, "somebody took entries out of the queue; how many is not known");
    }
    if is_exhausted {
        tracing::warn!(
            partition,
            "the queue had the largest id there is, so that nothing could be added; it is set back"
        );
    } else if is_beyond {
        tracing::warn!(partition, "the group stood behind all that can come, and is set back");
    }
}
