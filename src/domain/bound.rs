//! How many attempts one endpoint may have in flight, so that a broken one takes no worker from the others.
//!
//! What a worker has is places: an attempt occupies one until the endpoint answers or its time runs out, or, with a large
//! event, several, so that places are what all attempts' bytes are shared by, too. The bound follows from how the endpoint
//! answered lately, as this worker saw it:
//!
//! | the endpoint | may have in flight |
//! |---|---|
//! | answers within 50 ms, as a rule | seven eighths: putting its deliveries aside would cost more than making them, but should it fall silent, others have places left |
//! | is slower, is silent just now, or is not known yet | as many as it leaves to others like it, which have half of the worker together. So one slow endpoint gets a quarter, ten get 1/22 each. While others wait for room, at most one and a half times what each of them would get, or one or two |
//! | is all that there is to do, and answers | all places |
//! | fails (three times in a row, or once after a long wait) | one, and that after a pause of 50 ms to 2 s; all that fail, a quarter of the places |
//! | has just recovered | one more with each answer |
//!
//! The pause stays below the first delay before a retry, so that the promised schedule holds where there is no backlog.
//! Where even the quickest endpoints take long, it is this worker that is slow, or the way from here; then 50 ms becomes three
//! times what they take, half a second at most.
//!
//! To share what is left by what is free is Choudhury's and Hahne's rule of dynamic thresholds (1998) for buffers in switches:
//! it needs no figure for how many endpoints there are. Slow ones have half together, and not more, for a place that is free
//! is not yet an entry that can be read: what was read and what is being settled or put aside takes a slot as well. What quick
//! ones have in flight keeps nobody from such a share; but a sixteenth of the places is left to them.

use std::time::Duration;

/// An endpoint that usually answers within this may use nearly the whole worker: at 256 places an attempt so short costs less
/// than putting the delivery aside and fetching it again.
const QUICK: Duration = Duration::from_millis(50);
/// … and within this, where no other answers any quicker.
const QUICK_AT_MOST: Duration = Duration::from_millis(500);
/// After so many failures in a row it fails …
const FAILURES: u32 = 3;
/// … or after one that took so long.
const LONG: Duration = Duration::from_secs(1);
/// How soon a failing endpoint is asked again: at first, and at most.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Whom the others leave no place is looked at again after so long at most; a slow one, after so long for each that waits.
const CROWDED: Duration = Duration::from_millis(500);
const CROWDED_EACH: Duration = Duration::from_millis(2);
/// How often held deliveries are looked after.
const PACE: std::ops::RangeInclusive<Duration> = PAUSE..=Duration::from_secs(10);

/// One endpoint as one worker knows it. Times are spans since any fixed moment.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Places that its attempts occupy.
    in_flight: usize,
    /// How long an attempt usually takes; `None` before any ended.
    usual: Option<Duration>,
    /// Failures in a row.
    failures: u32,
    /// When the failure came that counted last.
    failed_at: Duration,
    /// While it recovers, its bound.
    allowance: usize,
    /// When an attempt ended last, or the first of those in flight began.
    progress: Duration,
    seen: Duration,
}

/// All that one worker has in flight.
#[derive(Debug, Clone, Copy)]
pub struct Crowd {
    /// Places in all.
    pub places: usize,
    /// Of them, occupied.
    pub in_flight: usize,
    /// Of those, occupied by endpoints that were slow when the attempt began.
    pub slow: usize,
    /// … and by such as were failing.
    pub failing: usize,
    /// Whether nobody else is there who could be hurt.
    pub alone: bool,
    /// What the quickest answer took of late, whoever's it was.
    pub quickest: Duration,
    /// How many slow endpoints have waited for room in this second, or in the one before, whichever are more.
    pub waiting: usize,
}

/// How an endpoint does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It answers at once.
    Quick,
    /// It takes its time, or is silent, or is not known yet.
    Slow,
    /// It does not answer, or with 5xx.
    Failing,
}

impl Default for Endpoint {
    fn default() -> Self {
        Self {
            in_flight: 0,
            usual: None,
            failures: 0,
            failed_at: Duration::ZERO,
            allowance: usize::MAX,
            progress: Duration::ZERO,
            seen: Duration::ZERO,
        }
    }
}

impl Endpoint {
    /// How it does at `now`, beside these others.
    pub fn standing(&self, crowd: &Crowd, now: Duration) -> Standing {
        let quick = quick_within(crowd);
        match self.usual {
            _ if self.failures >= FAILURES => Standing::Failing,
            Some(usual) if usual <= quick && self.answers(crowd, now) => Standing::Quick,
            _ => Standing::Slow,
        }
    }

