//! One queue entry's way, top to bottom: judge, look up the webhooks, plan, admit, attempt, conclude.

use std::sync::Arc;

use super::{
    Worker,
    admit::{NoAttempt, admit, hold_while_off, wait_for_means},
    attempt::{Met, attempt, conclude},
    parts::leases::Lease,
    step::{Then, fail, fan_out, reject},
    until_answered::Backoff,
};
use crate::{
    domain::{
        delivery::Delivery,
        entry::{Judged, Plan, Work},
        event::EventId,
        webhook::{Subscriptions, Webhook},
    },
    store::{Entry, fan_out_max},
};

/// Delivers one entry. When this returns, the entry is settled, or it is another's, or it stays pending until it is claimed.
pub(super) async fn deliver(worker: Arc<Worker>, lease: Lease, entry: Entry, just_read: bool) {
    let deliveries = entry.deliveries;
    let Some(mut judged) = judge(&worker, &lease, entry).await else { return };
    if deliveries > worker.rules.leases.max_losses {
        return bury(&worker, &lease, judged).await;
    }
    // What is known is as old as what the reader read last: that is good for an entry that it has just read, once.
    let mut known = just_read.then(|| worker.partition_of(&lease).known.get(judged.account())).flatten();
    let most = fan_out_max(judged.envelope.len());
    let mut backoff = Backoff::new();
    loop {
        let Some(account) = look_up(&worker, &lease, &judged, known.take()).await else { return };
        let then = match judged.work.plan(&judged.facts.event, &account, most) {
            Plan::FanOut { deliveries, more } => fan_out(&worker, &lease, &mut judged.work, &deliveries, more).await,
            Plan::Hold(delivery) if lease.is_trimmed() => {
                let why = "not attempted: it was taken out of the queue while this webhook was off".to_owned();
                return fail(&worker, &lease, delivery, judged, why).await;
            }
            Plan::Hold(delivery) => hold_while_off(&worker, &lease, &delivery, &judged, &mut backoff).await,
            Plan::Unreadable(delivery) => {
                let why = "this webhook's settings cannot be read; ask the operator of this service".to_owned();
                return fail(&worker, &lease, delivery, judged, why).await;
            }
            Plan::Attempt(delivery, _) if usize::from(delivery.attempt) > worker.rules.schedule.attempts() => {
                return fail(&worker, &lease, delivery, judged, "no attempt is left".to_owned()).await;
            }
            Plan::Attempt(delivery, webhook) => {
                let suspect = deliveries > 1 || lease.is_trimmed();
                match try_to_attempt(&worker, &lease, &judged, (&delivery, webhook), suspect).await {
                    Ok(met) => return conclude(&worker, &lease, delivery, judged, met).await,
                    Err(NoAttempt::Full(why)) => return fail(&worker, &lease, delivery, judged, why).await,
                    Err(NoAttempt::Then(then)) => then,
                }
            }
        };
        match then {
            Then::Over => return,
            Then::Again => {}
            Then::Pause => tokio::select! {
                () = worker.stop.begins() => return,
                () = backoff.pause() => {}
            },
        }
    }
}

/// What the entry is; `None` if it is none of ours, and was set aside.
async fn judge(worker: &Worker, lease: &Lease, entry: Entry) -> Option<Judged> {
    match worker.judge(lease.partition(), &entry) {
        Ok(judged) => Some(judged),
        Err(rejection) => {
            reject(worker, lease, &rejection.to_string(), None).await;
            None
        }
    }
}

/// The account's webhooks, as they are `known` or as Redis has them; `None` if the entry is set aside, or stays pending.
async fn look_up(
    worker: &Worker,
    lease: &Lease,
    judged: &Judged,
    known: Option<Arc<Subscriptions>>,
) -> Option<Arc<Subscriptions>> {
    if known.is_some() {
        return known;
    }
    match worker.partition_of(lease).look_up.ask(judged.account().clone(), 0).await? {
        Ok(account) => Some(account),
        Err(error) if error.is_wrong_type() => {
            reject(worker, lease, &error.to_string(), event_id(judged)).await;
            None
        }
        Err(error) => {
            tracing::error!(%error, entry = lease.entry().0, "Redis refuses; the entry stays pending");
            None
        }
    }
}

/// Makes an attempt, if there is room for it and everything that it takes.
async fn try_to_attempt(
    worker: &Worker,
    lease: &Lease,
    judged: &Judged,
    to: (&Delivery, &Webhook),
    suspect: bool,
) -> Result<Met, NoAttempt> {
    let permit = admit(worker, lease, judged, to, suspect).await?;
    match attempt(worker, lease, to, permit, judged.envelope.clone()).await {
        Ok(met) => Ok(met),
        Err(lacking) => Err(wait_for_means(worker, lease, judged, to, suspect, lacking).await),
    }
}

/// An entry that took its worker with it too often gets a final log entry and is set aside.
async fn bury(worker: &Worker, lease: &Lease, judged: Judged) {
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

fn event_id(judged: &Judged) -> Option<&EventId> {
    match &judged.work {
        Work::Event(event) => Some(&event.id),
        Work::Delivery(_) => None,
    }
}
