//! The servers of an installation, as each describes itself: a single Redis, or the masters and replicas of a cluster. They
//! are asked side by side, and each has a limited time, so that no fact waits for a server that hangs.

use std::{collections::HashMap, sync::Arc};

use chrono::{DateTime, Utc};

use super::{examine::Fact, rights::UserRole};
use crate::store::{
    ServerInfo, Store, StoreError,
    link::{Node, SLOTS, side_by_side},
    time_of,
};

/// The setting that a single Redis is asked for.
const OF_A_SINGLE_REDIS: &[&str] = &["appendfsync"];
/// The settings that each server of a cluster is asked for.
const OF_A_CLUSTER: &[&str] =
    &["appendfsync", "cluster-require-full-coverage", "cluster-node-timeout", "min-replicas-to-write"];

/// A server.
#[derive(Debug, Clone)]
pub struct Server {
    /// Its host and port; `None` for a single Redis.
    pub address: Option<String>,
    /// Its partitions; `None` if it is no master.
    pub partitions: Option<Vec<u16>>,
    /// Its facts, or the error if it does not tell them.
    pub facts: Result<ServerFacts, StoreError>,
}

/// A server's description of itself.
#[derive(Debug, Clone, Default)]
pub struct ServerFacts {
    /// Its answer to `INFO`.
    pub info: ServerInfo,
    /// Its clock.
    pub clock: Fact<Clock>,
    /// Settings by name; `None` if the user may not ask. Most users may not: `CONFIG` tells passwords as well, and many
    /// hosted servers refuse it to all.
    pub settings: Option<HashMap<String, String>>,
    /// Its answer to `CLUSTER INFO`, which has the form of `INFO`; `None` for a single Redis.
    pub cluster: Fact<ServerInfo>,
}

/// A server's clock and that of this machine, at the same moment.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// The server's.
    pub there: DateTime<Utc>,
    /// This machine's.
    pub here: DateTime<Utc>,
}

impl Store {
    /// Asks all servers that are known, with the questions that a user of this role may ask.
    pub(super) async fn servers(&self, role: UserRole) -> Vec<(Arc<Node>, Server)> {
        let masters = self.nodes_with_partitions().into_iter().map(|(node, partitions)| (node, Some(partitions)));
        let others = self.other_nodes().into_iter().map(|node| (node, None));
        let asked: Vec<(Arc<Node>, Option<Vec<u16>>)> = masters.chain(others).collect();
        let ask = |node: &Arc<Node>| {
            let (store, asked) = (self.clone(), node.clone());
            (node.clone(), async move { store.ask(&asked, role).await })
        };
        let answers = side_by_side(asked.iter().map(|(node, _)| ask(node)).collect()).await;
        let mut servers: Vec<(Arc<Node>, Server)> = Vec::new();
        for ((node, partitions), facts) in asked.into_iter().zip(answers) {
            let server = Server { address: node.name().map(str::to_owned), partitions, facts };
            // The settings may name a server by another name than the cluster does.
            if !servers.iter().any(|(_, known)| known.is(&server)) {
                servers.push((node, server));
            }
        }
        servers
    }

    async fn ask(&self, node: &Node, role: UserRole) -> Result<ServerFacts, StoreError> {
        let runs_scripts = role.runs_scripts();
        Ok(ServerFacts {
            info: node.info().await?,
            clock: if runs_scripts { Some(clock(node).await) } else { None },
            settings: if runs_scripts { self.settings_of(node).await } else { None },
            cluster: if self.is_cluster() { Some(cluster_info(node).await) } else { None },
        })
    }

    /// Any error but a refusal also hits the other questions, and is shown there.
    async fn settings_of(&self, node: &Node) -> Option<HashMap<String, String>> {
        if !self.may(node, ["CONFIG GET appendfsync"]).await {
            return None;
        }
        let names = if self.is_cluster() { OF_A_CLUSTER } else { OF_A_SINGLE_REDIS };
        node.run(redis::cmd("CONFIG").arg("GET").arg(names)).await.ok()
    }
}

impl Server {
    /// Whether both are the same process.
    fn is(&self, other: &Self) -> bool {
        let run_id = |server: &Self| server.facts.as_ref().ok()?.info.text("run_id").map(str::to_owned);
        run_id(self).is_some_and(|id| run_id(other) == Some(id))
    }
}

impl ServerFacts {
    /// The number of slots of a cluster without a master that answers this server.
    pub fn slots_lost(&self) -> Option<u64> {
        let served = self.cluster.as_ref()?.as_ref().ok()?.number("cluster_slots_ok")?;
        Some(u64::from(SLOTS).saturating_sub(served))
    }

    /// The text of a setting; `None` if it is not seen.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.as_ref()?.get(name).map(String::as_str)
    }
}

async fn clock(node: &Node) -> Result<Clock, StoreError> {
    let before = Utc::now();
    let time = node.run(&redis::cmd("TIME")).await?;
    let here = before + (Utc::now() - before) / 2;
    Ok(Clock { there: time_of(time), here })
}

async fn cluster_info(node: &Node) -> Result<ServerInfo, StoreError> {
    let text: String = node.run(redis::cmd("CLUSTER").arg("INFO")).await?;
    Ok(ServerInfo::parse(&text))
}
