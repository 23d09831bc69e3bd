//! How many attempts one endpoint may have in flight.
//!
//! A worker is short of places: an attempt occupies one until the endpoint answers or the time limit ends it (a large event
//! occupies several, so that places share out memory as well). The schedule that customers are promised holds for everyone
//! while places are free, so an endpoint is limited only by what would hurt itself or others:
//!
//! 1. Endpoints that answer within 50 ms, or fail that fast, may use seven eighths of the places.
//! 2. All others share half of the places; one may take what the others leave free of that half.
//! 3. An endpoint that is alone may use every place, if it answers.
//! 4. A new endpoint starts with three attempts in flight and gets one more with each answer in good time, so that one that
//!    serves few at a time is not flooded. One that has answered nothing for `delivery.timeout` cannot be flooded; its first
//!    answer puts it back to three.
//! 5. While the worker is busy, endpoints whose last 50 attempts all failed share `worker.failing_rate` attempts a second.
//!
//! If even the quickest endpoints take long, this worker is slow, or the way from here is; then 50 ms becomes three times
//! what they take, half a second at most.
//!
//! Dynamic thresholds, Choudhury's and Hahne's rule (1998) for buffers in switches, share by what is free: each slow endpoint
//! may have eight times what all slow ones leave free, so that few places suffice for newcomers to find one. TCP
//! Vegas (1994) stops growing when answers take longer than the first did.

use std::{fmt, time::Duration};

use super::outcome::{Class, Outcome};

/// Attempts in flight at an endpoint that is new, or has just recovered. One that serves one at a time, 3 s each, answers
/// this many within the time limit.
const FEW: usize = 3;
/// A quick endpoint usually ends an attempt within this: at 256 places so short an attempt costs less than holding the
/// delivery and fetching it again.
const QUICK: Duration = Duration::from_millis(50);
/// The same where no endpoint answers any quicker.
const QUICK_AT_MOST: Duration = Duration::from_millis(500);
/// A slow endpoint may have this many times the places that all slow endpoints leave free of half of the worker and an eighth of
/// that half, so that one alone has half of the worker.
const TIMES_FREE: usize = 8;
/// After this many failures in a row an endpoint is failing.
const FAILURES: u32 = 50;
/// A failing endpoint shares with others that were seen within this.
const LATELY: Duration = Duration::from_secs(4);
/// An endpoint with a pace may start as much at once as that allows in this time.
const BURST: Duration = Duration::from_secs(1);
/// A due retry that finds no room comes back after this long at least, and at most; and its way from `retries` takes this long,
/// as a rule.
const AGAIN: [Duration; 2] = [Duration::from_millis(200), LONGEST_PUT_OFF];
/// The longest of these waits.
pub const LONGEST_PUT_OFF: Duration = Duration::from_secs(2);
const WAY_BACK: Duration = Duration::from_millis(100);
/// Held deliveries are looked at again after this long, if no place became free before.
pub const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The settings that the rule uses, for one worker.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Attempts that may be in flight: `worker.concurrency`.
    pub places: usize,
    /// `delivery.timeout`.
    pub timeout: Duration,
    /// Failing endpoints together may start one delivery, with all its attempts, in this time while the worker is busy.
    pub failing_every: Duration,
}

/// All that one worker has in flight.
#[derive(Debug, Clone, Copy)]
pub struct Crowd {
    /// Places that are occupied.
    pub in_flight: usize,
    /// Of those, occupied by endpoints that were slow when the attempt began.
    pub slow: usize,
    /// How many endpoints were failing when they were counted.
    pub failing: usize,
    /// Whether no other endpoint is there that could be hurt.
    pub alone: bool,
    /// How long the quickest of the latest answers took, of all endpoints.
    pub quickest: Duration,
    /// Whether the worker has little time left.
    pub busy: bool,
}

/// Why an endpoint may not have more in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// It has not answered well yet.
    New,
    /// It gets more with each answer in good time.
    Answers,
    /// Slow endpoints share half of the places.
    Share,
    /// Its attempts are spread over time, because it answers none of them.
    Silent,
    /// The same, because it fails and the worker is busy.
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
    /// Nothing else was in flight when it began.
    lone: bool,
}

