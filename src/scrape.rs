//! The answer to a scrape: the metrics of this process, with the queue's figures as Redis has them now.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    task::JoinSet,
    time::{Instant, timeout_at},
};

use crate::{
    store::{Master, QueueFigures, Store, StoreError},
    telemetry::metrics::{Look, Memory, Metrics, OfPartition, OfRedis},
};

/// Redis is asked at most once in this time, however many scrapes come.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// Redis has to answer within this time. A scrape has ten seconds by Prometheus's default.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// Scripts that are under way at the same time.
const AT_ONCE: usize = 32;

/// A master, and its memory: the bytes in use and the most bytes, if it shows its limit.
type OfMaster = (Master, Result<Option<(u64, u64)>, StoreError>);

/// Answers scrapes.
pub struct Scrape {
    metrics: Metrics,
    store: Store,
    last: Arc<Mutex<Last>>,
}

/// The last look at Redis.
#[derive(Default)]
struct Last {
    asked: Option<Instant>,
    /// Its fault, in the log's words.
    fault: Option<String>,
}

impl Scrape {
    /// Answers with these metrics, and asks this store for the queue's.
    pub fn new(metrics: Metrics, store: Store) -> Self {
        Self { metrics, store, last: Arc::default() }
    }

    /// All metrics in Prometheus's text format. This takes at most three seconds: while Redis does not answer, the answer is
    /// that it does not, and what the process counts itself. A master of a cluster that is away costs only the figures of
    /// its own partitions.
    pub async fn text(&self) -> String {
        // While one scrape asks Redis, others wait for the same answer.
        let last = self.last.clone().lock_owned().await;
        if last.asked.is_none_or(|asked| asked.elapsed() >= ASK_EVERY) {
            // In a task of its own, so that it also ends if the scraper goes away.
            let _ = tokio::spawn(ask(self.store.clone(), self.metrics.redis.clone(), last)).await;
        }
        self.metrics.text()
    }
}

/// Asks Redis, and tells the metrics. A fault is logged when it begins.
async fn ask(store: Store, metrics: OfRedis, mut last: OwnedMutexGuard<Last>) {
    let began = Instant::now();
    last.asked = Some(began);
    let (look, fault) = match timeout_at(began + ANSWER_WITHIN, store.memory()).await {
        Err(_) => (None, Some(too_late())),
        Ok(masters) => look_at(&store, masters, began).await,
    };
    metrics.note(look);
    if let Some(error) = fault.as_ref().filter(|fault| last.fault.as_ref() != Some(fault)) {
        tracing::warn!(error, "scrapes lack figures of Redis");
    }
    last.fault = fault;
}

/// Looks at the partitions of the masters that told their memory. Answers nothing if none did, and why one did not.
async fn look_at(store: &Store, masters: Vec<OfMaster>, began: Instant) -> (Option<Look>, Option<String>) {
    let (mut look, mut told, mut fault) = (Look::default(), Vec::new(), None);
    let (mut partitions, mut any_is_up) = (Vec::new(), false);
    for (master, memory) in masters {
        let is_up = memory.as_ref().map_or_else(is_answer, |_| true);
        any_is_up |= is_up;
        look.masters.extend(master.address.map(|address| (address, is_up)));
        if is_up {
            partitions.extend(master.partitions);
        } else {
            look.partitions.extend(master.partitions.into_iter().map(|partition| (partition, None)));
        }
        match memory {
            Ok(memory) => told.extend(memory),
            Err(error) => fault = fault.or(Some(error.to_string())),
        }
    }
    if !any_is_up {
        return (None, fault);
    }
    look.memory = fullest(&told);
    let of_partitions = look_at_partitions(store, partitions, &mut look, began + ANSWER_WITHIN).await;
    look.took = began.elapsed();
    (Some(look), fault.or(of_partitions))
}

fn too_late() -> String {
    format!("no answer within {ANSWER_WITHIN:?}")
}

/// Whether Redis answered all the same: a right that is missing, or a key of a wrong type, is no outage.
fn is_answer(error: &StoreError) -> bool {
    matches!(error, StoreError::Forbidden(_) | StoreError::Refused(_))
}

/// The fullest node, by the bytes in use and the most bytes of each.
fn fullest(nodes: &[(u64, u64)]) -> Option<Memory> {
    let fullness = |&&(used, most): &&(u64, u64)| u128::from(used) * 1000 / u128::from(most);
    nodes.iter().max_by_key(fullness).map(|&(used, most)| Memory { used, most })
}

