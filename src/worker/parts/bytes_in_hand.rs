//! The bytes of envelopes that this worker has in hand, so that large events do not fill its memory. Reading stops at a
//! bound, and each read asks for as many entries as are likely to fit below it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use tokio::sync::Notify;

/// The assumed size of an entry before any was seen: the default limit of an envelope.
const USUAL_AT_FIRST_BYTES: usize = 1 << 20;

/// With several readers, one read may bring at most this part of all bytes, because others read at the same time.
const READ_PARTS: usize = 16;

/// The bytes in hand.
///
/// The reads and claims under way may exceed the bound. The number of entries that they ask for follows from the sizes
/// of earlier entries, so if entries suddenly become large, the excess may be one read full of the largest. With
/// several partitions, the excess may also be one entry for each of them: their readers wait for an entry while there
/// is room, and all of them may get one at the same moment.
pub(crate) struct BytesInHand {
    most_bytes: usize,
    /// The most bytes that one read may bring: all, or a part if several readers may read at the same time.
    read_bytes: usize,
    in_hand_bytes: AtomicUsize,
    /// The size of recent entries. A larger entry counts at once, a smaller one only by a sixty-fourth.
    usual_bytes: AtomicUsize,
    freed: Notify,
}

/// One entry's share of the bytes in hand, given back when dropped.
pub(crate) struct Weight {
    load: Arc<BytesInHand>,
    bytes: usize,
}

impl BytesInHand {
    pub(crate) fn new(most_bytes: usize, readers: u16) -> Self {
        let read_bytes = if readers == 1 { most_bytes } else { most_bytes / READ_PARTS };
        Self {
            most_bytes,
            read_bytes,
            in_hand_bytes: AtomicUsize::new(0),
            usual_bytes: AtomicUsize::new(USUAL_AT_FIRST_BYTES),
            freed: Notify::new(),
        }
    }

    /// The bound, in bytes.
    pub(crate) const fn most(&self) -> usize {
        self.most_bytes
    }

    /// Adds an entry that is in hand from now on.
    pub(crate) fn add(self: &Arc<Self>, bytes: usize) -> Weight {
        self.in_hand_bytes.fetch_add(bytes, Relaxed);
        let usual = self.usual_bytes.load(Relaxed);
        let usual = if bytes > usual { bytes } else { usual - (usual - bytes) / 64 };
        self.usual_bytes.store(usual.max(1), Relaxed);
        Weight { load: self.clone(), bytes }
    }

    /// The number of entries of the usual size that one read may bring, at least one; `None` if there is no room.
    pub(crate) fn room_now(&self) -> Option<usize> {
        let left = self.most_bytes.saturating_sub(self.in_hand_bytes.load(Relaxed));
        (left > 0).then(|| (left.min(self.read_bytes) / self.usual_bytes.load(Relaxed)).max(1))
    }

    /// Like [`Self::room_now`], but waits until there is room.
    pub(crate) async fn room(&self) -> usize {
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            if let Some(room) = self.room_now() {
                return room;
            }
            freed.await;
        }
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.load.in_hand_bytes.fetch_sub(self.bytes, Relaxed);
        self.load.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn room_follows_from_the_size_of_entries_and_is_waited_for() {
        let load = Arc::new(BytesInHand::new(64 << 20, 1));
        assert_eq!(load.room().await, 64, "heavy entries are expected at first");
        let heavy: Vec<Weight> = (0..63).map(|_| load.add(1 << 20)).collect();
        assert_eq!(load.room().await, 1);
        let last = load.add(1 << 20);
        assert!(tokio::time::timeout(Duration::from_millis(10), load.room()).await.is_err(), "the bound is reached");
        drop(last);
        assert_eq!(load.room().await, 1);
        drop(heavy);
        assert_eq!(load.room().await, 64);
        for _ in 0..1000 {
            drop(load.add(600));
        }
        assert!(load.room().await > 10_000, "heavy entries of the past are forgotten");
        let of_several = BytesInHand::new(64 << 20, 64);
        assert_eq!(of_several.room().await, 4, "one read of several leaves room for others");
    }
}
