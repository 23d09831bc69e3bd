//! The answer to a scrape: the metrics of this process, with the queue's figures as Redis has them now.

use std::time::Duration;

use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use crate::{
    store::{QueueFigures, Store, StoreError},
    telemetry::metrics::{Look, Memory, Metrics, OfPartition},
};

/// Redis is asked at most once in this time, however many scrapes come.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// Redis has to answer within this time. A scrape has ten seconds by Prometheus's default.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// Answers scrapes.
pub struct Scrape {
    metrics: Metrics,
    store: Store,
    /// The time at which Redis was last asked.
    asked: Mutex<Option<Instant>>,
}

impl Scrape {
    /// Answers with these metrics, and asks this store for the queue's.
    pub fn new(metrics: Metrics, store: Store) -> Self {
        Self { metrics, store, asked: Mutex::default() }
    }

    /// All metrics in Prometheus's text format. This takes at most three seconds: while Redis does not answer, the answer is
    /// that it does not, and what the process counts itself.
    pub async fn text(&self) -> String {
        // While one scrape asks Redis, others wait for the same answer.
        let mut asked = self.asked.lock().await;
        if asked.is_none_or(|asked| asked.elapsed() >= ASK_EVERY) {
            *asked = Some(Instant::now());
            let look = match timeout(ANSWER_WITHIN, look(&self.store)).await {
                Ok(Ok(look)) => Some(look),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "a scrape gets no figures of the queue");
                    None
                }
                Err(_) => {
                    tracing::warn!("a scrape gets no figures of the queue: Redis did not answer in time");
                    None
                }
            };
            self.metrics.redis.note(look);
        }
        drop(asked);
        self.metrics.text()
    }
}

/// Asks Redis: one script for each partition, and each node for its memory.
async fn look(store: &Store) -> Result<Look, StoreError> {
    let (began, mut partitions) = (Instant::now(), Vec::new());
    for partition in 0..store.keys().partitions() {
        let (figures, ..) = store.figures(partition).await?;
        partitions.push((partition, of_partition(figures)));
    }
    let fullest =
        store.memory().await?.into_iter().max_by_key(|(used, most)| u128::from(*used) * 1000 / u128::from(*most));
    Ok(Look {
        took: began.elapsed(),
        memory: fullest.map(|(used, most)| Memory { used, most }),
        partitions: partitions.into_iter().collect(),
    })
}

fn of_partition(figures: QueueFigures) -> OfPartition {
    OfPartition {
        depth: figures.depth,
        in_flight: figures.in_flight,
        consumers: figures.consumers as u64,
        oldest_untaken: Duration::from_millis(figures.untaken_ms.unwrap_or(0)),
        retries: figures.retries.waiting,
        retries_late: figures.retries.late,
        retry_late: Duration::from_millis(figures.retries.late_by_ms),
        releases: [figures.releases.waiting, figures.releases.due],
        visits: [figures.visits.waiting, figures.visits.due],
        rejected: figures.rejected.entries,
        idempotency_keys: figures.idempotency.keys,
        dropped: figures.counts,
    }
}
