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
mod meta;
#[cfg(feature = "program")]
mod records;
#[cfg(feature = "program")]
mod steps;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeZone, Utc};

#[cfg(feature = "program")]
use self::link::EACH_WITHIN;
#[cfg(feature = "program")]
pub(crate) use self::meta::parse_partitions;
pub use self::{
    enqueue::Acceptance,
    error::{StoreError, Unanswered},
    link::{MAX_CLIENTS, Master, MemoryLimit, NO_EVICTION, ServerInfo, script_names},
};
#[cfg(feature = "program")]
pub use self::{
    figures::{
        AwayMaster, Clock, Examination, Fact, Group, Holding, Kept, KnownKeys, Limited, LiveWorker, Missing,
        PartitionFigures, Planned, QueueFigures, Retries, Server, ServerFacts, Status, UserRole, WEBHOOKS_MAX,
        WorkerFigures, for_shell,
    },
    link::partitions_for,
    records::{
        API_KEYS_MAX, AccountPage, Activity, ApiKeyRecord, ApiKeyRecords, ApiKeyTable, Batch, Deletion, Dropped,
        EntryRange, Fate, KeptEntries, KeptEntry, KeyPut, PORTAL_MAX, PageStart, PortalLink, PortalRecord, Put,
        Redelivered, RejectedEntry, SettingsLooked, Stock, WebhookEntry,
    },
    steps::{
        Attempted, Audit, BATCH_MAX, BATCH_MAX_BYTES, Claimed, Entry, EntryId, Fence, Known, KnownClock, Leap, Longest,
        MayTake, Mended, Promoted, Reader, ReaderId, Reason, Released, StepAnswer, Times, ToHold, Untold, Visited,
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
    /// Connects, and checks that this Redis and the data in it fit these settings. Masters of a cluster may be away, except
    /// the one that has the installation's number of partitions.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] if there is no connection in time. [`StoreError::Unfit`] if the server is too old or
    /// may evict accepted data, or if its data was written with another schema or another number of partitions.
    pub async fn open(settings: &Settings) -> Result<Self, StoreError> {
        let store = Self::new(settings)?;
        store.look_up_masters().await?;
        store.check_nodes(&settings.redis.accept_eviction).await?;
        let partitions = match store.agreed_partitions(settings.queue.partitions).await {
            Err(error) if error.is_passing() && error.answer().is_none() && store.epoch().is_some() => {
                store.partitions_unseen(settings.queue.partitions, &error)?
            }
            agreed => agreed?,
        };
        Ok(store.over(partitions))
    }

    /// A store on a Redis that may not fit, to look at it: over the partitions that are noted there, or else over those
    /// of a new installation.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] if a single Redis, or no node of a cluster, answers; [`StoreError::Unfit`] if it is no
    /// cluster although it should be. Whatever else it refuses is a fact to look at, and so is a master that is away.
    #[cfg(feature = "program")]
    pub async fn unchecked(settings: &Settings) -> Result<Self, StoreError> {
        let store = Self::new(settings)?;
        store.look_up_masters().await?;
        let noted = if store.is_cluster() {
            store.at_key(&store.0.keys.meta()).node().within(EACH_WITHIN, store.noted()).await
        } else {
            store.noted().await
        };
        let partitions = match noted {
            Ok(noted) => noted.and_then(|(_, partitions)| parse_partitions(&partitions)),
            Err(error @ StoreError::Unreachable(_)) if error.answer().is_none() && !store.is_cluster() => {
                return Err(error);
            }
            Err(_) => None,
        };
        Ok(match partitions {
            Some(partitions) => store.over(partitions),
            None => store,
        })
    }

    /// A store on a Redis that was not asked for anything yet, over the partitions of a new installation.
    fn new(settings: &Settings) -> Result<Self, StoreError> {
        let topology = Topology::new(&settings.redis)?;
        let keys = Keys::new(&settings.redis.prefix, settings.partitions_at_first());
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
        Ok(time_of(self.at(partition).run(&redis::cmd("TIME")).await?))
    }

    /// The clock by which an account's times are written.
    pub async fn now_of(&self, account: &AccountId) -> Result<DateTime<Utc>, StoreError> {
        self.now(self.0.keys.partition(account)).await
    }
}

/// The time in an answer to `TIME`: seconds and microseconds.
fn time_of((seconds, micros): (i64, i64)) -> DateTime<Utc> {
    Utc.timestamp_millis_opt(seconds * 1000 + micros / 1000).single().unwrap_or_default()
}

/// A duration in whole milliseconds, as the scripts take it.
fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
