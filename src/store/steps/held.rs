//! Deliveries that wait outside the queue: put aside into `held` or `retries`, and released from `held`.

use std::time::Duration;

use bytes::Bytes;

use super::{
    batches::{ByWebhook, TOGETHER, arg_leases, in_order},
    entry::{BATCH_MAX, BATCH_MAX_BYTES, Fence, StepAnswer, answer},
};
use crate::{
    domain::{account::AccountId, delivery::Delivery, webhook::WebhookId},
    store::{Store, StoreError, keys::Keys, ms},
};

/// A delivery that is to wait outside the queue.
#[derive(Debug, Clone)]
pub struct ToHold {
    /// The lease.
    pub fence: Fence,
    /// The delivery, before its next attempt.
    pub delivery: Delivery,
    /// Its envelope.
    pub envelope: Bytes,
    /// The reason why it waits.
    pub reason: Reason,
}

/// The reason why a delivery waits outside the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Its webhook is off. It waits until the webhook is switched on.
    Off,
    /// Its endpoint has no room now.
    Busy {
        /// The longest time until the endpoint's held deliveries are released.
        release_in: Duration,
        /// Whether the limits of `held` apply. A retry, and a delivery that was held or redelivered before, always
        /// fits.
        is_new: bool,
    },
    /// It is a due retry whose endpoint has no room, or any delivery for which no name server answers. It goes to
    /// `retries`.
    Again {
        /// The time after which it is due again.
        after: Duration,
    },
}

/// The result of releasing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Released {
    /// The number of held deliveries that went back to the queue.
    pub moved: usize,
    /// The places that their attempts take.
    pub places: usize,
    /// The time until the next release; `None` if nothing is left, or the webhook is off.
    pub next_in: Option<Duration>,
    /// Whether more deliveries wait for room. `None` if nothing was done: no release was planned, or another worker
    /// made it and the next is not due.
    pub more_held: Option<bool>,
}

impl Store {
    /// Puts deliveries of one partition aside, several in one script: into `held`, or into `retries`.
    pub async fn hold(
        &self,
        partition: u16,
        consumer: &str,
        waiting: &[ToHold],
    ) -> Result<Vec<StepAnswer>, StoreError> {
        let keys = &self.0.keys;
        let mut script = self.0.scripts.hold.key(keys.queue(partition));
        script.key(keys.visits(partition)).key(keys.counts(partition));
        script.key(keys.retries(partition)).key(keys.held_bytes(partition)).key(keys.releases(partition));
        script.arg(consumer).arg(self.0.held.limit).arg(self.0.held.max_bytes);
        arg_leases(&mut script, waiting.iter().map(|waiting| &waiting.fence), TOGETHER);
        let grouped = ByWebhook::new(waiting.iter().map(|waiting| &waiting.delivery));
        for (_, webhook, _) in grouped.iter() {
            script.arg(webhook.to_string());
        }
        for (account, webhook, deliveries) in grouped.iter() {
            script.key(keys.webhooks(account)).key(keys.held(partition, webhook));
            script.arg(Keys::member(account, webhook)).arg(deliveries.len());
            for ToHold { fence, delivery, envelope, reason } in deliveries.iter().map(|(_, index)| &waiting[*index]) {
                let (reason, wait) = match *reason {
                    Reason::Off => ("off", Duration::ZERO),
                    Reason::Busy { release_in, is_new: true } => ("new", release_in),
                    Reason::Busy { release_in, is_new: false } => ("known", release_in),
                    Reason::Again { after } => ("again", after),
                };
                script.arg(&fence.entry.0).arg(fence.deliveries).arg(delivery.text(envelope));
                script.arg(reason).arg(ms(wait));
            }
        }
        let answers: Vec<String> = self.at(partition).run_script(&script).await?;
        let order = grouped.sorted.iter().map(|(_, index)| *index);
        Ok(in_order(order, answers.into_iter().map(answer)))
    }

    /// Moves held deliveries of one webhook back to the queue, until the `free` places are taken or as many as one
    /// script may move. An attempt takes one place for each `place_bytes` of its envelope. If more is held, the next
    /// release follows after `pace`, or at once if places are left. A release is made only if it is due, or if it is
    /// planned and `rung` says that places became free.
    pub async fn release(
        &self,
        account: &AccountId,
        webhook: WebhookId,
        (free, place_bytes, pace): (usize, usize, Duration),
        rung: bool,
    ) -> Result<Released, StoreError> {
        let keys = &self.0.keys;
        let partition = keys.partition(account);
        let mut script = self.0.scripts.release.key(keys.releases(partition));
        script.key(keys.webhooks(account)).key(keys.held(partition, webhook));
        script.key(keys.queue(partition)).key(keys.held_bytes(partition));
        script.arg(Keys::member(account, webhook)).arg(webhook.to_string()).arg(free).arg(place_bytes);
        script.arg(BATCH_MAX).arg(BATCH_MAX_BYTES).arg(ms(pace)).arg(u8::from(rung));
        let (moved, next_ms, more_held, places): (usize, i64, Option<bool>, usize) =
            self.at(partition).run_script(&script).await?;
        let next_in = u64::try_from(next_ms).ok().map(Duration::from_millis);
        Ok(Released { moved, places, next_in, more_held })
    }
}
