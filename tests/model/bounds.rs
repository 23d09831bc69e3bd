//! How far a search goes.

use crate::state::Faults;

/// How much may happen in one history. Time passes, leases are renewed and webhooks are switched on without bound.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) workers: usize,
    /// What one worker takes at a time.
    pub(crate) hands: u8,
    pub(crate) webhooks: usize,
    pub(crate) events: u8,
    /// Of each kind of fault.
    pub(crate) faults: Faults,
    /// Of all kinds together.
    pub(crate) faults_in_all: u8,
    /// Deliveries put off because their endpoint had no room.
    pub(crate) put_off: u8,
    pub(crate) switched_off: u8,
    pub(crate) deletions: u8,
    pub(crate) redeliveries: u8,
    /// Whether workers stop in good order.
    pub(crate) leaving: bool,
}

impl Faults {
    pub(crate) fn sum(self) -> u8 {
        self.crashes + self.stalls + self.losses + self.groups + self.consumers
    }
}