    /// How many more places it may occupy at `now`. Where there is one, an attempt may begin, however many it takes: one
    /// that takes more than a bound is made too.
    ///
    /// ```
    /// # use lynkhook::domain::bound::{Crowd, Endpoint};
    /// # use std::time::Duration;
    /// let crowd = Crowd { places: 256, in_flight: 0, slow: 0, failing: 0, alone: false, quickest: Duration::ZERO, waiting: 0 };
    /// assert_eq!(Endpoint::default().room(&crowd, Duration::ZERO), 128);
    /// ```
    pub fn room(&self, crowd: &Crowd, now: Duration) -> usize {
        let free = crowd.places.saturating_sub(crowd.in_flight);
        let left = free.saturating_sub(crowd.places / 16);
        let (most, free) = match self.standing(crowd, now) {
            Standing::Failing if self.pause_left(now).is_zero() && crowd.failing < crowd.places.div_ceil(4) => {
                (1, left)
            }
            Standing::Failing => (0, left),
            _ if crowd.alone && self.answers(crowd, now) => (usize::MAX, free),
            Standing::Quick => (crowd.places - crowd.places / 8, free),
            Standing::Slow => (slow_share(crowd), left),
        };
        most.min(self.allowance).saturating_sub(self.in_flight).min(free)
    }

    /// When to look again after what is held for it: soon where places get free soon, and not so soon where it takes its
    /// time or is silent, or where the others have all places, for then as many may wait as there are webhooks.
    pub fn pace(&self, crowd: &Crowd, now: Duration) -> Duration {
        let busy = if self.in_flight > 0 {
            self.usual.unwrap_or_default().max(self.silent_for(now)) / 4
        } else {
            Duration::ZERO
        };
        let others = if !self.is_crowded_out(crowd, now) {
            Duration::ZERO
        } else if self.standing(crowd, now) == Standing::Slow {
            CROWDED.min(CROWDED_EACH * u32::try_from(crowd.waiting).unwrap_or(u32::MAX))
        } else {
            CROWDED
        };
        self.pause_left(now).max(busy).max(others).clamp(*PACE.start(), *PACE.end())
    }

    /// An attempt begins that occupies so many places.
    pub fn begin(&mut self, places: usize, now: Duration) {
        if self.in_flight == 0 {
            self.progress = now;
        }
        self.in_flight += places;
        self.seen = now;
    }

    /// An attempt that occupied so many places since `began` ends at `now`, `failed` where no answer came, or a 5xx.
    pub fn end(&mut self, places: usize, began: Duration, now: Duration, failed: bool) {
        let took = now.saturating_sub(began);
        self.forget(places, now);
        self.progress = now;
        self.usual = Some(self.usual.map_or(took, |usual| usual.mul_f64(0.75) + took.mul_f64(0.25)));
        if !failed {
            self.failures = 0;
            self.allowance = self.allowance.saturating_add(1);
        } else if took >= LONG || began >= self.failed_at {
            // Those that were under way together when it broke are one failure.
            self.failures += 1;
            self.failed_at = now;
            if took >= LONG {
                self.failures = self.failures.max(FAILURES);
            }
        }
        if self.failures >= FAILURES {
            self.allowance = 1;
        }
    }

    /// An attempt that occupied so many places turns out to be none.
    pub fn forget(&mut self, places: usize, now: Duration) {
        self.in_flight -= places;
        self.seen = now;
    }

    /// Whether it is others that leave it no place at all.
    pub fn is_crowded_out(&self, crowd: &Crowd, now: Duration) -> bool {
        self.in_flight == 0 && self.pause_left(now).is_zero() && self.room(crowd, now) == 0
    }

    /// Whether there is nothing to remember: nothing is in flight, and it was not seen for a minute.
    pub fn is_forgettable(&self, now: Duration) -> bool {
        self.in_flight == 0 && now.saturating_sub(self.seen) > Duration::from_mins(1)
    }

    /// Whether it is known and not silent: where nothing ended for longer than an attempt ever should take, that it was
    /// quick once says nothing any more.
    fn answers(&self, crowd: &Crowd, now: Duration) -> bool {
        self.usual.is_some_and(|usual| self.silent_for(now) <= quick_within(crowd) + usual * 4)
    }

    /// For how long nothing ended of what is in flight.
    fn silent_for(&self, now: Duration) -> Duration {
        if self.in_flight > 0 { now.saturating_sub(self.progress) } else { Duration::ZERO }
    }

