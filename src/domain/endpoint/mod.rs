//! How many attempts one endpoint may have in flight.
//!
//! A worker has few places. An attempt occupies one until the endpoint answers or the time limit ends it (a large event
//! occupies several, so that places also share out memory). While places are free, every customer gets the promised
//! schedule. So an endpoint is limited only where more attempts would hurt it or others:
//!
//! 1. Endpoints that answer within 50 ms, or fail that fast, may use seven eighths of the places.
//! 2. All others share half of the places; one may take what the others leave free of that half.
//! 3. An endpoint that is alone may use every place, if it answers.
//! 4. A new endpoint starts with three attempts in flight and gets one more with each timely answer, so that an
//!    endpoint that serves few at a time is not flooded. An endpoint that has answered nothing for `delivery.timeout`
//!    has no such limit; its first answer puts it back to three.
//! 5. While the worker is busy, endpoints whose last 50 attempts all failed share `worker.failing_rate` attempts a
//!    second.
//!
//! If even the quickest endpoints take long, this worker or its network is slow. Then 50 ms becomes three times their
//! time, but at most half a second.
//!
//! The shares follow dynamic thresholds, the rule of Choudhury and Hahne (1998) for buffers in switches: each slow
//! endpoint may have eight times the places that all slow ones leave free. So a few free places are enough for
//! newcomers. The growth follows TCP Vegas (1994), which stops growing when answers take longer than the first did.

use std::{fmt, time::Duration};

use super::outcome::{Class, Outcome};

/// The most attempts in flight at an endpoint that is new, or has just recovered. An endpoint that serves one at a
/// time, in 3 s each, answers three within the time limit of 10 s.
const FEW: usize = 3;
/// The time within which a quick endpoint usually ends an attempt. At 256 places, such a short attempt costs less than
/// holding the delivery and fetching it again.
const QUICK: Duration = Duration::from_millis(50);
/// The longest such time, if no endpoint answers more quickly.
const QUICK_AT_MOST: Duration = Duration::from_millis(500);
/// The factor of the dynamic threshold. A slow endpoint may have this many times the places that all slow endpoints
/// leave free of half of the worker plus an eighth of that half. So a single one gets half of the worker.
const TIMES_FREE: usize = 8;
/// The number of failures in a row after which an endpoint counts as failing.
const FAILURES: u32 = 50;
/// The time within which a failing endpoint must have been seen to count among those that share the rate.
const LATELY: Duration = Duration::from_secs(4);
/// The time whose allowance an endpoint with a pace may use at once.
const BURST: Duration = Duration::from_secs(1);
/// The shortest and the longest wait of a due retry that found no room, and the usual time of its way back from
/// `retries`.
const AGAIN: [Duration; 2] = [Duration::from_millis(200), LONGEST_PUT_OFF];
/// The longest wait of a due retry that found no room.
pub const LONGEST_PUT_OFF: Duration = Duration::from_secs(2);
const WAY_BACK: Duration = Duration::from_millis(100);
/// The time after which held deliveries are looked at again if no place became free before.
pub const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The settings that the rule uses, for one worker.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Attempts that may be in flight: `worker.concurrency`.
    pub places: usize,
    /// `delivery.timeout`.
    pub timeout: Duration,
    /// The time between two deliveries, with all their attempts, that the failing endpoints together may start while
    /// the worker is busy.
    pub failing_every: Duration,
}

/// The attempts that one worker has in flight, and its other endpoints.
#[derive(Debug, Clone, Copy)]
pub struct Crowd {
    /// Places that are occupied.
    pub in_flight: usize,
    /// Places occupied by endpoints that were slow when the attempt began.
    pub slow: usize,
    /// The number of failing endpoints, when they were last counted.
    pub failing: usize,
    /// Whether there is no other endpoint that could be hurt.
    pub alone: bool,
    /// The time of the quickest recent answer of any endpoint.
    pub quickest: Duration,
    /// Whether the worker has little time left.
    pub busy: bool,
}

/// The reason why an endpoint may not have more in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// It has not answered well yet.
    New,
    /// It gets one more with each timely answer.
    Answers,
    /// Slow endpoints share half of the places.
    Share,
    /// Its attempts are spread over time, because it answers none of them.
    Silent,
    /// Its attempts are spread over time, because its last attempts all failed and the worker is busy.
    Failing,
    /// Its due retries go first.
    Retries,
    /// All places are taken.
    Places,
    /// Its host refused more connections than are open.
    Connections,
}

/// An attempt in flight.
#[derive(Debug, Clone, Copy)]
pub struct InFlight {
    /// Places it occupies.
    pub places: usize,
    began: Duration,
    recoveries: u32,
    /// Whether nothing else was in flight at the endpoint when it began.
    lone: bool,
}

