//! Redis's clock, as this worker last heard it, carried on by the monotonic clock. The machine's own time of day is
//! never used: it may be hours off.
//!
//! Redis's clock may step too, and step back some seconds later. The worker notices steps by the monotonic clock. After
//! a step forward, it pauses everything that would drop or take something for its age, until the clock has stepped back
//! or the new time has stood for a while. Retries that were planned before the step keep their waits.

use std::{ops::RangeInclusive, time::Duration};

use chrono::{DateTime, TimeDelta, TimeZone, Utc};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::store::{KnownClock, Leap};

/// A step is a difference to the monotonic clock of more than this.
const STEP: Duration = Duration::from_secs(1);
/// An answer that took longer than this tells the time too vaguely to be compared with others.
const EXACT: Duration = Duration::from_millis(500);
/// The number of steps forward that are remembered: the newest ones.
const LEAPS_MAX: usize = 4;

/// Redis's time of day.
pub(crate) struct ServerClock {
    started: Instant,
    /// The shortest and the longest wait of a retry.
    waits: RangeInclusive<Duration>,
    state: Mutex<State>,
}

struct State {
    now: DateTime<Utc>,
    heard: Instant,
    /// The time that the last answer took.
    took: Duration,
    /// How far Redis's clock is ahead of ours, in ms: at least and at most. Redis read its clock at some time between
    /// question and answer.
    ahead: (i64, i64),
    /// The time of the last step, forward or back.
    step: Option<Instant>,
    /// The time of the last step forward, unless the clock has stepped back as far since.
    forward: Option<Instant>,
    /// The steps forward, less the steps back since; the oldest first.
    leaps: Vec<Leap>,
    /// How far the clock was ahead at least before the last leap, if the answer that showed the leap took long.
    before_leap: Option<i64>,
}

impl ServerClock {
    /// A clock that showed `now` in answer to a question sent at `sent`. `waits`: the shortest and the longest wait of
    /// a retry.
    pub(crate) fn new(now: DateTime<Utc>, sent: Instant, waits: RangeInclusive<Duration>) -> Self {
        let heard = Instant::now();
        let state = State {
            now,
            heard,
            took: heard - sent,
            ahead: (0, 0),
            step: None,
            forward: None,
            leaps: Vec::new(),
            before_leap: None,
        };
        let clock = Self { started: sent, waits, state: Mutex::new(state) };
        let ahead = clock.ahead(now.timestamp_millis(), sent);
        clock.state.lock().ahead = ahead;
        clock
    }

    /// Takes the time that Redis's clock showed in answer to a question sent at `sent`. If the clock certainly stepped,
    /// returns by how many ms at least (negative: back).
    pub(crate) fn hear(&self, now_ms: i64, sent: Instant) -> Option<i64> {
        let now = Utc.timestamp_millis_opt(now_ms).single()?;
        let (heard, ahead) = (Instant::now(), self.ahead(now_ms, sent));
        let state = &mut *self.state.lock();
        state.took = heard - sent;
        let (forward, back) = (span(state.ahead.1, ahead.0), span(ahead.1, state.ahead.0));
        let is_exact = state.took <= EXACT;
        if forward > STEP {
            state.leap(forward, ahead.1, &self.waits);
            state.before_leap = (!is_exact).then_some(state.ahead.0);
        } else if back > STEP {
            state.step_back(back);
        } else if !is_exact {
            return None;
        } else if let (Some(before), Some(leap)) = (state.before_leap.take(), state.leaps.last_mut()) {
            leap.by = span(before, ahead.1);
        }
        (state.now, state.heard, state.ahead) = (now, heard, ahead);
        let step = match () {
            () if forward > STEP => forward.as_millis().cast_signed(),
            () if back > STEP => -back.as_millis().cast_signed(),
            () => return None,
        };
        state.step = Some(heard);
        Some(i64::try_from(step).unwrap_or(i64::MAX))
    }

    /// The time that Redis's clock shows now.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.state.lock().now()
    }

    /// The latest time that Redis's clock may show, which allows for the time that an answer takes; and its steps
    /// forward.
    pub(crate) fn known(&self) -> KnownClock {
        let state = self.state.lock();
        KnownClock { latest: Some(state.now() + STEP + state.took), leaps: state.leaps.clone() }
    }

    /// Whether the clock stepped, forward or back, less than `within` ago.
    pub(crate) fn stepped_within(&self, within: Duration) -> bool {
        let step = self.state.lock().step;
        step.is_some_and(|at| at.elapsed() < within)
    }

    /// Whether the clock stepped forward less than `within` ago, and has not stepped back as far since.
    pub(crate) fn leapt_within(&self, within: Duration) -> bool {
        let forward = self.state.lock().forward;
        forward.is_some_and(|at| at.elapsed() < within)
    }

    /// How far Redis's clock is ahead of ours, at least and at most.
    fn ahead(&self, now_ms: i64, sent: Instant) -> (i64, i64) {
        let ours_ms = |at: Instant| i64::try_from((at - self.started).as_millis()).unwrap_or(i64::MAX);
        (now_ms.saturating_sub(ours_ms(Instant::now())), now_ms.saturating_sub(ours_ms(sent)))
    }
}

impl State {
    fn now(&self) -> DateTime<Utc> {
        self.now + TimeDelta::from_std(self.heard.elapsed()).unwrap_or_default()
    }

