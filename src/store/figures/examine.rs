//! Facts for `lynkhook doctor`, beside the queue's figures. Changes nothing.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, Utc};
use redis::Value;

use super::status::Status;
use crate::{
    domain::lease::SUSPECT_DELIVERIES,
    store::{Audit, ServerInfo, SettingsLooked, Store, StoreError, ms},
};

/// At most this many stuck entries of a partition are counted; there may be more.
const STUCK_MAX: u64 = 1000;

/// Facts about a Redis and what lies in it. Each beyond what the server says of itself may be refused by itself: by the
/// rights of a user, or by a key of another kind.
#[derive(Debug, Clone)]
pub struct Examination {
    /// The server's own facts.
    pub server: ServerInfo,
    /// Its clock.
    pub time: Result<DateTime<Utc>, StoreError>,
    /// `appendfsync`; `None` where it is not told, as to a user who may not ask.
    pub append_fsync: Option<String>,
    /// Schema version and number of partitions as noted; `None`: nothing lies under this prefix yet.
    pub noted: Result<Option<(String, String)>, StoreError>,
    /// The queue's figures.
    pub status: Result<Status, StoreError>,
    /// Each partition's consumer group.
    pub groups: Result<Vec<Group>, StoreError>,
    /// Accounts' settings.
    pub settings: Result<SettingsLooked, StoreError>,
}

/// A partition's consumer group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The partition.
    pub partition: u16,
    /// The findings of a look at it; `None` if there is no group. A worker makes it.
    pub audit: Option<Audit>,
    /// Entries that nobody renewed or took over for the given time; at most 1000 are counted, suspects included.
    pub stuck: u64,
    /// The same, of those that were lost twice or more: they wait for their turn.
    pub suspects: u64,
    /// How long ago a worker read from it, or renewed or took over anything; `None` where none ever did.
    pub touched: Option<Duration>,
}

impl Store {
    /// Looks at everything; `stuck_after` is how long an entry may be idle before it counts as stuck.
    ///
    /// # Errors
    /// Only where the server does not say what it is.
    pub async fn examine(&self, stuck_after: Duration) -> Result<Examination, StoreError> {
        Ok(Examination {
            server: self.only().info().await?,
            time: self.now(0).await,
            append_fsync: self.append_fsync().await,
            noted: self.noted().await,
            status: self.status().await,
            groups: self.groups(stuck_after).await,
            settings: self.look_at_settings().await,
        })
    }

    /// Many hosted servers do not let their users ask. What else hinders the answer hinders the others, and is told there.
    async fn append_fsync(&self) -> Option<String> {
        let answer = self.only().run::<Vec<String>>(redis::cmd("CONFIG").arg("GET").arg("appendfsync")).await;
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
