//! What comes back to the queue when it is due: retries, and what is held, by visits.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{BATCH_MAX, BATCH_MAX_BYTES, Store, StoreError, keys::Keys, ms};
use crate::domain::{account::AccountId, webhook::WebhookId};

/// What promoting did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promoted {
    /// How many retries became due and moved to the queue.
    pub moved: usize,
    /// When the next retry is due; `None` where none waits.
    pub next_in: Option<Duration>,
    /// When the next visit is due; `None` where none is.
    pub visit_in: Option<Duration>,
    /// The clock of Redis, in Unix ms.
    pub now_ms: i64,
}

/// What a visit did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visited {
    /// How many held deliveries went back to the queue.
    pub moved: usize,
    /// The places that their attempts take.
    pub places: usize,
    /// When the webhook is visited next; `None` where nothing is left of it.
    pub next_in: Option<Duration>,
    /// Whether it is on and has more that waits for room; `None` where the visit was not made: it is not due, another worker
    /// having made it, or not planned.
    pub more_held: Option<bool>,
}

/// As `TIME` answers: seconds, and microseconds of the second under way.
type UnixTime = (i64, i64);

impl Store {
    /// Moves retries that are due to the queue.
    pub async fn promote(&self, partition: u16) -> Result<Promoted, StoreError> {
        let keys = &self.0.keys;
        let mut script = self.0.scripts.promote.key(keys.retries(partition));
        script.key(keys.queue(partition)).key(keys.visits(partition)).arg(BATCH_MAX).arg(BATCH_MAX_BYTES);
        let (moved, retry_ms, visit_ms, now_ms): (usize, i64, i64, i64) = self.0.link.run_script(&script).await?;
        let wait = |ms: i64| u64::try_from(ms).ok().map(Duration::from_millis);
        Ok(Promoted { moved, next_in: wait(retry_ms), visit_in: wait(visit_ms), now_ms })
    }

    /// How long ago the oldest retry was due; zero where none is.
    pub async fn retry_late_by(&self, partition: u16) -> Result<Duration, StoreError> {
        let mut look = redis::pipe();
        look.cmd("TIME").cmd("ZRANGE").arg(self.0.keys.retries(partition)).arg(0).arg(0).arg("WITHSCORES");
        let (now, first): (UnixTime, Vec<(Vec<u8>, f64)>) = self.0.link.run_pipeline(&look).await?;
        let late_ms = first.first().map_or(0, |(_, due)| (now.0 * 1000 + now.1 / 1000).saturating_sub(time_ms(*due)));
        Ok(Duration::from_millis(u64::try_from(late_ms).unwrap_or(0)))
    }

    /// The webhooks whose visit is due, oldest first, at most `most`; and in how long the next one is, where there is one.
    pub async fn due_visits(
        &self,
        partition: u16,
        now_ms: i64,
        most: usize,
    ) -> Result<(Vec<(AccountId, WebhookId)>, Option<Duration>), StoreError> {
        let visits = self.0.keys.visits(partition);
        let mut look = redis::cmd("ZRANGE");
        let first: Vec<(Vec<u8>, f64)> = self.0.link.run(look.arg(&visits).arg(0).arg(most).arg("WITHSCORES")).await?;
        let due = first.iter().take(most).take_while(|(_, at)| time_ms(*at) <= now_ms);
        let mut parsed = Vec::with_capacity(most.min(first.len()));
        for (member, _) in due.clone() {
            match std::str::from_utf8(member).ok().and_then(Keys::parse_visit) {
                Some(visit) if self.0.keys.partition(&visit.0) == partition => parsed.push(visit),
                // It would stand in the way of the others for ever.
                _ => self.0.link.run(redis::cmd("ZREM").arg(&visits).arg(member)).await?,
            }
        }
        let next = first.get(due.count());
        let wait_ms = |at| u64::try_from(time_ms(at).saturating_sub(now_ms)).unwrap_or(0);
        Ok((parsed, next.map(|(_, at)| Duration::from_millis(wait_ms(*at)))))
    }

    /// Puts off a visit that cannot be made, so that it does not stand in the way of the others.
    pub async fn postpone_visit(
        &self,
        account: &AccountId,
        webhook: WebhookId,
        to: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let mut postpone = redis::cmd("ZADD");
        postpone.arg(self.0.keys.visits(self.0.keys.partition(account))).arg("XX").arg(to.timestamp_millis());
        self.0.link.run(postpone.arg(Keys::visit(account, webhook))).await
    }

    /// Looks after one webhook's held, failed and log: `oldest_log` is the time before which log entries go. Of what is
    /// held, as much goes back to the queue as takes the free places, an attempt taking one for each `place_bytes` of its
    /// envelope, or as one script may move; more within `pace`, or at once where places are left. A visit that is not due is
    /// not made, unless it is planned and `rung`: places became free.
    pub async fn visit(
        &self,
        account: &AccountId,
        webhook: WebhookId,
        oldest_log: &str,
        (free, place_bytes, pace): (usize, usize, Duration),
        rung: bool,
    ) -> Result<Visited, StoreError> {
        let keys = &self.0.keys;
        let partition = keys.partition(account);
        let mut script = self.0.scripts.visit.key(keys.visits(partition));
        script.key(keys.webhooks(account)).key(keys.held(partition, webhook)).key(keys.failed(partition, webhook));
        script.key(keys.logs(partition, webhook)).key(keys.queue(partition)).key(keys.counts(partition));
        script.key(keys.held_bytes(partition));
        script.arg(Keys::visit(account, webhook)).arg(webhook.to_string()).arg(free).arg(place_bytes).arg(BATCH_MAX);
        script.arg(BATCH_MAX_BYTES).arg(ms(pace)).arg(ms(self.0.held.retention)).arg(ms(self.0.failed.retention));
        script.arg(oldest_log).arg(self.0.held.max_bytes).arg(u8::from(rung));
        let (moved, next_ms, more_held, places): (usize, i64, Option<bool>, usize) =
            self.0.link.run_script(&script).await?;
        let next_in = u64::try_from(next_ms).ok().map(Duration::from_millis);
        Ok(Visited { moved, places, next_in, more_held })
    }
}

/// A score as a time in ms, whatever number somebody wrote there: a part of a ms, or no end.
#[allow(clippy::cast_possible_truncation, reason = "it ends where `i64` does")]
const fn time_ms(score: f64) -> i64 {
    score as i64
}
