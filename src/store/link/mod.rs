//! The way to Redis: nodes, connections to them, scripts, and the facts that a server tells about itself.
//!
//! All keys of a partition are in one hash slot, so each step runs on the node that is the slot's master
//! ([`Store::at`]). A single Redis is the master of all slots. No other folder knows which node is which.

mod cluster;
mod info;
mod node;
mod place;
mod scripts;
mod slot;
mod topology;

use std::{sync::Arc, time::Duration};

use tokio::task::JoinHandle;

#[cfg(feature = "program")]
pub use self::slot::partitions_for;
pub use self::{
    info::{MAX_CLIENTS, MemoryLimit, NO_EVICTION, ServerInfo},
    scripts::script_names,
};
pub(in crate::store) use self::{
    node::Node,
    place::Place,
    scripts::{Run, Scripts, Step},
    slot::SLOTS,
    topology::Topology,
};
use super::{Store, StoreError};
use crate::domain::account::AccountId;

/// The time that each of several servers has to answer.
pub(in crate::store) const EACH_WITHIN: Duration = Duration::from_secs(1);

/// A server that is the master of partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Master {
    /// Its host and port; `None` for a single Redis.
    pub address: Option<String>,
    /// Its partitions, in order.
    pub partitions: Vec<u16>,
}

impl Store {
    /// The place of a partition's keys.
    pub(in crate::store) fn at(&self, partition: u16) -> Place<'_> {
        self.place(|| self.0.keys.queue(partition))
    }

    /// The place of an account's keys.
    pub(in crate::store) fn at_account(&self, account: &AccountId) -> Place<'_> {
        self.at(self.0.keys.partition(account))
    }

    /// The place of a key that belongs to no partition.
    pub(in crate::store) fn at_key(&self, key: &str) -> Place<'_> {
        self.place(|| key.to_owned())
    }

    /// The place of a key. A single Redis has all slots, so that the key is not needed there.
    fn place(&self, key: impl FnOnce() -> String) -> Place<'_> {
        let slot = if self.epoch().is_some() { slot::slot_of(&key()) } else { 0 };
        Place::new(&self.0.topology, slot)
    }

    /// All masters, for questions that each of them has to answer.
    pub(in crate::store) fn nodes(&self) -> Vec<Arc<Node>> {
        self.0.topology.masters()
    }

    /// The partitions of each master, so that work at one need not wait for another.
    pub fn by_node(&self) -> Vec<Vec<u16>> {
        self.masters().into_iter().map(|master| master.partitions).filter(|partitions| !partitions.is_empty()).collect()
    }

    /// The masters, and their partitions.
    pub fn masters(&self) -> Vec<Master> {
        let named = |(node, partitions): (Arc<Node>, _)| Master { address: node.name().map(str::to_owned), partitions };
        self.nodes_with_partitions().into_iter().map(named).collect()
    }

    /// The masters' nodes, and the partitions of each.
    pub(in crate::store) fn nodes_with_partitions(&self) -> Vec<(Arc<Node>, Vec<u16>)> {
        let mut masters: Vec<(Arc<Node>, Vec<u16>)> = self.nodes().into_iter().map(|node| (node, Vec::new())).collect();
        for partition in 0..self.0.keys.partitions() {
            let node = self.at(partition).node();
            match masters.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &node)) {
                Some((_, partitions)) => partitions.push(partition),
                None => masters.push((node, vec![partition])),
            }
        }
        masters
    }

    /// Asks all masters side by side, as [`side_by_side`] does.
    pub(in crate::store) async fn each_node<T: Send + 'static, A>(
        &self,
        ask: impl Fn(Arc<Node>, Vec<u16>) -> A,
    ) -> Vec<(Master, Result<T, StoreError>)>
    where
        A: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let nodes = self.nodes_with_partitions();
        let asking = nodes.iter().map(|(node, partitions)| (node.clone(), ask(node.clone(), partitions.clone())));
        let answers = side_by_side(asking.collect()).await;
        let named = |(node, partitions): (Arc<Node>, _)| Master { address: node.name().map(str::to_owned), partitions };
        nodes.into_iter().map(named).zip(answers).collect()
    }

    /// Asks all masters side by side about their partitions, as [`Store::each_node`] does.
    #[cfg(feature = "program")]
    pub(crate) async fn each_master<T: Send + 'static, A>(
        &self,
        ask: impl Fn(Vec<u16>) -> A,
    ) -> Vec<(Master, Result<T, StoreError>)>
    where
        A: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        self.each_node(|_, partitions| ask(partitions)).await
    }

    /// Asks all masters whether they answer.
    #[cfg(feature = "program")]
    pub(crate) async fn reached(&self) -> Vec<(Master, Result<(), StoreError>)> {
        self.each_node(|node, _| async move { node.run(&redis::cmd("TIME")).await }).await
    }

    /// The known nodes that are no masters: replicas, and nodes that only the settings name.
    #[cfg(feature = "program")]
    pub(in crate::store) fn other_nodes(&self) -> Vec<Arc<Node>> {
        self.0.topology.others()
    }

    /// Whether it is a cluster.
    #[cfg(feature = "program")]
    pub(in crate::store) fn is_cluster(&self) -> bool {
        self.epoch().is_some()
    }

    /// The number of a cluster's changes; `None` for a single Redis.
    pub(crate) fn epoch(&self) -> Option<u64> {
        self.0.topology.epoch()
    }

    /// Takes an error of a node that was not asked through a [`Place`]: it may tell of other masters.
    pub(in crate::store) fn heard(&self, node: &Node, error: &StoreError) {
        self.0.topology.elsewhere(node, Some(error));
    }

    /// Waits until the masters of some slots are others.
    pub async fn masters_changed(&self) {
        self.0.topology.changed().await;
    }
}

/// Asks servers side by side. If there are several, each has a second to answer, so that nothing that one of them says
/// waits for another that hangs.
pub(in crate::store) async fn side_by_side<T: Send + 'static, A>(
    asking: Vec<(Arc<Node>, A)>,
) -> Vec<Result<T, StoreError>>
where
    A: Future<Output = Result<T, StoreError>> + Send + 'static,
{
    let limit = (asking.len() > 1).then_some(EACH_WITHIN);
    let in_time = |(node, answer): (Arc<Node>, A)| async move {
        match limit {
            Some(limit) => node.within(limit, answer).await,
            None => answer.await,
        }
    };
    let asking: Vec<JoinHandle<_>> = asking.into_iter().map(|asked| tokio::spawn(in_time(asked))).collect();
    let mut answers = Vec::new();
    for answer in asking {
        answers.push(answer.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())));
    }
    answers
}
