//! Work that has its time: retries and held deliveries come back to the queue, and webhooks are visited.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{BATCH_MAX, BATCH_MAX_BYTES, Store, StoreError, keys::Keys, ms, queue::latest_ms, scripts::Run};
use crate::domain::{account::AccountId, webhook::WebhookId};

/// What promoting did.
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

/// What a worker knows of Redis's clock, which may be wrong.
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
    /// What was to be done before this time of its new reckoning was planned before the step.
    pub to: DateTime<Utc>,
    /// How far it went, or a little more.
    pub by: Duration,
}

/// The result of releasing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Released {
    /// How many held deliveries went back to the queue.
    pub moved: usize,
    /// The places that their attempts take.
    pub places: usize,
    /// When more is released; `None` where nothing is left, or the webhook is off.
    pub next_in: Option<Duration>,
    /// Whether more waits for room; `None` where nothing was done: it is not due, another worker having done it, or not
    /// planned.
    pub more_held: Option<bool>,
}

/// The longest waits that any rule plans: what lies further ahead was planned by a clock that was wrong.
#[derive(Debug, Clone, Copy)]
pub struct Longest {
    /// Of a retry, by this worker's settings; those of others may have longer ones, which count as well.
    pub retry: Duration,
    /// Of what is among the retries for another reason.
    pub besides: Duration,
    /// Of a release.
    pub release: Duration,
    /// Of a visit.
    pub visit: Duration,
    /// Whether the clock stepped lately, so that nobody can tell how long ago another worker named its longest wait.
    pub stepped: bool,
}

/// The result of mending times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mended {
    /// Retries, releases and visits that were brought back.
    pub times: usize,
    /// Leases that count from now.
    pub leases: usize,
    /// Where to go on among the pending entries; `None` after the last.
    pub from: Option<String>,
    /// Whether more times may lie too far ahead.
    pub more_times: bool,
}

