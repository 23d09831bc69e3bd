//! The worker's counters, published for operators: in Redis by each worker, and as metrics by the process.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use chrono::{DateTime, Utc};

use super::{endpoints::Endpoints, local_exhaustion::LocalExhaustion};
use crate::{
    domain::{log_entry::timestamp, outcome::Outcome, retry::Next},
    store::WorkerFigures,
    telemetry::{
        self,
        metrics::{OfWorker, Wait},
    },
};

/// Counts since the worker started.
pub(crate) struct Counters {
    /// The counts of all workers of this process.
    pub(crate) metrics: OfWorker,
    started_at: DateTime<Utc>,
    attempts: AtomicU64,
    delivered: AtomicU64,
    retries: AtomicU64,
    failed: AtomicU64,
    put_off: AtomicU64,
    no_room: AtomicU64,
}

impl Counters {
    pub(crate) fn new(started_at: DateTime<Utc>, metrics: OfWorker) -> Self {
        Self {
            metrics,
            started_at,
            attempts: AtomicU64::default(),
            delivered: AtomicU64::default(),
            retries: AtomicU64::default(),
            failed: AtomicU64::default(),
            put_off: AtomicU64::default(),
            no_room: AtomicU64::default(),
        }
    }

    /// Counts an attempt that was made and has ended, for an event of this type. Counts only rise, so an attempt is counted
    /// once it certainly was one.
    pub(crate) fn attempted(&self, event: &str, outcome: &Outcome, took: Duration) {
        self.attempts.fetch_add(1, Relaxed);
        self.metrics.attempted(event, outcome, took);
    }

    pub(crate) fn settled(&self, next: Next) {
        let counter = match next {
            Next::Delivered => &self.delivered,
            Next::Retry { .. } => &self.retries,
            Next::Failed => &self.failed,
        };
        counter.fetch_add(1, Relaxed);
        self.metrics.settled(next);
    }

    /// Counts a delivery that was put aside: into the retries if it comes `again` from there, otherwise into `held`.
    pub(crate) fn put_aside(&self, why: Wait, again: bool) {
        if why != Wait::Off {
            self.put_off.fetch_add(1, Relaxed);
        }
        if again {
            self.metrics.put_off(why);
        } else {
            self.metrics.held(why);
        }
    }

    /// Counts a delivery that fails because its endpoint's waiting list is full.
    pub(crate) fn no_room(&self, why: Wait) {
        self.no_room.fetch_add(1, Relaxed);
        self.metrics.no_room(why);
    }

    /// The figures to publish at `now`, while `in_flight` of `concurrency` entries are in hand.
    pub(crate) fn published(
        &self,
        now: DateTime<Utc>,
        (in_flight, concurrency): (usize, usize),
        endpoints: &Endpoints,
        local_exhaustion: &LocalExhaustion,
    ) -> WorkerFigures {
        let (slow_endpoints, failing_endpoints, limited) = endpoints.survey();
        WorkerFigures {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started_at: timestamp(self.started_at),
            at: timestamp(now),
            in_flight,
            concurrency,
            busy_percent: endpoints.busy().percent,
            attempts: self.attempts.load(Relaxed),
            delivered: self.delivered.load(Relaxed),
            retries: self.retries.load(Relaxed),
            failed: self.failed.load(Relaxed),
            put_off: self.put_off.load(Relaxed),
            no_room: self.no_room.load(Relaxed),
            slow_endpoints,
            failing_endpoints,
            limited,
            lacking: local_exhaustion.lacking().map(str::to_owned),
            panics: telemetry::panics(),
        }
    }
}
