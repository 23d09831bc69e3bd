//! The path of one queue entry, top to bottom: judge, look up the webhooks, plan, admit, attempt, conclude.

use std::sync::Arc;

use super::{
    Worker,
    admit::{NoAttempt, admit, hold_while_off, wait_for_means},
    attempt::{Met, attempt, conclude},
    parts::{in_hand::Taken, leases::Lease},
    step::{Then, bury, event_id, fail, fan_out, reject},
    until_answered::Backoff,
};
use crate::{
    domain::{
        delivery::Delivery,
        entry::{Found, Judged, Plan, Rejection},
        webhook::{Subscriptions, Webhook},
    },
    store::{Entry, fan_out_max},
};

impl Worker {
    /// Starts delivering an entry. `done` is called when it is settled. A panic in its task drops all that it has: the entry
    /// stays pending and its lease ends, so that it is lost once, as if the worker had died of it.
    pub(super) fn begin(
        self: &Arc<Self>,
        Taken { lease, weight, entry, just_read }: Taken,
        done: impl FnOnce() + Send + 'static,
    ) {
        // In a box, because a task is moved several times before it runs.
        let delivering = Box::pin(deliver(self.clone(), lease, entry, just_read));
        self.in_hand.deliveries.spawn(async move {
            delivering.await;
            drop(weight);
            done();
        });
    }

    /// Parses an entry of this partition.
    pub(super) fn judge(&self, partition: u16, entry: &Entry) -> Result<Judged, Rejection> {
        let found = Found { entry: &entry.id.0, partition, partitions: self.store.keys().partitions() };
        Judged::parse(&entry.fields, &found, &self.rules.catalogue, |p| self.store.keys().queue(p))
    }
}

/// Delivers one entry. When this returns, the entry is settled, or it is another's, or it stays pending until it is claimed.
async fn deliver(worker: Arc<Worker>, lease: Lease, entry: Entry, just_read: bool) {
    let deliveries = entry.deliveries;
    let Some(mut judged) = judge(&worker, &lease, entry).await else { return };
    if deliveries > worker.rules.leases.max_losses {
        return bury(&worker, &lease, judged).await;
    }
    // Known settings are as old as the reader's last read, so they are good only for an entry that was just read, and once.
    let mut known = just_read.then(|| worker.partition_of(&lease).known.get(judged.account())).flatten();
    let most = fan_out_max(judged.envelope.len());
    let mut backoff = Backoff::new();
    loop {
        let Some(account) = look_up(&worker, &lease, &judged, known.take()).await else { return };
        let then = match judged.work.plan(&judged.facts.event, &account, most) {
            Plan::FanOut { deliveries, more } => fan_out(&worker, &lease, &mut judged.work, &deliveries, more).await,
            Plan::Hold(delivery) if lease.is_trimmed() => {
                let why = "not attempted: it was removed from the queue while this webhook was off".to_owned();
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
                let stays_in_hand = deliveries > 1 || lease.is_trimmed();
                match try_to_attempt(&worker, &lease, &judged, (&delivery, webhook), stays_in_hand).await {
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
                () = backoff.pause(&worker.store) => {}
            },
        }
    }
}

/// Parses the entry. `None` if it is not a valid entry; then it was rejected.
async fn judge(worker: &Worker, lease: &Lease, entry: Entry) -> Option<Judged> {
    match worker.judge(lease.partition(), &entry) {
        Ok(judged) => Some(judged),
        Err(rejection) => {
            reject(worker, lease, &rejection.to_string(), None).await;
            None
        }
    }
}

/// The account's webhooks: the `known` ones, otherwise as Redis has them. `None` if the entry was rejected or stays
/// pending.
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

/// Makes an attempt, if the endpoint has room and this machine has the means.
async fn try_to_attempt(
    worker: &Worker,
    lease: &Lease,
    judged: &Judged,
    to: (&Delivery, &Webhook),
    stays_in_hand: bool,
) -> Result<Met, NoAttempt> {
    let permit = admit(worker, lease, judged, to, stays_in_hand).await?;
    match attempt(worker, lease, to, permit, judged.envelope.clone()).await {
        Ok(met) => Ok(met),
        Err(lacking) => Err(wait_for_means(worker, lease, judged, to, stays_in_hand, lacking).await),
    }
}
