//! The queue's steps: claim, fan out, settle, hold, reject, renew, leave.

use std::{collections::HashSet, sync::Arc, time::Duration};

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use redis::Value;

use super::{Store, StoreError, keys::Keys, ms, scripts::Run};
use crate::domain::{
    account::AccountId,
    delivery::{Delivery, LINE_MAX_BYTES},
    event::EventId,
    log_entry::{LOG_LIMIT, LOG_RETENTION, LogEntry},
    retry::Next,
    webhook::WebhookId,
};

/// One script moves at most this many bytes between keys (at least one delivery): 50 of 1 MB would block Redis for
/// 0.4 s.
pub const BATCH_MAX_BYTES: usize = 4 << 20;
/// One script moves at most this many deliveries between keys.
pub const BATCH_MAX: usize = 50;
/// Leases of one step were mostly taken within this, but for those of slow endpoints.
const TOGETHER: Duration = Duration::from_secs(1);
/// A consumer with nothing pending that was idle this long is removed.
const CONSUMER_IDLE: Duration = Duration::from_hours(1);
/// Before all ids.
const FROM_THE_OLDEST: &str = "-";

/// A queue entry's id, as Redis made it: `<ms>-<sequence>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EntryId(pub String);

impl EntryId {
    /// What ids are sorted by: Unix ms, and a number within it; `None` where it is no whole id.
    pub fn order(&self) -> Option<(u64, u64)> {
        let (ms, sequence) = self.0.split_once('-')?;
        let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        Some((number(ms)?, number(sequence)?))
    }

    /// How long the entry has been in the queue at `now`, by Redis's clock; negative where its id is from the future.
    pub fn age(&self, now: DateTime<Utc>) -> TimeDelta {
        let (ms, _) = self.order().unwrap_or_default();
        TimeDelta::milliseconds(now.timestamp_millis().saturating_sub(i64::try_from(ms).unwrap_or(i64::MAX)))
    }
}

/// An entry as it was taken from the queue.
#[derive(Debug)]
pub struct Entry {
    /// Its id.
    pub id: EntryId,
    /// How often it was given to a worker, this time included.
    pub deliveries: u32,
    /// Its fields, in order.
    pub fields: Vec<(Bytes, Bytes)>,
}

