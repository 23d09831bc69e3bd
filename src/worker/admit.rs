//! Decides whether an attempt may begin now, and where its delivery waits otherwise.

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
    telemetry::metrics::Wait,
};

/// The time within which a visit checks whether too many bytes are held for a webhook that is off.
const WEIGH_WITHIN: Duration = Duration::from_millis(50);

/// The consequence if no attempt was made.
pub(super) enum NoAttempt {
    /// The delivery goes on as this value says.
    Then(Then),
    /// The waiting list is full, so the delivery fails with this text in its log.
    Full(String),
}

/// Waits for the lease and asks for room for an attempt. If there is no room, puts the delivery off.
///
/// An entry `stays_in_hand` if it was claimed before, or if somebody took it out of the queue. A held entry loses its
/// delivery count, and that count exposes an entry that ends its workers. An entry that is no longer in the queue cannot
/// be moved from there.
pub(super) async fn admit(
    worker: &Worker,
    lease: &Lease,
    judged: &Judged,
    (delivery, webhook): (&Delivery, &Webhook),
    stays_in_hand: bool,
) -> Result<Permit, NoAttempt> {
    match lease.ready(worker.rules.leases.start_within).await {
        Ready::Now => {}
        // The webhook may have been switched off, or edited, during the wait.
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

/// Makes a delivery wait if no request could be made, for a reason that is not the endpoint's fault. An entry that
/// `stays_in_hand` waits there.
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
            return put_off(worker, lease, delivery, judged, NoRoom::AT_HOST).await;
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

/// Puts off a delivery whose endpoint has no room. A first attempt goes to `held`, a retry back to the retries.
async fn put_off(worker: &Worker, lease: &Lease, delivery: &Delivery, judged: &Judged, no_room: NoRoom) -> NoAttempt {
    let (here, is_retry) = (worker.partition_of(lease), delivery.attempt > 1);
    let (wait, reason) = if is_retry {
        let after = worker.room.endpoints.put_off(delivery.webhook);
        (after, Reason::Again { after })
    } else {
        let is_new = judged.is_new(delivery, lease.entry().age(here.clock.now()));
        (LOOK_AGAIN, Reason::Busy { release_in: LOOK_AGAIN, is_new })
    };
    match hold(worker, lease, delivery, &judged.envelope, (reason, no_room.wait())).await {
        Some(StepAnswer::Full) => {
            worker.vitals.counters.no_room(no_room.wait());
            return NoAttempt::Full(format!("not attempted: {no_room} and its waiting list is full"));
        }
        Some(StepAnswer::Done) => {
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

/// Puts off a delivery for which no name server answers.
async fn wait_for_name(worker: &Worker, lease: &Lease, delivery: &Delivery, judged: &Judged) -> NoAttempt {
    let after = worker.room.names.wait();
    let reason = (Reason::Again { after }, Wait::NoNameServer);
    if hold(worker, lease, delivery, &judged.envelope, reason).await == Some(StepAnswer::Done) {
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
    let answer = hold(worker, lease, delivery, &judged.envelope, (Reason::Off, Wait::Off)).await;
    // Too many bytes may be held now; the next visit checks that.
    worker.partition_of(lease).alarms.visit.by(Instant::now() + WEIGH_WITHIN);
    if answer != Some(StepAnswer::Active) {
        return Then::Over;
    }
    // The webhook was switched on meanwhile. The pause bounds the rate of questions if Redis is wrong about that.
    backoff.pause(&worker.store).await;
    Then::Again
}
