//! The schema version and the number of partitions: an installation keeps both from its first start on, in `meta`.
//!
//! Every process reads them there, so that all use the same number although their settings leave it open.

use std::sync::Arc;

use super::{SCHEMA, Store, StoreError, keys::Keys};
use crate::config::PARTITIONS_MAX;

impl Store {
    /// The schema version and the number of partitions with which this installation began; `None` if there is none yet.
    pub(crate) async fn noted(&self) -> Result<Option<(String, String)>, StoreError> {
        let meta = self.0.keys.meta();
        let (schema, partitions): (Option<String>, Option<String>) = self.at_key(&meta).run(&read(&meta)).await?;
        Ok(schema.zip(partitions))
    }

    /// The number of partitions that is noted. A new installation notes this store's.
    ///
    /// # Errors
    /// [`StoreError::Unfit`] if the data has another schema, or another number of partitions than `wanted`.
    pub(super) async fn agreed_partitions(&self, wanted: Option<u16>) -> Result<u16, StoreError> {
        let mut noted = self.noted().await?;
        if noted.is_none() {
            // Write only if nothing is noted: a full Redis refuses every write, and a worker must be able to start and
            // drain it.
            noted = self.note().await?;
        }
        let (schema, found) = noted.unwrap_or_default();
        let meta = self.0.keys.meta();
        if schema != SCHEMA.to_string() {
            return Err(StoreError::Unfit(format!(
                "the data under `{meta}` has schema {schema} and this program writes schema {SCHEMA}; \
                 use a program of the same schema, or another redis.prefix"
            )));
        }
        match (wanted, parse_partitions(&found)) {
            (_, None) => Err(StoreError::Unfit(format!(
                "`{meta}` says that this queue has {found:?} partitions, which is not a number from 1 to \
                 {PARTITIONS_MAX}; write the right number there, or use another redis.prefix"
            ))),
            (Some(wanted), Some(found)) if wanted != found => Err(StoreError::Unfit(format!(
                "`{meta}` says that this queue has {found} partition(s) and queue.partitions is {wanted}; \
                 set queue.partitions = {found}, or use another redis.prefix"
            ))),
            (_, Some(found)) => Ok(found),
        }
    }

    /// The number of partitions in the settings, while the master that has the noted one is away and others are there.
    ///
    /// # Errors
    /// [`StoreError::Unfit`] if the settings leave it open.
    pub(super) fn partitions_unseen(&self, wanted: Option<u16>, error: &StoreError) -> Result<u16, StoreError> {
        let meta = self.0.keys.meta();
        let Some(wanted) = wanted else {
            return Err(StoreError::Unfit(format!(
                "the number of partitions in `{meta}` cannot be read ({error}); set queue.partitions to this \
                 installation's number to go on without it"
            )));
        };
        tracing::warn!(%error, partitions = wanted, "the number of partitions is that of the settings, not compared");
        Ok(wanted)
    }

    /// Notes this store's schema version and number of partitions, unless another process did so first. Returns what is
    /// noted then: processes that begin at the same moment all get the same answer.
    async fn note(&self) -> Result<Option<(String, String)>, StoreError> {
        let keys = &self.0.keys;
        let meta = keys.meta();
        let mut pipeline = redis::pipe();
        pipeline.cmd("HSETNX").arg(&meta).arg("schema").arg(SCHEMA).ignore();
        pipeline.cmd("HSETNX").arg(&meta).arg("partitions").arg(keys.partitions()).ignore();
        pipeline.add_command(read(&meta));
        let ((schema, partitions),): ((Option<String>, Option<String>),) =
            self.at_key(&meta).run_pipeline(&pipeline).await?;
        Ok(schema.zip(partitions))
    }

    /// Uses this number of partitions. Only for a store that is not shared yet.
    pub(super) fn over(mut self, partitions: u16) -> Self {
        let inner = Arc::get_mut(&mut self.0).expect("this store is not shared yet");
        inner.keys = Keys::new(inner.keys.prefix(), partitions);
        self
    }
}

fn read(meta: &str) -> redis::Cmd {
    let mut read = redis::cmd("HMGET");
    read.arg(meta).arg("schema").arg("partitions");
    read
}

/// A number of partitions as it is noted; `None` if it is none.
pub(crate) fn parse_partitions(noted: &str) -> Option<u16> {
    noted.parse().ok().filter(|partitions| (1..=PARTITIONS_MAX).contains(partitions))
}
