//! How a worker does: what it counted, whether its loops turn, what Redis said last, and what it lacks.

use chrono::{DateTime, Utc};

use super::endpoints::Endpoints;
use crate::{
    config::Settings,
    store::WorkerFigures,
    worker::{figures::Counters, health::RedisHealth, heartbeat::Heartbeats, local_exhaustion::LocalExhaustion},
};

/// What operators and probes are told.
pub(crate) struct Vitals {
    pub(crate) counters: Counters,
    pub(crate) heartbeats: Heartbeats,
    pub(crate) redis: RedisHealth,
    pub(crate) exhaustion: LocalExhaustion,
}

impl Vitals {
    pub(crate) fn new(settings: &Settings, partitions: u16, now: DateTime<Utc>) -> Self {
        Self {
            counters: Counters::new(now),
            heartbeats: Heartbeats::new(settings, partitions),
            redis: RedisHealth::default(),
            exhaustion: LocalExhaustion::default(),
        }
    }

    /// What the worker publishes at `now`, while it has `in_hand` entries of those that it may have.
    pub(crate) fn published(
        &self,
        now: DateTime<Utc>,
        in_hand: (usize, usize),
        endpoints: &Endpoints,
    ) -> WorkerFigures {
        self.counters.published(now, in_hand, endpoints, &self.exhaustion)
    }
}
