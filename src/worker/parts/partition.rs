//! A worker's state for one partition: the steps that its deliveries take together, the webhook settings that it knows,
//! the clock of the partition's Redis, and the alarms of its loops.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::{
    alarms::Alarms,
    batch::{Asking, Batches, batched},
    clock::ServerClock,
};
use crate::{
    domain::{account::AccountId, retry::Schedule, webhook::Subscriptions},
    store::{Attempted, Known, StepAnswer, StoreError, ToHold},
};

/// An account's webhooks, or why they cannot be read.
pub(crate) type LookedUp = Result<Arc<Subscriptions>, StoreError>;

/// One partition of a worker.
pub(crate) struct Partition {
    /// The webhook settings that need not be asked for.
    pub(crate) known: Arc<Known>,
    pub(crate) look_up: Asking<AccountId, LookedUp>,
    pub(crate) settle: Asking<Attempted, StepAnswer>,
    pub(crate) hold: Asking<ToHold, StepAnswer>,
    pub(crate) clock: ServerClock,
    pub(crate) alarms: Arc<Alarms>,
}

/// The steps that are asked for in one partition, for the loops that take them.
pub(crate) struct StepBatches {
    pub(crate) look_up: Batches<AccountId, LookedUp>,
    pub(crate) settle: Batches<Attempted, StepAnswer>,
    pub(crate) hold: Batches<ToHold, StepAnswer>,
}

impl Partition {
    /// A partition whose Redis clock showed `now` in answer to a question sent at `sent`.
    pub(crate) fn new((now, sent): (DateTime<Utc>, Instant), schedule: &Schedule) -> (Self, StepBatches) {
        let ((look_up, to_look_up), (settle, to_settle), (hold, to_hold)) = (batched(), batched(), batched());
        let clock = ServerClock::new(now, sent, schedule.shortest_wait()..=schedule.longest_wait());
        let partition = Self { known: Arc::default(), look_up, settle, hold, clock, alarms: Arc::default() };
        (partition, StepBatches { look_up: to_look_up, settle: to_settle, hold: to_hold })
    }

    /// Takes note of Redis's clock, as it answered a question that was sent at `sent`. After a step all times of the partition
    /// are mended. Answers by how many ms the clock stepped, if it did.
    pub(crate) fn hear(&self, now_ms: i64, sent: Instant) -> Option<i64> {
        let step_ms = self.clock.hear(now_ms, sent)?;
        self.alarms.mend.by(Instant::now());
        Some(step_ms)
    }
}
