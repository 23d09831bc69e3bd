//! The steps in Redis that deliveries take together: looking up webhooks, settling, holding. Each step of a partition
//! has one loop, which runs until the worker's other parts are gone.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    domain::{account::AccountId, busy::linger, webhook::WebhookId},
    store::{Attempted, StepAnswer, StoreError, ToHold},
    worker::{
        Worker,
        parts::{batch::Batches, heartbeat::Role, partition::LookedUp},
        until_answered::until_answered,
    },
};

/// The longest wait for more attempts to settle together, while slots are free for others. The attempts were made, so
/// nothing waits for this step.
const SETTLE_LINGER: Duration = Duration::from_millis(1);
/// The same for deliveries that are put aside.
const HOLD_LINGER: Duration = Duration::from_millis(5);
/// The interval at which the expiry of a log is renewed while entries are written to it.
const RENEW_EXPIRY_EVERY: Duration = Duration::from_mins(1);

/// Looks up the webhooks of accounts, each account once in a round.
pub(crate) async fn look_up(worker: Arc<Worker>, partition: u16, mut batches: Batches<AccountId, LookedUp>) {
    let known = &worker.partition(partition).known;
    while let Some((accounts, answers)) = worker.beating(Role::LookUp, partition, batches.next()).await {
        let mut distinct = accounts.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let found = until_answered!("look up webhooks" at worker.store, {
            worker.vitals.heartbeats.note(Role::LookUp, partition);
            worker.store.subscriptions(&distinct, known)
        });
        let found = match found {
            Ok(found) => found,
            Err(error) => vec![Err(error); distinct.len()],
        };
        let of = |account| distinct.binary_search(&account).map(|at| found[at].clone()).expect("it was looked up");
        answers.give(accounts.into_iter().map(of));
    }
}

/// Settles attempts.
pub(crate) async fn settle(worker: Arc<Worker>, partition: u16, mut batches: Batches<Attempted, StepAnswer>) {
    let mut expiries = LogExpiries::new();
    loop {
        let next = batches.next_within(|| worker.linger(SETTLE_LINGER));
        let Some((attempts, answers)) = worker.beating(Role::Settle, partition, next).await else { return };
        let renew = expiries.due(attempts.iter().map(|attempt| attempt.delivery.webhook));
        let settled = until_answered!("settle" at worker.store, {
            worker.vitals.heartbeats.note(Role::Settle, partition);
            worker.store.settle(partition, &worker.name, &attempts, &renew)
        });
        let mut settled = each("settle", partition, attempts.len(), settled);
        let unlogged = settled.iter_mut().filter(|settled| **settled == StepAnswer::Unlogged);
        let refused = unlogged.map(|settled| *settled = StepAnswer::Done).count();
        if refused > 0 {
            tracing::warn!(partition, refused, "Redis refused log entries; run `lynkhook doctor` to see why");
        }
        let done = attempts.iter().zip(&settled).filter(|(_, settled)| **settled == StepAnswer::Done);
        expiries
            .renewed
            .extend(done.map(|(attempt, _)| attempt.delivery.webhook).filter(|webhook| renew.contains(webhook)));
        answers.give(settled);
    }
}

/// The webhooks whose log had its expiry renewed in the current minute. Renewing with each entry, or asking whether it
/// is due, would cost as much as the entry itself.
struct LogExpiries {
    since: Instant,
    renewed: HashSet<WebhookId>,
}

impl LogExpiries {
    fn new() -> Self {
        Self { since: Instant::now(), renewed: HashSet::new() }
    }

    /// The webhooks among these whose expiry is due for renewal.
    fn due(&mut self, webhooks: impl Iterator<Item = WebhookId>) -> HashSet<WebhookId> {
        if self.since.elapsed() >= RENEW_EXPIRY_EVERY {
            *self = Self::new();
        }
        webhooks.filter(|webhook| !self.renewed.contains(webhook)).collect()
    }
}

/// Puts deliveries aside: into `held`, or among the retries.
pub(crate) async fn hold(worker: Arc<Worker>, partition: u16, mut batches: Batches<ToHold, StepAnswer>) {
    loop {
        let next = batches.next_within(|| worker.linger(HOLD_LINGER));
        let Some((waiting, answers)) = worker.beating(Role::Hold, partition, next).await else { return };
        let held = until_answered!("hold" at worker.store, {
            worker.vitals.heartbeats.note(Role::Hold, partition);
            worker.store.hold(partition, &worker.name, &waiting)
        });
        answers.give(each("hold", partition, waiting.len(), held));
    }
}

impl Worker {
    fn linger(&self, most: Duration) -> Duration {
        linger(most, self.in_hand.leases.count(), self.rules.concurrency)
    }
}

/// The answers to a batch. If Redis refuses all of it, each entry stays where it was.
fn each(step: &str, partition: u16, count: usize, answers: Result<Vec<StepAnswer>, StoreError>) -> Vec<StepAnswer> {
    answers.unwrap_or_else(|error| {
        tracing::error!(%error, partition, step, "Redis refuses; the entries stay pending");
        vec![StepAnswer::Broken(error.to_string()); count]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_logs_expiry_is_renewed_with_its_first_entry_of_a_minute() {
        let [busy, calm] = [(); 2].map(|()| WebhookId::new(uuid::Uuid::now_v7()));
        let mut expiries = LogExpiries::new();
        let mut due = |webhooks: &[WebhookId]| {
            let due = expiries.due(webhooks.iter().copied());
            expiries.renewed.extend(&due);
            due.len()
        };
        assert_eq!((due(&[busy, busy]), due(&[busy]), due(&[calm, busy])), (1, 0, 1));
        tokio::time::advance(RENEW_EXPIRY_EVERY).await;
        assert_eq!((due(&[calm, busy]), due(&[calm, busy])), (2, 0));
        expiries.renewed.remove(&calm);
        for _ in 0..2 {
            let due = expiries.due([calm, busy].into_iter());
            assert_eq!(due, HashSet::from([calm]), "to be due is not to be renewed");
        }
    }
}