/// The result of a visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visited {
    /// It was made.
    Made,
    /// It was made, and is due again at once: more has to go.
    Again,
    /// It was not due: another worker made it.
    NotDue,
    /// The webhook's settings are not there, and so all else of it went.
    Gone,
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
            self.0.link.run_script(&script).await?;
        let wait = |ms: i64| u64::try_from(ms).ok().map(Duration::from_millis);
        Ok(Promoted { moved, next_in: wait(retry), release_in: wait(release), visit_in: wait(visit), now_ms })
    }

    /// Mends what a step of Redis's clock falsified, a part of it: among the pending entries it begins at `from`, which is `-` at
    /// first.
    pub async fn mend_times(&self, partition: u16, longest: &Longest, from: &str) -> Result<Mended, StoreError> {
        let keys = &self.0.keys;
        let mut script = self.0.scripts.mend_times.key(keys.queue(partition));
        script.key(keys.retries(partition)).key(keys.releases(partition)).key(keys.visits(partition));
        script.key(keys.counts(partition)).key(keys.audit(partition));
        script.arg(ms(longest.retry)).arg(ms(longest.release)).arg(ms(longest.visit)).arg(BATCH_MAX_BYTES).arg(from);
        script.arg(ms(longest.besides)).arg(u8::from(longest.stepped));
        let (times, leases, from, more_times): (usize, usize, String, bool) = self.0.link.run_script(&script).await?;
        Ok(Mended { times, leases, from: Some(from).filter(|from| !from.is_empty()), more_times })
    }

    /// How long ago the oldest retry was due; zero where none is.
    pub async fn retry_late_by(&self, partition: u16, clock: &KnownClock) -> Result<Duration, StoreError> {
        let mut look = redis::pipe();
        look.cmd("TIME").cmd("ZRANGE").arg(self.0.keys.retries(partition)).arg(0).arg(0).arg("WITHSCORES");
        let (now, first): (UnixTime, Vec<(Vec<u8>, f64)>) = self.0.link.run_pipeline(&look).await?;
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
        let first: Vec<(Vec<u8>, f64)> = self.0.link.run(look.arg(&times).arg(0).arg(most).arg("WITHSCORES")).await?;
        let due = first.iter().take(most).take_while(|(_, at)| time_ms(*at) <= now_ms);
        let mut parsed = Vec::with_capacity(most.min(first.len()));
        for (member, _) in due.clone() {
            match std::str::from_utf8(member).ok().and_then(Keys::parse_member) {
                Some(webhook) if self.0.keys.partition(&webhook.0) == partition => parsed.push(webhook),
                // It would stand in the way of the others for ever.
                _ => self.0.link.run(redis::cmd("ZREM").arg(&times).arg(member)).await?,
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
        put_off.arg(self.times(times, self.0.keys.partition(account))).arg("XX").arg(to.timestamp_millis());
        self.0.link.run(put_off.arg(Keys::member(account, webhook))).await
    }

    fn times(&self, times: Times, partition: u16) -> String {
        match times {
            Times::Releases => self.0.keys.releases(partition),
            Times::Visits => self.0.keys.visits(partition),
        }
    }

    /// Moves what one webhook holds back to the queue: as much as takes the free places, an attempt taking one for each
    /// `place_bytes` of its envelope, or as one script may move; more within `pace`, or at once where places are left. Nothing
    /// is done before it is due, unless it is planned and `rung`: places became free.
    pub async fn release(
        &self,
        account: &AccountId,
        webhook: WebhookId,
        (free, place_bytes, pace): (usize, usize, Duration),
        rung: bool,
    ) -> Result<Released, StoreError> {
        let keys = &self.0.keys;
        let partition = keys.partition(account);
        let mut script = self.0.scripts.release.key(keys.releases(partition));
        script.key(keys.webhooks(account)).key(keys.held(partition, webhook));
        script.key(keys.queue(partition)).key(keys.held_bytes(partition));
        script.arg(Keys::member(account, webhook)).arg(webhook.to_string()).arg(free).arg(place_bytes);
        script.arg(BATCH_MAX).arg(BATCH_MAX_BYTES).arg(ms(pace)).arg(u8::from(rung));
        let (moved, next_ms, more_held, places): (usize, i64, Option<bool>, usize) =
            self.0.link.run_script(&script).await?;
        let next_in = u64::try_from(next_ms).ok().map(Duration::from_millis);
        Ok(Released { moved, places, next_in, more_held })
    }

    /// Looks after one webhook's held, failed and log, if it is due: `oldest_log` is the time before which log entries go.
    pub async fn visit(
        &self,
        account: &AccountId,
        webhook: WebhookId,
        oldest_log: &str,
    ) -> Result<Visited, StoreError> {
        let mut script = self.0.scripts.visit.key(self.0.keys.webhooks(account));
        self.of_webhook(&mut script, account, webhook);
        script.arg(ms(self.0.held.retention)).arg(ms(self.0.failed.retention)).arg(oldest_log);
        script.arg(self.0.held.max_bytes);
        let answer: String = self.0.link.run_script(&script).await?;
        Ok(match answer.as_str() {
            "VISITED" => Visited::Made,
            "AGAIN" => Visited::Again,
            "GONE" => Visited::Gone,
            _ => Visited::NotDue,
        })
    }

    /// The keys and arguments of a script that may drop all of a webhook.
    pub(super) fn of_webhook(&self, script: &mut Run<'_>, account: &AccountId, webhook: WebhookId) {
        let keys = &self.0.keys;
        let partition = keys.partition(account);
        script.key(keys.logs(partition, webhook)).key(keys.held(partition, webhook));
        script.key(keys.failed(partition, webhook)).key(keys.visits(partition)).key(keys.releases(partition));
        script.key(keys.counts(partition)).key(keys.held_bytes(partition));
        script.arg(webhook.to_string()).arg(Keys::member(account, webhook));
    }
}

/// A score as a time in ms, whatever number somebody wrote there: a part of a ms, or no end.
#[allow(clippy::cast_possible_truncation, reason = "it ends where `i64` does")]
const fn time_ms(score: f64) -> i64 {
    score as i64
}