    /// Remembers a step forward by at least `least`, after which the clock is at most `most` ms ahead. The step came
    /// after the clock was last heard. Retries planned before it are due within the longest wait from then; retries
    /// planned after it are due after the shortest wait from now. A retry between the two was planned before.
    fn leap(&mut self, least: Duration, most: i64, waits: &RangeInclusive<Duration>) {
        let (by, unheard) = (span(self.ahead.0, most), self.heard.elapsed());
        let planned_before = (*waits.end() + unheard).saturating_sub(by);
        if self.leaps.len() == LEAPS_MAX {
            self.leaps.remove(0);
        }
        self.leaps.push(Leap { to: self.now + least + planned_before.min(*waits.start()), by });
        self.forward = Some(Instant::now());
    }

    /// Takes leaps back after a step back, the newest leap first.
    fn step_back(&mut self, mut back: Duration) {
        while let Some(leap) = self.leaps.last_mut().filter(|_| back > STEP) {
            if leap.by > back + STEP {
                (leap.by, leap.to) = (leap.by.saturating_sub(back), leap.to - back);
                return;
            }
            back = back.saturating_sub(leap.by);
            self.leaps.pop();
        }
        if self.leaps.is_empty() {
            self.forward = None;
        }
    }
}

/// The duration from one time to another, both in ms; zero if the second is not later.
fn span(from_ms: i64, to_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(to_ms - from_ms).unwrap_or(0))
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
        ServerClock::new(at(NOW_MS), Instant::now(), Duration::from_secs(2)..=Duration::from_secs(5))
    }

    fn at(ms: i64) -> DateTime<Utc> {
        Utc.timestamp_millis_opt(ms).unwrap()
    }

    /// The steps forward: to how many ms from the beginning, and by how many.
    fn leaps(clock: &ServerClock) -> Vec<(i64, i64)> {
        let leaps = clock.known().leaps;
        leaps
            .iter()
            .map(|leap| (leap.to.timestamp_millis() - NOW_MS, TimeDelta::from_std(leap.by).unwrap().num_milliseconds()))
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_step_shorter_than_a_wait_the_shortest_wait_tells_retries_planned_before_from_later_ones() {
        for (step_ms, beyond_ms) in [(2500, 2000), (3500, 1500), (5500, 0)] {
            let clock = clock();
            clock.hear(NOW_MS + step_ms, Instant::now());
            assert_eq!(leaps(&clock), [(step_ms + beyond_ms, step_ms)], "waits are 2 to 5 s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn several_steps_forward_are_remembered_and_a_step_back_shortens_the_last_ones() {
        let clock = clock();
        clock.hear(NOW_MS + DAY_MS, Instant::now());
        clock.hear(NOW_MS + DAY_MS + 10_000, Instant::now());
        assert_eq!(leaps(&clock), [(DAY_MS, DAY_MS), (DAY_MS + 10_000, 10_000)]);
        assert_eq!(clock.hear(NOW_MS + DAY_MS - 3_600_000, Instant::now()), Some(-3_610_000));
        assert_eq!(leaps(&clock), [(DAY_MS - 3_600_000, DAY_MS - 3_600_000)]);
        assert!(clock.leapt_within(Duration::from_secs(1)), "it is still ahead");
        clock.hear(NOW_MS, Instant::now());
        assert_eq!((leaps(&clock).len(), clock.leapt_within(Duration::from_secs(1))), (0, false));
        for number in 1..=6 {
            clock.hear(NOW_MS + number * DAY_MS, Instant::now());
        }
        assert_eq!(leaps(&clock).len(), LEAPS_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_quick_answer_tells_the_length_of_a_step_that_a_slow_answer_showed() {
        let clock = clock();
        let sent = Instant::now();
        pass(4000).await;
        assert_eq!(clock.hear(NOW_MS + 4000 + DAY_MS, sent), Some(DAY_MS));
        assert_eq!(leaps(&clock)[0].1, DAY_MS + 4000, "it may have answered at once");
        let (now, latest) = (at(NOW_MS + 4000 + DAY_MS), clock.known().latest.unwrap());
        assert_eq!(latest - now, TimeDelta::seconds(5), "the next answer may take as long");
        pass(1000).await;
        clock.hear(NOW_MS + 5000 + DAY_MS, Instant::now());
        assert_eq!(leaps(&clock)[0].1, DAY_MS);
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_either_way_is_noticed_once_and_a_slow_answer_is_none() {
        let clock = clock();
        pass(1000).await;
        assert_eq!(clock.hear(NOW_MS + 1900, Instant::now()), None, "it drifts");
        pass(1000).await;
        assert_eq!(clock.hear(NOW_MS + 2900 + DAY_MS, Instant::now()), Some(DAY_MS));
        assert!(clock.leapt_within(Duration::from_secs(1)));
        assert_eq!(leaps(&clock), [(1900 + DAY_MS, DAY_MS)], "it may have stepped as soon as it was heard before");
        pass(1000).await;
        assert_eq!(clock.hear(NOW_MS + 3900 + DAY_MS, Instant::now()), None);
        pass(1000).await;
        assert_eq!(clock.hear(NOW_MS + 4900, Instant::now()), Some(-DAY_MS));
        assert!(!clock.leapt_within(Duration::from_hours(1)), "it is right again");
        assert!(clock.stepped_within(Duration::from_secs(1)), "and has just stepped");
        let known = clock.known();
        assert_eq!((known.leaps.len(), known.latest), (0, Some(at(NOW_MS + 5900))), "a second more");
        // The process stands still for 15 s after its question; Redis answers at once.
        let sent = Instant::now();
        pass(15_000).await;
        assert_eq!(clock.hear(NOW_MS + 4900, sent), None);
        pass(1000).await;
        assert_eq!(clock.hear(NOW_MS + 20_900, Instant::now()), None, "a slow answer is not compared with");
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
