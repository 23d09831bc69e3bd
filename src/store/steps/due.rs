//! Work that has its time: retries that become due, and webhooks to be released or visited.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{
    entry::{BATCH_MAX, BATCH_MAX_BYTES},
    lease::latest_ms,
};
use crate::{
    domain::{account::AccountId, webhook::WebhookId},
    store::{Store, StoreError, keys::Keys, ms},
};

/// The result of promoting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promoted {
    /// How many retries became due and moved to the queue.
    pub moved: usize,
    /// When the next retry is due; `None` where none waits.
    pub next_in: Option<Duration>,
    /// When what a webhook holds is to be released next; `None` where nothing is.
    pub release_in: Option<Duration>,
    /// When the next visit is due; `None` where none is.
    pub visit_in: Option<Duration>,
    /// The clock of Redis, in Unix ms.
    pub now_ms: i64,
}

/// A worker's knowledge of Redis's clock, which may be wrong.
#[derive(Debug, Clone, Default)]
pub struct KnownClock {
    /// The latest that it may show, unless it steps forward just now.
    pub latest: Option<DateTime<Utc>>,
    /// Its steps forward that it did not take back since, the oldest first.
    pub leaps: Vec<Leap>,
}

impl KnownClock {
    /// When a retry is due whose score is this, Unix ms: what was planned before a step forward is due that much later.
    fn due_ms(&self, score_ms: i64) -> i64 {
        self.leaps.iter().fold(score_ms, |due_ms, leap| {
            if due_ms < leap.to.timestamp_millis() { due_ms.saturating_add_unsigned(ms(leap.by)) } else { due_ms }
        })
    }
}

/// A step forward of Redis's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leap {
    /// Anything that was to be done before this time of its new reckoning was planned before the step.
    pub to: DateTime<Utc>,
    /// How far it went, or a little more.
    pub by: Duration,
}

/// When webhooks are looked after, and what for: each is a sorted set by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// Their held deliveries go back to the queue.
    Releases,
    /// Upkeep: old entries, too many bytes, and leftovers without settings go.
    Visits,
}

/// As `TIME` answers: seconds, and microseconds of the second under way.
type UnixTime = (i64, i64);

impl Store {
    /// Moves retries that are due to the queue; none while Redis's clock shows more than it can, and what was planned before it
    /// stepped forward is due by the time that it had then.
    pub async fn promote(&self, partition: u16, clock: &KnownClock) -> Result<Promoted, StoreError> {
        let keys = &self.0.keys;
        let mut script = self.0.scripts.promote.key(keys.retries(partition));
        script.key(keys.queue(partition)).key(keys.releases(partition)).key(keys.visits(partition));
        script.arg(BATCH_MAX).arg(BATCH_MAX_BYTES).arg(latest_ms(clock.latest));
        for leap in &clock.leaps {
            script.arg(leap.to.timestamp_millis()).arg(ms(leap.by));
        }
        let (moved, retry, release, visit, now_ms): (usize, i64, i64, i64, i64) =
            self.at(partition).run_script(&script).await?;
        let wait = |ms: i64| u64::try_from(ms).ok().map(Duration::from_millis);
        Ok(Promoted { moved, next_in: wait(retry), release_in: wait(release), visit_in: wait(visit), now_ms })
    }

    /// How long ago the oldest retry was due; zero where none is.
    pub async fn retry_late_by(&self, partition: u16, clock: &KnownClock) -> Result<Duration, StoreError> {
        let mut look = redis::pipe();
        look.cmd("TIME").cmd("ZRANGE").arg(self.0.keys.retries(partition)).arg(0).arg(0).arg("WITHSCORES");
        let (now, first): (UnixTime, Vec<(Vec<u8>, f64)>) = self.at(partition).run_pipeline(&look).await?;
        let late_ms = first
            .first()
            .map_or(0, |(_, due)| (now.0 * 1000 + now.1 / 1000).saturating_sub(clock.due_ms(time_ms(*due))));
        Ok(Duration::from_millis(u64::try_from(late_ms).unwrap_or(0)))
    }

    /// The webhooks whose time has come, oldest first, at most `most`; and in how long that of the next comes, where there is
    /// one.
    pub async fn due(
        &self,
        times: Times,
        partition: u16,
        now_ms: i64,
        most: usize,
    ) -> Result<(Vec<(AccountId, WebhookId)>, Option<Duration>), StoreError> {
        let times = self.times(times, partition);
        let mut look = redis::cmd("ZRANGE");
        let first: Vec<(Vec<u8>, f64)> =
            self.at(partition).run(look.arg(&times).arg(0).arg(most).arg("WITHSCORES")).await?;
        let due = first.iter().take(most).take_while(|(_, at)| time_ms(*at) <= now_ms);
        let mut parsed = Vec::with_capacity(most.min(first.len()));
        for (member, _) in due.clone() {
            match std::str::from_utf8(member).ok().and_then(Keys::parse_member) {
                Some(webhook) if self.0.keys.partition(&webhook.0) == partition => parsed.push(webhook),
                // It would stand in the way of the others for ever.
                _ => self.at(partition).run(redis::cmd("ZREM").arg(&times).arg(member)).await?,
            }
        }
        let next = first.get(due.count());
        let wait_ms = |at| u64::try_from(time_ms(at).saturating_sub(now_ms)).unwrap_or(0);
        Ok((parsed, next.map(|(_, at)| Duration::from_millis(wait_ms(*at)))))
    }

    /// Puts off what cannot be done for a webhook, so that it does not stand in the way of the others.
    pub async fn put_off(
        &self,
        times: Times,
        account: &AccountId,
        webhook: WebhookId,
        to: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let mut put_off = redis::cmd("ZADD");
        let partition = self.0.keys.partition(account);
        put_off.arg(self.times(times, partition)).arg("XX").arg(to.timestamp_millis());
        self.at(partition).run(put_off.arg(Keys::member(account, webhook))).await
    }

    fn times(&self, times: Times, partition: u16) -> String {
        match times {
            Times::Releases => self.0.keys.releases(partition),
            Times::Visits => self.0.keys.visits(partition),
        }
    }
}

/// A score as a time in ms, whatever number somebody wrote there: a part of a ms, or no end.
#[allow(clippy::cast_possible_truncation, reason = "it ends where `i64` does")]
const fn time_ms(score: f64) -> i64 {
    score as i64
}
