//! Suspects: entries that a worker may have died of. After starting one, a worker starts no other for a moment, so that
//! a neighbour is not blamed if the worker dies of it. An endpoint that does not answer delays the suspects of others
//! only for that moment: it is remembered, suspects of other webhooks and accounts go before its own, and only one of
//! its own is in hand at a time.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

/// The time for which no other suspect is started.
const ALONE: Duration = Duration::from_millis(500);
/// The time for which a name is remembered whose suspect took longer than [`ALONE`].
const REMEMBERED: Duration = Duration::from_mins(10);
/// The number of names that are remembered: the newest ones.
const NAMES_MAX: usize = 200;

/// The suspects of one worker.
pub(crate) struct Suspects {
    state: Mutex<State>,
    /// By partition: notified when another suspect may be started.
    next: Vec<Notify>,
}

#[derive(Default)]
struct State {
    /// Whether a claimer has the right to start a suspect, or one was started a moment ago.
    is_taken: bool,
    /// Partitions that asked for the right meanwhile.
    waiting: VecDeque<u16>,
    /// The names (webhooks of deliveries, accounts of events) with a suspect in hand.
    in_hand: Vec<String>,
    /// The names whose suspects took long, the one noted longest ago first.
    slow: Vec<(String, Instant)>,
}

/// The right to start a suspect. No other claimer of this worker has it at the same time.
pub(crate) struct Alone(Arc<Suspects>);

impl Drop for Alone {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.is_taken = false;
        if let Some(partition) = state.waiting.pop_front() {
            self.0.next[usize::from(partition)].notify_one();
        }
    }
}

impl Suspects {
    pub(crate) fn new(partitions: u16) -> Self {
        Self { state: Mutex::default(), next: (0..partitions).map(|_| Notify::new()).collect() }
    }

    /// Waits until another suspect may be started.
    pub(crate) async fn next(&self, partition: u16) {
        self.next[usize::from(partition)].notified().await;
    }

    /// The right to start a suspect in this partition. If another has it, the partition gets in line and is notified.
    pub(crate) fn try_begin(self: &Arc<Self>, partition: u16) -> Option<Alone> {
        let mut state = self.state.lock();
        if !state.is_taken {
            state.is_taken = true;
            return Some(Alone(self.clone()));
        }
        if !state.waiting.contains(&partition) {
            state.waiting.push_back(partition);
        }
        None
    }

    /// The slow names with a suspect in hand, and the slow names without, in the order of their turns.
    pub(crate) fn names(&self) -> (Vec<String>, Vec<String>) {
        let state = self.state.lock();
        let slow = state.slow.iter().filter(|(_, at)| at.elapsed() < REMEMBERED).map(|(name, _)| name.clone());
        slow.partition(|name| state.in_hand.contains(name))
    }

    /// Notes whether a suspect of this name took long.
    fn note(&self, name: String, slowly: bool) {
        let slow = &mut self.state.lock().slow;
        slow.retain(|(known, at)| *known != name && at.elapsed() < REMEMBERED);
        if slowly {
            if slow.len() == NAMES_MAX {
                slow.remove(0);
            }
            slow.push((name, Instant::now()));
        }
    }

    /// Notes that a suspect of this name is no longer in hand.
    fn forget(&self, name: Option<&String>) {
        let in_hand = &mut self.state.lock().in_hand;
        if let Some(at) = in_hand.iter().position(|other| Some(other) == name) {
            in_hand.swap_remove(at);
        }
    }

    /// Notifies all partitions that another suspect may be started, first those after `partition`.
    fn ring(&self, partition: u16) {
        let (before, behind) = self.next.split_at(usize::from(partition) + 1);
        behind.iter().chain(before).for_each(Notify::notify_one);
    }

    /// Watches a suspect that starts now; `name` is its webhook or account. Drop the returned sender when the suspect
    /// is settled or given up.
    pub(crate) fn watch(
        self: &Arc<Self>,
        partition: u16,
        name: Option<String>,
        alone: Option<Alone>,
    ) -> oneshot::Sender<()> {
        let (settled, mut is_settled) = oneshot::channel();
        let suspects = self.clone();
        suspects.state.lock().in_hand.extend(name.clone());
        tokio::spawn(async move {
            let slowly = tokio::time::timeout(ALONE, &mut is_settled).await.is_err();
            if let Some(name) = &name {
                suspects.note(name.clone(), slowly);
            }
            drop(alone);
            if slowly {
                suspects.ring(partition);
                let _ = is_settled.await;
            }
            suspects.forget(name.as_ref());
            suspects.ring(partition);
        });
        settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_slow_name_is_remembered_for_a_while_or_until_it_is_quick_again() {
        let suspects = Suspects::new(1);
        suspects.note("quick".to_owned(), false);
        for name in ["a", "b", "a", "c"] {
            suspects.note(name.to_owned(), true);
        }
        let names = || {
            let (not, last) = suspects.names();
            (not.concat(), last.concat())
        };
        assert_eq!(names(), (String::new(), "bac".to_owned()), "the one that was noted longest ago first");
        suspects.state.lock().in_hand = ["a", "quick", "a"].map(ToOwned::to_owned).to_vec();
        suspects.forget(Some(&"a".to_owned()));
        assert_eq!(names(), ("a".to_owned(), "bc".to_owned()), "another one of it is still in hand");
        suspects.forget(Some(&"a".to_owned()));
        suspects.note("b".to_owned(), false);
        assert_eq!(names(), (String::new(), "ac".to_owned()));
        tokio::time::advance(REMEMBERED).await;
        assert_eq!(names(), (String::new(), String::new()));
        for number in 0..=NAMES_MAX {
            suspects.note(number.to_string(), true);
        }
        let (_, last) = suspects.names();
        assert_eq!((last.len(), &*last[0]), (NAMES_MAX, "1"));
    }

    #[tokio::test]
    async fn each_partition_has_its_turn() {
        let suspects = Arc::new(Suspects::new(3));
        let mut waiting = tokio::task::JoinSet::new();
        for partition in 0..3 {
            let suspects = suspects.clone();
            waiting.spawn(async move {
                suspects.next(partition).await;
                partition
            });
        }
        tokio::task::yield_now().await;
        suspects.ring(1);
        for partition in [2, 0, 1] {
            let rung = waiting.join_next().await.unwrap().unwrap();
            assert_eq!(rung, partition, "those behind the one that had it are rung first");
        }

        let alone = suspects.try_begin(1);
        assert!(alone.is_some());
        for partition in [2, 0, 2] {
            assert!(suspects.try_begin(partition).is_none());
        }
        drop(alone);
        for partition in [2, 0] {
            suspects.next(partition).await;
            assert!(suspects.try_begin(partition).is_some(), "it was rung when the one before was done");
        }
    }
}
