//! Looking at the queue's group: entries on which nobody has a lease, and what somebody took out of the queue.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, TimeZone, Utc};

use super::entry::EntryId;
use crate::store::{Store, StoreError, link::Step, ms};

/// The findings of a look at one partition's group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// Entries up to the group's position on which nobody had a lease.
    pub unheld: u64,
    /// Whether somebody took entries out of the queue since the last look that wrote down what it found.
    pub trimmed: bool,
    /// How many, as far as Redis tells.
    pub entries_trimmed: u64,
    /// How long ago a look noticed such a thing for the last time; `None` where none did.
    pub trim_noticed: Option<Duration>,
    /// Whether the queue's last id is the largest there is, so that nothing can be added.
    pub is_exhausted: bool,
    /// Whether the group's position lay behind all ids, so that nothing that comes would be read.
    pub is_beyond: bool,
    /// How old the oldest entry is, by its id: negative where that is from the future; `None` where there is none.
    pub oldest: Option<TimeDelta>,
}

/// The answer of `audit.lua`.
type Answer = (u64, String, bool, u64, i64, String, i64);

impl Store {
    /// Looks at a partition's group; `None` where there is no group, or where another worker looked just now.
    ///
    /// On behalf of `consumer`, entries on which nobody has a lease become pending as if they had been idle for `lease`, so that the next
    /// claim takes them; what was taken out is counted and written down, and ids that hold the queue up are set right. If it is
    /// `due`, it is made in any case.
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

    /// The same, and changes nothing; `None` where there is no group.
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