impl Entry {
    /// What its fields weigh.
    pub fn size_bytes(&self) -> usize {
        self.fields.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

/// What a claim may take.
#[derive(Debug, Clone)]
pub struct Room {
    /// So many entries.
    pub entries: usize,
    /// Of these, so many that were claimed before.
    pub suspects: usize,
    /// Those are looked for from here on, as the claim before said; from the oldest on where it said nothing.
    pub from: Option<String>,
    /// Webhooks of deliveries, and accounts of events, whose suspects are left where they are.
    pub not: Vec<String>,
    /// The same, whose suspects are taken only where there is no other, in this order.
    pub last: Vec<String>,
    /// Nothing where Redis's clock shows more: it stepped forward, and leases only seem to have ended.
    pub latest: Option<DateTime<Utc>>,
}

/// What a consumer has without having been told of it, for an answer was lost.
#[derive(Debug, Clone, Copy)]
pub enum Untold<'a> {
    /// What it read: new entries behind the last that it was told of. It may have some of them in hand.
    Read(Option<&'a EntryId>),
    /// What it claimed within this time: entries that were lost before.
    Claimed {
        /// Other than these.
        in_hand: &'a [Fence],
        /// Since the claim was sent.
        within: Duration,
    },
}

/// What a claim took.
#[derive(Debug)]
pub struct Claimed {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Where the next claim is to look on among the suspects; nothing where all were looked at.
    pub next: Option<String>,
}

impl From<(usize, usize)> for Room {
    fn from((entries, suspects): (usize, usize)) -> Self {
        Self { entries, suspects, from: None, not: Vec::new(), last: Vec::new(), latest: None }
    }
}

/// The fence: an entry that `consumer` holds under a delivery count.
#[derive(Debug, Clone)]
pub struct Fence {
    /// The queue's partition.
    pub partition: u16,
    /// The entry.
    pub entry: EntryId,
    /// The delivery count of the lease; 0: somebody took it out of the queue.
    pub deliveries: u32,
}

/// An attempt that is to be settled. Cheap to clone, for it is settled again where its entry came anew meanwhile.
#[derive(Debug, Clone)]
pub struct Attempted {
    /// The lease.
    pub fence: Fence,
    /// The delivery as it was attempted.
    pub delivery: Arc<Delivery>,
    /// What follows.
    pub next: Next,
    /// Its log entry.
    pub log: Arc<LogEntry>,
    /// Its envelope, where the entry that has it was taken out of the queue.
    pub trimmed: Option<Bytes>,
}

/// A delivery that is to wait beside the queue.
#[derive(Debug, Clone)]
pub struct ToHold {
    /// The lease.
    pub fence: Fence,
    /// The delivery, before its next attempt.
    pub delivery: Delivery,
    /// Its envelope.
    pub envelope: Bytes,
    /// Why.
    pub reason: Reason,
}

/// Why a delivery waits beside the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Its webhook is off. It waits until that is switched on.
    Off,
    /// Its endpoint has no room now.
    Busy {
        /// What is held is released in this long at the latest.
        release_in: Duration,
        /// Whether it counts against the limits of `held`. A retry, and what was held or redelivered before, always fits.
        is_new: bool,
    },
    /// It is a due retry whose endpoint has no room, or any delivery whose host's name cannot be looked up: it goes to
    /// `retries`.
    Again {
        /// It is due again after this long.
        after: Duration,
    },
}

/// What a leased step answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepAnswer {
    /// It is done.
    Done,
    /// It is done, but Redis refused the log entry, and it was counted.
    Unlogged,
    /// Somebody took the entry out of the queue; nothing changed.
    Trimmed,
    /// Nobody holds the entry, because the queue or its group was lost after it came; nothing changed.
    Vanished,
    /// The queue takes nothing now, so that the rest of an event stays where it is; its deliveries so far wait.
    Rest,
    /// The lease is another's; nothing changed.
    Lost,
    /// The webhook is deleted; the delivery was dropped and counted.
    Gone,
    /// The webhook is on after all: attempt it.
    Active,
    /// It is new, its webhook is on, and `held` is full; nothing changed.
    Full,
    /// Redis could not; the entry stays where it was.
    Broken(String),
}

/// An entry as scripts answer it: its id, its delivery count and its fields.
type Taking = (String, u32, Value);

fn entries_of(taken: Vec<Taking>) -> Vec<Entry> {
    let entry = |(id, deliveries, fields)| Entry { id: EntryId(id), deliveries, fields: pairs(fields) };
    taken.into_iter().map(entry).collect()
}

/// The latest that Redis's clock may show, in Unix ms.
pub(super) fn latest_ms(latest: Option<DateTime<Utc>>) -> i64 {
    latest.map_or(i64::MAX, |latest| latest.timestamp_millis())
}

/// How many deliveries of an envelope of this size one script may add, together with the event's rest.
pub fn fan_out_max(envelope_bytes: usize) -> usize {
    let copies = BATCH_MAX_BYTES / (envelope_bytes + LINE_MAX_BYTES);
    copies.saturating_sub(1).clamp(1, BATCH_MAX)
}

impl Store {
    /// Creates the consumer group where it is missing; answers whether it was.
    pub async fn ensure_group(&self, partition: u16) -> Result<bool, StoreError> {
        let mut script = self.0.scripts.group.key(self.0.keys.queue(partition));
        script.key(self.0.keys.audit(partition));
        self.0.link.run_script(&script).await
    }

