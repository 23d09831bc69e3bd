//! The last run of each of a worker's loops, and how often a working loop runs.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::config;

/// The longest time that the reader's command waits for the first entry.
pub(crate) const READ_BLOCKS: Duration = Duration::from_secs(5);
/// The promoter looks at least this often.
pub(crate) const PROMOTE_EVERY: Duration = Duration::from_secs(1);
/// The releaser runs at least this often, even if nothing is due.
pub(crate) const RELEASE_EVERY: Duration = Duration::from_secs(5);
/// The visitor runs at least this often, even if nothing is due.
pub(crate) const VISIT_EVERY: Duration = Duration::from_secs(5);

/// The loops that are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Read,
    Claim,
    Promote,
    Release,
    Visit,
    Renew,
}

const ROLES: [Role; 6] = [Role::Read, Role::Claim, Role::Promote, Role::Release, Role::Visit, Role::Renew];

/// The last run of each loop.
pub(crate) struct Heartbeats {
    started: Instant,
    /// The last runs by role, then by partition; ms since `started`.
    last: [Vec<AtomicU64>; ROLES.len()],
    /// The time at which this worker last promoted a retry; ms since `started`.
    promoted: AtomicU64,
    /// By role, the longest time between two runs of a loop that works.
    within: [Duration; ROLES.len()],
}

impl Heartbeats {
    /// Heartbeats of loops that have not run yet; their time begins now.
    pub(crate) fn new(settings: &config::Settings, partitions: u16) -> Self {
        let config::Worker { claim_every, renew_every, .. } = settings.worker;
        // Slack for a command without an answer, its repetition, and a busy machine.
        let slack = settings.redis.response_timeout * 2 + Duration::from_secs(2);
        let within = ROLES.map(|role| match role {
            Role::Read => READ_BLOCKS + slack,
            Role::Claim => claim_every * 3 / 2 + slack,
            Role::Promote => PROMOTE_EVERY + slack,
            Role::Release => RELEASE_EVERY + slack,
            Role::Visit => VISIT_EVERY + slack,
            Role::Renew => renew_every * 6 / 5 + slack,
        });
        // A single renewer serves all partitions.
        let loops = |role| if role == Role::Renew { 1 } else { partitions };
        let last = ROLES.map(|role| (0..loops(role)).map(|_| AtomicU64::new(0)).collect());
        Self { started: Instant::now(), last, promoted: AtomicU64::new(0), within }
    }

    /// Notes a run of the loop of this role and partition.
    pub(crate) fn note(&self, role: Role, partition: u16) {
        self.last[role as usize][usize::from(partition)].store(self.elapsed_ms(), Relaxed);
    }

    /// Notes that a retry was promoted.
    pub(crate) fn promoted(&self) {
        self.promoted.store(self.elapsed_ms(), Relaxed);
    }

    /// The time since a retry was last promoted; since the start if none was.
    pub(crate) fn since_promoted(&self) -> Duration {
        Duration::from_millis(self.elapsed_ms().saturating_sub(self.promoted.load(Relaxed)))
    }

    /// One check for each role, by its slowest loop. While the worker is `stopping`, only the renewer's.
    pub(crate) fn checks(&self, stopping: bool) -> Vec<Check> {
        let slowest = |role: Role| self.last[role as usize].iter().map(|last| last.load(Relaxed)).min().unwrap_or(0);
        ROLES
            .into_iter()
            .filter(|role| !stopping || *role == Role::Renew)
            .map(|role| {
                let since = Duration::from_millis(self.elapsed_ms().saturating_sub(slowest(role)));
                let within = self.within[role as usize];
                Check::new(role_name(role), since <= within, || {
                    format!("this loop has not run for {since:.1?}; when it works, it runs at least every {within:.1?}")
                })
            })
            .collect()
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Read => "read",
        Role::Claim => "claim",
        Role::Promote => "promote",
        Role::Release => "release",
        Role::Visit => "visit",
        Role::Renew => "renew",
    }
}

/// One check, as probes see it.
#[derive(Debug, Serialize)]
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

impl Check {
    pub(crate) fn new(name: &'static str, ok: bool, error: impl FnOnce() -> String) -> Self {
        Self { name, ok, error: (!ok).then(error) }
    }
}
