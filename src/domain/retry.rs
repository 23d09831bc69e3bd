//! The retry schedule: one pure function decides whether another attempt follows, and when.
//!
//! | attempt | when |
//! |---|---|
//! | 1st | at once |
//! | 2nd | 2 s after the end of the first failure |
//! | 3rd | 4 s after the end of the second |
//!
//! Only 5xx and network errors are retried. A retry is never earlier than stated here; jitter only adds.

use std::time::Duration;

use super::outcome::{Class, Outcome};

/// The largest fraction of a delay that jitter adds: enough to spread a burst of failures over the promoter's batches,
/// and little enough that a customer sees the promised delays.
const JITTER_MAX: f64 = 0.05;

/// The delays before the second, third, … attempt. There is one attempt more than delays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule(Vec<Duration>);

/// The step after an attempt; one variant for each branch of `settle.lua`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The receiver acknowledged the event.
    Delivered,
    /// Another attempt follows.
    Retry {
        /// The wait, from the end of the failed attempt.
        after: Duration,
    },
    /// The delivery failed for good.
    Failed,
}

impl Schedule {
    /// A schedule of these delays.
    pub fn new(delays: Vec<Duration>) -> Self {
        Self(delays)
    }

    /// The number of all attempts.
    pub fn attempts(&self) -> usize {
        self.0.len() + 1
    }

    /// The longest possible wait, including jitter.
    pub fn longest_wait(&self) -> Duration {
        self.0.iter().max().map_or(Duration::ZERO, |longest| longest.mul_f64(1.0 + JITTER_MAX))
    }

    /// The shortest possible wait.
    pub fn shortest_wait(&self) -> Duration {
        self.0.iter().min().copied().unwrap_or_default()
    }

    /// The shortest wait between the attempt numbered `attempt` and the one before it; `None` for the first.
    pub fn wait_before(&self, attempt: u8) -> Option<Duration> {
        self.0.get(usize::from(attempt).checked_sub(2)?).copied()
    }

    /// Decides the next step after the attempt numbered `attempt` (from 1) with this `outcome`. `jitter` is a random
    /// number from 0 to 1.
    ///
    /// ```
    /// # use lynkhook::domain::{outcome::Outcome, retry::{Next, Schedule}};
    /// # use std::time::Duration;
    /// let schedule = Schedule::new(vec![Duration::from_secs(2), Duration::from_secs(4)]);
    /// let unavailable = Outcome::Response { status: 503 };
    /// assert_eq!(schedule.decide(&unavailable, 1, 0.0), Next::Retry { after: Duration::from_secs(2) });
    /// assert_eq!(schedule.decide(&unavailable, 2, 0.0), Next::Retry { after: Duration::from_secs(4) });
    /// assert_eq!(schedule.decide(&unavailable, 3, 0.0), Next::Failed);
    /// ```
    pub fn decide(&self, outcome: &Outcome, attempt: u8, jitter: f64) -> Next {
        match outcome.class() {
            Class::Delivered => return Next::Delivered,
            Class::Retryable => {}
            Class::Final | Class::Forbidden => return Next::Failed,
        }
        let delay = usize::from(attempt).checked_sub(1).and_then(|i| self.0.get(i));
        delay.map_or(Next::Failed, |delay| {
            let after = delay.mul_f64(1.0 + JITTER_MAX * jitter.clamp(0.0, 1.0));
            Next::Retry { after: after.max(*delay) }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::outcome::NetworkFault;

    fn schedule() -> Schedule {
        Schedule::new(vec![Duration::from_secs(2), Duration::from_secs(4)])
    }

    #[test]
    fn every_row_of_the_outcome_table_holds() {
        let network = || Outcome::NetworkError(NetworkFault::ConnectionRefused);
        let retry = Next::Retry { after: Duration::from_secs(2) };
        for status in 100..1000 {
            let expected = match status {
                200..=299 => Next::Delivered,
                500..=599 => retry,
                _ => Next::Failed,
            };
            assert_eq!(schedule().decide(&Outcome::Response { status }, 1, 0.0), expected, "{status}");
        }
        assert_eq!(schedule().decide(&network(), 1, 0.0), retry);
        assert_eq!(schedule().decide(&network(), 3, 0.0), Next::Failed);
        assert_eq!(schedule().decide(&Outcome::Refused(String::new()), 1, 0.0), Next::Failed);
    }

    proptest! {
        #[test]
        fn jitter_only_adds_and_at_most_a_twentieth(attempt in 1u8..=2, jitter in 0.0f64..=1.0) {
            let delay = Duration::from_secs(u64::from(attempt) * 2);
            let Next::Retry { after } = schedule().decide(&Outcome::Response { status: 500 }, attempt, jitter) else {
                panic!("attempts are left");
            };
            prop_assert!(after >= delay && after <= delay.mul_f64(1.05));
            prop_assert!(after <= schedule().longest_wait());
        }

        #[test]
        fn no_attempt_ever_follows_the_last(attempt in 3u8.., status in 500u16..600) {
            prop_assert_eq!(schedule().decide(&Outcome::Response { status }, attempt, 0.5), Next::Failed);
        }
    }
}