    /// Takes over entries whose worker died, as far as there is room.
    pub async fn claim(
        &self,
        partition: u16,
        consumer: &str,
        lease: Duration,
        room: impl Into<Room>,
    ) -> Result<Claimed, StoreError> {
        let Room { entries, suspects, from, not, last, latest } = room.into();
        let mut script = self.0.scripts.claim.key(self.0.keys.queue(partition));
        script.key(self.0.keys.counts(partition));
        script.arg(consumer).arg(ms(lease)).arg(entries).arg(suspects).arg(BATCH_MAX_BYTES);
        script.arg(latest_ms(latest));
        script.arg(from.as_deref().unwrap_or(FROM_THE_OLDEST)).arg(not.len()).arg(not).arg(last);
        let (claimed, next): (Vec<Taking>, String) = self.0.link.run_script(&script).await?;
        Ok(Claimed { entries: entries_of(claimed), next: (next != FROM_THE_OLDEST).then_some(next) })
    }

    /// Counts entries that somebody took out of the queue, which no script saw.
    pub async fn count_trimmed(&self, partition: u16, entries: u64) -> Result<(), StoreError> {
        let key = self.0.keys.counts(partition);
        self.0.link.run(redis::cmd("HINCRBY").arg(key).arg("entries_trimmed").arg(entries)).await
    }

    /// Takes back entries that `consumer` has without having been told of them, at most `most`.
    pub async fn take_back(
        &self,
        partition: u16,
        consumer: &str,
        untold: Untold<'_>,
        most: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let mut script = self.0.scripts.take_back.key(self.0.keys.queue(partition));
        script.key(self.0.keys.counts(partition));
        let (from, claimed_ms, in_hand): (_, _, &[Fence]) = match untold {
            Untold::Read(last) => (last.map(|last| format!("({}", last.0)), 0, &[]),
            Untold::Claimed { in_hand, within } => (None, ms(within), in_hand),
        };
        script.arg(consumer).arg(from.as_deref().unwrap_or(FROM_THE_OLDEST)).arg(most).arg(BATCH_MAX_BYTES);
        script.arg(claimed_ms).arg(in_hand.iter().map(|fence| &*fence.entry.0).collect::<Vec<_>>());
        Ok(entries_of(self.0.link.run_script(&script).await?))
    }

    /// Makes one entry of each delivery of an event, at most [`fan_out_max`] of them. If `more` webhooks are left, a new entry
    /// for the event goes on behind the last of these, unless the queue takes nothing ([`StepAnswer::Rest`]); otherwise the event is done, and counted if it had no delivery at all.
    pub async fn fan_out(
        &self,
        consumer: &str,
        fence: &Fence,
        deliveries: &[Delivery],
        more: bool,
    ) -> Result<StepAnswer, StoreError> {
        let keys = &self.0.keys;
        let mut script = self.0.scripts.fan_out.key(keys.queue(fence.partition));
        script.key(keys.counts(fence.partition)).key(keys.retries(fence.partition));
        script.arg(consumer).arg(&fence.entry.0).arg(fence.deliveries);
        match deliveries.last().filter(|_| more) {
            Some(last) => script.arg(last.event_id.as_str()).arg(last.webhook.to_string()),
            None => script.arg("").arg(""),
        };
        for delivery in deliveries {
            script.arg(delivery.line());
        }
        self.0.link.run_script(&script).await.map(answer)
    }

    /// Settles attempts of one partition, several in one script. The expiry of a log is set when it begins, and again where
    /// `renew` has its webhook.
    pub async fn settle(
        &self,
        partition: u16,
        consumer: &str,
        attempts: &[Attempted],
        renew: &HashSet<WebhookId>,
    ) -> Result<Vec<StepAnswer>, StoreError> {
        let mut answers = self.settle_once(partition, consumer, attempts, |webhook| renew.contains(&webhook)).await?;
        // A webhook without a log was deleted, or its log begins; an entry may be another worker's by now.
        let unsettled: Vec<usize> = (0..answers.len()).filter(|index| answers[*index] == "AGAIN").collect();
        if !unsettled.is_empty() {
            let again: Vec<Attempted> = unsettled.iter().map(|index| attempts[*index].clone()).collect();
            let settled = match self.settle_once(partition, consumer, &again, |_| true).await {
                // The others are settled.
                Err(error) if !error.is_passing() => vec![error.to_string(); unsettled.len()],
                settled => settled?,
            };
            for (index, answer) in unsettled.into_iter().zip(settled) {
                answers[index] = answer;
            }
        }
        Ok(answers.into_iter().map(answer).collect())
    }

