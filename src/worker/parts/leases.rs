//! The entries that this worker holds: one slot for each, whether it was read or claimed.
//!
//! The slots are keyed by entry, because the same entry can come again while it is being attempted: the consumer group
//! was recreated, or this process claimed the entry after a stall. Then the newest delivery count replaces the old one,
//! the attempt under way goes on under the new count, and nothing starts twice.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use tokio::{sync::Notify, time::Instant};

use crate::store::{EntryId, Fence};

/// Every lease of this worker.
#[derive(Default)]
pub(crate) struct Leases {
    slots: Mutex<HashMap<Key, Slot>>,
    /// Notified after each renewal.
    renewed: Notify,
    /// Notified by a lease that waits for its renewal.
    wanted: Notify,
}

/// A partition, and an entry in its queue.
type Key = (u16, EntryId);

struct Slot {
    /// The delivery count. 0: somebody took the entry out of the queue, so no other worker can get it, and there is no
    /// lease to renew.
    deliveries: u32,
    /// The time just before the read or renewal was sent, so it is never later than Redis's own.
    renewed: Instant,
    lost: bool,
    /// Whether a step has begun that may have settled the entry.
    stepped: bool,
    /// The number of times the entry came again while in hand, or was found to be taken out of the queue.
    takings: u32,
}

/// The right to settle one entry. It is not `Clone`. Dropping it forgets the entry, which then stays pending until a
/// worker claims it, unless it was settled.
pub(crate) struct Lease {
    leases: Arc<Leases>,
    key: Key,
    given_up: AtomicBool,
}

/// Whether a request may start under a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ready {
    /// It may start at once.
    Now,
    /// It may start after a wait for the lease's renewal. Settings that were looked up before may have changed.
    Waited,
    /// It may never start: another worker has the entry.
    Lost,
}

impl Leases {
    /// Takes note of an entry that Redis gave to this worker under the count `deliveries`, in answer to a command sent
    /// at `sent`. `None` if the worker already has the entry in hand.
    pub(crate) fn take(
        self: &Arc<Self>,
        partition: u16,
        entry: EntryId,
        deliveries: u32,
        sent: Instant,
    ) -> Option<Lease> {
        let key = (partition, entry);
        let mut slots = self.slots();
        let slot = Slot { deliveries, renewed: sent, lost: false, stepped: false, takings: 0 };
        match slots.entry(key.clone()) {
            Entry::Occupied(mut known) => {
                let takings = known.get().takings + 1;
                known.insert(Slot { takings, ..slot });
                None
            }
            Entry::Vacant(vacant) => {
                vacant.insert(slot);
                Some(Lease { leases: self.clone(), key, given_up: AtomicBool::new(false) })
            }
        }
    }

    /// The leases of a partition that are due for renewal: those that were taken or renewed at least `age` ago.
    pub(crate) fn due(&self, partition: u16, age: Duration) -> Vec<Fence> {
        let slots = self.slots();
        let is_due = |slot: &Slot| !slot.lost && slot.deliveries > 0 && slot.renewed.elapsed() >= age;
        let of_partition = slots.iter().filter(|((p, _), slot)| *p == partition && is_due(slot));
        of_partition
            .map(|((_, entry), slot)| Fence { partition, entry: entry.clone(), deliveries: slot.deliveries })
            .collect()
    }

    /// Takes note of the answer to a renewal that was sent at `sent`. `lost` are entries that another worker has,
    /// `trimmed` those that somebody took out of the queue, and `vanished` those on which nobody has a lease.
    ///
    /// A vanished entry is this worker's alone if the worker's last renewal is less than `lease` ago, so that no other
    /// can have taken it over, and if no step has begun that may have settled it. Returns the number of these entries.
    pub(crate) fn renewed(
        &self,
        leases: &[Fence],
        [lost, trimmed, vanished]: &[Vec<EntryId>; 3],
        lease: Duration,
        sent: Instant,
    ) -> u64 {
        let (mut slots, mut gone) = (self.slots(), 0);
        for fence in leases {
            // Another count: the entry was taken again meanwhile, and this answer is outdated.
            if let Some(slot) = slots.get_mut(&(fence.partition, fence.entry.clone()))
                && slot.deliveries == fence.deliveries
            {
                let (is_ours, has_vanished) = (slot.renewed.elapsed() < lease, vanished.contains(&fence.entry));
                if trimmed.contains(&fence.entry) {
                    slot.note_trimmed();
                } else if has_vanished && is_ours {
                    // If a step has begun, its answer decides.
                    if !slot.stepped {
                        slot.note_trimmed();
                        gone += 1;
                    }
                } else if has_vanished || lost.contains(&fence.entry) {
                    slot.lost = true;
                } else {
                    slot.renewed = sent.max(slot.renewed);
                }
            }
        }
        drop(slots);
        self.renewed.notify_waiters();
        gone
    }

