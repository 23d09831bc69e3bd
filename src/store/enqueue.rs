//! Enqueueing. A single event is a plain command and not a script, because producers in any language do the same. A
//! batch, and a request with an idempotency key, is one script.

use crate::{
    domain::{
        account::AccountId,
        event::EventId,
        idempotency::{Fingerprint, IdempotencyKey},
        new_event::NewEvent,
        traceparent::Traceparent,
    },
    store::{Store, Unanswered},
};

/// The answer to events that were given to [`Store::accept`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acceptance {
    /// They are in the queue now, under these entry ids.
    Accepted(Vec<String>),
    /// The key came before with the same fingerprint, and its events were enqueued then. Nothing was changed.
    Repeated,
    /// The key came before with another fingerprint. Nothing was changed.
    Differs,
    /// The step failed half-way, and the user in `redis.url` lacks the right to take back what it had added.
    Stayed,
}

impl Store {
    /// Adds events to the queues of their accounts, in one round trip to each node. Returns, in their order, each event's
    /// entry id, or the error, which says whether it may have been accepted nevertheless. A Redis at `maxmemory` may accept
    /// some and refuse others, and so may several nodes of which one is away.
    ///
    /// Do not repeat it blindly: each success adds an entry.
    pub async fn enqueue(&self, events: &[(&AccountId, &NewEvent)]) -> Vec<Result<String, Unanswered>> {
        let keys = &self.0.keys;
        let add = |(account, event): &(&AccountId, &NewEvent)| {
            let partition = keys.partition(account);
            let mut add = redis::cmd("XADD");
            add.arg(keys.queue(partition)).arg("*");
            add.arg("account").arg(account.as_str()).arg("envelope").arg(&event.envelope[..]);
            if let Some(id) = &event.id {
                add.arg("id").arg(id.as_str());
            }
            if let Some(traceparent) = &event.traceparent {
                add.arg("traceparent").arg(traceparent.as_str());
            }
            (self.at(partition), add)
        };
        self.run_each(events.iter().map(add).collect()).await
    }

    /// Adds the events of one account to its queue in one step: all or none. With a key, the step first looks whether
    /// the key came within the last 24 hours (48 at most), and notes it. If the keys of 24 hours take more than
    /// `idempotency.max_bytes`, the oldest are forgotten earlier, and counted.
    ///
    /// With a key it may be repeated; without one, each success adds entries.
    ///
    /// # Errors
    /// [`Unanswered`] says whether the events may have been accepted nevertheless.
    pub async fn accept(
        &self,
        account: &AccountId,
        events: &[NewEvent],
        key: Option<(&IdempotencyKey, &Fingerprint)>,
    ) -> Result<Acceptance, Unanswered> {
        let keys = &self.0.keys;
        let partition = keys.partition(account);
        let mut script = self.0.scripts.accept.key(keys.queue(partition));
        script.key(keys.idempotency(partition)).key(keys.idempotency_before(partition)).key(keys.counts(partition));
        let (field, fingerprint) = match key {
            Some((key, fingerprint)) => (format!("{account}/{}", key.as_str()), fingerprint.as_str()),
            None => (String::new(), ""),
        };
        script.arg(field).arg(fingerprint).arg(self.0.idempotency_max_bytes / 2).arg(account.as_str());
        for event in events {
            script.arg(&event.envelope[..]).arg(event.id.as_ref().map_or("", EventId::as_str));
            script.arg(event.traceparent.as_ref().map_or("", Traceparent::as_str));
        }
        let mut answer: Vec<String> = self.at(partition).run_script_once(&script).await?;
        Ok(match answer.remove(0).as_str() {
            "REPEATED" => Acceptance::Repeated,
            "DIFFERS" => Acceptance::Differs,
            "STAYED" => Acceptance::Stayed,
            _ => Acceptance::Accepted(answer),
        })
    }
}
