//! Everything that a worker has in hand: leases on entries, the tasks that deliver them, and entries that it could not
//! start.

use std::sync::Arc;

use tokio::{sync::Mutex, time::Instant};
use tokio_util::task::TaskTracker;

use super::{
    bytes_in_hand::{BytesInHand, Weight},
    leases::{Lease, Leases},
};
use crate::store::Entry;

/// Everything that one worker has in hand.
pub(crate) struct InHand {
    pub(crate) leases: Arc<Leases>,
    pub(crate) bytes: Arc<BytesInHand>,
    pub(crate) deliveries: TaskTracker,
    /// Entries that were read but not started. They are given back.
    pub(crate) unstarted: Mutex<Vec<Unstarted>>,
}

/// An entry that is in hand. Its lease is renewed from now on.
pub(crate) struct Taken {
    pub(crate) lease: Lease,
    pub(crate) weight: Weight,
    pub(crate) entry: Entry,
    /// Whether it came on the connection on which Redis tells of changed settings, just now.
    pub(crate) just_read: bool,
}

/// An entry that was read and could not be started before the worker stopped.
pub(crate) struct Unstarted {
    pub(crate) lease: Lease,
    /// The event's id; empty for a delivery, which carries its own.
    pub(crate) event_id: String,
    pub(crate) bytes: usize,
}

impl InHand {
    pub(crate) fn new(bytes: Arc<BytesInHand>) -> Self {
        Self { leases: Arc::default(), bytes, deliveries: TaskTracker::new(), unstarted: Mutex::default() }
    }

    /// Adds an entry that Redis gave to this worker in answer to a command sent at `sent`; `None` if it is already in
    /// hand.
    pub(crate) fn take(&self, partition: u16, entry: Entry, sent: Instant, just_read: bool) -> Option<Taken> {
        let lease = self.leases.take(partition, entry.id.clone(), entry.deliveries, sent)?;
        Some(Taken { lease, weight: self.bytes.add(entry.size_bytes()), entry, just_read })
    }
}
