//! Steps on an entry that is in hand, fenced by its lease. Each step is repeated until Redis answers.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::{Worker, parts::leases::Lease, until_answered::until_answered};
use crate::{
    domain::{
        delivery::Delivery,
        entry::{Judged, Work},
        event::EventId,
        log_entry::LogEntry,
        retry::Next,
        traceparent::Traceparent,
    },
    store::{Attempted, Reason, StepAnswer, StoreError, ToHold},
    telemetry::metrics::Wait,
};

/// The way an entry goes on after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// This worker is done with it: it is settled, put aside, another worker's, or stays pending until it is claimed.
    Over,
    /// The worker looks at it again at once.
    Again,
    /// It stays in hand, and the worker looks at it again after a pause.
    Pause,
}

/// Takes a leased step under the entry's present fence. Repeats it if the entry came to this worker again meanwhile.
macro_rules! leased {
    ($lease:ident, |$fence:ident| $step:expr) => {
        loop {
            let ($fence, takings) = $lease.fence();
            let answer: Result<StepAnswer, StoreError> = $step;
            if !matches!(answer, Ok(StepAnswer::Lost)) || $lease.give_up(takings) {
                break answer;
            }
        }
    };
}

/// Settles an attempt, or a delivery that fails without one.
pub(super) async fn settle(
    worker: &Worker,
    lease: &Lease,
    (delivery, log): (Arc<Delivery>, Arc<LogEntry>),
    next: Next,
    envelope: &Bytes,
) {
    let here = worker.partition_of(lease);
    let settled = leased!(lease, |fence| {
        let trimmed = (fence.deliveries == 0).then(|| envelope.clone());
        let attempted = Attempted { fence, delivery: delivery.clone(), next, log: log.clone(), trimmed };
        let moved_bytes = if next == Next::Delivered { 0 } else { envelope.len() };
        match here.settle.ask(attempted, moved_bytes).await.unwrap_or(StepAnswer::Lost) {
            // The lease may have ended, so another worker may have taken the entry over and settled it.
            StepAnswer::Vanished if !lease.is_within(worker.rules.leases.lease) => Ok(StepAnswer::Lost),
            StepAnswer::Trimmed | StepAnswer::Vanished => {
                lease.note_trimmed();
                Ok(StepAnswer::Lost)
            }
            settled => Ok(settled),
        }
    });
    if report(lease, "settle", settled) == Some(StepAnswer::Done) {
        worker.vitals.counters.settled(next);
        if let Next::Retry { after } = next {
            here.alarms.promote.by(Instant::now() + after);
        }
    }
}

/// Fails a delivery for good without a request.
pub(super) async fn fail(worker: &Worker, lease: &Lease, delivery: Delivery, judged: Judged, reason: String) {
    let now = worker.partition_of(lease).clock.now();
    let log = LogEntry::of_no_request(&delivery, judged.facts, now, reason, true);
    settle(worker, lease, (delivery.into(), log.into()), Next::Failed, &judged.envelope).await;
}

/// Puts a delivery aside for this reason, which is counted; `None` if Redis refused.
pub(super) async fn hold(
    worker: &Worker,
    lease: &Lease,
    delivery: &Delivery,
    envelope: &Bytes,
    (reason, why): (Reason, Wait),
) -> Option<StepAnswer> {
    let here = worker.partition_of(lease);
    let held = leased!(lease, |fence| {
        let to_hold = ToHold { fence, delivery: delivery.clone(), envelope: envelope.clone(), reason };
        Ok(here.hold.ask(to_hold, envelope.len()).await.unwrap_or(StepAnswer::Lost))
    });
    let answer = report(lease, "hold", held);
    if answer == Some(StepAnswer::Done) {
        worker.vitals.counters.put_aside(why, matches!(reason, Reason::Again { .. }));
    }
    answer
}

/// Moves an entry to the rejected ones. An event keeps the id under which it may have been sent.
pub(super) async fn reject(worker: &Worker, lease: &Lease, reason: &str, event: Option<&EventId>) {
    tracing::warn!(entry = lease.entry().0, reason, "an entry is rejected");
    let rejected = leased!(lease, |fence| {
        until_answered!("reject" at worker.store, worker.store.reject(&worker.name, &fence, reason, event))
    });
    if report(lease, "reject", rejected) == Some(StepAnswer::Done) {
        worker.vitals.counters.metrics.rejected();
    }
}

/// An entry that took its worker with it too often gets a final log entry and is set aside.
pub(super) async fn bury(worker: &Worker, lease: &Lease, judged: Judged) {
    let reason = format!("worker ended {} times during this attempt", worker.rules.leases.max_losses);
    let traceparent = judged.traceparent().map(Traceparent::as_str);
    tracing::error!(entry = %lease.entry().0, reason, traceparent, "an entry is to be set aside");
    match &judged.work {
        Work::Event(_) => reject(worker, lease, &reason, event_id(&judged)).await,
        Work::Delivery(delivery) => {
            let delivery = delivery.clone();
            fail(worker, lease, delivery, judged, reason).await;
        }
    }
}

/// The id of an event; a delivery is rejected under none.
pub(super) fn event_id(judged: &Judged) -> Option<&EventId> {
    match &judged.work {
        Work::Event(event) => Some(&event.id),
        Work::Delivery(_) => None,
    }
}

/// Takes one step of an event's fan-out, which adds these deliveries. If `more` are left, the rest becomes a new entry
/// at the end of the queue, after the entries that others have queued meanwhile. If the queue takes nothing now, the
/// rest stays in hand.
pub(super) async fn fan_out(
    worker: &Worker,
    lease: &Lease,
    work: &mut Work,
    deliveries: &[Delivery],
    more: bool,
) -> Then {
    let done = leased!(lease, |fence| {
        until_answered!("fan out" at worker.store, worker.store.fan_out(&worker.name, &fence, deliveries, more))
    });
    match (report(lease, "fan out", done), work) {
        (Some(StepAnswer::Rest), Work::Event(event)) => {
            event.after = deliveries.last().map(|delivery| delivery.webhook);
            Then::Again
        }
        _ => Then::Over,
    }
}

/// Logs a step's answer if it is worth a line, and passes it on; `None` for an error.
fn report(lease: &Lease, step: &str, answer: Result<StepAnswer, StoreError>) -> Option<StepAnswer> {
    let entry = &lease.entry().0;
    match &answer {
        Ok(
            StepAnswer::Done
            | StepAnswer::Unlogged
            | StepAnswer::Trimmed
            | StepAnswer::Active
            | StepAnswer::Full
            | StepAnswer::Rest,
        ) => {}
        Ok(StepAnswer::Lost | StepAnswer::Vanished) => tracing::info!(
            entry,
            step,
            "nothing left to do: the step was taken before, or another worker has the entry"
        ),
        Ok(StepAnswer::Gone) => tracing::debug!(entry, step, "the webhook is deleted; its delivery was dropped"),
        Ok(StepAnswer::Broken(error)) => tracing::error!(entry, step, error, "the entry stays pending"),
        Err(error) => tracing::error!(entry, step, %error, "Redis refuses; the entry stays pending"),
    }
    answer.ok()
}
