//! One attempt: the request, its outcome, and the step that follows.

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::{
    Worker,
    parts::{endpoints::Permit, leases::Lease},
    step::settle,
};
use crate::{
    domain::{
        delivery::Delivery, entry::Judged, log_entry::LogEntry, retry::Next, traceparent::Traceparent, webhook::Webhook,
    },
    failpoint,
    sender::{self, NotMade, Request},
};

/// The time at which an attempt began, and its result.
pub(super) type Met = (DateTime<Utc>, sender::Attempt);

/// Makes the attempt. After an error no request was made, so it does not count as an attempt.
pub(super) async fn attempt(
    worker: &Worker,
    lease: &Lease,
    (delivery, webhook): (&Delivery, &Webhook),
    permit: Permit,
    envelope: Bytes,
) -> Result<Met, NotMade> {
    let time = worker.partition_of(lease).clock.now();
    failpoint::before("request", delivery.account.as_str());
    let met = request(worker, delivery, webhook, time, envelope).await?;
    permit.end(&met.outcome);
    failpoint::after("request", delivery.account.as_str());
    Ok((time, met))
}

/// Makes one request; the error says why none can be made.
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
            return Ok(sender::Attempt::without_credentials(&error));
        }
    };
    if worker.rules.send_traceparent
        && let Some(traceparent) = &delivery.traceparent
    {
        request.trace(traceparent);
    }
    request.answered_within = worker.rules.schedule.wait_before(delivery.attempt);
    worker.sender.attempt(request).await
}

/// Decides the next state of a delivery after an attempt, and settles the attempt.
pub(super) async fn conclude(worker: &Worker, lease: &Lease, delivery: Delivery, judged: Judged, (time, met): Met) {
    let counters = &worker.vitals.counters;
    counters.attempted(&judged.facts.event, &met.outcome, met.duration);
    if judged.is_first(&delivery) {
        counters.metrics.waited(lease.entry().age(time).to_std().unwrap_or_default());
    }
    let next = worker.rules.schedule.decide(&met.outcome, delivery.attempt, rand::random());
    let last = !matches!(next, Next::Retry { .. });
    let log = LogEntry::of_attempt(&delivery, judged.facts, time, (&met.outcome, met.duration, met.phases), last);
    tracing::debug!(
        account = %delivery.account, webhook = %delivery.webhook, delivery = %delivery.id,
        attempt = delivery.attempt, status = %log.http_status, error = log.error.as_deref(),
        duration_ms = log.duration_ms, last, traceparent = delivery.traceparent.as_ref().map(Traceparent::as_str), "attempt"
    );
    settle(worker, lease, (delivery.into(), log.into()), next, &judged.envelope).await;
}
