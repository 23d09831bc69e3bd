//! The health of a worker: its counters, whether its loops run, Redis's last answer, and the resources that are
//! lacking.
//!
//! Each loop leaves a mark when it runs. A loop that leaves no mark in its time is wedged. That the process is alive
//! proves nothing.

use std::time::Duration;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    counters::Counters,
    endpoints::Endpoints,
    heartbeat::{Check, Heartbeats},
    local_exhaustion::LocalExhaustion,
    redis_health::{Heard, RedisHealth},
};
use crate::{
    config::Settings,
    domain::lateness,
    store::{AwayMaster, WorkerFigures},
    telemetry::metrics::OfWorker,
};

/// All partitions notice a step of Redis's clock within this time.
const STEP_TOLD_EVERY: Duration = Duration::from_secs(2);

/// The state that operators and probes are told.
pub(crate) struct Vitals {
    pub(crate) counters: Counters,
    pub(crate) heartbeats: Heartbeats,
    pub(crate) redis: RedisHealth,
    pub(crate) exhaustion: LocalExhaustion,
    /// When the log last said that Redis's clock stepped, and whether forward.
    step_told: Mutex<Option<(Instant, bool)>>,
}

impl Vitals {
    pub(crate) fn new(settings: &Settings, partitions: u16, now: DateTime<Utc>, metrics: OfWorker) -> Self {
        Self {
            counters: Counters::new(now, metrics),
            heartbeats: Heartbeats::new(&settings.redis, partitions),
            redis: RedisHealth::default(),
            exhaustion: LocalExhaustion::default(),
            step_told: Mutex::default(),
        }
    }

    /// Says in the log that Redis's clock stepped: once, though each partition notices it.
    pub(crate) fn tell_of_step(&self, step_ms: i64) {
        let (mut told, forward) = (self.step_told.lock(), step_ms > 0);
        if told.is_none_or(|(at, way)| way != forward || at.elapsed() >= STEP_TOLD_EVERY) {
            tracing::warn!(step_ms, "Redis's clock stepped; times that it falsified are mended");
            *told = Some((Instant::now(), forward));
        }
    }

    /// The figures to publish at `now`; `in_hand` is the number of entries in hand, and the number that there may be.
    pub(crate) fn published(
        &self,
        now: DateTime<Utc>,
        in_hand: (usize, usize),
        endpoints: &Endpoints,
    ) -> WorkerFigures {
        self.counters.published(now, in_hand, endpoints, &self.exhaustion)
    }

    /// The checks of `/healthz`: the loops run, and no retry is forgotten. If one fails, restart the worker. A worker
    /// that is `stopping` only serves the entries in hand.
    pub(crate) fn alive(&self, stopping: bool) -> Vec<Check> {
        let mut checks = self.heartbeats.checks(stopping);
        if let Some(Heard { late: Ok(late), .. }) = self.redis.last().filter(|_| !stopping) {
            // While retries are promoted, the worker catches up after an outage, and a restart would only delay that.
            let forgotten =
                late > lateness::RETRY_FAILS_HEALTH && self.heartbeats.since_promoted() > lateness::RETRY_FAILS_HEALTH;
            checks.push(Check::new("retries", !forgotten, || {
                format!("the oldest due retry is {late:.1?} late, and no retry is promoted")
            }));
        }
        checks
    }

    /// The further checks of `/readyz`: Redis answers, the machine has the resources for requests, and the worker is
    /// not stopping. So an outage of Redis makes workers unready but restarts none. A worker is ready while any master of
    /// a cluster answers: it is not at fault if another is away, and a rollout must go on.
    pub(crate) fn ready(&self, stopping: bool) -> [Check; 3] {
        let (heard, lacking) = (self.redis.last(), self.exhaustion.lacking());
        let why = || match &heard {
            Some(Heard { late: Err(error), .. }) => error.clone(),
            _ => "Redis was not asked yet".to_owned(),
        };
        let away = heard.iter().flat_map(|heard| &heard.away).map(AwayMaster::to_string).collect::<Vec<_>>().join("; ");
        [
            Check::new("redis", matches!(heard, Some(Heard { late: Ok(_), .. })), why).with_warning(away),
            Check::new("resources", lacking.is_none(), || format!("{}; deliveries wait", lacking.unwrap_or_default())),
            Check::new("running", !stopping, || "the worker is stopping".to_owned()),
        ]
    }
}
