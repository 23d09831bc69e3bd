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
            // If the scraper goes away meanwhile, the old figures are gone as well.
            self.metrics.redis.note(None);
            let asking = timeout(ANSWER_WITHIN, look(&self.store)).await;
            let look = asking.unwrap_or_else(|_| Err(format!("no answer within {ANSWER_WITHIN:?}")));
            if let Err(error) = &look {
                tracing::warn!(error, "a scrape gets no figures of the queue");
            }
            self.metrics.redis.note(look.ok());
        }
        drop(asked);
        self.metrics.text()
    }
}

/// Asks Redis: one script for each partition, and each node for its memory. The error says why Redis did not answer.
async fn look(store: &Store) -> Result<Look, String> {
    let (began, mut look) = (Instant::now(), Look::default());
    match ask(store, &mut look).await {
        // An answer all the same. Rights that are missing are no outage.
        Err(error @ (StoreError::Forbidden(_) | StoreError::Refused(_))) => {
            tracing::warn!(%error, "a scrape gets no figures of the queue");
        }
        asked => asked.map_err(|error| error.to_string())?,
    }
    look.took = began.elapsed();
    Ok(look)
}

async fn ask(store: &Store, look: &mut Look) -> Result<(), StoreError> {
    let fullness = |&(used, most): &(u64, u64)| u128::from(used) * 1000 / u128::from(most);
    look.memory = store.memory().await?.into_iter().max_by_key(fullness).map(|(used, most)| Memory { used, most });
    for partition in 0..store.keys().partitions() {
        let (figures, ..) = store.figures(partition, false).await?;
        look.partitions.insert(partition, of_partition(figures));
    }
    Ok(())
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
        dropped: figures.counts,
    }
}
