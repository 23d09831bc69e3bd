//! This worker's figures: counted as it works, published for operators.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use chrono::{DateTime, Utc};

use super::{endpoints::Endpoints, local_exhaustion::LocalExhaustion};
use crate::{
    domain::{log_entry::timestamp, retry::Next},
    store::WorkerFigures,
    telemetry,
};

/// Counts since the worker started.
pub(crate) struct Counters {
    started_at: DateTime<Utc>,
    attempts: AtomicU64,
    delivered: AtomicU64,
    retries: AtomicU64,
    failed: AtomicU64,
    put_off: AtomicU64,
    no_room: AtomicU64,
}

impl Counters {
    pub(crate) fn new(started_at: DateTime<Utc>) -> Self {
        Self {
            started_at,
            attempts: AtomicU64::default(),
            delivered: AtomicU64::default(),
            retries: AtomicU64::default(),
            failed: AtomicU64::default(),
            put_off: AtomicU64::default(),
            no_room: AtomicU64::default(),
        }
    }

    /// A request was made and has ended. Each count only rises, so what turns out to be no attempt is never counted.
    pub(crate) fn attempt_made(&self) {
        self.attempts.fetch_add(1, Relaxed);
    }

    pub(crate) fn settled(&self, next: Next) {
        let counter = match next {
            Next::Delivered => &self.delivered,
            Next::Retry { .. } => &self.retries,
            Next::Failed => &self.failed,
        };
        counter.fetch_add(1, Relaxed);
    }

    /// A delivery was held because its endpoint had too much in flight.
    pub(crate) fn put_off(&self) {
        self.put_off.fetch_add(1, Relaxed);
    }

    /// A delivery fails because no more may be held for its endpoint.
    pub(crate) fn no_room(&self) {
        self.no_room.fetch_add(1, Relaxed);
    }

    /// What the worker publishes at `now`, while it has `in_flight` of `concurrency` entries in hand.
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