    fn pause_left(&self, now: Duration) -> Duration {
        let Some(doublings) = self.failures.checked_sub(FAILURES) else { return Duration::ZERO };
        let pause = PAUSE.saturating_mul(2_u32.saturating_pow(doublings)).min(PAUSE_MAX);
        (self.failed_at + pause).saturating_sub(now)
    }
}

/// What a slow endpoint may have: as much of the half as slow ones leave; and while others wait as well, half as much again as
/// an even share of it, since not all that wait are looked after at the same time, and one more where slow ones have as much
/// as that together, or rounding down would leave places empty.
fn slow_share(crowd: &Crowd) -> usize {
    let (half, waiting) = (crowd.places.div_ceil(2), crowd.waiting.max(1));
    let each = half * 3 / 2 / waiting;
    half.saturating_sub(crowd.slow).min(each + usize::from(crowd.slow >= each * waiting))
}

/// What counts as quick beside these others.
fn quick_within(crowd: &Crowd) -> Duration {
    (crowd.quickest * 3).clamp(QUICK, QUICK_AT_MOST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn crowd(in_flight: usize) -> Crowd {
        Crowd {
            places: 256,
            in_flight,
            slow: in_flight,
            failing: 0,
            alone: false,
            quickest: Duration::ZERO,
            waiting: 0,
        }
    }

    /// An endpoint after attempts one after the other, each so long and ending so; and the time it is then.
    fn after(attempts: &[(Duration, bool)]) -> (Endpoint, Duration) {
        let (mut endpoint, mut now) = (Endpoint::default(), Duration::ZERO);
        for (took, failed) in attempts {
            let began = now;
            endpoint.begin(1, began);
            now += *took;
            endpoint.end(1, began, now, *failed);
        }
        (endpoint, now)
    }

    #[test]
    fn a_quick_endpoint_may_use_nearly_the_whole_worker_and_a_slow_one_what_it_leaves() {
        let (mut quick, now) = after(&[(2 * MS, false)]);
        assert_eq!((quick.room(&crowd(0), now), quick.room(&crowd(250), now)), (224, 6));
        assert_eq!(quick.room(&Crowd { alone: true, ..crowd(0) }, now), 256);
        (0..224).for_each(|_| quick.begin(1, now));
        assert_eq!(quick.room(&crowd(224), now), 0, "an eighth is left to others, should it fall silent");
        let (slow, now) = after(&[(200 * MS, false)]);
        assert_eq!((slow.room(&crowd(0), now), slow.room(&crowd(127), now), slow.room(&crowd(128), now)), (128, 1, 0));
        assert_eq!(slow.room(&Crowd { alone: true, ..crowd(0) }, now), 256);
        assert_eq!(Endpoint::default().room(&Crowd { alone: true, ..crowd(0) }, now), 128, "nothing is known of it");
    }

    #[test]
    fn any_number_of_slow_endpoints_leaves_half_of_the_worker_and_shares_the_rest() {
        let shares = [(1, 64), (10, 12), (50, 3), (300, 1)];
        for ((hogs, each), places) in shares.into_iter().flat_map(|share| [1, 4].map(|places| (share, places))) {
            let mut endpoints = vec![Endpoint::default(); hogs];
            let mut in_flight = 0;
            for _ in 0..300 {
                for endpoint in &mut endpoints {
                    if endpoint.room(&crowd(in_flight), MS) > 0 {
                        endpoint.begin(places, MS);
                        in_flight += places;
                    }
                }
            }
            assert!(in_flight < 128 + places, "{hogs}: {in_flight}");
            let most = endpoints.iter().map(|endpoint| endpoint.in_flight).max().unwrap();
            assert!(most.abs_diff(each) <= places, "{hogs}: {most}");
        }
    }

    #[test]
    fn while_others_wait_none_has_much_more_than_an_even_share_and_few_places_stay_empty() {
        let (slow, now) = after(&[(200 * MS, false)]);
        for (waiting, room) in [(0, 128), (1, 128), (2, 96), (100, 1), (1000, 1)] {
            assert_eq!(slow.room(&Crowd { waiting, ..crowd(0) }, now), room, "{waiting}");
        }
        for waiting in [2, 10, 43, 70, 100, 128, 300] {
            let mut endpoints = vec![Endpoint::default(); waiting];
            let mut in_flight = 0;
            for _ in 0..300 {
                for endpoint in &mut endpoints {
                    if endpoint.room(&Crowd { waiting, ..crowd(in_flight) }, MS) > 0 {
                        endpoint.begin(1, MS);
                        in_flight += 1;
                    }
                }
            }
            let most = endpoints.iter().map(|endpoint| endpoint.in_flight).max().unwrap();
            assert!(most <= 192 / waiting + 1, "{waiting}: {most}");
            assert!(in_flight + 2 >= 128 * waiting / (waiting + 1), "{waiting}: {in_flight}");
        }
        for (in_flight, room) in [(99, 1), (100, 2)] {
            assert_eq!(slow.room(&Crowd { waiting: 100, ..crowd(in_flight) }, now), room, "{in_flight}");
        }
        assert_eq!(Endpoint::default().room(&Crowd { places: 3, waiting: 1, ..crowd(0) }, now), 2);
        let (quick, now) = after(&[(2 * MS, false)]);
        assert_eq!(quick.room(&Crowd { waiting: 1000, ..crowd(0) }, now), 224, "that of quick ones is another");
    }

    #[test]
    fn a_quick_endpoint_that_has_most_of_the_worker_keeps_no_other_from_its_share() {
        let busy = Crowd { slow: 0, ..crowd(224) };
        let (failing, now) = after(&[(MS, true); 3]);
        assert_eq!(failing.room(&busy, now + PAUSE), 1);
        assert_eq!(Endpoint::default().room(&busy, now), 16);
        assert_eq!(
            Endpoint::default().room(&Crowd { slow: 10, ..crowd(240) }, now),
            0,
            "a sixteenth is the quick ones'"
        );
        let (quick, now) = after(&[(MS, false)]);
        assert_eq!(quick.room(&Crowd { slow: 10, ..crowd(240) }, now), 16);
    }

    #[test]
    fn one_that_was_quick_and_falls_silent_is_no_longer_trusted_with_the_whole_worker() {
        let (mut endpoint, now) = after(&[(2 * MS, false); 20]);
        endpoint.begin(1, now);
        assert_eq!(endpoint.standing(&crowd(0), now + 50 * MS), Standing::Quick);
        assert_eq!(endpoint.standing(&crowd(0), now + 60 * MS), Standing::Slow);
        let (idle, now) = after(&[(2 * MS, false)]);
        assert_eq!(
            idle.standing(&crowd(0), now + Duration::from_hours(1)),
            Standing::Quick,
            "who is not asked is not silent"
        );
    }

    #[test]
    fn where_the_quickest_take_long_it_is_this_worker_that_is_slow_and_none_of_them() {
        let (endpoint, now) = after(&[(120 * MS, false)]);
        assert_eq!(endpoint.standing(&crowd(0), now), Standing::Slow);
        let laboured = |quickest| Crowd { quickest, ..crowd(0) };
        assert_eq!(endpoint.standing(&laboured(40 * MS), now), Standing::Quick);
        let (three_seconds, later) = after(&[(Duration::from_secs(3), false)]);
        assert_eq!(three_seconds.standing(&laboured(Duration::from_secs(3)), later), Standing::Slow, "not without end");
        let (hanging, now) = after(&[(Duration::from_secs(10), true)]);
        assert_eq!(hanging.standing(&laboured(40 * MS), now), Standing::Failing);
    }

    #[test]
    fn three_failures_in_a_row_or_a_long_one_leave_one_attempt_after_a_pause() {
        for attempts in [&[(MS, true); 3][..], &[(Duration::from_secs(10), true)]] {
            let (mut endpoint, now) = after(attempts);
            assert_eq!(endpoint.standing(&crowd(0), now), Standing::Failing);
            assert_eq!((endpoint.room(&crowd(0), now), endpoint.pace(&crowd(0), now)), (0, PAUSE));
            let now = now + PAUSE;
            assert_eq!(endpoint.room(&crowd(0), now), 1);
            assert_eq!(endpoint.room(&Crowd { failing: 64, ..crowd(64) }, now), 0, "a quarter of the worker at most");
            endpoint.begin(1, now);
            assert_eq!(endpoint.room(&crowd(1), now), 0);
        }
        let (two, now) = after(&[(MS, true), (MS, true)]);
        assert_ne!(two.standing(&crowd(0), now), Standing::Failing);
        let (mended, now) = after(&[(MS, true), (MS, true), (MS, false), (MS, true), (MS, true)]);
        assert_ne!(mended.standing(&crowd(0), now), Standing::Failing);
    }

    #[test]
    fn attempts_that_were_under_way_together_when_it_broke_are_one_failure() {
        let (mut endpoint, now) = after(&[(MS, false)]);
        (0..50).for_each(|_| endpoint.begin(1, now));
        (0..50).for_each(|_| endpoint.end(1, now, now + MS, true));
        assert_eq!(endpoint.failures, 1);
        assert_eq!(endpoint.standing(&crowd(0), now + MS), Standing::Quick);
    }

    #[test]
    fn the_pause_doubles_and_stays_below_the_first_delay_before_a_retry() {
        let pauses: Vec<_> = (3..12).map(|failures| after(&vec![(MS, true); failures])).collect();
        let pauses: Vec<_> = pauses.iter().map(|(endpoint, now)| endpoint.pace(&crowd(0), *now).as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 2000, 2000, 2000]);
    }

    #[test]
    fn one_that_recovers_gets_one_more_with_each_answer() {
        let (mut endpoint, mut now) = after(&[(Duration::from_secs(10), true)]);
        now += PAUSE_MAX;
        for allowed in 1..100 {
            assert_eq!(endpoint.room(&crowd(0), now), allowed);
            endpoint.begin(1, now);
            endpoint.end(1, now, now + MS, false);
            now += MS;
        }
    }

    #[test]
    fn what_is_held_is_looked_after_as_soon_as_a_place_is_likely_to_be_free() {
        let (mut slow, now) = after(&[(Duration::from_secs(3), false)]);
        assert_eq!(slow.pace(&crowd(0), now), PAUSE, "nothing is in flight");
        slow.begin(1, now);
        assert_eq!(slow.pace(&crowd(0), now), Duration::from_millis(750));
        let (mut hanging, now) = after(&[(Duration::from_secs(100), true)]);
        hanging.begin(1, now);
        assert_eq!(hanging.pace(&crowd(0), now), Duration::from_secs(10));
        let mut silent = Endpoint::default();
        silent.begin(1, now);
        let pace_after = |seconds| silent.pace(&crowd(0), now + Duration::from_secs(seconds));
        assert_eq!((pace_after(0), pace_after(4)), (PAUSE, Duration::from_secs(1)), "the longer, the longer");
        let (failing, now) = after(&[(Duration::from_secs(10), true)]);
        let full = Crowd { failing: 64, ..crowd(64) };
        assert_eq!(failing.pace(&full, now + PAUSE_MAX), CROWDED, "others that fail have a quarter of the places");
        assert_eq!(Endpoint::default().pace(&crowd(0), now), PAUSE);
        let crowded = |waiting| Endpoint::default().pace(&Crowd { waiting, ..crowd(192) }, now).as_millis();
        assert_eq!([1, 100, 1000].map(crowded), [50, 200, 500], "it has nothing in flight, and there is no room");
        assert_eq!(Endpoint::default().pace(&Crowd { waiting: 1000, ..crowd(0) }, now), PAUSE, "there is room");
    }

    #[test]
    fn it_is_others_where_one_has_nothing_in_flight_and_no_pause_and_there_is_no_room() {
        let (failing, now) = after(&[(MS, true); 3]);
        assert!(!failing.is_crowded_out(&crowd(0), now), "it pauses");
        assert!(failing.is_crowded_out(&Crowd { failing: 64, ..crowd(64) }, now + PAUSE));
        let mut slow = Endpoint::default();
        assert!(slow.is_crowded_out(&crowd(250), now) && !slow.is_crowded_out(&crowd(0), now));
        slow.begin(1, now);
        assert!(!slow.is_crowded_out(&crowd(250), now), "it has its share");
    }

    #[test]
    fn what_was_not_seen_for_a_minute_is_forgotten_unless_something_is_in_flight() {
        let (mut endpoint, now) = after(&[(MS, false)]);
        assert!(!endpoint.is_forgettable(now + Duration::from_secs(60)));
        assert!(endpoint.is_forgettable(now + Duration::from_secs(61)));
        endpoint.begin(1, now);
        assert!(!endpoint.is_forgettable(now + Duration::from_secs(61)));
    }

    proptest! {
        #[test]
        fn there_is_never_more_room_than_places_and_an_idle_worker_has_room_for_whoever_is_not_paused(
            attempts in proptest::collection::vec((0u64..12_000, any::<bool>()), 0..20),
            places in 1usize..1000,
            busy in 0usize..1000,
            waiting in 0usize..2000,
        ) {
            let attempts: Vec<_> = attempts.iter().map(|(ms, failed)| (Duration::from_millis(*ms), *failed)).collect();
            let (endpoint, now) = after(&attempts);
            let crowd = Crowd { places, in_flight: busy.min(places), waiting, ..crowd(0) };
            prop_assert!(endpoint.room(&crowd, now) <= places - crowd.in_flight);
            let idle = Crowd { in_flight: 0, slow: 0, ..crowd };
            prop_assert!(endpoint.room(&idle, now + PAUSE_MAX) > 0);
        }
    }
}
