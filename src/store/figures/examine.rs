//! Facts for `lynkhook doctor`, including the queue's figures. Changes nothing.

use std::{collections::HashMap, sync::Arc, time::Duration};

use redis::Value;
use tokio::task::JoinSet;

use super::{
    rights::{Missing, UserRole},
    servers::Server,
    status::Status,
};
use crate::{
    domain::lease::SUSPECT_DELIVERIES,
    store::{Audit, SettingsLooked, Store, StoreError, link::Node, ms},
};

/// The most stuck entries of a partition that are counted; there may be more.
const STUCK_MAX: u64 = 1000;

/// A fact, or Redis's refusal to tell it: because of the user's rights, or of a key of a wrong type. `None` if Redis was
/// not asked, because users of this role may not know it. A refused question would be an entry in `ACL LOG`.
pub type Fact<T> = Option<Result<T, StoreError>>;

/// Facts about the servers and the data in them.
#[derive(Debug, Clone)]
pub struct Examination {
    /// The servers, masters first. A single Redis is the only one.
    pub servers: Vec<Server>,
    /// The number of partitions that was looked at.
    pub partitions: u16,
    /// The noted schema version and number of partitions; `None` if there is nothing under this prefix yet.
    pub noted: Result<Option<(String, String)>, StoreError>,
    /// The queue's figures.
    pub status: Fact<Status>,
    /// The consumer group of each partition whose master answers.
    pub groups: Fact<Vec<Group>>,
    /// The result of a look at the settings of all accounts whose master answers.
    pub settings: Fact<SettingsLooked>,
    /// The rights that the user lacks at the servers that answer.
    pub rights: Result<Missing, StoreError>,
}

/// A partition's consumer group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The partition.
    pub partition: u16,
    /// The findings of a look at it; `None` if there is no group. A worker makes it.
    pub audit: Option<Audit>,
    /// Entries that no worker renewed or took over for the given time, without `suspects`. At most 1000 of both are
    /// counted.
    pub stuck: u64,
    /// The same for entries that were lost twice or more: they wait for their turn.
    pub suspects: u64,
    /// The time since a worker last read from the group, renewed a lease or took an entry over; `None` if none ever
    /// did.
    pub touched: Option<Duration>,
}

impl Store {
    /// Collects the facts that a user of this role may know, and those that this user may know besides. An entry counts
    /// as stuck if it was idle for longer than `stuck_after`. Servers that do not answer are asked for nothing else.
    ///
    /// # Errors
    /// That of a server, if no master answers; [`StoreError::Unfit`] if the server is a node of a cluster and the settings
    /// name a single Redis.
    pub async fn examine(&self, stuck_after: Duration, role: UserRole) -> Result<Examination, StoreError> {
        let servers = self.servers(role).await;
        let answering: Vec<&(Arc<Node>, Server)> = servers.iter().filter(|(_, server)| server.facts.is_ok()).collect();
        let masters: Vec<(Arc<Node>, Vec<u16>)> =
            answering.iter().filter_map(|(node, server)| Some((node.clone(), server.partitions.clone()?))).collect();
        let answering: Vec<Arc<Node>> = answering.into_iter().map(|(node, _)| node.clone()).collect();
        let nodes: Vec<Arc<Node>> = masters.iter().map(|(node, _)| node.clone()).collect();
        let Some(first) = nodes.first() else { return Err(silence(servers)) };
        for facts in servers.iter().filter_map(|(_, server)| server.facts.as_ref().ok()) {
            facts.info.check_kind(self.is_cluster())?;
        }
        let sees_all = match role {
            UserRole::Producer => false,
            UserRole::Worker => self.may(first, UserRole::Operator.commands().into_iter().map(|(line, _)| line)).await,
            UserRole::Operator | UserRole::Server => true,
        };
        let of_meta = self.at_key(&self.0.keys.meta()).node();
        let of_meta = servers.iter().find(|(node, _)| Arc::ptr_eq(node, &of_meta));
        let noted = match of_meta {
            Some((_, Server { facts: Err(silence), .. })) => Err(silence.clone()),
            _ => self.noted().await,
        };
        Ok(Examination {
            partitions: self.0.keys.partitions(),
            noted,
            status: if sees_all { Some(self.status().await) } else { None },
            groups: if role.runs_scripts() { Some(self.groups(masters, stuck_after).await) } else { None },
            settings: if sees_all { Some(self.look_at_settings(&nodes).await) } else { None },
            rights: self.missing_rights_at(&answering, role).await,
            servers: servers.into_iter().map(|(_, server)| server).collect(),
        })
    }

    /// The groups of these masters' partitions, in order. No master waits for another.
    async fn groups(
        &self,
        masters: Vec<(Arc<Node>, Vec<u16>)>,
        stuck_after: Duration,
    ) -> Result<Vec<Group>, StoreError> {
        let mut looking = JoinSet::new();
        for (_, partitions) in masters {
            let store = self.clone();
            looking.spawn(async move {
                let mut groups = Vec::new();
                for partition in partitions {
                    groups.push(store.group(partition, stuck_after).await?);
                }
                Ok::<_, StoreError>(groups)
            });
        }
        let groups: Result<Vec<Vec<Group>>, StoreError> = looking.join_all().await.into_iter().collect();
        let mut groups: Vec<Group> = groups?.into_iter().flatten().collect();
        groups.sort_by_key(|group| group.partition);
        Ok(groups)
    }

    async fn group(&self, partition: u16, stuck_after: Duration) -> Result<Group, StoreError> {
        let Some(audit) = self.look_at_group(partition).await? else {
            return Ok(Group { partition, audit: None, stuck: 0, suspects: 0, touched: None });
        };
        let queue = self.0.keys.queue(partition);
        let mut pending = redis::cmd("XPENDING");
        pending.arg(&queue).arg("workers").arg("IDLE").arg(ms(stuck_after)).arg("-").arg("+").arg(STUCK_MAX);
        let pending: Vec<(String, String, u64, u64)> = self.at(partition).run(&pending).await?;
        let consumers: Vec<HashMap<String, Value>> =
            self.at(partition).run(redis::cmd("XINFO").arg("CONSUMERS").arg(&queue).arg("workers")).await?;
        let is_suspect = |deliveries: u64| deliveries >= u64::from(SUSPECT_DELIVERIES) - 1;
        let suspects = pending.iter().filter(|(.., deliveries)| is_suspect(*deliveries)).count() as u64;
        let idle =
            consumers.iter().filter_map(|consumer| redis::from_redis_value_ref::<u64>(consumer.get("idle")?).ok());
        Ok(Group {
            partition,
            audit: Some(audit),
            stuck: pending.len() as u64 - suspects,
            suspects,
            touched: idle.min().map(Duration::from_millis),
        })
    }
}

/// The error of the first server that does not answer, of masters before others.
fn silence(servers: Vec<(Arc<Node>, Server)>) -> StoreError {
    let error = servers.into_iter().find_map(|(_, server)| server.facts.err());
    error.expect("settings name a server, and no master answers")
}
