//! One queue entry's way, top to bottom: judge, look up the webhooks, plan, attempt, decide, settle.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::{
    Worker,
    admit::{PutOff, admit, hold_while_off, put_off},
    endpoints::Permit,
    leases::{Lease, Ready},
    names::wait_for_names,
    no_room::NoRoom,
    until_answered::{Backoff, until_answered},
};
use crate::{
    domain::{
        delivery::Delivery,
        entry::{Judged, Plan, Work},
        event::EventId,
        log_entry::LogEntry,
        outcome::{NetworkFault, Outcome, Phases},
        retry::Next,
        webhook::Webhook,
    },
    failpoint,
    secrets::SecretsError,
    sender::{self, NotMade, Request},
    store::{Attempted, Entry, StepAnswer, StoreError, fan_out_max},
};

/// Delivers one entry. When this returns, the entry is settled, or it is another's, or it stays pending for whoever
/// claims it next.
pub(super) async fn deliver(worker: Arc<Worker>, lease: Lease, entry: Entry) {
    let deliveries = entry.deliveries;
    let Some(mut judged) = judge(&worker, &lease, entry).await else { return };
    if deliveries > worker.max_losses {
        return bury(&worker, &lease, judged).await;
    }
    let mut backoff = Backoff::new();
    let most = fan_out_max(judged.envelope.len());
    let steps = worker.steps_of(&lease);
    // What is known is as old as what the reader read last: that is good for an entry that it has just read, once.
    let mut known = (deliveries == 1).then(|| steps.known.get(judged.account())).flatten();
    loop {
        let looked_up = match known.take() {
            Some(account) => Some(Ok(account)),
            None => steps.look_up.ask(judged.account().clone(), 0).await,
        };
        let account = match looked_up {
            Some(Ok(account)) => account,
            Some(Err(error)) if error.is_wrong_type() => {
                return reject(&worker, &lease, &error.to_string(), event_id(&judged)).await;
            }
            Some(Err(error)) => {
                tracing::error!(%error, entry = lease.entry().0, "Redis refuses; the entry stays pending");
                return;
            }
            None => return,
        };
        match judged.work.plan(&judged.facts.event, &account, most) {
            Plan::Attempt(delivery, _) if usize::from(delivery.attempt) > worker.schedule.attempts() => {
                return fail(&worker, &lease, delivery, judged, "no attempt is left".to_owned()).await;
            }
            Plan::Unreadable(delivery) => {
                let reason = "this webhook's settings cannot be read; ask the operator of this service".to_owned();
                return fail(&worker, &lease, delivery, judged, reason).await;
            }
            Plan::FanOut { deliveries, more } => {
                let done = fan_out(&worker, &lease, &deliveries, more).await;
                let (Some(StepAnswer::Rest), Work::Event(event)) = (done, &mut judged.work) else { return };
                event.after = deliveries.last().map(|delivery| delivery.webhook);
            }
            Plan::Attempt(delivery, webhook) => {
                match lease.ready(worker.start_within).await {
                    Ready::Now => {}
                    // Somebody may have switched the webhook off, or edited it, during the wait.
                    Ready::Waited => continue,
                    Ready::Lost => return,
                }
                // What somebody took out of the queue cannot be put aside from there, either.
                let suspect = deliveries > 1 || lease.is_trimmed();
                let put_off = match admit(&worker, &lease, &delivery, webhook.url.as_url(), &judged, suspect).await {
                    Ok(permit) => match attempt(&worker, &delivery, webhook, permit, judged.envelope.clone()).await {
                        Ok(attempt) => return conclude(&worker, &lease, delivery, judged, attempt).await,
                        Err(NotMade::HostFull) if !suspect => {
                            worker.endpoints.note_host_full(&delivery, webhook.url.as_url());
                            Some(put_off(&worker, &lease, &delivery, &judged, NoRoom::HostFull).await)
                        }
                        Err(NotMade::HostFull) => None,
                        Err(NotMade::Lacking(lacking)) => {
                            worker.shortage.tell(lacking);
                            None
                        }
                        Err(NotMade::NoNameServer(why)) => {
                            worker.shortage.tell(why);
                            if suspect { None } else { Some(wait_for_names(&worker, &lease, &delivery, &judged).await) }
                        }
                    },
                    Err(put_off) => Some(put_off),
                };
                match put_off {
                    Some(PutOff::Waits) => return,
                    Some(PutOff::Full(why)) => return fail(&worker, &lease, delivery, judged, why).await,
                    // It stays in hand.
                    None => {}
                }
                tokio::select! {
                    () = worker.stop.cancelled() => return,
                    () = backoff.pause() => {}
                }
            }
            Plan::Hold(delivery) if lease.is_trimmed() => {
                let reason = "not attempted: it was taken out of the queue while this webhook was off".to_owned();
                return fail(&worker, &lease, delivery, judged, reason).await;
            }
            Plan::Hold(delivery) => {
                if hold_while_off(&worker, &lease, &delivery, &judged.envelope).await {
                    return;
                }
                // It was switched on meanwhile. Should Redis be wrong about that, it is not asked without end.
                backoff.pause().await;
            }
        }
    }
}

