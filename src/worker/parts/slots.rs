//! Slots: one for each attempt that may be in flight. Readers and claimers wait for them, and for room in memory.

use std::sync::Arc;

use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use super::bytes_in_hand::BytesInHand;

/// The two kinds of loops that wait for slots.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Taker {
    /// The partitions' readers.
    Reader,
    /// The partitions' claimers.
    Claimer,
}

/// The number of slots to take at once: at least one.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Share {
    /// All free slots, up to this number.
    UpTo(usize),
    /// Half of the free slots, up to this number: they are kept for a while, and others may need the rest.
    HalfUpTo(usize),
}

/// The slots of a worker.
pub(crate) struct Slots {
    free: Arc<Semaphore>,
    load: Arc<BytesInHand>,
    /// One lock for each kind of taker. One taker of each kind waits for a slot at a time, in order of arrival. So
    /// while slots are short, claimers get every second one, however many readers wait.
    turns: [Mutex<()>; 2],
}

impl Slots {
    pub(crate) fn new(count: usize, load: Arc<BytesInHand>) -> Self {
        Self { free: Arc::new(Semaphore::new(count)), load, turns: Default::default() }
    }

    /// Waits for a slot.
    pub(crate) async fn one(&self, taker: Taker) -> OwnedSemaphorePermit {
        let _turn = self.turns[taker as usize].lock().await;
        self.free.clone().acquire_owned().await.expect("the slots are never closed")
    }

    /// Waits for a slot and for room in memory. Then also takes its share of the other free slots, as far as there is
    /// room.
    pub(crate) async fn several(&self, taker: Taker, share: Share) -> OwnedSemaphorePermit {
        loop {
            // Wait for room without a slot: the room may be taken by an entry in hand that itself waits for a slot.
            self.load.room().await;
            let mut slots = self.one(taker).await;
            let Some(room) = self.load.room_now() else { continue };
            let free = self.free.available_permits();
            let (share, most) = match share {
                Share::UpTo(most) => (free, most),
                Share::HalfUpTo(most) => (free / 2, most),
            };
            let more = share.min(most.min(room) - 1);
            if let Ok(more) = self.free.clone().try_acquire_many_owned(u32::try_from(more).unwrap_or(0)) {
                slots.merge(more);
            }
            return slots;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn claimers_get_every_second_slot_however_many_readers_wait() {
        let slots = Arc::new(Slots::new(1, Arc::new(BytesInHand::new(1 << 20, 64))));
        let taken = slots.one(Taker::Reader).await;
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        let waiting: Vec<_> = [[Taker::Reader; 64].as_slice(), &[Taker::Claimer; 4]]
            .concat()
            .into_iter()
            .map(|taker| {
                let (slots, order) = (slots.clone(), order.clone());
                tokio::spawn(async move {
                    let _slot = slots.one(taker).await;
                    order.lock().unwrap().push(matches!(taker, Taker::Claimer));
                })
            })
            .collect();
        tokio::task::yield_now().await;
        drop(taken);
        for one in waiting {
            one.await.unwrap();
        }
        let last = order.lock().unwrap().iter().rposition(|is_claimer| *is_claimer).unwrap();
        assert!(last < 8, "the fourth claimer got slot number {last}");
    }
}
