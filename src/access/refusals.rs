//! Refused requests, counted by cause, and told in the log at most once a minute in one line.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// The time between two lines in the log.
const QUIET: Duration = Duration::from_secs(60);

/// The cause of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// There was no key, or a text that is none.
    Malformed,
    /// No such key, or a wrong secret.
    Unknown,
    /// The key has ended.
    Expired,
    /// Redis could not be asked.
    Store,
    /// A key was sent in the query of a URL.
    InQuery,
    /// The key lacks the scope.
    Scope,
    /// The key is for another account.
    Account,
}

/// The refusals of a process by cause. They only rise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RefusalCounts([u64; 7]);

/// The counters.
#[derive(Default)]
pub(super) struct Refusals {
    counts: [AtomicU64; 7],
    /// The time of the last line, and the counts that it covered.
    told: Mutex<Option<(Instant, RefusalCounts)>>,
}

impl Cause {
    /// All causes.
    pub const ALL: [Self; 7] =
        [Self::Malformed, Self::Unknown, Self::Expired, Self::Store, Self::InQuery, Self::Scope, Self::Account];

    /// The name, as a label of a metric.
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::Store => "store",
            Self::InQuery => "in_query",
            Self::Scope => "scope",
            Self::Account => "account",
        }
    }
}

impl RefusalCounts {
    /// The number of refusals for this cause.
    pub fn of(&self, cause: Cause) -> u64 {
        self.0[cause as usize]
    }

    /// The counts that are not zero: `malformed 3, unknown 1`.
    fn words(&self) -> String {
        let some = Cause::ALL.into_iter().filter(|cause| self.of(*cause) > 0);
        some.map(|cause| format!("{} {}", cause.name(), self.of(cause))).collect::<Vec<_>>().join(", ")
    }
}

impl Refusals {
    pub(super) fn count(&self, cause: Cause) {
        self.counts[cause as usize].fetch_add(1, Relaxed);
        if let Some(new) = self.due(Instant::now()) {
            // These are of many requests, and not of the present one alone.
            tracing::warn!(parent: None, refused = new.words(), "requests were refused for their API key");
        }
    }

    pub(super) fn counts(&self) -> RefusalCounts {
        RefusalCounts(std::array::from_fn(|cause| self.counts[cause].load(Relaxed)))
    }

    /// The refusals since the last line, if another line is due.
    fn due(&self, now: Instant) -> Option<RefusalCounts> {
        let mut told = self.told.lock();
        let (counts, before) = (self.counts(), told.map(|(_, counts)| counts).unwrap_or_default());
        if told.is_some_and(|(at, _)| now.duration_since(at) < QUIET) {
            return None;
        }
        *told = Some((now, counts));
        Some(RefusalCounts(std::array::from_fn(|cause| counts.0[cause] - before.0[cause])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_minute_has_all_refusals_since_the_last() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        let add = |cause: Cause| refusals.counts[cause as usize].fetch_add(1, Relaxed);
        add(Cause::Malformed);
        assert_eq!(refusals.due(start).unwrap().words(), "malformed 1");
        add(Cause::Malformed);
        add(Cause::Expired);
        assert_eq!(refusals.due(start + Duration::from_millis(59_999)), None);
        assert_eq!(refusals.due(start + QUIET).unwrap().words(), "malformed 1, expired 1");
        assert_eq!(refusals.counts().of(Cause::Malformed), 2, "the counts only rise");
    }
}
