//! Redis's last answer, so that probes are answered at once even if Redis hangs.

use std::time::Duration;

use parking_lot::Mutex;

use super::partition::Partition;
use crate::store::{Store, StoreError};

/// The interval at which Redis is asked.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// The time that Redis has to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The lateness of the oldest retry when Redis was last asked, or the reason why there was no answer.
#[derive(Default)]
pub(crate) struct RedisHealth(Mutex<Option<Result<Duration, String>>>);

impl RedisHealth {
    /// The last answer; `None` before the first.
    pub(crate) fn last(&self) -> Option<Result<Duration, String>> {
        self.0.lock().clone()
    }

    /// Asks Redis at intervals, without end.
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

/// The lateness of the oldest due retry of all partitions.
async fn latest_retry(store: &Store, partitions: &[Partition]) -> Result<Duration, StoreError> {
    let mut latest = Duration::ZERO;
    for (number, partition) in (0..).zip(partitions) {
        latest = latest.max(store.retry_late_by(number, &partition.clock.known()).await?);
    }
    Ok(latest)
}
