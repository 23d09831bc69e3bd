//! The worker's room: for entries that it may take, and for attempts that it may start.

use std::sync::Arc;

use super::{
    alarms::Alarms, bytes_in_hand::BytesInHand, endpoints::Endpoints, hosts::HostRoom, names::Unnamed, rules::Rules,
    slots::Slots, suspects::Suspects,
};

/// Decides whether one more entry may be taken, or one more attempt started.
pub(crate) struct Room {
    /// An entry may be taken with a slot in hand.
    pub(crate) slots: Slots,
    /// An attempt may start with a permit for its endpoint.
    pub(crate) endpoints: Arc<Endpoints>,
    /// A suspect is started apart from others.
    pub(crate) suspects: Arc<Suspects>,
    /// The waits of deliveries for which no name server answers.
    pub(crate) names: Unnamed,
}

impl Room {
    /// Room for entries within `bytes` altogether. `alarms` are by partition.
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
