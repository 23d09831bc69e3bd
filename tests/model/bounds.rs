//! The limits of a search.

use crate::state::Faults;

/// How many of each action one history may have. Passing time, renewals of leases and switching webhooks on are
/// unlimited.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) workers: usize,
    /// The most entries that one worker takes at a time.
    pub(crate) hands: u8,
    pub(crate) webhooks: usize,
    pub(crate) events: u8,
    /// The most faults of each kind.
    pub(crate) faults: Faults,
    /// The most faults of all kinds together.
    pub(crate) faults_in_all: u8,
    /// Deliveries put off because their endpoint had no room.
    pub(crate) put_off: u8,
    pub(crate) switched_off: u8,
    pub(crate) deletions: u8,
    pub(crate) redeliveries: u8,
    /// Whether workers stop in order.
    pub(crate) leaving: bool,
}

impl Faults {
    pub(crate) fn sum(self) -> u8 {
        self.crashes + self.stalls + self.losses + self.groups + self.consumers
    }
}
