//! Redis: whether it answers, its memory, and the figures of the queue.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

/// The causes of drops: the fields of the hash `counts` in Redis.
const CAUSES: [&str; 17] = [
    "deliveries_of_deleted_webhook",
    "entries_trimmed",
    "events_without_webhook",
    "failed_expired",
    "failed_of_deleted_webhook",
    "failed_overflow",
    "held_discarded",
    "held_expired",
    "held_overflow",
    "idempotency_keys_forgotten",
    "log_entries_refused",
    "rejected_dropped",
    "rejected_expired",
    "rejected_overflow",
    "retries_merged",
    "times_brought_back",
    "trims_seen",
];

/// The gauges of a partition: name, explanation, value.
type OneGauge = (&'static str, &'static str, fn(&OfPartition) -> f64);
const GAUGES: [OneGauge; 12] = [
    ("queue_depth", "Entries in the queue, those in flight included", |of| float(of.depth)),
    ("queue_in_flight", "Entries that a worker has taken and not settled", |of| float(of.in_flight)),
    ("queue_consumers", "Workers that have read from the queue, also those that died lately", |of| float(of.consumers)),
    ("queue_oldest_untaken_seconds", "Age of the oldest entry that no worker has taken; 0 if there is none", |of| {
        of.oldest_untaken.as_secs_f64()
    }),
    ("queue_retries", "Deliveries that wait for their next attempt", |of| float(of.retries)),
    ("queue_retries_late", "Deliveries whose next attempt is more than a second late", |of| float(of.retries_late)),
    (
        "queue_retry_late_seconds",
        "Lateness of the first delivery that waits for its next attempt; 0 if none is due",
        |of| of.retry_late.as_secs_f64(),
    ),
    ("queue_releases", "Webhooks that are on and have held deliveries", |of| float(of.releases[0])),
    ("queue_releases_due", "Webhooks whose held deliveries are to be looked at now", |of| float(of.releases[1])),
    ("queue_visits", "Webhooks with held or failed deliveries, or a log", |of| float(of.visits[0])),
    ("queue_visits_due", "Webhooks whose upkeep is due now", |of| float(of.visits[1])),
    ("queue_rejected", "Entries that are no valid event, and wait for a person", |of| float(of.rejected)),
];

/// The last look at Redis.
#[derive(Debug, Clone, Default)]
pub struct OfRedis(Arc<Mutex<Option<Look>>>);

/// The answers of Redis.
#[derive(Debug, Default)]
pub struct Look {
    /// The time that all answers took together.
    pub took: Duration,
    /// Whether each master of a cluster answered, by its host and port. Empty for a single Redis.
    pub masters: BTreeMap<String, bool>,
    /// The memory of the fullest node; `None` if no node shows its limit.
    pub memory: Option<Memory>,
    /// The figures of each partition; `None` if they could not be had.
    pub partitions: BTreeMap<u16, Option<OfPartition>>,
}

/// The memory of a node, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// In use.
    pub used: u64,
    /// As much as there may be.
    pub most: u64,
}

/// The figures of one partition.
#[derive(Debug, Clone, Default)]
pub struct OfPartition {
    /// Entries in the queue.
    pub depth: u64,
    /// Of these, the ones that a worker has.
    pub in_flight: u64,
    /// Workers that have read from the queue.
    pub consumers: u64,
    /// The age of the oldest entry that no worker has taken.
    pub oldest_untaken: Duration,
    /// Deliveries among the retries.
    pub retries: u64,
    /// Of these, the ones that are more than a second late.
    pub retries_late: u64,
    /// The lateness of the first.
    pub retry_late: Duration,
    /// Planned releases, and those that are due.
    pub releases: [u64; 2],
    /// Planned visits, and those that are due.
    pub visits: [u64; 2],
    /// Rejected entries.
    pub rejected: u64,
    /// Dropped entries and deliveries, by cause.
    pub dropped: BTreeMap<String, u64>,
}

impl OfRedis {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let redis = Self::default();
        registry.register_collector(Box::new(redis.clone()));
        redis
    }

    /// Takes note of a look; `None` if no master answered. Then only that is told, because old figures would pass for
    /// present ones.
    pub fn note(&self, look: Option<Look>) {
        *self.0.lock() = look;
    }
}

impl Collector for OfRedis {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let look = self.0.lock();
        let mut gauge = |name: &str, help: &str, value: f64| {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, &format!("{help}."), None, gauge.metric_type())?)
        };
        gauge(
            "redis_up",
            "Whether Redis answered this process when it was last asked",
            f64::from(u8::from(look.is_some())),
        )?;
        let Some(Look { took, masters, memory, partitions }) = &*look else { return Ok(()) };
        gauge(
            "redis_answer_seconds",
            "Time that Redis took to answer all questions of the last look",
            took.as_secs_f64(),
        )?;
        if let Some(Memory { used, most }) = *memory {
            gauge("redis_memory_used_bytes", "Memory that Redis uses; of the fullest node", float(used))?;
            gauge(
                "redis_memory_max_bytes",
                "Memory that Redis may use: maxmemory, or else the machine's",
                float(most),
            )?;
        }
        if !masters.is_empty() {
            let help = "Whether a master of the cluster answered this process when it was last asked.";
            let mut metric = encoder.encode_descriptor("redis_master_up", help, None, MetricType::Gauge)?;
            for (master, is_up) in masters {
                let up = ConstGauge::new(i64::from(*is_up));
                up.encode(metric.encode_family(&[("master", master.as_str())])?)?;
            }
        }
        let help = "Whether this process got the figures of a partition.";
        let mut metric = encoder.encode_descriptor("queue_readable", help, None, MetricType::Gauge)?;
        for (partition, of) in partitions {
            ConstGauge::new(i64::from(of.is_some())).encode(metric.encode_family(&[("partition", *partition)])?)?;
        }
        let read: Vec<(u16, &OfPartition)> =
            partitions.iter().filter_map(|(partition, of)| Some((*partition, of.as_ref()?))).collect();
        if read.is_empty() {
            return Ok(());
        }
        for (name, help, value) in GAUGES {
            let mut metric = encoder.encode_descriptor(name, &format!("{help}."), None, MetricType::Gauge)?;
            for (partition, of) in &read {
                ConstGauge::new(value(of)).encode(metric.encode_family(&[("partition", *partition)])?)?;
            }
        }
        let help = "Dropped entries and deliveries since the installation began.";
        let mut metric = encoder.encode_descriptor("dropped", help, None, MetricType::Counter)?;
        for (partition, of) in read {
            for cause in CAUSES {
                let labels = ([("partition", partition)], [("cause", cause)]);
                let dropped = ConstCounter::new(of.dropped.get(cause).copied().unwrap_or(0));
                dropped.encode(metric.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

/// A count as a gauge's value. It loses nothing below 2^53.
#[expect(clippy::cast_precision_loss, reason = "no count is that large")]
fn float(count: u64) -> f64 {
    count as f64
}