    /// Waits until a request asks for the renewal of its lease.
    pub(crate) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// A panic under this lock leaves each slot whole. The lease concerned then drops its slot, and must not panic
    /// again.
    fn slots(&self) -> MutexGuard<'_, HashMap<Key, Slot>> {
        self.slots.lock()
    }

    /// The number of entries in hand.
    pub(crate) fn count(&self) -> usize {
        self.slots().len()
    }
}

impl Slot {
    /// Marks the entry as taken out of the queue. As after a repeated arrival, steps under the old token are repeated.
    fn note_trimmed(&mut self) {
        self.takings += 1;
        self.deliveries = 0;
    }
}

impl Lease {
    /// The fence for a step on this entry, under its present delivery count; and how often it came again so far.
    pub(crate) fn fence(&self) -> (Fence, u32) {
        let (deliveries, takings) = self.with_slot(|slot| {
            slot.stepped = true;
            (slot.deliveries, slot.takings)
        });
        (Fence { partition: self.key.0, entry: self.key.1.clone(), deliveries }, takings)
    }

    /// The queue's partition.
    pub(crate) fn partition(&self) -> u16 {
        self.key.0
    }

    /// The entry.
    pub(crate) fn entry(&self) -> &EntryId {
        &self.key.1
    }

    /// Gives the entry up after a step found that another worker has it; returns whether it did. If the entry came
    /// again since the token with `seen`, it is this worker's under a new token, and the step has to be repeated with
    /// that.
    pub(crate) fn give_up(&self, seen: u32) -> bool {
        let mut slots = self.leases.slots();
        let same = slots.get(&self.key).is_some_and(|slot| slot.takings == seen);
        if same {
            // Remove the slot under the same lock, so that the entry starts anew if it comes again.
            slots.remove(&self.key);
            self.given_up.store(true, Relaxed);
        }
        same
    }

    /// Waits until a request may start, which takes a renewal no longer than `within` ago.
    pub(crate) async fn ready(&self, within: Duration) -> Ready {
        let mut ready = Ready::Now;
        loop {
            let renewed = self.leases.renewed.notified();
            let (age, lost, trimmed) = self.with_slot(|slot| (slot.renewed.elapsed(), slot.lost, slot.deliveries == 0));
            if lost {
                return Ready::Lost;
            }
            if age <= within || trimmed {
                return ready;
            }
            if ready == Ready::Now {
                // Ask only once: if the renewal fails, Redis is away, and the next round is soon enough.
                self.leases.wanted.notify_one();
            }
            ready = Ready::Waited;
            renewed.await;
        }
    }

    /// Whether no other worker can have taken the entry over, because its lease was taken or renewed less than `lease`
    /// ago.
    pub(crate) fn is_within(&self, lease: Duration) -> bool {
        self.with_slot(|slot| !slot.lost && slot.renewed.elapsed() < lease)
    }

    /// Notes that somebody took the entry out of the queue.
    pub(crate) fn note_trimmed(&self) {
        let mut slots = self.leases.slots();
        slots.get_mut(&self.key).expect("a slot lives as long as its lease").note_trimmed();
    }

    /// Whether somebody took the entry out of the queue. Then it is this worker's alone.
    pub(crate) fn is_trimmed(&self) -> bool {
        self.with_slot(|slot| slot.deliveries == 0)
    }

    fn with_slot<T>(&self, look: impl FnOnce(&mut Slot) -> T) -> T {
        let mut slots = self.leases.slots();
        look(slots.get_mut(&self.key).expect("a slot lives as long as its lease"))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (partition, entry) = (self.key.0, &self.key.1.0);
            tracing::error!(
                partition,
                entry,
                "the task of an entry panicked; the entry stays pending until a worker takes it over"
            );
        }
        // The slot may belong to a later lease by now.
        if self.given_up.load(Relaxed) {
            return;
        }
        let mut slots = self.leases.slots();
        slots.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [Vec<EntryId>; 3] = [const { Vec::new() }; 3];
    const LEASE: Duration = Duration::from_secs(20);

    fn id(text: &str) -> EntryId {
        EntryId(text.to_owned())
    }

    #[test]
    fn an_entry_that_comes_again_starts_nothing_twice_and_renews_the_token() {
        let leases = Arc::new(Leases::default());
        let now = Instant::now();
        let lease = leases.take(0, id("1-0"), 1, now).unwrap();
        assert!(leases.take(0, id("1-0"), 2, now).is_none());
        assert!(leases.take(1, id("1-0"), 1, now).is_some(), "another partition's entry is another entry");
        assert_eq!(lease.fence().0.deliveries, 2);
        drop(lease);
        assert_eq!(leases.count(), 0);
    }

