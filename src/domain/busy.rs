//! What a worker does less of while its thread has little time left, so that what is to be attempted now goes first.

use std::time::Duration;

/// A worker is busy while its thread works for more than this part of the time: beside Redis and receivers on the same two cores
/// that is half of what the worker can do.
const BUSY_PERCENT: u8 = 30;
/// While the worker is busy, one round of releases fills one of this many places. The held deliveries of many endpoints would
/// otherwise come back all at once, though each endpoint has room, and that would be a flood to the others.
const BUSY_SHARE: usize = 40;
/// Rounds of releases are at least this far apart, while the worker has time and while it is busy. Many rounds that bring little
/// disturb other endpoints less than few that bring much.
const RELEASE_PACE: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(10)];

/// The part of the time in which the worker's thread works, from 0 to 100.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Busy {
    /// Percent.
    pub percent: u8,
}

impl Busy {
    /// After a measurement. A moment without work does not make a worker idle: the figure falls by an eighth at a time.
    #[must_use]
    pub fn after(self, percent: u8) -> Self {
        Self { percent: percent.min(100).max(self.percent / 8 * 7) }
    }

    /// Whether the worker is busy.
    pub const fn is_busy(self) -> bool {
        self.percent > BUSY_PERCENT
    }

    /// How many of its `places` one round of releases may fill.
    pub const fn release_share(self, places: usize) -> usize {
        places.div_ceil(if self.is_busy() { BUSY_SHARE } else { 1 })
    }

    /// How far rounds of releases are apart at least.
    pub const fn release_pace(self) -> Duration {
        RELEASE_PACE[self.is_busy() as usize]
    }
}

/// How long a step waits for others that Redis can do with it, `most` at most. Each by itself costs Redis, and so every
/// delivery, several times what it costs among many. A step waits while an eighth of the worker's places has nothing in hand:
/// slow endpoints may have more than half.
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
