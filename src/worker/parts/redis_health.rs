//! What Redis said last, so that probes are answered at once though Redis hangs.

use std::time::Duration;

use parking_lot::Mutex;

use super::partition::Partition;
use crate::store::{Store, StoreError};

/// Redis is asked this often …
const ASK_EVERY: Duration = Duration::from_secs(1);
/// … and has this long to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// How late the oldest retry was when Redis was asked last, or why Redis did not say so.
#[derive(Default)]
pub(crate) struct RedisHealth(Mutex<Option<Result<Duration, String>>>);

impl RedisHealth {
    /// What Redis said last; nothing before it was asked.
    pub(crate) fn last(&self) -> Option<Result<Duration, String>> {
        self.0.lock().clone()
    }

    /// Asks Redis again and again.
    pub(crate) async fn keep_asking(&self, store: &Store, partitions: &[Partition]) {
        loop {
            let late = match tokio::time::timeout(ANSWER_WITHIN, latest_retry(store, partitions)).await {
                Ok(answer) => answer.map_err(|error| error.to_string()),
                Err(_) => Err(format!("no answer within {ANSWER_WITHIN:?}")),
            };
            *self.0.lock() = Some(late);
            tokio::time::sleep(ASK_EVERY).await;
        }
    }
}

/// How long ago the oldest retry of any partition was due.
async fn latest_retry(store: &Store, partitions: &[Partition]) -> Result<Duration, StoreError> {
    let mut latest = Duration::ZERO;
    for (number, partition) in (0..).zip(partitions) {
        latest = latest.max(store.retry_late_by(number, &partition.clock.known()).await?);
    }
    Ok(latest)
}
