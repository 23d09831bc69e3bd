//! Suspects are attempted one at a time, so one whose endpoint does not answer holds up all others. Those whose attempts took long
//! are remembered, and a suspect of another webhook goes before theirs.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// An attempt that took longer than this holds up others.
const LONG: Duration = Duration::from_secs(1);
/// It is remembered for this long: as many attempts that time out as there are names, so that each has its turn.
const REMEMBERED: Duration = Duration::from_mins(10);
/// So many names are remembered, the newest.
const NAMES_MAX: usize = 60;

/// The webhooks of deliveries, and accounts of events, whose suspects took long.
#[derive(Default)]
pub(super) struct SlowSuspects(Mutex<Vec<(String, Instant)>>);

impl SlowSuspects {
    /// A suspect is settled, or given up, and took this long.
    pub(super) fn note(&self, name: String, took: Duration) {
        let mut slow = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slow.retain(|(known, at)| *known != name && at.elapsed() < REMEMBERED);
        if took > LONG {
            if slow.len() == NAMES_MAX {
                slow.remove(0);
            }
            slow.push((name, Instant::now()));
        }
    }

    /// Those that let others go first.
    pub(super) fn names(&self) -> Vec<String> {
        let slow = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slow.iter().filter(|(_, at)| at.elapsed() < REMEMBERED).map(|(name, _)| name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_took_long_is_remembered_for_a_while_and_until_it_is_quick_again() {
        let slow = SlowSuspects::default();
        slow.note("quick".to_owned(), LONG);
        for name in ["a", "b", "a"] {
            slow.note(name.to_owned(), LONG * 2);
        }
        assert_eq!(slow.names(), ["b", "a"]);
        slow.note("b".to_owned(), Duration::ZERO);
        assert_eq!(slow.names(), ["a"]);
        tokio::time::advance(REMEMBERED).await;
        assert_eq!(slow.names(), [""; 0]);
        for number in 0..=NAMES_MAX {
            slow.note(number.to_string(), LONG * 2);
        }
        assert_eq!((slow.names().len(), &*slow.names()[0]), (NAMES_MAX, "1"));
    }
}
