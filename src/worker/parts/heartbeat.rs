//! The last mark of each of a worker's loops, and how often a working loop leaves one.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::config;

/// A loop that waits leaves a mark this often.
pub(crate) const BEAT_EVERY: Duration = Duration::from_secs(1);

/// A loop of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Read,
    Claim,
    Promote,
    Release,
    Visit,
    Audit,
    Mend,
    Publish,
    Sweep,
    Gauge,
    LookUp,
    Settle,
    Hold,
    Renew,
}

impl Role {
    const ALL: [Self; 14] = [
        Self::Read,
        Self::Claim,
        Self::Promote,
        Self::Release,
        Self::Visit,
        Self::Audit,
        Self::Mend,
        Self::Publish,
        Self::Sweep,
        Self::Gauge,
        Self::LookUp,
        Self::Settle,
        Self::Hold,
        Self::Renew,
    ];

    /// The name in probes.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Claim => "claim",
            Self::Promote => "promote",
            Self::Release => "release",
            Self::Visit => "visit",
            Self::Audit => "audit",
            Self::Mend => "mend",
            Self::Publish => "publish",
            Self::Sweep => "sweep",
            Self::Gauge => "gauge",
            Self::LookUp => "look_up",
            Self::Settle => "settle",
            Self::Hold => "hold",
            Self::Renew => "renew",
        }
    }

    /// Whether one loop serves all partitions.
    fn is_single(self) -> bool {
        matches!(self, Self::Publish | Self::Sweep | Self::Gauge | Self::Renew)
    }

    /// Whether the loop serves the entries in hand, also while the worker stops.
    fn is_serving(self) -> bool {
        matches!(self, Self::LookUp | Self::Settle | Self::Hold | Self::Renew)
    }
}

/// The last mark of each loop.
pub(crate) struct Heartbeats {
    started: Instant,
    /// By role, then by partition; ms since `started`.
    last: [Vec<AtomicU64>; Role::ALL.len()],
    /// The time at which this worker last promoted a retry; ms since `started`.
    promoted: AtomicU64,
    /// The longest time between two marks of a loop that works.
    within: Duration,
}

impl Heartbeats {
    /// Heartbeats of loops that have not run yet; their time begins now.
    pub(crate) fn new(redis: &config::Redis, partitions: u16) -> Self {
        // Between two marks there is one wait, and one question to Redis: it may get no answer, and connect and be asked
        // once more. The rest is for a busy machine.
        let within = BEAT_EVERY + (redis.connect_timeout + redis.response_timeout) * 2 + Duration::from_secs(2);
        let loops = |role: Role| if role.is_single() { 1 } else { partitions };
        let last = Role::ALL.map(|role| (0..loops(role)).map(|_| AtomicU64::new(0)).collect());
        Self { started: Instant::now(), last, promoted: AtomicU64::new(0), within }
    }

    /// Leaves a mark of the loop of this role and partition.
    pub(crate) fn note(&self, role: Role, partition: u16) {
        let partition = if role.is_single() { 0 } else { usize::from(partition) };
        self.last[role as usize][partition].store(self.elapsed_ms(), Relaxed);
    }

    /// Notes that a retry was promoted.
    pub(crate) fn promoted(&self) {
        self.promoted.store(self.elapsed_ms(), Relaxed);
    }

    /// The time since a retry was last promoted; since the start if none was.
    pub(crate) fn since_promoted(&self) -> Duration {
        Duration::from_millis(self.elapsed_ms().saturating_sub(self.promoted.load(Relaxed)))
    }

    /// One check for each role, by its slowest loop. While the worker is `stopping`, only those that serve the entries in
    /// hand.
    pub(crate) fn checks(&self, stopping: bool) -> Vec<Check> {
        let slowest = |role: Role| self.last[role as usize].iter().map(|last| last.load(Relaxed)).min().unwrap_or(0);
        Role::ALL
            .into_iter()
            .filter(|role| !stopping || role.is_serving())
            .map(|role| {
                let since = Duration::from_millis(self.elapsed_ms().saturating_sub(slowest(role)));
                Check::new(role.name(), since <= self.within, || {
                    format!(
                        "this loop has not run for {since:.1?}; when it works, it runs at least every {:.1?}",
                        self.within
                    )
                })
            })
            .collect()
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// One check, as probes see it.
#[derive(Debug, Serialize)]
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// A note for operators, although the check holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) warning: Option<String>,
}

impl Check {
    pub(crate) fn new(name: &'static str, ok: bool, error: impl FnOnce() -> String) -> Self {
        Self { name, ok, error: (!ok).then(error), warning: None }
    }

    /// With a warning, unless it is empty.
    pub(crate) fn with_warning(self, warning: String) -> Self {
        Self { warning: Some(warning).filter(|warning| !warning.is_empty()), ..self }
    }
}
