//! The look at the queue's group: for entries on which no worker has a lease, and entries that somebody took out of the
//! queue.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, TimeZone, Utc};

use super::entry::EntryId;
use crate::store::{Store, StoreError, link::Step, ms};

/// The findings of a look at one partition's group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// Entries up to the group's position on which no worker had a lease.
    pub unheld: u64,
    /// Whether somebody took entries out of the queue since a look last made notes.
    pub trimmed: bool,
    /// The number of entries taken out, as far as Redis tells.
    pub entries_trimmed: u64,
    /// The time since a look last noticed missing entries; `None` if none ever did.
    pub trim_noticed: Option<Duration>,
    /// Whether the queue's last id was the largest possible, so that no entry could be added.
    pub is_exhausted: bool,
    /// Whether the group's position was beyond all ids, so that no new entry would be read.
    pub is_beyond: bool,
    /// The age of the oldest entry, by its id: negative if the id is from the future; `None` if there is no entry.
    pub oldest: Option<TimeDelta>,
}

/// The answer of `audit.lua`.
type Answer = (u64, String, bool, u64, i64, String, i64);

impl Store {
    /// Looks at a partition's group; `None` if there is no group, or if another worker looked in the last 10 s. If
    /// `due`, it looks even then.
    ///
    /// Entries on which no worker has a lease become pending with `consumer`, as if idle for `lease`, so that the next
    /// claim takes them. Entries that were taken out are counted and noted, and ids that hold the queue up are
    /// corrected.
    pub async fn audit(
        &self,
        partition: u16,
        consumer: &str,
        lease: Duration,
        due: bool,
    ) -> Result<Option<Audit>, StoreError> {
        let scripts = &self.0.scripts;
        self.audit_by([&scripts.audit, &scripts.ids], partition, (consumer, lease, due)).await
    }

    /// Looks at a partition's group and changes nothing; `None` if there is no group.
    pub async fn look_at_group(&self, partition: u16) -> Result<Option<Audit>, StoreError> {
        let scripts = &self.0.scripts;
        self.audit_by([&scripts.look, &scripts.look_at_ids], partition, ("", Duration::ZERO, true)).await
    }

    async fn audit_by(
        &self,
        [script, ids]: [&Step; 2],
        partition: u16,
        (consumer, lease, due): (&str, Duration, bool),
    ) -> Result<Option<Audit>, StoreError> {
        let (keys, mut unheld, mut behind) = (&self.0.keys, 0, String::new());
        loop {
            let mut script = script.key(keys.queue(partition));
            script.key(keys.counts(partition)).key(keys.audit(partition));
            script.arg(consumer).arg(ms(lease)).arg(&behind).arg(u8::from(due));
            let Some(answer) = self.at(partition).run_script::<Option<Answer>>(&script).await? else { return Ok(None) };
            let (found, go_on, trimmed, entries_trimmed, noticed_ms, oldest, now_ms) = answer;
            unheld += found;
            behind = go_on;
            if behind.is_empty() {
                let mut script = ids.key(keys.queue(partition));
                script.key(keys.audit(partition)).arg(u8::from(consumer.is_empty()));
                let answer = self.at(partition).run_script::<Option<(bool, bool)>>(&script).await?;
                let (is_exhausted, is_beyond) = answer.unwrap_or_default();
                let now: DateTime<Utc> = Utc.timestamp_millis_opt(now_ms).single().unwrap_or_default();
                let trim_noticed = u64::try_from(noticed_ms).ok().map(Duration::from_millis);
                let oldest = (!oldest.is_empty()).then(|| EntryId(oldest).age(now));
                let seen = Audit { unheld, trimmed, entries_trimmed, trim_noticed, is_exhausted, is_beyond, oldest };
                return Ok(Some(seen));
            }
        }
    }
}
