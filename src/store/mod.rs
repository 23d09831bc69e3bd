//! The only module that knows Redis: one method for each script, one place for keys, one for connections.
//!
//! State moves only in the scripts of `lua/`. The header of each script states its change, its keys, its arguments with
//! units, and its answers as words. The parts of `lua/prelude/` hold what several scripts share, above all the fence:
//! only the consumer that has the lease on an entry, under its present delivery count, may move it.
//!
//! The scripts have the flag `allow-oom`, so that a full Redis never stops the queue from draining. `accept.lua` does not
//! have it, because a full Redis refuses producers. Script flags are the reason why Redis 7.0 is the oldest version that
//! serves.

mod enqueue;
mod error;
#[cfg(feature = "program")]
mod figures;
pub mod keys;
mod link;
#[cfg(feature = "program")]
mod records;
#[cfg(feature = "program")]
mod steps;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeZone, Utc};

pub use self::{
    enqueue::Acceptance,
    error::{StoreError, Unanswered},
    link::{MAX_CLIENTS, Master, MemoryLimit, NO_EVICTION, ServerInfo, script_names},
};
#[cfg(feature = "program")]
pub use self::{
    figures::{
        Examination, Fact, Group, Holding, Kept, KnownKeys, Limited, LiveWorker, Missing, PartitionFigures, Planned,
        QueueFigures, Retries, Status, UserRole, WEBHOOKS_MAX, WorkerFigures, for_shell,
    },
    records::{
        API_KEYS_MAX, AccountPage, Activity, ApiKeyRecord, ApiKeyRecords, ApiKeyTable, Batch, Deletion, Dropped,
        EntryRange, Fate, KeptEntries, KeptEntry, KeyPut, PORTAL_MAX, PageStart, PortalLink, PortalRecord, Put,
        Redelivered, RejectedEntry, SettingsLooked, Stock, WebhookEntry,
    },
    steps::{
        Attempted, Audit, BATCH_MAX, BATCH_MAX_BYTES, Claimed, ClientId, Entry, EntryId, Fence, Known, KnownClock,
        Leap, Longest, MayTake, Mended, Promoted, Reader, Reason, Released, StepAnswer, Times, ToHold, Untold, Visited,
        fan_out_max,
    },
};
use self::{
    keys::Keys,
    link::{Scripts, Topology},
};
use crate::{
    config::{Retention, Settings},
    domain::account::AccountId,
};

/// The version of the layout of keys. A process with another version refuses to start.
pub const SCHEMA: u32 = 1;

/// Lynkhook's state in Redis. Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    topology: Topology,
    keys: Keys,
    scripts: Scripts,
    held: Retention,
    failed: Retention,
    rejected: Retention,
    idempotency_max_bytes: u64,
}

impl Store {
    /// Connects, and checks that this Redis and the data in it fit these settings.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] if there is no connection in time. [`StoreError::Unfit`] if the server is too old or
    /// may evict accepted data, or if its data was written with another schema or another number of partitions.
    pub async fn open(settings: &Settings) -> Result<Self, StoreError> {
        let store = Self::unchecked(settings)?;
        store.look_up_masters().await?;
        store.check_nodes(&settings.redis.accept_eviction).await?;
        store.check_meta().await?;
        Ok(store)
    }

    /// A store on a Redis that may not fit, to look at it. The masters of a cluster are not looked up.
    pub fn unchecked(settings: &Settings) -> Result<Self, StoreError> {
        let topology = Topology::new(&settings.redis)?;
        let keys = Keys::new(&settings.redis.prefix, settings.queue.partitions);
        Ok(Self(Arc::new(Inner {
            topology,
            keys,
            scripts: Scripts::new(),
            held: settings.held.clone(),
            failed: settings.failed.clone(),
            rejected: settings.rejected.clone(),
            idempotency_max_bytes: settings.idempotency.max_bytes,
        })))
    }

    /// Looks the masters up, and does so at intervals while the store lives. A single Redis needs no look.
    ///
    /// # Errors
    /// That of a node, if no node answers; [`StoreError::Unfit`] if it is no cluster.
    pub async fn look_up_masters(&self) -> Result<(), StoreError> {
        self.0.topology.look_up().await
    }

    /// The keys of this installation.
    pub fn keys(&self) -> &Keys {
        &self.0.keys
    }

    /// The clock of a partition's node.
    pub async fn now(&self, partition: u16) -> Result<DateTime<Utc>, StoreError> {
        let (seconds, micros): (i64, i64) = self.at(partition).run(&redis::cmd("TIME")).await?;
        Ok(Utc.timestamp_millis_opt(seconds * 1000 + micros / 1000).single().unwrap_or_default())
    }

    /// The clock by which an account's times are written.
    pub async fn now_of(&self, account: &AccountId) -> Result<DateTime<Utc>, StoreError> {
        self.now(self.0.keys.partition(account)).await
    }

    /// The schema version and the number of partitions with which this installation began; `None` if there is none yet.
    pub(crate) async fn noted(&self) -> Result<Option<(String, String)>, StoreError> {
        let (schema, partitions): (Option<String>, Option<String>) =
            self.at_key(&self.0.keys.meta()).run(&self.read_meta()).await?;
        Ok(schema.zip(partitions))
    }

    fn read_meta(&self) -> redis::Cmd {
        let mut read = redis::cmd("HMGET");
        read.arg(self.0.keys.meta()).arg("schema").arg("partitions");
        read
    }

    async fn check_meta(&self) -> Result<(), StoreError> {
        let meta = self.0.keys.meta();
        let partitions = self.0.keys.partitions();
        let mut noted = self.noted().await?;
        if noted.is_none() {
            // Write only if nothing is noted: a full Redis refuses every write, and a worker must be able to start and
            // drain it.
            let mut pipeline = redis::pipe();
            pipeline.cmd("HSETNX").arg(&meta).arg("schema").arg(SCHEMA).ignore();
            pipeline.cmd("HSETNX").arg(&meta).arg("partitions").arg(partitions).ignore();
            pipeline.add_command(self.read_meta());
            let ((schema, partitions),): ((Option<String>, Option<String>),) =
                self.at_key(&self.0.keys.meta()).run_pipeline(&pipeline).await?;
            noted = schema.zip(partitions);
        }
        let (schema, found) = noted.unwrap_or_default();
        if schema != SCHEMA.to_string() {
            return Err(StoreError::Unfit(format!(
                "the data under `{meta}` has schema {schema} and this program writes schema {SCHEMA}; \
                 use a program of the same schema, or another redis.prefix"
            )));
        }
        if found != partitions.to_string() {
            return Err(StoreError::Unfit(format!(
                "`{meta}` says that this queue has {found} partition(s) and queue.partitions is {partitions}; \
                 set queue.partitions = {found}, or use another redis.prefix"
            )));
        }
        Ok(())
    }
}

/// A duration in whole milliseconds, as the scripts take it.
fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
