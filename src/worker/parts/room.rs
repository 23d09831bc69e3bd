//! For what a worker has room: entries that it may take, and attempts that it may start.

use std::sync::Arc;

use super::{
    alarms::Alarms, bytes_in_hand::BytesInHand, endpoints::Endpoints, hosts::HostRoom, names::Unnamed, rules::Rules,
    slots::Slots, suspects::Suspects,
};

/// May one more be taken, or started?
pub(crate) struct Room {
    /// An entry may be taken with a slot in hand.
    pub(crate) slots: Slots,
    /// An attempt may start with a permit for its endpoint.
    pub(crate) endpoints: Arc<Endpoints>,
    /// A suspect is started apart from others.
    pub(crate) suspects: Arc<Suspects>,
    /// When deliveries come back whose host's name could not be looked up.
    pub(crate) names: Unnamed,
}

impl Room {
    /// For entries of `bytes` together; `alarms` by partition.
    pub(crate) fn new(rules: &Rules, bytes: &Arc<BytesInHand>, alarms: Vec<Arc<Alarms>>, host_room: HostRoom) -> Self {
        let partitions = u16::try_from(alarms.len()).unwrap_or(u16::MAX);
        Self {
            slots: Slots::new(rules.concurrency, bytes.clone()),
            endpoints: Arc::new(Endpoints::new(rules.endpoints, bytes.most(), alarms, host_room)),
            suspects: Arc::new(Suspects::new(partitions)),
            names: Unnamed::new(rules.concurrency),
        }
    }
}