/// One endpoint as one worker knows it. Times count from any fixed moment.
#[derive(Debug, Clone, Default)]
pub struct Endpoint {
    /// Places that its attempts occupy.
    in_flight: usize,
    /// Its attempts in flight that began since it last recovered, how many those may be ([`FEW`] at
    /// first), and when that became less.
    attempts: usize,
    limit: Option<usize>,
    shrunk: Duration,
    recoveries: u32,
    /// How long an attempt usually takes; `None` before any ended.
    usual: Option<Duration>,
    /// How long an answer takes that waits for no other; `None` before any came.
    least: Option<Duration>,
    /// When an answer came last, or, before any, when the first attempt began; and whether that is too long ago.
    heard: Duration,
    silent: bool,
    /// When an attempt ended last, or the first of those in flight began.
    progress: Duration,
    failures: u32,
    /// Up to when it has used its pace.
    used_until: Duration,
    /// When the last due retry comes back that found no room.
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
    /// How many more places it may occupy at `now`, and what allows no more. Where there is one, an attempt may begin,
    /// however many places it takes. A due retry has room before everything else.
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
            // The first attempt at each fits where many share.
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
            // While nothing was in flight, no answer could come.
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
            // Attempts that are still in flight from before say nothing of how it is now.
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
        // That a lone attempt takes as long as ever says nothing of more than a few at once.
        let as_ever = took <= least * 3 / 2 && (!attempt.lone || self.limit() < FEW);
        if took > (rule.timeout / 2).max(least * 2) || (!answered && took >= rule.timeout / 2) {
            // Once for all that were under way together.
            if attempt.began >= self.shrunk {
                (self.limit, self.shrunk) = (Some((self.limit() * 3 / 4).max(1)), now);
            }
        } else if (took <= rule.timeout / 4 || as_ever) && in_use * 2 >= self.limit() && (answered || !known) {
            self.limit = Some(self.limit() + 1);
        }
    }

    /// A due retry found no room: how long it waits in `retries`, each after the others until a place is likely to be free.
    pub fn put_off(&mut self, now: Duration) -> Duration {
        let [least, most] = AGAIN;
        let each = self.usual.unwrap_or_default() / u32::try_from(self.in_flight.max(1)).unwrap_or(u32::MAX);
        let until = (self.retries_until.unwrap_or_default().max(now + least) + each).min(now + most);
        self.retries_until = Some(until);
        until.saturating_sub(now)
    }

    /// The time between two deliveries that it may start, and why; `None` if it has no pace. Retries follow by themselves.
    fn pace(&self, rule: &Rule, crowd: &Crowd, now: Duration) -> Option<(Duration, Limit)> {
        if self.silent && !self.is_quick(crowd, now) {
            // Then its places become free one after the other, not all at once.
            let every = self.usual? / u32::try_from(rule.places.div_ceil(2)).unwrap_or(u32::MAX);
            Some((every.max(Duration::from_micros(1)), Limit::Silent))
        } else if crowd.busy && self.failures >= FAILURES {
            let sharing = u32::try_from(crowd.failing.max(1)).unwrap_or(u32::MAX);
            Some((rule.failing_every * sharing, Limit::Failing))
        } else {
            None
        }
    }

    /// Whether it usually ends an attempt at once, be it with an answer or a failure.
    pub fn is_quick(&self, crowd: &Crowd, now: Duration) -> bool {
        self.usual.is_some_and(|usual| usual <= quick_within(crowd)) && self.is_responsive(crowd, now)
    }

    /// Whether all of its latest attempts failed, and it was seen a moment ago.
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

    /// Places that its attempts occupy.
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether there is nothing to remember: nothing is in flight, and it was not seen for a minute.
    pub fn is_forgettable(&self, now: Duration) -> bool {
        self.in_flight == 0 && now.saturating_sub(self.seen) > Duration::from_mins(1)
    }

    /// Whether it is known, and something of what is in flight ended lately: an endpoint that was quick once may have fallen
    /// silent.
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
            Self::Answers => "gets one more with each answer in good time",
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
