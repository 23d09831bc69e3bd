//! Work at a planned time: retries that become due, and webhooks to release or visit.

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
    /// The number of due retries that moved to the queue.
    pub moved: usize,
    /// The time until the next retry is due; `None` if none waits.
    pub next_in: Option<Duration>,
    /// The time until the next release is due; `None` if none is planned.
    pub release_in: Option<Duration>,
    /// The time until the next visit is due; `None` if none is planned.
    pub visit_in: Option<Duration>,
    /// The time by Redis's clock, in Unix ms.
    pub now_ms: i64,
}

/// A worker's knowledge of Redis's clock, which may be wrong.
#[derive(Debug, Clone, Default)]
pub struct KnownClock {
    /// The latest time that it may show, unless it steps forward just now.
    pub latest: Option<DateTime<Utc>>,
    /// Its steps forward that it has not taken back, the oldest first.
    pub leaps: Vec<Leap>,
}

impl KnownClock {
    /// The time at which a retry with this score is due, both in Unix ms. A retry that was planned before a step
    /// forward is due later by the length of the step.
    fn due_ms(&self, score_ms: i64) -> i64 {
        self.leaps.iter().fold(score_ms, |due_ms, leap| {
            if due_ms < leap.to.timestamp_millis() { due_ms.saturating_add_unsigned(ms(leap.by)) } else { due_ms }
        })
    }
}

/// A step forward of Redis's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leap {
    /// A retry with a time before this one, by the clock after the step, was planned before the step.
    pub to: DateTime<Utc>,
    /// The length of the step, or a little more.
    pub by: Duration,
}

/// The two sorted sets of webhooks by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// The times at which their held deliveries go back to the queue.
    Releases,
    /// The times of their upkeep, which drops old entries, too many bytes, and leftovers without settings.
    Visits,
}

/// The answer of `TIME`: seconds, and microseconds within the second.
type UnixTime = (i64, i64);

impl Store {
    /// Moves due retries to the queue. Moves none while Redis's clock shows a time later than `clock` allows. A retry
    /// that was planned before a step forward is due by the clock as it was then.
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

    /// The time since the oldest retry was due; zero if none is due.
    pub async fn retry_late_by(&self, partition: u16, clock: &KnownClock) -> Result<Duration, StoreError> {
        let mut look = redis::pipe();
        look.cmd("TIME").cmd("ZRANGE").arg(self.0.keys.retries(partition)).arg(0).arg(0).arg("WITHSCORES");
        let (now, first): (UnixTime, Vec<(Vec<u8>, f64)>) = self.at(partition).run_pipeline(&look).await?;
        let late_ms = first
            .first()
            .map_or(0, |(_, due)| (now.0 * 1000 + now.1 / 1000).saturating_sub(clock.due_ms(time_ms(*due))));
        Ok(Duration::from_millis(u64::try_from(late_ms).unwrap_or(0)))
    }

    /// The webhooks whose time has come, oldest first, at most `most`; and the time until the next one is due, if there
    /// is one.
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
                // Remove a member that names no webhook of this partition: it would block the others for ever.
                _ => self.at(partition).run(redis::cmd("ZREM").arg(&times).arg(member)).await?,
            }
        }
        let next = first.get(due.count());
        let wait_ms = |at| u64::try_from(time_ms(at).saturating_sub(now_ms)).unwrap_or(0);
        Ok((parsed, next.map(|(_, at)| Duration::from_millis(wait_ms(*at)))))
    }

    /// Puts off a release or visit that cannot be made, so that it does not block the others.
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

/// A score as a time in ms. The score may be any number that somebody wrote, such as a fraction or infinity.
#[allow(clippy::cast_possible_truncation, reason = "it ends where `i64` does")]
const fn time_ms(score: f64) -> i64 {
    score as i64
}