/// Runs one script for each of these partitions. A partition whose figures cannot be had is noted as such; answers why the last one
/// was.
async fn look_at_partitions(store: &Store, partitions: Vec<u16>, look: &mut Look, ends: Instant) -> Option<String> {
    let (mut left, mut asking, mut fault) = (partitions.into_iter(), JoinSet::new(), None);
    loop {
        while asking.len() < AT_ONCE
            && let Some(partition) = left.next()
        {
            let store = store.clone();
            asking.spawn(async move {
                match timeout_at(ends, store.figures(partition, false)).await {
                    Ok(Ok((figures, ..))) => (partition, Ok(of_partition(figures))),
                    Ok(Err(error)) => (partition, Err(error.to_string())),
                    Err(_) => (partition, Err(too_late())),
                }
            });
        }
        let Some(Ok((partition, figures))) = asking.join_next().await else { return fault };
        look.partitions.insert(partition, figures.map_err(|error| fault = Some(error)).ok());
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        store::{Kept, KnownKeys, Planned, Retries},
        telemetry::metrics::OfServer,
    };

    #[test]
    fn each_figure_of_a_partition_has_its_metric() {
        let planned = |waiting, due| Planned { waiting, due };
        let figures = QueueFigures {
            depth: 1,
            oldest_ms: Some(99_000),
            untaken_ms: Some(2500),
            in_flight: 3,
            consumers: 4,
            retries: Retries { waiting: 5, late: 6, late_by_ms: 7500 },
            releases: planned(8, 9),
            visits: planned(10, 11),
            rejected: Kept { entries: 12, ..Kept::default() },
            counts: [("trims_seen".to_owned(), 13), ("made_up".to_owned(), 14)].into(),
            idempotency: KnownKeys::default(),
        };
        let (all, _) = OfServer::new();
        let partitions = [(0, None), (3, Some(of_partition(figures)))].into();
        let masters = [("10.0.0.1:6379".to_owned(), true), ("10.0.0.2:6379".to_owned(), false)].into();
        let (took, memory) = (Duration::from_millis(1500), fullest(&[(15, 16)]));
        all.redis.note(Some(Look { took, masters, memory, partitions }));
        let text = all.text();
        for (series, value) in [
            ("redis_up", "1.0"),
            ("redis_answer_seconds", "1.5"),
            ("redis_master_up{master=\"10.0.0.1:6379\"}", "1"),
            ("redis_master_up{master=\"10.0.0.2:6379\"}", "0"),
            ("redis_memory_used_bytes", "15.0"),
            ("redis_memory_max_bytes", "16.0"),
            ("queue_readable{partition=\"0\"}", "0"),
            ("queue_readable{partition=\"3\"}", "1"),
            ("queue_depth{partition=\"3\"}", "1.0"),
            ("queue_oldest_untaken_seconds{partition=\"3\"}", "2.5"),
            ("queue_in_flight{partition=\"3\"}", "3.0"),
            ("queue_consumers{partition=\"3\"}", "4.0"),
            ("queue_retries{partition=\"3\"}", "5.0"),
            ("queue_retries_late{partition=\"3\"}", "6.0"),
            ("queue_retry_late_seconds{partition=\"3\"}", "7.5"),
            ("queue_releases{partition=\"3\"}", "8.0"),
            ("queue_releases_due{partition=\"3\"}", "9.0"),
            ("queue_visits{partition=\"3\"}", "10.0"),
            ("queue_visits_due{partition=\"3\"}", "11.0"),
            ("queue_rejected{partition=\"3\"}", "12.0"),
            ("dropped_total{partition=\"3\",cause=\"trims_seen\"}", "13"),
            ("dropped_total{partition=\"3\",cause=\"held_overflow\"}", "0"),
        ] {
            assert!(text.contains(&format!("\nlynkhook_{series} {value}\n")), "{series} {value} in {text}");
        }
        assert!(!text.contains("made_up") && !text.contains("queue_depth{partition=\"0\"}"), "{text}");
    }

    #[test]
    fn the_fullest_node_is_the_one_with_the_largest_part_in_use() {
        let memory = |used, most| Some(Memory { used, most });
        assert_eq!(fullest(&[]), None);
        assert_eq!(fullest(&[(50, 1000), (9, 10), (800, 1000)]), memory(9, 10));
        assert_eq!(fullest(&[(u64::MAX, u64::MAX), (1, 2)]), memory(u64::MAX, u64::MAX));
    }
}
