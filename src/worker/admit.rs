//! Whether an attempt may begin now; and where its delivery waits if it may not.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Worker,
    parts::{
        endpoints::Permit,
        leases::{Lease, Ready},
        no_room::NoRoom,
    },
    step::{Then, hold},
    until_answered::Backoff,
};
use crate::{
    domain::{delivery::Delivery, endpoint::LOOK_AGAIN, entry::Judged, webhook::Webhook},
    sender::NotMade,
    store::{Reason, StepAnswer},
};

/// Whether too many bytes are held for a webhook that is off is looked at within this long.
const WEIGH_WITHIN: Duration = Duration::from_millis(50);

/// Why no attempt was made.
pub(super) enum NoAttempt {
    /// The delivery goes on like this.
    Then(Then),
    /// As many deliveries wait as may: this one fails, for this reason.
    Full(String),
}

/// Waits for the lease, and asks for room for an attempt; puts the delivery off if there is none, unless it `stays_in_hand`. An
/// entry that was claimed before stays in hand: a held entry loses its delivery count, and that count exposes an entry that ends
/// its workers. So does an entry that somebody took out of the queue, for it cannot be put off from there.
pub(super) async fn admit(
    worker: &Worker,
    lease: &Lease,
    judged: &Judged,
    (delivery, webhook): (&Delivery, &Webhook),
    stays_in_hand: bool,
) -> Result<Permit, NoAttempt> {
    match lease.ready(worker.rules.leases.start_within).await {
        Ready::Now => {}
        // Somebody may have switched the webhook off, or edited it, during the wait.
        Ready::Waited => return Err(NoAttempt::Then(Then::Again)),
        Ready::Lost => return Err(NoAttempt::Then(Then::Over)),
    }
    let (endpoints, bytes) = (&worker.room.endpoints, judged.envelope.len());
    match endpoints.enter(delivery, webhook.url.as_url(), bytes, judged.was_held) {
        Ok(permit) => Ok(permit),
        Err(_) if stays_in_hand => Ok(endpoints.enter_anyway(delivery, bytes)),
        Err(no_room) => Err(put_off(worker, lease, delivery, judged, no_room).await),
    }
}

/// No request could be made, for a reason that is not the endpoint's fault: the delivery waits. A delivery that `stays_in_hand` waits there.
pub(super) async fn wait_for_means(
    worker: &Worker,
    lease: &Lease,
    judged: &Judged,
    (delivery, webhook): (&Delivery, &Webhook),
    stays_in_hand: bool,
    lacking: NotMade,
) -> NoAttempt {
    match lacking {
        NotMade::HostFull if !stays_in_hand => {
            worker.room.endpoints.note_host_full(delivery, webhook.url.as_url());
            return put_off(worker, lease, delivery, judged, NoRoom::HostFull).await;
        }
        NotMade::HostFull => {}
        NotMade::Lacking(lacking) => worker.vitals.exhaustion.tell(lacking),
        NotMade::NoNameServer(why) => {
            worker.vitals.exhaustion.tell(why);
            if !stays_in_hand {
                return wait_for_name(worker, lease, delivery, judged).await;
            }
        }
    }
    NoAttempt::Then(Then::Pause)
}

/// Puts a delivery off for which there is no room at its endpoint.
async fn put_off(worker: &Worker, lease: &Lease, delivery: &Delivery, judged: &Judged, no_room: NoRoom) -> NoAttempt {
    let (here, is_retry) = (worker.partition_of(lease), delivery.attempt > 1);
    let (wait, reason) = if is_retry {
        let after = worker.room.endpoints.put_off(delivery.webhook);
        (after, Reason::Again { after })
    } else {
        let is_new = judged.is_new(delivery, lease.entry().age(here.clock.now()));
        (LOOK_AGAIN, Reason::Busy { release_in: LOOK_AGAIN, is_new })
    };
    match hold(worker, lease, delivery, &judged.envelope, reason).await {
        Some(StepAnswer::Full) => {
            worker.vitals.counters.no_room();
            return NoAttempt::Full(format!("not attempted: {no_room} and its waiting list is full"));
        }
        Some(StepAnswer::Done) => {
            worker.vitals.counters.put_off();
            let then = Instant::now() + wait;
            if is_retry {
                here.alarms.promote.by(then);
            } else {
                worker.room.endpoints.note_held(&delivery.account, delivery.webhook);
                here.alarms.release.by(then);
            }
        }
        _ => {}
    }
    NoAttempt::Then(Then::Over)
}

/// Puts a delivery off until its host's name can be looked up, perhaps.
async fn wait_for_name(worker: &Worker, lease: &Lease, delivery: &Delivery, judged: &Judged) -> NoAttempt {
    let after = worker.room.names.wait();
    if let Some(StepAnswer::Done) = hold(worker, lease, delivery, &judged.envelope, Reason::Again { after }).await {
        worker.vitals.counters.put_off();
        worker.partition_of(lease).alarms.promote.by(Instant::now() + after);
    }
    NoAttempt::Then(Then::Over)
}

/// Holds the delivery of a webhook that is off.
pub(super) async fn hold_while_off(
    worker: &Worker,
    lease: &Lease,
    delivery: &Delivery,
    judged: &Judged,
    backoff: &mut Backoff,
) -> Then {
    let answer = hold(worker, lease, delivery, &judged.envelope, Reason::Off).await;
    // Too many bytes may be held now, which the next visit finds out.
    worker.partition_of(lease).alarms.visit.by(Instant::now() + WEIGH_WITHIN);
    if answer != Some(StepAnswer::Active) {
        return Then::Over;
    }
    // It was switched on meanwhile. Should Redis be wrong about that, it is not asked without end.
    backoff.pause().await;
    Then::Again
}
