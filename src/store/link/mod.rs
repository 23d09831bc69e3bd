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

pub use self::{
    info::{MAX_CLIENTS, MemoryLimit, NO_EVICTION, ServerInfo},
    scripts::script_names,
};
pub(in crate::store) use self::{
    node::Node,
    place::Place,
    scripts::{Run, Scripts, Step},
    topology::Topology,
};
use super::{Store, StoreError};
use crate::domain::account::AccountId;

/// The time that each of several masters has to answer.
const EACH_WITHIN: Duration = Duration::from_secs(1);

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
        Place::new(&self.0.topology, slot::slot_of(&self.0.keys.queue(partition)))
    }

    /// The place of an account's keys.
    pub(in crate::store) fn at_account(&self, account: &AccountId) -> Place<'_> {
        self.at(self.0.keys.partition(account))
    }

    /// The place of a key that belongs to no partition.
    pub(in crate::store) fn at_key(&self, key: &str) -> Place<'_> {
        Place::new(&self.0.topology, slot::slot_of(key))
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

    /// Asks all masters side by side. If there are several, each has a second to answer, so that nothing that one of
    /// them says waits for another that hangs.
    pub(in crate::store) async fn each_node<T: Send + 'static, A>(
        &self,
        ask: impl Fn(Arc<Node>, Vec<u16>) -> A,
    ) -> Vec<(Master, Result<T, StoreError>)>
    where
        A: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let nodes = self.nodes_with_partitions();
        let limit = (nodes.len() > 1).then_some(EACH_WITHIN);
        let asking: Vec<(Master, JoinHandle<_>)> = nodes
            .into_iter()
            .map(|(node, partitions)| {
                let master = Master { address: node.name().map(str::to_owned), partitions: partitions.clone() };
                let answer = ask(node.clone(), partitions);
                let in_time = async move {
                    match limit {
                        Some(limit) => node.within(limit, answer).await,
                        None => answer.await,
                    }
                };
                (master, tokio::spawn(in_time))
            })
            .collect();
        let mut answers = Vec::new();
        for (master, answer) in asking {
            answers.push((master, answer.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))));
        }
        answers
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
