//! Metrics: every name, its labels, its unit and its buckets. Nothing else in the program writes one.
//!
//! Times are in seconds, sizes in bytes. Each label has few values, and none is an account, a webhook, a host or an
//! address. A worker's counters have all values of their labels from the start, with 0, because a rate misses the first
//! value of a counter that appears late.
//!
//! The figures of the queue are Redis's, and every process tells the same: take their `max` over processes, never their
//! `sum`. `deploy/README.md` lists all metrics for operators, and a test compares the two.

mod queue;
mod server;
mod worker;

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    encoding::prometheus_text,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Metric, Registry},
};

pub use self::{
    queue::{Look, Memory, OfPartition, OfRedis},
    server::OfServer,
    worker::{OfWorker, Wait},
};
use super::logs::panics;

/// The `Content-Type` of the answer to a scrape: Prometheus's text format.
pub const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;

/// The upper bounds of a request's time, in seconds. An attempt ends after `delivery.timeout`, which is 10 s by default,
/// so those that timed out are between 10 and 11.
const REQUEST_SECONDS: [f64; 13] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 7.5, 10.0, 11.0];

/// A label and its value.
type Label = (&'static str, &'static str);

/// All metrics of a process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    panics: Counter,
    /// Redis and the queue.
    pub redis: OfRedis,
}

impl Metrics {
    /// The metrics that every process has; `role` says what it is.
    fn new(role: &'static str) -> Self {
        let mut registry = Registry::with_prefix("lynkhook");
        let build: Family<[Label; 2], Gauge> =
            add(&mut registry, "build_info", "The version and the role of this process; always 1");
        build.get_or_create_owned(&[("version", env!("CARGO_PKG_VERSION")), ("role", role)]).set(1);
        let started: Gauge<f64, AtomicU64> =
            add(&mut registry, "start_time_seconds", "Time at which this process started, in Unix seconds");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        started.set(now.as_secs_f64());
        let panics = add(&mut registry, "panics", "Panics of this process, which are faults of Lynkhook");
        let redis = OfRedis::new(&mut registry);
        Self { registry, panics, redis }
    }

    /// All metrics as text, for the answer to a scrape.
    pub fn text(&self) -> String {
        self.panics.inner().store(panics(), Relaxed);
        let mut text = String::new();
        prometheus_text::encode(&mut text, &self.registry).expect("a text takes all that is written to it");
        text
    }
}

/// Adds a metric.
fn add<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

/// Adds a counter with a label, for each of its values.
fn counters<const N: usize>(
    registry: &mut Registry,
    (name, help): (&str, &str),
    (label, values): (&'static str, [&'static str; N]),
) -> [Counter; N] {
    let family: Family<[Label; 1], Counter> = add(registry, name, help);
    values.map(|value| family.get_or_create_owned(&[(label, value)]))
}

/// Adds a histogram with these upper bounds, in seconds.
fn seconds<const N: usize>(registry: &mut Registry, name: &str, help: &str, bounds: [f64; N]) -> Histogram {
    let histogram = Histogram::new(bounds);
    registry.register(name, help, histogram.clone());
    histogram
}