    /// The same, in the script's words.
    async fn settle_once(
        &self,
        partition: u16,
        consumer: &str,
        attempts: &[Attempted],
        is_renewed: impl Fn(WebhookId) -> bool,
    ) -> Result<Vec<String>, StoreError> {
        let keys = &self.0.keys;
        let mut script = self.0.scripts.settle.key(keys.queue(partition));
        script.key(keys.retries(partition)).key(keys.visits(partition)).key(keys.counts(partition));
        script.key(keys.audit(partition));
        script.arg(consumer).arg(LOG_LIMIT - 1).arg(LOG_RETENTION.as_secs());
        script.arg(self.0.failed.limit).arg(self.0.failed.max_bytes);
        arg_leases(&mut script, attempts.iter().map(|attempt| &attempt.fence), TOGETHER);
        let grouped = ByWebhook::new(attempts.iter().map(|attempt| &*attempt.delivery));
        let (plain, others): (Vec<_>, Vec<_>) = grouped.iter().partition(|(_, webhook, deliveries)| {
            let delivered = |one: &Attempted| one.next == Next::Delivered && one.fence.deliveries == 1;
            !is_renewed(*webhook) && deliveries.iter().all(|(_, index)| delivered(&attempts[*index]))
        });
        script.arg(plain.len());
        for (_, webhook, deliveries) in &plain {
            script.key(keys.logs(partition, *webhook)).arg(deliveries.len());
            for (_, index) in *deliveries {
                script.arg(&attempts[*index].fence.entry.0);
            }
            for (_, index) in *deliveries {
                script.arg(attempts[*index].log.to_json());
            }
        }
        for (account, webhook, deliveries) in &others {
            let webhook = *webhook;
            script.key(keys.webhooks(account)).key(keys.logs(partition, webhook)).key(keys.failed(partition, webhook));
            script.arg(account.as_str()).arg(webhook.to_string()).arg(u8::from(is_renewed(webhook)));
            script.arg(deliveries.len());
            for Attempted { fence, delivery, next, log, trimmed } in
                deliveries.iter().map(|(_, index)| &attempts[*index])
            {
                script.arg(&fence.entry.0).arg(fence.deliveries).arg(log.to_json());
                let whole = |delivery: &Delivery| trimmed.as_ref().map(|envelope| delivery.text(envelope));
                let text = |delivery: &Delivery| whole(delivery).unwrap_or_else(|| delivery.line().into_bytes());
                match next {
                    Next::Delivered => script.arg("delivered"),
                    Next::Retry { after } => script.arg("retry").arg(text(&delivery.next_attempt())).arg(ms(*after)),
                    Next::Failed => script.arg("failed").arg(text(delivery)).arg(0),
                };
            }
        }
        let answers: Vec<String> = self.0.link.run_script(&script).await?;
        let order = plain.iter().chain(&others).flat_map(|(.., deliveries)| deliveries.iter().map(|(_, index)| *index));
        Ok(in_order(order, answers))
    }

