//! The way to Redis: nodes, connections to them, scripts, and the facts that a server tells about itself.
//!
//! All keys of a partition are on one node, so each step runs on that node ([`Store::at`]). Today one node serves all
//! partitions. No other file assumes that.

mod info;
mod node;
mod scripts;

pub use self::{
    info::{MAX_CLIENTS, MemoryLimit, NO_EVICTION, ServerInfo},
    scripts::script_names,
};
pub(in crate::store) use self::{
    node::{Node, answered},
    scripts::{Run, Scripts, Step},
};
use super::Store;
use crate::domain::account::AccountId;

impl Store {
    /// The node of a partition.
    pub(in crate::store) fn at(&self, _partition: u16) -> &Node {
        &self.0.node
    }

    /// The node of an account's partition.
    pub(in crate::store) fn at_account(&self, account: &AccountId) -> &Node {
        self.at(self.0.keys.partition(account))
    }

    /// The node of a key that belongs to no partition.
    pub(in crate::store) fn at_key(&self, _key: &str) -> &Node {
        &self.0.node
    }

    /// The only node. It is for a pipeline over keys of several partitions, and for questions whose answer has room for
    /// one server. With several nodes, each such call has to be divided.
    pub(in crate::store) fn only(&self) -> &Node {
        &self.0.node
    }

    /// All nodes, for questions that each of them has to answer.
    pub(in crate::store) fn nodes(&self) -> &[Node] {
        std::slice::from_ref(&self.0.node)
    }

    /// The partitions of each node, so that work on one node need not wait for another.
    pub fn by_node(&self) -> Vec<Vec<u16>> {
        vec![(0..self.0.keys.partitions()).collect()]
    }
}
