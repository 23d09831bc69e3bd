//! The steps that end an entry's stay in the queue: its attempt is settled, its event becomes deliveries, or it is
//! rejected.

use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;

use super::{
    batches::{ByWebhook, TOGETHER, arg_leases, in_order},
    entry::{Fence, StepAnswer, answer},
};
use crate::{
    domain::{
        delivery::Delivery,
        event::EventId,
        log_entry::{LOG_LIMIT, LOG_RETENTION, LogEntry},
        retry::Next,
        webhook::WebhookId,
    },
    store::{Store, StoreError, ms},
};

/// An attempt to settle. It is cheap to clone, because it is settled again if its entry came again meanwhile.
#[derive(Debug, Clone)]
pub struct Attempted {
    /// The lease.
    pub fence: Fence,
    /// The delivery as it was attempted.
    pub delivery: Arc<Delivery>,
    /// The step that follows.
    pub next: Next,
    /// Its log entry.
    pub log: Arc<LogEntry>,
    /// Its envelope, if the entry that holds it was taken out of the queue.
    pub trimmed: Option<Bytes>,
}

impl Store {
    /// Settles attempts of one partition, several in one script. The expiry of a log is set when the log begins, and
    /// again if `renew` contains its webhook.
    pub async fn settle(
        &self,
        partition: u16,
        consumer: &str,
        attempts: &[Attempted],
        renew: &HashSet<WebhookId>,
    ) -> Result<Vec<StepAnswer>, StoreError> {
        let mut answers = self.settle_once(partition, consumer, attempts, |webhook| renew.contains(&webhook)).await?;
        // AGAIN: the webhook was deleted or has no log yet, or another worker has one of the entries by now.
        let unsettled: Vec<usize> = (0..answers.len()).filter(|index| answers[*index] == "AGAIN").collect();
        if !unsettled.is_empty() {
            let again: Vec<Attempted> = unsettled.iter().map(|index| attempts[*index].clone()).collect();
            let settled = match self.settle_once(partition, consumer, &again, |_| true).await {
                // The others are settled.
                Err(error) if !error.is_passing() => vec![error.to_string(); unsettled.len()],
                settled => settled?,
            };
            for (index, answer) in unsettled.into_iter().zip(settled) {
                answers[index] = answer;
            }
        }
        Ok(answers.into_iter().map(answer).collect())
    }

    /// Runs the script once; returns its answers as words.
    async fn settle_once(
        &self,
        partition: u16,
        consumer: &str,
        attempts: &[Attempted],
        is_renewed: impl Fn(WebhookId) -> bool,
    ) -> Result<Vec<String>, StoreError> {
        let keys = &self.0.keys;
        let mut script = self.0.scripts.settle.key(keys.queue(partition));
        script.key(keys.retries(partition)).key(keys.visits(partition)).key(keys.counts(partition));
        script.key(keys.audit(partition));
        script.arg(consumer).arg(LOG_LIMIT - 1).arg(LOG_RETENTION.as_secs());
        script.arg(self.0.failed.limit).arg(self.0.failed.max_bytes);
        arg_leases(&mut script, attempts.iter().map(|attempt| &attempt.fence), TOGETHER);
        let grouped = ByWebhook::new(attempts.iter().map(|attempt| &*attempt.delivery));
        let (plain, others): (Vec<_>, Vec<_>) = grouped.iter().partition(|(_, webhook, deliveries)| {
            let delivered = |one: &Attempted| one.next == Next::Delivered && one.fence.deliveries == 1;
            !is_renewed(*webhook) && deliveries.iter().all(|(_, index)| delivered(&attempts[*index]))
        });
        script.arg(plain.len());
        for (_, webhook, deliveries) in &plain {
            script.key(keys.logs(partition, *webhook)).arg(deliveries.len());
            for (_, index) in *deliveries {
                script.arg(&attempts[*index].fence.entry.0);
            }
            for (_, index) in *deliveries {
                script.arg(attempts[*index].log.to_json());
            }
        }
        for (account, webhook, deliveries) in &others {
            let webhook = *webhook;
            script.key(keys.webhooks(account)).key(keys.logs(partition, webhook)).key(keys.failed(partition, webhook));
            script.arg(account.as_str()).arg(webhook.to_string()).arg(u8::from(is_renewed(webhook)));
            script.arg(deliveries.len());
            for Attempted { fence, delivery, next, log, trimmed } in
                deliveries.iter().map(|(_, index)| &attempts[*index])
            {
                script.arg(&fence.entry.0).arg(fence.deliveries).arg(log.to_json());
                let whole = |delivery: &Delivery| trimmed.as_ref().map(|envelope| delivery.text(envelope));
                let text = |delivery: &Delivery| whole(delivery).unwrap_or_else(|| delivery.line().into_bytes());
                match next {
                    Next::Delivered => script.arg("delivered"),
                    Next::Retry { after } => script.arg("retry").arg(text(&delivery.next_attempt())).arg(ms(*after)),
                    Next::Failed => script.arg("failed").arg(text(delivery)).arg(0),
                };
            }
        }
        let answers: Vec<String> = self.at(partition).run_script(&script).await?;
        let order = plain.iter().chain(&others).flat_map(|(.., deliveries)| deliveries.iter().map(|(_, index)| *index));
        Ok(in_order(order, answers))
    }

    /// Makes one entry of each delivery of an event, at most [`fan_out_max`](super::fan_out_max) of them. If `more`
    /// webhooks are left, adds a new entry for the event that continues after the last of these, unless the queue takes
    /// nothing ([`StepAnswer::Rest`]). Otherwise the event is done, and counted if it had no delivery at all.
    pub async fn fan_out(
        &self,
        consumer: &str,
        fence: &Fence,
        deliveries: &[Delivery],
        more: bool,
    ) -> Result<StepAnswer, StoreError> {
        let (keys, partition) = (&self.0.keys, fence.partition);
        let mut script = self.0.scripts.fan_out.key(keys.queue(partition));
        script.key(keys.counts(partition)).key(keys.retries(partition));
        script.arg(consumer).arg(&fence.entry.0).arg(fence.deliveries);
        match deliveries.last().filter(|_| more) {
            Some(last) => script.arg(last.event_id.as_str()).arg(last.webhook.to_string()),
            None => script.arg("").arg(""),
        };
        for delivery in deliveries {
            script.arg(delivery.line());
        }
        self.at(partition).run_script(&script).await.map(answer)
    }

    /// Moves a whole entry to the rejected ones, with the reason. An event keeps the id under which it may have been
    /// sent.
    pub async fn reject(
        &self,
        consumer: &str,
        fence: &Fence,
        reason: &str,
        event: Option<&EventId>,
    ) -> Result<StepAnswer, StoreError> {
        let (keys, partition) = (&self.0.keys, fence.partition);
        let mut script = self.0.scripts.reject.key(keys.queue(partition));
        script.key(keys.rejected(partition)).key(keys.counts(partition));
        script.arg(consumer).arg(&fence.entry.0).arg(fence.deliveries).arg(reason);
        script.arg(self.0.rejected.limit).arg(self.0.rejected.max_bytes).arg(event.map_or("", EventId::as_str));
        self.at(partition).run_script(&script).await.map(answer)
    }
}