    #[test]
    fn an_entry_is_given_up_unless_it_came_again() {
        let leases = Arc::new(Leases::default());
        let lease = leases.take(0, id("1-0"), 1, Instant::now()).unwrap();
        let (_, before) = lease.fence();
        assert!(leases.take(0, id("1-0"), 1, Instant::now()).is_none());
        assert!(!lease.give_up(before), "it is ours under a new token");
        assert!(lease.give_up(lease.fence().1));
        let successor = leases.take(0, id("1-0"), 2, Instant::now());
        assert!(successor.is_some(), "given up, it starts anew");
        drop(lease);
        assert_eq!(leases.count(), 1, "the successor's slot outlives the predecessor");
    }

    #[test]
    fn a_panic_under_the_lock_ends_one_lease_and_harms_no_other() {
        let leases = Arc::new(Leases::default());
        let [broken, other] = ["1-0", "2-0"].map(|entry| leases.take(0, id(entry), 1, Instant::now()).unwrap());
        let met = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            broken.with_slot(|_| panic!("under the lock"));
        }));
        assert!(met.is_err());
        assert_eq!((leases.count(), other.fence().0.deliveries), (1, 1));
        assert!(leases.take(0, id("1-0"), 2, Instant::now()).is_some(), "it is taken over");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stale_lease_waits_for_its_renewal_and_a_lost_one_never_starts() {
        let leases = Arc::new(Leases::default());
        let taken = Instant::now();
        let lease = leases.take(0, id("1-0"), 1, taken).unwrap();
        assert_eq!(lease.ready(Duration::from_secs(15)).await, Ready::Now);
        tokio::time::advance(Duration::from_secs(16)).await;
        assert!(leases.due(0, Duration::from_secs(17)).is_empty(), "a younger lease need not be renewed");
        let held = leases.due(0, Duration::from_secs(16));
        let (ready, ()) = tokio::join!(lease.ready(Duration::from_secs(15)), async {
            tokio::task::yield_now().await;
            leases.renewed(&held, &NONE, LEASE, Instant::now());
        });
        assert_eq!(ready, Ready::Waited);
        assert_eq!(lease.ready(Duration::from_secs(15)).await, Ready::Now);
        leases.renewed(&held, &[vec![id("1-0")], vec![], vec![]], LEASE, Instant::now());
        assert_eq!(lease.ready(Duration::from_secs(15)).await, Ready::Lost);
        assert!(leases.due(0, Duration::ZERO).is_empty(), "a lost lease is not renewed");
    }

    #[test]
    fn an_answer_about_an_older_count_does_not_touch_the_newer() {
        let leases = Arc::new(Leases::default());
        let lease = leases.take(0, id("1-0"), 1, Instant::now()).unwrap();
        let old = leases.due(0, Duration::ZERO);
        assert!(leases.take(0, id("1-0"), 2, Instant::now()).is_none());
        leases.renewed(&old, &[vec![id("1-0")], vec![], vec![]], LEASE, Instant::now());
        assert_eq!(leases.due(0, Duration::ZERO).len(), 1);
        drop(lease);
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_that_was_taken_out_of_the_queue_is_its_workers_alone_and_its_steps_are_repeated_as_such() {
        let leases = Arc::new(Leases::default());
        let lease = leases.take(0, id("1-0"), 1, Instant::now()).unwrap();
        let (_, before) = lease.fence();
        leases.renewed(&leases.due(0, Duration::ZERO), &[vec![], vec![id("1-0")], vec![]], LEASE, Instant::now());
        assert!(lease.is_trimmed() && leases.due(0, Duration::ZERO).is_empty(), "there is nothing to renew");
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(lease.ready(Duration::from_secs(15)).await, Ready::Now);
        assert!(!lease.give_up(before), "a step that began before is repeated");
        assert!(lease.give_up(lease.fence().1));
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_that_a_step_may_have_settled_is_left_to_its_answer() {
        let leases = Arc::new(Leases::default());
        let lease = leases.take(0, id("1-0"), 1, Instant::now()).unwrap();
        let _ = lease.fence();
        let vanished = [vec![], vec![], vec![id("1-0")]];
        assert_eq!(leases.renewed(&leases.due(0, Duration::ZERO), &vanished, LEASE, Instant::now()), 0);
        assert!(!lease.is_trimmed());
        assert_eq!(lease.ready(LEASE).await, Ready::Now);
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_that_vanished_is_its_workers_unless_its_lease_has_ended() {
        for (seconds, is_ours) in [(19, true), (20, false)] {
            let leases = Arc::new(Leases::default());
            let lease = leases.take(0, id("1-0"), 1, Instant::now()).unwrap();
            tokio::time::advance(Duration::from_secs(seconds)).await;
            assert_eq!(lease.is_within(LEASE), is_ours);
            let vanished = [vec![], vec![], vec![id("1-0")]];
            let gone = leases.renewed(&leases.due(0, Duration::ZERO), &vanished, LEASE, Instant::now());
            assert_eq!((lease.is_trimmed(), gone), (is_ours, u64::from(is_ours)));
            assert_eq!(lease.ready(LEASE * 2).await, if is_ours { Ready::Now } else { Ready::Lost });
        }
    }
}