/// What the entry is; `None` where it is none of ours, and was set aside.
async fn judge(worker: &Worker, lease: &Lease, entry: Entry) -> Option<Judged> {
    match worker.judge(lease.partition(), &entry) {
        Ok(judged) => Some(judged),
        Err(rejection) => {
            reject(worker, lease, &rejection.to_string(), None).await;
            None
        }
    }
}

/// Makes the attempt, which began at the time in the answer. An error means that no request was made, which is no attempt.
async fn attempt(
    worker: &Worker,
    delivery: &Delivery,
    webhook: &Webhook,
    permit: Permit,
    envelope: Bytes,
) -> Result<(DateTime<Utc>, sender::Attempt), NotMade> {
    let time = worker.clock.now();
    worker.figures.attempt_started();
    failpoint::before("request", delivery.account.as_str());
    let made = request(worker, delivery, webhook, time, envelope).await;
    let met = made.inspect_err(|_| worker.figures.attempt_undone())?;
    permit.end(&met.outcome);
    failpoint::after("request", delivery.account.as_str());
    Ok((time, met))
}

/// Decides what follows an attempt, and settles it.
async fn conclude(
    worker: &Worker,
    lease: &Lease,
    delivery: Delivery,
    judged: Judged,
    (time, met): (DateTime<Utc>, sender::Attempt),
) {
    let next = worker.schedule.decide(&met.outcome, delivery.attempt, rand::random());
    let last = !matches!(next, Next::Retry { .. });
    let log = LogEntry::of_attempt(&delivery, judged.facts, time, (&met.outcome, met.duration, met.phases), last);
    tracing::debug!(
        account = %delivery.account, webhook = %delivery.webhook, delivery = %delivery.id,
        attempt = delivery.attempt, status = %log.http_status, error = log.error.as_deref(),
        duration_ms = log.duration_ms, last, "attempt"
    );
    settle(worker, lease, (delivery.into(), log.into()), next, &judged.envelope).await;
}

/// One request, or why there can be none.
async fn request(
    worker: &Worker,
    delivery: &Delivery,
    webhook: &Webhook,
    time: DateTime<Utc>,
    envelope: Bytes,
) -> Result<sender::Attempt, NotMade> {
    let Delivery { account, event_id, .. } = delivery;
    let mut request = match Request::to_webhook(&worker.vault, (account, webhook), event_id, time.timestamp(), envelope)
    {
        Ok(request) => request,
        Err(error) => {
            tracing::error!(%error, %account, webhook = %webhook.id, "a webhook's credentials cannot be used");
            return Ok(unusable_credentials(&error));
        }
    };
    request.answered_within = worker.schedule.wait_before(delivery.attempt);
    worker.sender.attempt(request).await
}

/// An entry that took its worker with it too often gets a final log entry and is set aside.
async fn bury(worker: &Worker, lease: &Lease, judged: Judged) {
    let reason = format!("worker ended {} times during this attempt", worker.max_losses);
    tracing::error!(entry = %lease.entry().0, reason, "an entry is to be set aside");
    match &judged.work {
        Work::Event(_) => reject(worker, lease, &reason, event_id(&judged)).await,
        Work::Delivery(delivery) => {
            let delivery = delivery.clone();
            fail(worker, lease, delivery, judged, reason).await;
        }
    }
}

