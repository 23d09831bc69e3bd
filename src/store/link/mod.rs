//! The way to Redis: which node, the connections to it, the scripts, and what a server says of itself.
//!
//! All keys of a partition lie on one node, so each step runs there: [`Store::at`]. Today one node serves all partitions, and
//! this file is the only one that assumes it.

mod info;
mod node;
mod scripts;

pub use self::{
    info::{MAX_CLIENTS, NO_EVICTION, ServerInfo},
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

    /// The only node, for a pipeline over keys of several partitions, and for questions to a server whose answer has room for
    /// one. With several nodes each such call has to be divided.
    pub(in crate::store) fn only(&self) -> &Node {
        &self.0.node
    }

    /// Every node, for what has to be asked of all.
    pub(in crate::store) fn nodes(&self) -> &[Node] {
        std::slice::from_ref(&self.0.node)
    }

    /// The partitions of each node, so that work on one node need not wait for another.
    pub fn by_node(&self) -> Vec<Vec<u16>> {
        vec![(0..self.0.keys.partitions()).collect()]
    }
}
