//! The masters: which node has a slot now.

use std::sync::Arc;

use super::{
    cluster::Cluster,
    node::{Node, Way},
};
use crate::{config, store::StoreError};

/// The servers that are masters now.
pub(in crate::store) enum Topology {
    /// One server, which is the master of all slots.
    Single(Arc<Node>),
    /// Redis Cluster.
    Cluster(Arc<Cluster>),
}

/// The node that an error names in place of the one that was asked.
pub(super) struct Elsewhere {
    pub(super) node: Arc<Node>,
    /// Whether it has the whole slot, and not only keys that have moved already.
    pub(super) is_for_good: bool,
}

impl Topology {
    /// The servers of these settings. A cluster's masters are not looked up yet: see [`Topology::look_up`].
    pub(in crate::store) fn new(settings: &config::Redis) -> Result<Self, StoreError> {
        let (way, addresses) = Way::new(settings)?;
        Ok(if settings.is_cluster {
            Self::Cluster(Arc::new(Cluster::new(way, addresses)?))
        } else {
            Self::Single(Arc::new(way.first()?))
        })
    }

    /// Looks the masters up, and keeps looking as long as this lives.
    ///
    /// # Errors
    /// That of a node, if no node answers.
    pub(in crate::store) async fn look_up(&self) -> Result<(), StoreError> {
        match self {
            Self::Single(_) => Ok(()),
            Self::Cluster(cluster) => cluster.keep_looking().await,
        }
    }

    /// The master of a slot; of a slot without a master, a node that says so.
    pub(super) fn of(&self, slot: u16) -> Arc<Node> {
        match self {
            Self::Single(node) => node.clone(),
            Self::Cluster(cluster) => cluster.of(slot),
        }
    }

    /// All masters that have slots. While none is known, the nodes that the settings name.
    pub(super) fn masters(&self) -> Vec<Arc<Node>> {
        match self {
            Self::Single(node) => vec![node.clone()],
            Self::Cluster(cluster) => cluster.masters(),
        }
    }

    /// The known nodes that are no masters.
    #[cfg(feature = "program")]
    pub(super) fn others(&self) -> Vec<Arc<Node>> {
        match self {
            Self::Single(_) => Vec::new(),
            Self::Cluster(cluster) => cluster.others(),
        }
    }

    /// Takes an error of a node. Returns the node that should be asked in its place, if the error names it. The masters
    /// are looked up soon, if they may be others.
    pub(super) fn elsewhere(&self, asked: &Node, error: Option<&StoreError>) -> Option<Elsewhere> {
        match (self, error) {
            (Self::Cluster(cluster), Some(error)) => cluster.elsewhere(asked, error),
            _ => None,
        }
    }

    /// Waits until the masters of some slots are others.
    pub(super) async fn changed(&self) {
        match self {
            Self::Single(_) => std::future::pending().await,
            Self::Cluster(cluster) => cluster.changed().await,
        }
    }

    /// The epoch of a cluster, which rises when slots get other masters; `None` for a single server.
    pub(super) fn epoch(&self) -> Option<u64> {
        match self {
            Self::Single(_) => None,
            Self::Cluster(cluster) => Some(cluster.epoch()),
        }
    }
}
