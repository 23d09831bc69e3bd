//! How much may be held for a busy endpoint, and for how long it is remembered that it is as much.

use std::time::Duration;

/// Where as many are held for an endpoint as may be, others need not ask for so long …
const FULL: Duration = Duration::from_secs(1);
/// … or so long, if meanwhile something comes back.
const FULL_AT_LEAST: Duration = Duration::from_millis(100);

/// How much may be held for a busy endpoint, if one more is to be: of what the settings allow, once as much or several
/// times, or anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Within {
    /// For what is new, and fails as things are.
    Once,
    /// For what is new else.
    FourTimes,
    /// For what was attempted before, and for those whom others leave no place.
    EightTimes,
    /// For what was held before: it adds nothing.
    Any,
}

/// What is remembered of a delivery that could not be held; nothing, at first. Times are spans since any fixed moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fullness(Option<Refusal>);

/// When one was refused, within what, and how large it was.
#[derive(Debug, Clone, Copy)]
struct Refusal {
    at: Duration,
    within: Within,
    bytes: usize,
}

impl Fullness {
    /// A delivery of so many bytes could not be held within that.
    pub fn note(&mut self, within: Within, bytes: usize, now: Duration) {
        if !self.refuses(within, bytes, now) {
            self.0 = Some(Refusal { at: now, within, bytes });
        }
    }

    /// Something that was held comes back.
    pub fn note_room(&mut self, now: Duration) {
        self.0.take_if(|refusal| now.saturating_sub(refusal.at) >= FULL_AT_LEAST);
    }

    /// Whether, a moment ago, one as large could not be held, though as much might be.
    pub fn refuses(&self, within: Within, bytes: usize, now: Duration) -> bool {
        self.0.is_some_and(|refusal| {
            within <= refusal.within && bytes >= refusal.bytes && now.saturating_sub(refusal.at) < FULL
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn that_there_is_no_room_is_remembered_for_a_second_of_what_asks_for_no_more_room_and_is_as_large() {
        let mut full = Fullness::default();
        assert!(!full.refuses(Within::Once, 600, MS));
        full.note(Within::FourTimes, 600, MS);
        let is_full = |within, bytes, after| full.refuses(within, bytes, MS + after);
        assert!(is_full(Within::Once, 600, Duration::ZERO) && is_full(Within::FourTimes, 9000, 999 * MS));
        assert!(!is_full(Within::EightTimes, 600, MS), "there is room for what was attempted before");
        assert!(!is_full(Within::Once, 599, MS), "a smaller one may find room");
        assert!(!is_full(Within::Once, 600, FULL));
        full.note(Within::Once, 9000, 2 * MS);
        assert!(full.refuses(Within::FourTimes, 600, 2 * MS), "what says more is kept");
        full.note_room(100 * MS);
        assert!(full.refuses(Within::Once, 600, 100 * MS), "not with each that comes back");
        full.note_room(101 * MS);
        assert!(!full.refuses(Within::Once, 600, 101 * MS));
    }
}