/// One endpoint as one worker knows it. Times count from any fixed moment.
#[derive(Debug, Clone, Default)]
pub struct Endpoint {
    /// Places that its attempts occupy.
    in_flight: usize,
    /// Its attempts in flight that began since it last recovered; their limit ([`FEW`] at first); and the time at which
    /// the limit last shrank.
    attempts: usize,
    limit: Option<usize>,
    shrunk: Duration,
    recoveries: u32,
    /// The usual time of an attempt; `None` before any ended.
    usual: Option<Duration>,
    /// The time of an answer that waits for no other; `None` before any came.
    least: Option<Duration>,
    /// The time of the last answer, or of the first attempt's start before any answer; and whether that is too long
    /// ago.
    heard: Duration,
    silent: bool,
    /// The time at which an attempt last ended, or at which the first of those in flight began.
    progress: Duration,
    failures: u32,
    /// The time up to which it has used its pace.
    used_until: Duration,
    /// The time at which the last of its due retries without room comes back.
    retries_until: Option<Duration>,
    seen: Duration,
}

impl InFlight {
    /// How long it has taken at `now`.
    pub fn took(&self, now: Duration) -> Duration {
        now.saturating_sub(self.began)
    }
}

impl Endpoint {
    /// The number of further places that it may occupy at `now`, and the limit that allows no more. If there is at
    /// least one, an attempt may begin, however many places it takes. A due retry has room before everything else.
    ///
    /// ```
    /// # use lynkhook::domain::endpoint::{Crowd, Endpoint, Limit, Rule};
    /// # use std::time::Duration;
    /// let rule = Rule { places: 256, timeout: Duration::from_secs(10), failing_every: Duration::from_millis(30) };
    /// let idle = Crowd { in_flight: 0, slow: 0, failing: 0, alone: false, quickest: Duration::ZERO, busy: false };
    /// assert_eq!(Endpoint::default().room(&rule, &idle, Duration::ZERO, false), (3, Limit::New));
    /// ```
    pub fn room(&self, rule: &Rule, crowd: &Crowd, now: Duration, is_retry: bool) -> (usize, Limit) {
        let share = if crowd.alone && self.least.is_some() && !self.silent && self.is_responsive(crowd, now) {
            rule.places
        } else if self.is_quick(crowd, now) {
            rule.places - rule.places / 8
        } else {
            let (half, most) = (rule.places.div_ceil(2), (rule.places - 1).max(1));
            let free_of = |pool: usize| pool.min(most).saturating_sub(crowd.slow);
            // Keep room for the first attempt at each endpoint, even if many share.
            let first = usize::from(free_of(half + half.div_ceil(4)) > 0);
            half.min(free_of(half + half.div_ceil(TIMES_FREE)) * TIMES_FREE).max(first)
        };
        let own = if self.silent { usize::MAX } else { self.limit().saturating_sub(self.attempts) };
        let pace = self.pace(rule, crowd, now).filter(|_| !is_retry);
        let (paced, why) = pace.map_or((usize::MAX, Limit::Silent), |(every, why)| {
            let unused = BURST.max(every).saturating_sub(self.used_until.saturating_sub(now));
            (usize::try_from(unused.as_nanos() / every.as_nanos()).unwrap_or(usize::MAX), why)
        });
        let retries_come = self.retries_until.is_some_and(|until| now < until + WAY_BACK) && !is_retry;
        let limits = [
            (rule.places.saturating_sub(crowd.in_flight), Limit::Places),
            (own, if self.least.is_none() { Limit::New } else { Limit::Answers }),
            (share.saturating_sub(self.in_flight), Limit::Share),
            (paced, why),
            (if retries_come { 0 } else { usize::MAX }, Limit::Retries),
        ];
        limits.into_iter().min_by_key(|(room, _)| *room).expect("there are five")
    }

    /// An attempt begins.
    pub fn begin(&mut self, rule: &Rule, crowd: &Crowd, places: usize, now: Duration, is_retry: bool) -> InFlight {
        if let Some((every, _)) = self.pace(rule, crowd, now).filter(|_| !is_retry) {
            self.used_until = self.used_until.max(now) + every;
        }
        let lone = self.in_flight == 0;
        if lone {
            self.progress = now;
            // While nothing was in flight, no answer could come, so that time does not count as silence.
            self.heard += now.saturating_sub(self.seen);
        }
        self.in_flight += places;
        self.attempts += 1;
        self.seen = now;
        InFlight { places, began: now, recoveries: self.recoveries, lone }
    }

    /// The attempt turns out to be none. The time that it took is not the endpoint's.
    pub fn forget(&mut self, attempt: InFlight, now: Duration) {
        self.in_flight -= attempt.places;
        self.attempts -= usize::from(attempt.recoveries == self.recoveries);
        self.progress = now;
    }

