//! The operators' actions on the queue: read its figures, find, requeue and drop rejected entries (`rejected.rs`), and
//! examine the Redis that holds it (`doctor/`). Written once, for every surface.

pub mod doctor;
pub mod redis_advice;
mod rejected;

pub use self::{
    doctor::{Finding, Verdict},
    rejected::{Disposed, DisposedSome, RejectedError, WhichRejected},
};
pub use crate::store::{
    AwayMaster, EntryId, Fate, Holding, Kept, KnownKeys, Limited, LiveWorker, PartitionFigures, Planned, QueueFigures,
    RejectedEntry, Retries, Status, UserRole, WEBHOOKS_MAX,
};
use crate::store::{Store, StoreError};

/// The queue, as operators see it.
pub struct Queue {
    store: Store,
}

impl Queue {
    /// The queue in this store.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// The queue's figures.
    pub async fn status(&self) -> Result<Status, StoreError> {
        self.store.status().await
    }
}
