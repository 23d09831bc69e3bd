//! The waits of deliveries for which no name server answers. They wait among the retries with the same attempt number,
//! since no attempt was made. They keep no slot and no place, so hosts whose names are known are served meanwhile. In
//! `held` they would count against their webhook's limit.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The shortest and the longest wait of a delivery.
const WAIT: [Duration; 2] = [Duration::from_secs(1), LONGEST_WAIT];
/// The longest wait for a name server.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Deliveries come back at least this far apart, so that they take little of the worker's time.
const APART: Duration = Duration::from_millis(2);
/// The time for which a lookup that fails at once keeps a slot. The distance is such that lookups take an eighth of the
/// slots.
const SLOT_TIME: Duration = Duration::from_millis(20);

/// The deliveries that wait for a name server: the time at which the last one is due.
pub(crate) struct Unnamed {
    last: Mutex<Option<Instant>>,
    apart: Duration,
}

impl Unnamed {
    pub(crate) fn new(slots: usize) -> Self {
        let share = u32::try_from(slots.max(1)).unwrap_or(u32::MAX);
        Self { last: Mutex::default(), apart: APART.max(SLOT_TIME * 8 / share) }
    }

    /// The wait of the next delivery. However many wait, they come back one after the other.
    pub(crate) fn wait(&self) -> Duration {
        self.wait_from(Instant::now())
    }

    fn wait_from(&self, now: Instant) -> Duration {
        let mut last = self.last.lock();
        let after_last = last.map_or(now, |last| last + self.apart);
        let due = after_last.clamp(now + WAIT[0], now + WAIT[1]);
        *last = Some(due);
        due - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_deliveries_wait_for_a_second_and_many_come_back_one_by_one_within_the_longest_wait() {
        let (unnamed, now) = (Unnamed::new(256), Instant::now());
        let waits: Vec<Duration> = (0..40_000).map(|_| unnamed.wait_from(now)).collect();
        assert_eq!((waits[0], waits[100]), (WAIT[0], Duration::from_millis(1200)));
        assert_eq!(waits[39_999], WAIT[1]);
        assert_eq!(unnamed.wait_from(now + WAIT[1] * 2), WAIT[0], "when the others came back, there is no queue");
    }

    #[test]
    fn a_worker_with_few_slots_keeps_most_of_them_free() {
        let (unnamed, now) = (Unnamed::new(8), Instant::now());
        let waits: Vec<Duration> = (0..101).map(|_| unnamed.wait_from(now)).collect();
        assert_eq!(waits[100], waits[0] + SLOT_TIME * 100, "one slot of eight");
    }
}