    /// The attempt met this at `now`.
    pub fn end(&mut self, rule: &Rule, attempt: InFlight, now: Duration, outcome: &Outcome) {
        let (took, in_use, known) = (attempt.took(now), self.attempts, self.least.is_some());
        let answered = matches!(outcome, Outcome::Response { .. });
        let failed = matches!(outcome.class(), Class::Retryable | Class::Forbidden);
        self.forget(attempt, now);
        self.seen = now;
        let failures = if failed { self.failures.saturating_add(1) } else { 0 };
        let failures_before = std::mem::replace(&mut self.failures, failures);
        if (answered && self.silent) || (failures == 0 && failures_before >= FAILURES) {
            // Attempts that are still in flight from before say nothing about its present state.
            let (in_flight, recoveries) = (self.in_flight, self.recoveries + 1);
            let (usual, least) = (Some(took), Some(took));
            *self =
                Self { in_flight, recoveries, usual, least, heard: now, progress: now, seen: now, ..Self::default() };
            return;
        }
        if answered {
            self.heard = now;
        } else if now.saturating_sub(self.heard) >= rule.timeout {
            self.silent = true;
        }
        if attempt.recoveries != self.recoveries {
            return;
        }
        self.usual = Some(self.usual.map_or(took, |usual| usual.mul_f64(0.75) + took.mul_f64(0.25)));
        // A refusal, quick or slow, does not tell how long the work takes.
        if outcome.class() == Class::Delivered {
            self.least = Some(if attempt.lone { took } else { self.least.map_or(took, |least| least.min(took)) });
        }
        let least = self.least.unwrap_or_default();
        // A lone attempt that takes as long as ever does not show that the endpoint copes with more than a few at once.
        let as_ever = took <= least * 3 / 2 && (!attempt.lone || self.limit() < FEW);
        if took > (rule.timeout / 2).max(least * 2) || (!answered && took >= rule.timeout / 2) {
            // Shrink only once for all attempts that were under way together.
            if attempt.began >= self.shrunk {
                (self.limit, self.shrunk) = (Some((self.limit() * 3 / 4).max(1)), now);
            }
        } else if (took <= rule.timeout / 4 || as_ever) && in_use * 2 >= self.limit() && (answered || !known) {
            self.limit = Some(self.limit() + 1);
        }
    }

    /// The wait in `retries` of a due retry that found no room: such retries come back one after the other, each when a
    /// place is likely to be free.
    pub fn put_off(&mut self, now: Duration) -> Duration {
        let [least, most] = AGAIN;
        let each = self.usual.unwrap_or_default() / u32::try_from(self.in_flight.max(1)).unwrap_or(u32::MAX);
        let until = (self.retries_until.unwrap_or_default().max(now + least) + each).min(now + most);
        self.retries_until = Some(until);
        until.saturating_sub(now)
    }

    /// The time between two deliveries that it may start, and the reason; `None` if it has no pace. Retries need no
    /// pace.
    fn pace(&self, rule: &Rule, crowd: &Crowd, now: Duration) -> Option<(Duration, Limit)> {
        if self.silent && !self.is_quick(crowd, now) {
            // With this pace, its places become free one after the other, not all at once.
            let every = self.usual? / u32::try_from(rule.places.div_ceil(2)).unwrap_or(u32::MAX);
            Some((every.max(Duration::from_micros(1)), Limit::Silent))
        } else if crowd.busy && self.failures >= FAILURES {
            let sharing = u32::try_from(crowd.failing.max(1)).unwrap_or(u32::MAX);
            Some((rule.failing_every * sharing, Limit::Failing))
        } else {
            None
        }
    }

    /// Whether it usually ends an attempt quickly, with an answer or a failure.
    pub fn is_quick(&self, crowd: &Crowd, now: Duration) -> bool {
        self.usual.is_some_and(|usual| usual <= quick_within(crowd)) && self.is_responsive(crowd, now)
    }

    /// Whether its last 50 attempts all failed, and it was seen a moment ago.
    pub fn always_fails(&self, now: Duration) -> bool {
        self.failures >= FAILURES && now.saturating_sub(self.seen) < LATELY
    }

    /// Whether its last attempt failed.
    pub const fn fails(&self) -> bool {
        self.failures > 0
    }

    fn limit(&self) -> usize {
        self.limit.unwrap_or(FEW)
    }

    /// The places that its attempts occupy.
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether there is nothing to remember: nothing is in flight, and it was not seen for a minute.
    pub fn is_forgettable(&self, now: Duration) -> bool {
        self.in_flight == 0 && now.saturating_sub(self.seen) > Duration::from_mins(1)
    }

    /// Whether it is known, and an attempt ended recently if any is in flight: an endpoint that was quick may have
    /// fallen silent.
    fn is_responsive(&self, crowd: &Crowd, now: Duration) -> bool {
        let silent_for = if self.in_flight > 0 { now.saturating_sub(self.progress) } else { Duration::ZERO };
        self.usual.is_some_and(|usual| silent_for <= quick_within(crowd) + usual * 4)
    }
}

fn quick_within(crowd: &Crowd) -> Duration {
    (crowd.quickest * 3).clamp(QUICK, QUICK_AT_MOST)
}

impl fmt::Display for Limit {
    /// For operators.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::New => "has not answered well yet",
            Self::Answers => "gets one more with each timely answer",
            Self::Share => "slow endpoints share half of the worker",
            Self::Silent => "answers nothing: attempts are spread over time",
            Self::Failing => "its last attempts all failed, and the worker is busy",
            Self::Retries => "its due retries go first",
            Self::Places => "all of the worker's places are taken",
            Self::Connections => "its host allows no more connections",
        })
    }
}

#[cfg(test)]
mod tests;
