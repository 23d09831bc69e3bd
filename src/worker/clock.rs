//! The clock of Redis, as this worker last heard it, carried on by the monotonic clock. The machine's own time of day
//! is never asked: it may be hours off.
//!
//! Redis's clock may step as well, and back again some seconds later. The worker notices that by the monotonic clock. After a
//! step forward it rests what would drop or take something for being old, until the clock has stepped back or the new time has
//! stood for a while.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, TimeZone, Utc};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::store::{KnownClock, Leap};

/// A difference of more than this to the monotonic clock is a step.
const STEP_MS: i64 = 1000;
/// Redis's clock may be further on by this than it was heard.
const MARGIN: Duration = Duration::from_secs(2);
/// An answer that took longer than this says too little of the time to compare others with.
const EXACT_MS: i64 = 500;

/// Redis's time of day.
pub(super) struct ServerClock {
    started: Instant,
    state: Mutex<State>,
}

struct State {
    now: DateTime<Utc>,
    heard: Instant,
    /// How far Redis's clock is ahead of ours, in ms: at least and at most. It answered somewhen between question and answer.
    ahead: (i64, i64),
    /// The last step, either way.
    step: Option<Instant>,
    /// The last step forward, unless the clock stepped back since.
    forward: Option<(Instant, Leap)>,
}

impl ServerClock {
    /// What Redis's clock said on a question that was sent at `sent`.
    pub(super) fn new(now: DateTime<Utc>, sent: Instant) -> Self {
        let clock = Self {
            started: sent,
            state: Mutex::new(State { now, heard: Instant::now(), ahead: (0, 0), step: None, forward: None }),
        };
        let ahead = clock.ahead(now.timestamp_millis(), sent);
        clock.state.lock().ahead = ahead;
        clock
    }

    /// Takes note of what Redis's clock said on a question that was sent at `sent`; answers by how many ms at least it stepped
    /// (back: negative), where it certainly did.
    pub(super) fn hear(&self, now_ms: i64, sent: Instant) -> Option<i64> {
        let now = Utc.timestamp_millis_opt(now_ms).single()?;
        let (least, most) = self.ahead(now_ms, sent);
        let mut state = self.state.lock();
        let before = std::mem::replace(&mut state.now, now);
        state.heard = Instant::now();
        let (forward, back) = (least - state.ahead.1, state.ahead.0 - most);
        let step = if forward > STEP_MS {
            let by = Duration::from_millis((most - state.ahead.0).unsigned_abs());
            let to = before + TimeDelta::milliseconds(forward);
            state.forward = Some((Instant::now(), Leap { to, by }));
            Some(forward)
        } else if back > STEP_MS {
            state.forward = None;
            Some(-back)
        } else {
            None
        };
        if step.is_some() {
            state.step = Some(Instant::now());
        }
        if step.is_some() || most - least <= EXACT_MS {
            state.ahead = (least, most);
        }
        step
    }

    /// What Redis's clock says now.
    pub(super) fn now(&self) -> DateTime<Utc> {
        let state = self.state.lock();
        state.now + TimeDelta::from_std(state.heard.elapsed()).unwrap_or_default()
    }

    /// The latest that Redis's clock may show, and its last step forward.
    pub(super) fn known(&self) -> KnownClock {
        let leap = self.state.lock().forward.map(|(_, leap)| leap);
        KnownClock { latest: Some(self.now() + MARGIN), leap }
    }

    /// Whether the clock stepped, either way, less than `within` ago.
    pub(super) fn stepped_within(&self, within: Duration) -> bool {
        let step = self.state.lock().step;
        step.is_some_and(|at| at.elapsed() < within)
    }

    /// Whether the clock stepped forward less than `within` ago, and not back since.
    pub(super) fn leapt_within(&self, within: Duration) -> bool {
        let forward = self.state.lock().forward;
        forward.is_some_and(|(at, _)| at.elapsed() < within)
    }

    /// How far Redis's clock is ahead of ours, at least and at most.
    fn ahead(&self, now_ms: i64, sent: Instant) -> (i64, i64) {
        let ours_ms = |at: Instant| i64::try_from((at - self.started).as_millis()).unwrap_or(i64::MAX);
        (now_ms.saturating_sub(ours_ms(Instant::now())), now_ms.saturating_sub(ours_ms(sent)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 86_400_000;
    const NOW_MS: i64 = 1_800_000_000_000;

    async fn pass(ms: u64) {
        tokio::time::advance(Duration::from_millis(ms)).await;
    }

    fn clock() -> ServerClock {
        ServerClock::new(at(NOW_MS), Instant::now())
    }

    fn at(ms: i64) -> DateTime<Utc> {
        Utc.timestamp_millis_opt(ms).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_either_way_is_noticed_once_and_a_slow_answer_is_none() {
        let clock = clock();
        pass(1000).await;
        assert_eq!(clock.hear(NOW_MS + 1900, Instant::now()), None, "it drifts");
        pass(1000).await;
        assert_eq!(clock.hear(NOW_MS + 2900 + DAY_MS, Instant::now()), Some(DAY_MS));
        assert!(clock.leapt_within(Duration::from_secs(1)));
        assert_eq!(
            clock.known().leap,
            Some(Leap { to: at(NOW_MS + 1900 + DAY_MS), by: Duration::from_millis(DAY_MS as u64) })
        );
        pass(1000).await;
        assert_eq!(clock.hear(NOW_MS + 3900 + DAY_MS, Instant::now()), None);
        pass(1000).await;
        assert_eq!(clock.hear(NOW_MS + 4900, Instant::now()), Some(-DAY_MS));
        assert!(!clock.leapt_within(Duration::from_hours(1)), "it is right again");
        assert!(clock.stepped_within(Duration::from_secs(1)), "and has just stepped");
        assert_eq!((clock.known().leap, clock.known().latest), (None, Some(at(NOW_MS + 6900))));
        // The process stands still for 15 s after its question; Redis answers at once.
        let sent = Instant::now();
        pass(15_000).await;
        assert_eq!(clock.hear(NOW_MS + 4900, sent), None);
        pass(1000).await;
        assert_eq!(clock.hear(NOW_MS + 20_900, Instant::now()), None, "what was heard late is nothing to compare with");
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_during_a_slow_answer_shows_with_the_next() {
        let clock = clock();
        let sent = Instant::now();
        pass(4000).await;
        assert_eq!(clock.hear(NOW_MS + 3500, sent), None, "it may have been asked at any time of these 4 s");
        assert_eq!(clock.hear(NOW_MS + 7000, Instant::now()), Some(3000));
        pass(60_000).await;
        assert!(clock.leapt_within(Duration::from_mins(2)) && !clock.leapt_within(Duration::from_mins(1)));
    }
}
