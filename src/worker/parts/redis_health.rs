//! Redis's last answer, so that probes are answered at once even if Redis hangs.

use std::time::Duration;

use parking_lot::Mutex;

use super::partition::Partition;
use crate::store::{AwayMaster, Store, StoreError};

/// The interval at which Redis is asked.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// The time that Redis has to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The masters' last answers.
#[derive(Default)]
pub(crate) struct RedisHealth(Mutex<Option<Heard>>);

/// The answers of the masters.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    /// The lateness of the oldest retry at those that answered, or the reason why none did.
    pub(crate) late: Result<Duration, String>,
    /// Those that did not answer although others did.
    pub(crate) away: Vec<AwayMaster>,
}

impl RedisHealth {
    /// The last answers; `None` before the first.
    pub(crate) fn last(&self) -> Option<Heard> {
        self.0.lock().clone()
    }

    /// Asks Redis at intervals, without end.
    pub(crate) async fn keep_asking(&self, store: &Store, partitions: &[Partition]) {
        loop {
            let heard = tokio::time::timeout(ANSWER_WITHIN, ask(store, partitions)).await;
            let late = || Heard { late: Err(format!("no answer within {ANSWER_WITHIN:?}")), away: Vec::new() };
            *self.0.lock() = Some(heard.unwrap_or_else(|_| late()));
            tokio::time::sleep(ASK_EVERY).await;
        }
    }
}

/// Asks each master that has partitions for its oldest due retry.
async fn ask(store: &Store, partitions: &[Partition]) -> Heard {
    let latest = |numbers: Vec<u16>| {
        let clock = |number: u16| (number, partitions[usize::from(number)].clock.known());
        let (store, clocks): (_, Vec<_>) = (store.clone(), numbers.into_iter().map(clock).collect());
        async move {
            let mut latest = Duration::ZERO;
            for (number, clock) in clocks {
                latest = latest.max(store.retry_late_by(number, &clock).await?);
            }
            Ok::<_, StoreError>(latest)
        }
    };
    let (mut late, mut away, mut fault) = (None, Vec::new(), None);
    for (master, answer) in store.each_master(latest).await {
        match answer {
            Ok(_) if master.partitions.is_empty() => {}
            Ok(of_master) => late = late.max(Some(of_master)),
            Err(error) => {
                away.extend(AwayMaster::of(&master, &error));
                fault.get_or_insert(error);
            }
        }
    }
    let none = || fault.map_or_else(|| "no master has a partition".to_owned(), |error| error.to_string());
    match late {
        Some(late) => Heard { late: Ok(late), away },
        None => Heard { late: Err(none()), away: Vec::new() },
    }
}