/// Fails a delivery for good without a request.
async fn fail(worker: &Worker, lease: &Lease, delivery: Delivery, judged: Judged, reason: String) {
    let log = LogEntry::of_no_request(&delivery, judged.facts, worker.clock.now(), reason, true);
    settle(worker, lease, (delivery.into(), log.into()), Next::Failed, &judged.envelope).await;
}

fn event_id(judged: &Judged) -> Option<&EventId> {
    match &judged.work {
        Work::Event(event) => Some(&event.id),
        Work::Delivery(_) => None,
    }
}

/// Takes a leased step under the entry's present token, and again if the entry came to this worker anew meanwhile.
macro_rules! leased {
    ($lease:ident, |$fence:ident| $step:expr) => {
        loop {
            let ($fence, takings) = $lease.token();
            let answer: Result<StepAnswer, StoreError> = $step;
            if !matches!(answer, Ok(StepAnswer::Lost)) || $lease.give_up(takings) {
                break answer;
            }
        }
    };
}

pub(super) use leased;

async fn settle(
    worker: &Worker,
    lease: &Lease,
    (delivery, log): (Arc<Delivery>, Arc<LogEntry>),
    next: Next,
    envelope: &Bytes,
) {
    let settle = &worker.steps_of(lease).settle;
    let settled = leased!(lease, |fence| {
        let trimmed = (fence.deliveries == 0).then(|| envelope.clone());
        let attempted = Attempted { fence, delivery: delivery.clone(), next, log: log.clone(), trimmed };
        let moved_bytes = if next == Next::Delivered { 0 } else { envelope.len() };
        match settle.ask(attempted, moved_bytes).await.unwrap_or(StepAnswer::Lost) {
            // Unless another may have taken it over and settled it meanwhile.
            StepAnswer::Vanished if !lease.is_within(worker.lease) => Ok(StepAnswer::Lost),
            StepAnswer::Trimmed | StepAnswer::Vanished => {
                lease.note_trimmed();
                Ok(StepAnswer::Lost)
            }
            settled => Ok(settled),
        }
    });
    if report(lease, "settle", settled) == Some(StepAnswer::Done) {
        worker.figures.settled(next);
        if let Next::Retry { after } = next {
            worker.next_promote[usize::from(lease.partition())].by(Instant::now() + after);
        }
    }
}

/// Sets an entry aside; an event under the id that it may have been sent with.
async fn reject(worker: &Worker, lease: &Lease, reason: &str, event: Option<&EventId>) {
    tracing::warn!(entry = lease.entry().0, reason, "an entry is rejected");
    let rejected = leased!(lease, |fence| {
        until_answered!("reject", worker.store.reject(&worker.consumer, &fence, reason, event))
    });
    report(lease, "reject", rejected);
}

/// One step of a fan-out, which adds so much and no more: the queue has the rest as an entry of its own, behind what others
/// have queued meanwhile.
async fn fan_out(worker: &Worker, lease: &Lease, deliveries: &[Delivery], more: bool) -> Option<StepAnswer> {
    let done = leased!(lease, |fence| {
        until_answered!("fan out", worker.store.fan_out(&worker.consumer, &fence, deliveries, more))
    });
    report(lease, "fan out", done)
}

/// Says in the log what is worth saying of a step's answer, and passes it on.
pub(super) fn report(lease: &Lease, step: &str, answer: Result<StepAnswer, StoreError>) -> Option<StepAnswer> {
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

/// A request never goes without its authentication. That a key is missing here may be this worker's fault alone, in the
/// middle of a rotation for example, so it is attempted again; what no key opens fails at once. Either way it ends
/// among the failed deliveries, whole, to be redelivered when the keys are right.
fn unusable_credentials(error: &SecretsError) -> sender::Attempt {
    let fault = NetworkFault::NoCredentials;
    let outcome = match error {
        SecretsError::NoKey | SecretsError::OtherKey { .. } => Outcome::NetworkError(fault),
        _ => Outcome::Refused(fault.to_string()),
    };
    sender::Attempt { outcome, duration: std::time::Duration::ZERO, phases: Phases::default() }
}
