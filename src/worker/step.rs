//! Steps on an entry that is in hand: its lease is their fence. Each is repeated until Redis answers.

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
    },
    store::{Attempted, Reason, StepAnswer, StoreError, ToHold},
};

/// How an entry goes on after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// It is settled, or put aside, or another worker's; or it stays pending until it is claimed.
    Over,
    /// It is looked at again at once.
    Again,
    /// It stays in hand, and is looked at again after a pause.
    Pause,
}

/// Takes a leased step under the entry's present token, and again if the entry came to this worker anew meanwhile.
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
            // Unless another may have taken it over and settled it meanwhile.
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

/// Holds a delivery for this reason; `None` if Redis refused, or it is no longer this worker's.
pub(super) async fn hold(
    worker: &Worker,
    lease: &Lease,
    delivery: &Delivery,
    envelope: &Bytes,
    reason: Reason,
) -> Option<StepAnswer> {
    let here = worker.partition_of(lease);
    let held = leased!(lease, |fence| {
        let to_hold = ToHold { fence, delivery: delivery.clone(), envelope: envelope.clone(), reason };
        Ok(here.hold.ask(to_hold, envelope.len()).await.unwrap_or(StepAnswer::Lost))
    });
    report(lease, "hold", held)
}

/// Sets an entry aside; an event under the id that it may have been sent with.
pub(super) async fn reject(worker: &Worker, lease: &Lease, reason: &str, event: Option<&EventId>) {
    tracing::warn!(entry = lease.entry().0, reason, "an entry is rejected");
    let rejected =
        leased!(lease, |fence| { until_answered!("reject", worker.store.reject(&worker.name, &fence, reason, event)) });
    report(lease, "reject", rejected);
}

/// An entry that took its worker with it too often gets a final log entry and is set aside.
pub(super) async fn bury(worker: &Worker, lease: &Lease, judged: Judged) {
    let reason = format!("worker ended {} times during this attempt", worker.rules.leases.max_losses);
    tracing::error!(entry = %lease.entry().0, reason, "an entry is to be set aside");
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

/// One step of an event's fan-out, which adds so much and no more: the queue has the rest as an entry of its own, behind the
/// entries that others have queued meanwhile. If the queue takes nothing now, the rest stays in hand.
pub(super) async fn fan_out(
    worker: &Worker,
    lease: &Lease,
    work: &mut Work,
    deliveries: &[Delivery],
    more: bool,
) -> Then {
    let done = leased!(lease, |fence| {
        until_answered!("fan out", worker.store.fan_out(&worker.name, &fence, deliveries, more))
    });
    match (report(lease, "fan out", done), work) {
        (Some(StepAnswer::Rest), Work::Event(event)) => {
            event.after = deliveries.last().map(|delivery| delivery.webhook);
            Then::Again
        }
        _ => Then::Over,
    }
}

/// Says in the log what is worth saying of a step's answer, and passes it on.
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
            "nothing left to do: the step was taken before, or the entry is another worker's"
        ),
        Ok(StepAnswer::Gone) => tracing::debug!(entry, step, "the webhook is deleted; its delivery was dropped"),
        Ok(StepAnswer::Broken(error)) => tracing::error!(entry, step, error, "the entry stays pending"),
        Err(error) => tracing::error!(entry, step, %error, "Redis refuses; the entry stays pending"),
    }
    answer.ok()
}
