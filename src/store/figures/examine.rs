//! Facts for `lynkhook doctor`, including the queue's figures. Changes nothing.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, Utc};
use redis::Value;

use super::{rights::UserRole, status::Status};
use crate::{
    domain::lease::SUSPECT_DELIVERIES,
    store::{Audit, ServerInfo, SettingsLooked, Store, StoreError, ms},
};

/// The most stuck entries of a partition that are counted; there may be more.
const STUCK_MAX: u64 = 1000;

/// A fact, or Redis's refusal to tell it: because of the user's rights, or of a key of a wrong type. `None` if Redis was
/// not asked, because users of this role may not know it. A refused question would be an entry in `ACL LOG`.
pub type Fact<T> = Option<Result<T, StoreError>>;

/// Facts about a Redis and the data in it.
#[derive(Debug, Clone)]
pub struct Examination {
    /// The server's own facts.
    pub server: ServerInfo,
    /// The server's clock.
    pub time: Fact<DateTime<Utc>>,
    /// `appendfsync`; `None` if the user may not ask for settings.
    pub append_fsync: Option<String>,
    /// The number of partitions that was looked at.
    pub partitions: u16,
    /// The noted schema version and number of partitions; `None` if there is nothing under this prefix yet.
    pub noted: Result<Option<(String, String)>, StoreError>,
    /// The queue's figures.
    pub status: Fact<Status>,
    /// Each partition's consumer group.
    pub groups: Fact<Vec<Group>>,
    /// The result of a look at all accounts' settings.
    pub settings: Fact<SettingsLooked>,
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
    /// as stuck if it was idle for longer than `stuck_after`.
    ///
    /// # Errors
    /// Only if the server does not answer `INFO`.
    pub async fn examine(&self, stuck_after: Duration, role: UserRole) -> Result<Examination, StoreError> {
        let server = self.at(0).node().info().await?;
        let runs_scripts = role.runs_scripts();
        let sees_all = match role {
            UserRole::Producer => false,
            UserRole::Worker => self.may(UserRole::Operator.commands().into_iter().map(|(line, _)| line)).await,
            UserRole::Operator | UserRole::Server => true,
        };
        Ok(Examination {
            server,
            time: if runs_scripts { Some(self.now(0).await) } else { None },
            append_fsync: if runs_scripts { self.append_fsync().await } else { None },
            partitions: self.0.keys.partitions(),
            noted: self.noted().await,
            status: if sees_all { Some(self.status().await) } else { None },
            groups: if runs_scripts { Some(self.groups(stuck_after).await) } else { None },
            settings: if sees_all { Some(self.look_at_settings().await) } else { None },
        })
    }

    /// The setting `appendfsync`. Most users may not ask: `CONFIG` tells passwords as well, and many hosted servers
    /// refuse it to all. Any other error also hits the other questions, and is shown there.
    async fn append_fsync(&self) -> Option<String> {
        if !self.may(["CONFIG GET appendfsync"]).await {
            return None;
        }
        let answer = self.at(0).run::<Vec<String>>(redis::cmd("CONFIG").arg("GET").arg("appendfsync")).await;
        answer.ok()?.into_iter().nth(1)
    }

    async fn groups(&self, stuck_after: Duration) -> Result<Vec<Group>, StoreError> {
        let mut groups = Vec::new();
        for partition in 0..self.0.keys.partitions() {
            groups.push(self.group(partition, stuck_after).await?);
        }
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
