//! Whether an attempt may begin now; and where its delivery waits if it may not.

use std::time::Duration;

use bytes::Bytes;
use chrono::TimeDelta;
use tokio::time::Instant;
use url::Url;

use super::{
    Worker,
    deliver::{leased, report},
    endpoints::Permit,
    leases::Lease,
    no_room::NoRoom,
};
use crate::{
    domain::{delivery::Delivery, endpoint::LOOK_AGAIN, entry::Judged},
    store::{Reason, StepAnswer, StoreError, ToHold},
};

/// Workers are behind when an entry waited in the queue for this long.
const BEHIND: TimeDelta = TimeDelta::seconds(3);
/// Whether too many bytes are held for a webhook that is off is looked at within this long.
const WEIGH_WITHIN: Duration = Duration::from_millis(50);

/// The fate of a delivery for which there is no room.
pub(super) enum PutOff {
    /// It waits in Redis, or is no longer this worker's.
    Waits,
    /// As many wait as may: the delivery fails, for this reason.
    Full(String),
}

/// Asks for room for an attempt, and puts its delivery off if there is none. Never holds a `suspect`, an entry that was
/// claimed before: a held entry loses its delivery count, and that count exposes an entry that ends its workers.
pub(super) async fn admit(
    worker: &Worker,
    lease: &Lease,
    delivery: &Delivery,
    url: &Url,
    judged: &Judged,
    suspect: bool,
) -> Result<Permit, PutOff> {
    let bytes = judged.envelope.len();
    match worker.endpoints.enter(delivery, url, bytes, judged.was_held) {
        Ok(permit) => Ok(permit),
        Err(_) if suspect => Ok(worker.endpoints.enter_anyway(delivery, bytes)),
        Err(no_room) => Err(put_off(worker, lease, delivery, judged, no_room).await),
    }
}

/// Puts a delivery off for which there is no room at its endpoint.
pub(super) async fn put_off(
    worker: &Worker,
    lease: &Lease,
    delivery: &Delivery,
    judged: &Judged,
    no_room: NoRoom,
) -> PutOff {
    let is_retry = delivery.attempt > 1;
    let (wait, reason) = if is_retry {
        let after = worker.endpoints.put_off(delivery.webhook);
        (after, Reason::Again { after })
    } else {
        // An entry that workers left in the queue for long always fits: the endpoint is not to blame for the backlog, and what
        // moves from `queue` to `held` takes no more of Redis's memory.
        let is_new = judged.is_new(delivery) && lease.entry().age(worker.clock.now()) < BEHIND;
        (LOOK_AGAIN, Reason::Busy { release_in: LOOK_AGAIN, is_new })
    };
    match hold(worker, lease, delivery, &judged.envelope, reason).await {
        Some(StepAnswer::Full) => {
            worker.figures.no_room();
            return PutOff::Full(format!("not attempted: {no_room} and its waiting list is full"));
        }
        Some(StepAnswer::Done) => {
            worker.figures.put_off();
            let (partition, then) = (usize::from(lease.partition()), Instant::now() + wait);
            if is_retry {
                worker.next_promote[partition].by(then);
            } else {
                worker.endpoints.note_held(&delivery.account, delivery.webhook);
                worker.next_release[partition].by(then);
            }
        }
        _ => {}
    }
    PutOff::Waits
}

/// Holds the delivery of a webhook that is off. `false` where it is on after all, and the delivery is to be attempted.
pub(super) async fn hold_while_off(worker: &Worker, lease: &Lease, delivery: &Delivery, envelope: &Bytes) -> bool {
    let answer = hold(worker, lease, delivery, envelope, Reason::Off).await;
    // Too many bytes may be held now, which the next visit finds out.
    worker.next_visit[usize::from(lease.partition())].by(Instant::now() + WEIGH_WITHIN);
    answer != Some(StepAnswer::Active)
}

/// Holds a delivery for this reason; `None` where Redis refused, or it is no longer this worker's.
pub(super) async fn hold(
    worker: &Worker,
    lease: &Lease,
    delivery: &Delivery,
    envelope: &Bytes,
    reason: Reason,
) -> Option<StepAnswer> {
    let steps = worker.steps_of(lease);
    let held = leased!(lease, |fence| {
        let waiting = ToHold { fence, delivery: delivery.clone(), envelope: envelope.clone(), reason };
        Ok(steps.hold.ask(waiting, envelope.len()).await.unwrap_or(StepAnswer::Lost))
    });
    report(lease, "hold", held)
}