    /// Puts deliveries of one partition aside, several in one script: into `held`, or due retries back into `retries`.
    pub async fn hold(
        &self,
        partition: u16,
        consumer: &str,
        waiting: &[ToHold],
    ) -> Result<Vec<StepAnswer>, StoreError> {
        let keys = &self.0.keys;
        let mut script = self.0.scripts.hold.key(keys.queue(partition));
        script.key(keys.visits(partition)).key(keys.counts(partition));
        script.key(keys.retries(partition)).key(keys.held_bytes(partition)).key(keys.releases(partition));
        script.arg(consumer).arg(self.0.held.limit).arg(self.0.held.max_bytes);
        arg_leases(&mut script, waiting.iter().map(|waiting| &waiting.fence), TOGETHER);
        let grouped = ByWebhook::new(waiting.iter().map(|waiting| &waiting.delivery));
        for (_, webhook, _) in grouped.iter() {
            script.arg(webhook.to_string());
        }
        for (account, webhook, deliveries) in grouped.iter() {
            script.key(keys.webhooks(account)).key(keys.held(partition, webhook));
            script.arg(Keys::member(account, webhook)).arg(deliveries.len());
            for ToHold { fence, delivery, envelope, reason } in deliveries.iter().map(|(_, index)| &waiting[*index]) {
                let (reason, wait) = match *reason {
                    Reason::Off => ("off", Duration::ZERO),
                    Reason::Busy { release_in, is_new: true } => ("new", release_in),
                    Reason::Busy { release_in, is_new: false } => ("known", release_in),
                    Reason::Again { after } => ("again", after),
                };
                script.arg(&fence.entry.0).arg(fence.deliveries).arg(delivery.text(envelope));
                script.arg(reason).arg(ms(wait));
            }
        }
        let answers: Vec<String> = self.0.link.run_script(&script).await?;
        let order = grouped.sorted.iter().map(|(_, index)| *index);
        Ok(in_order(order, answers.into_iter().map(answer)))
    }

    /// Sets an entry aside, whole, with the reason; an event under the id that it may have been sent with.
    pub async fn reject(
        &self,
        consumer: &str,
        fence: &Fence,
        reason: &str,
        event: Option<&EventId>,
    ) -> Result<StepAnswer, StoreError> {
        let (keys, partition) = (&self.0.keys, fence.partition);
        let mut script = self.0.scripts.reject.key(keys.queue(partition));
        script.key(keys.rejected(partition)).key(keys.counts(partition));
        script.arg(consumer).arg(&fence.entry.0).arg(fence.deliveries).arg(reason);
        script.arg(self.0.rejected.limit).arg(self.0.rejected.max_bytes).arg(event.map_or("", EventId::as_str));
        self.0.link.run_script(&script).await.map(answer)
    }

    /// Drops rejected entries that are past their retention; answers whether there may be more.
    pub async fn sweep(&self, partition: u16) -> Result<bool, StoreError> {
        let mut script = self.0.scripts.sweep.key(self.0.keys.rejected(partition));
        script.key(self.0.keys.counts(partition)).arg(ms(self.0.rejected.retention));
        self.0.link.run_script(&script).await
    }

    /// Counts these leases from now; answers the entries that are no longer held, those that somebody took out of the queue, and
    /// those that nobody holds because the queue or its group was lost.
    pub async fn renew(
        &self,
        partition: u16,
        consumer: &str,
        leases: &[Fence],
    ) -> Result<[Vec<EntryId>; 3], StoreError> {
        let mut script = self.0.scripts.renew.key(self.0.keys.queue(partition));
        script.key(self.0.keys.counts(partition)).key(self.0.keys.audit(partition)).arg(consumer);
        arg_leases(&mut script, leases.iter(), Duration::MAX);
        for fence in leases {
            script.arg(&fence.entry.0).arg(fence.deliveries);
        }
        let answer: (Vec<String>, Vec<String>, Vec<String>) = self.0.link.run_script(&script).await?;
        Ok(<[_; 3]>::from(answer).map(|ids| ids.into_iter().map(EntryId).collect()))
    }

    /// Gives entries that were not started back to the queue, each with its event's id (empty for deliveries), and
    /// removes consumers with nothing pending: this one if `leaving`, any that has long been idle.
    pub async fn leave(
        &self,
        partition: u16,
        consumer: &str,
        leaving: bool,
        unstarted: &[(Fence, String)],
    ) -> Result<usize, StoreError> {
        let mut script = self.0.scripts.leave.key(self.0.keys.queue(partition));
        script.key(self.0.keys.counts(partition));
        script.arg(consumer).arg(u8::from(leaving)).arg(ms(CONSUMER_IDLE));
        for (fence, event_id) in unstarted {
            script.arg(&fence.entry.0).arg(fence.deliveries).arg(event_id);
        }
        self.0.link.run_script(&script).await
    }
}

