//! The load of a worker's thread. A busy worker releases fewer held deliveries, so that present attempts go first.

use std::time::Duration;

/// The part of the time, in percent, above which a worker counts as busy. If Redis and receivers run on the same two
/// cores, this is half of the worker's capacity.
const BUSY_PERCENT: u8 = 30;
/// While the worker is busy, one round of releases fills one in this many places. Otherwise the held deliveries of many
/// endpoints would come back all at once, since each endpoint has room, and would flood the others.
const BUSY_SHARE: usize = 40;
/// The shortest time between two rounds of releases: while the worker has time, and while it is busy. Many small rounds
/// disturb other endpoints less than a few large ones.
const RELEASE_PACE: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(10)];

/// The part of the time in which the worker's thread works.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Busy {
    /// Percent, from 0 to 100.
    pub percent: u8,
}

impl Busy {
    /// The load after a further measurement. A moment without work does not make a worker idle: the figure falls by an
    /// eighth at a time.
    #[must_use]
    pub fn after(self, percent: u8) -> Self {
        Self { percent: percent.min(100).max(self.percent / 8 * 7) }
    }

    /// Whether the worker is busy.
    pub const fn is_busy(self) -> bool {
        self.percent > BUSY_PERCENT
    }

    /// The number of its `places` that one round of releases may fill.
    pub const fn release_share(self, places: usize) -> usize {
        places.div_ceil(if self.is_busy() { BUSY_SHARE } else { 1 })
    }

    /// The shortest time between two rounds of releases.
    pub const fn release_pace(self) -> Duration {
        RELEASE_PACE[self.is_busy() as usize]
    }
}

/// The time, `most` at most, for which a step waits for others that Redis can do in the same script. A single step
/// costs Redis, and so every delivery, several times its cost in a batch. Steps wait while an eighth of the worker's
/// places is free: slow endpoints may occupy more than half.
pub const fn linger(most: Duration, in_hand: usize, places: usize) -> Duration {
    if in_hand < places - places / 8 { most } else { Duration::ZERO }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_worker_brings_little_back_at_a_time_and_is_busy_until_it_rested_for_a_while() {
        let idle = Busy::default().after(BUSY_PERCENT);
        assert_eq!((idle.is_busy(), idle.release_share(256), idle.release_pace()), (false, 256, RELEASE_PACE[0]));
        let busy = idle.after(80);
        assert_eq!((busy.is_busy(), busy.release_share(256), busy.release_pace()), (true, 7, RELEASE_PACE[1]));
        let rests = std::iter::successors(Some(busy), |busy| Some(busy.after(0))).take_while(|busy| busy.is_busy());
        assert_eq!(rests.map(|busy| busy.percent).collect::<Vec<_>>(), [80, 70, 56, 49, 42, 35]);
    }

    #[test]
    fn a_step_waits_for_others_while_an_eighth_of_the_places_is_free() {
        let most = Duration::from_millis(1);
        assert_eq!([223, 224, 256].map(|in_hand| linger(most, in_hand, 256)), [most, Duration::ZERO, Duration::ZERO]);
    }
}