/// Between which entries some leases lie, and how many they are: what lies there is looked at together, so those are left
/// out of it that were taken more than `within` before the last. Among all that is in hand since then, they would take the
/// place of the others.
fn arg_leases<'a>(script: &mut Run<'_>, leases: impl IntoIterator<Item = &'a Fence>, within: Duration) {
    let mut entries: Vec<_> = leases.into_iter().map(|fence| (fence.entry.order(), &*fence.entry.0)).collect();
    entries.sort_unstable();
    let at = |order: &Option<(u64, u64)>| Duration::from_millis(order.map_or(0, |(ms, _)| ms));
    let last = entries.last().map_or(Duration::ZERO, |(order, _)| at(order));
    let apart = entries.partition_point(|(order, _)| last.saturating_sub(at(order)) > within);
    let ends = entries.get(apart).zip(entries.last());
    let (first, last) = ends.map_or(("-", "+"), |((_, first), (_, last))| (first, last));
    script.arg(first).arg(last).arg(entries.len());
}

/// Deliveries of a batch by their webhooks, so that a script is told once what those of one have in common.
struct ByWebhook<'a> {
    /// Each delivery, and where in the batch it stands; those of one webhook in their order.
    sorted: Vec<(&'a Delivery, usize)>,
}

impl<'a> ByWebhook<'a> {
    fn new(deliveries: impl Iterator<Item = &'a Delivery>) -> Self {
        let mut sorted: Vec<_> = deliveries.zip(0..).collect();
        sorted.sort_by(|(a, _), (b, _)| (a.webhook, &a.account).cmp(&(b.webhook, &b.account)));
        Self { sorted }
    }

    /// Each webhook's account and id, and its deliveries with their places in the batch.
    fn iter(&self) -> impl Iterator<Item = (&AccountId, WebhookId, &[(&'a Delivery, usize)])> {
        let same =
            |(a, _): &(&Delivery, usize), (b, _): &(&Delivery, usize)| a.webhook == b.webhook && a.account == b.account;
        self.sorted.chunk_by(same).map(|of_one| (&of_one[0].0.account, of_one[0].0.webhook, of_one))
    }
}

/// What was answered for each of a batch, in the batch's order; `order` has their places in it.
fn in_order<A>(order: impl Iterator<Item = usize>, answers: impl IntoIterator<Item = A>) -> Vec<A> {
    let mut answers: Vec<_> = order.zip(answers).collect();
    answers.sort_unstable_by_key(|(index, _)| *index);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// `[field, value, …]` as pairs, without copying what they hold.
pub(super) fn pairs(fields: Value) -> Vec<(Bytes, Bytes)> {
    let Value::Array(items) = fields else { return Vec::new() };
    let mut texts = items.into_iter().map(|item| match item {
        Value::BulkString(bytes) => Bytes::from(bytes),
        _ => Bytes::new(),
    });
    let mut pairs = Vec::with_capacity(texts.len() / 2);
    while let (Some(name), Some(value)) = (texts.next(), texts.next()) {
        pairs.push((name, value));
    }
    pairs
}

fn answer(word: String) -> StepAnswer {
    match word.as_str() {
        "DONE" | "SETTLED" | "HELD" => StepAnswer::Done,
        "UNLOGGED" => StepAnswer::Unlogged,
        "TRIMMED" => StepAnswer::Trimmed,
        "VANISHED" => StepAnswer::Vanished,
        "REST" => StepAnswer::Rest,
        "LOST" => StepAnswer::Lost,
        "GONE" => StepAnswer::Gone,
        "ACTIVE" => StepAnswer::Active,
        "FULL" => StepAnswer::Full,
        _ => StepAnswer::Broken(word),
    }
}
