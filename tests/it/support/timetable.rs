//! The timetable of an installation: when each attempt was due, and when it began.
//!
//! A first attempt is due when its event is added to the queue (the time in the entry's id). A retry is due at its
//! score in `retries`; the first score counts, because a retry that finds no place goes back with a later score. The
//! start and the end of an attempt come from the worker's log, so an attempt counts even if its endpoint never saw it.
//! All clocks are this machine's.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use redis::AsyncCommands;
use serde_json::Value;
use tokio::task::JoinSet;

use super::{Installation, TRANSCRIPT};

/// Settings with which the timetable can read a worker's log.
pub const TELLING: [(&str, &str); 2] =
    [("LYNKHOOK_LOG__FILTER", "info,lynkhook::worker=debug"), ("LYNKHOOK_LOG__FORMAT", "json")];

/// The interval for reading `retries`. Every retry in these tests waits at least ten times as long.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The interval for asking workers which endpoints they limit. Workers publish that every two seconds.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// A sleep or a PING that takes this much too long shows that the machine or Redis is stalled.
const STALL: Duration = Duration::from_millis(100);

/// Reads the newest lines and scores of `retries`, without the envelopes.
const LOOK: &str = r"
    local found = {}
    local entries = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
    for at = 1, #entries, 2 do
      found[#found + 1] = string.match(entries[at], '^[^\n]*')
      found[#found + 1] = entries[at + 1]
    end
    return found";

/// One attempt.
#[derive(Clone, Debug)]
pub struct Timed {
    pub event: String,
    pub webhook: String,
    pub number: u8,
    /// `None` for a retry that was never seen in `retries`.
    pub due_ms: Option<i64>,
    pub started_ms: i64,
    pub ended_ms: i64,
    /// The HTTP status, or "Network Error".
    pub status: String,
    pub error: Option<String>,
    pub last: bool,
}

impl Timed {
    /// The lateness of its start; negative if it was early.
    pub fn late_ms(&self) -> Option<i64> {
        Some(self.started_ms - self.due_ms?)
    }

    pub fn is_good(&self) -> bool {
        self.status.starts_with('2')
    }
}

/// The observations while an installation works.
#[derive(Default)]
struct Seen {
    /// The account of each pushed event, and the time when it was added to the queue.
    pushed: BTreeMap<String, (String, i64)>,
    /// The first score of each retry, by delivery and attempt.
    dues: HashMap<(String, u8), i64>,
    /// The webhooks that workers reported as limited, with the time of the question.
    limited: Vec<(i64, HashSet<String>)>,
    /// The times when the test's own process, or a command that it sent, had to wait.
    stalls: Vec<(i64, i64)>,
}

/// Watches an installation until it is dropped.
pub struct Timetable {
    seen: Arc<Mutex<Seen>>,
    _watching: JoinSet<()>,
}

impl Timetable {
    pub fn watch(here: &Installation) -> Self {
        let (seen, mut watching) = (Arc::<Mutex<Seen>>::default(), JoinSet::new());
        watching.spawn(watch_retries(here.redis.clone(), here.key("retries"), Arc::clone(&seen)));
        watching.spawn(watch_limits(here.redis.clone(), format!("{}:workers:*", here.prefix), Arc::clone(&seen)));
        watching.spawn(watch_machine(here.redis.clone(), Arc::clone(&seen)));
        Self { seen, _watching: watching }
    }

    /// Pushes an event and records its due time.
    pub async fn push(&self, here: &Installation, account: &str) {
        self.push_envelope(here, account, TRANSCRIPT).await;
    }

    /// The same with another envelope.
    pub async fn push_envelope(&self, here: &Installation, account: &str, envelope: &str) {
        let event = format!("{account}-{}", self.seen().pushed.len());
        let fields = [("account", account), ("envelope", envelope), ("id", &event)];
        let entry: String = here.redis.clone().xadd(here.key("queue"), "*", &fields).await.unwrap();
        let at_ms = entry.split('-').next().and_then(|ms| ms.parse().ok()).expect("an entry's id");
        self.seen().pushed.insert(event, (account.to_owned(), at_ms));
    }

    /// The attempts for each event of an account, in order. `said` is the workers' standard error.
    pub fn of(&self, account: &str, said: &[String]) -> Record {
        let seen = self.seen();
        let pushed = seen.pushed.iter().filter(|(_, (of, _))| of == account);
        let mut record =
            Record { events: pushed.map(|(event, (_, at_ms))| (event.clone(), (*at_ms, Vec::new()))).collect() };
        for line in said.iter().flat_map(|stderr| stderr.lines()).filter(|line| line.contains(r#""message":"attempt""#))
        {
            let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            let delivery = line["delivery"].as_str().unwrap();
            let (event, webhook) = delivery.split_once('.').unwrap();
            let Some((at_ms, attempts)) = record.events.get_mut(event) else { continue };
            let number = u8::try_from(line["attempt"].as_u64().unwrap()).unwrap();
            let score = || seen.dues.get(&(delivery.to_owned(), number)).copied();
            let ended_ms = chrono::DateTime::parse_from_rfc3339(line["timestamp"].as_str().unwrap()).unwrap();
            let ended_ms = ended_ms.timestamp_millis();
            attempts.push(Timed {
                event: event.to_owned(),
                webhook: webhook.to_owned(),
                number,
                due_ms: if number == 1 { Some(*at_ms) } else { score() },
                started_ms: ended_ms - i64::try_from(line["duration_ms"].as_u64().unwrap()).unwrap(),
                ended_ms,
                status: line["status"].as_str().unwrap().to_owned(),
                error: line["error"].as_str().map(ToOwned::to_owned),
                last: line["last"] == true,
            });
        }
        // Each worker's log is in order, but the logs together are not.
        record.events.values_mut().for_each(|(_, attempts)| attempts.sort_by_key(|attempt| attempt.started_ms));
        record
    }

    /// Whether a worker reported, between these times or just after, that it limits a webhook.
    pub fn was_limited(&self, webhook: &str, from_ms: i64, until_ms: i64) -> bool {
        let window = from_ms..=until_ms + 2 * i64::try_from(ASK_EVERY.as_millis()).expect("it is short");
        self.seen().limited.iter().any(|(at_ms, webhooks)| window.contains(at_ms) && webhooks.contains(webhook))
    }

    /// The lateness of an attempt's start, without the time in which the machine or Redis was stalled.
    pub fn late_ms(&self, attempt: &Timed) -> Option<i64> {
        Some(attempt.late_ms()? - self.stalled_ms(attempt.due_ms?, attempt.started_ms))
    }

    /// How much of this time neither the test's own process nor a command to Redis made progress.
    fn stalled_ms(&self, from_ms: i64, until_ms: i64) -> i64 {
        self.seen().stalls.iter().map(|(from, until)| (*until.min(&until_ms) - *from.max(&from_ms)).max(0)).sum()
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().expect("no test panicked in here")
    }
}

/// The attempts for one account's events; an event that was never attempted has none.
pub struct Record {
    /// By event: when it was pushed, and its attempts in order.
    pub events: BTreeMap<String, (i64, Vec<Timed>)>,
}

impl Record {
    /// Removes the events that were pushed before this time.
    #[must_use]
    pub fn since(mut self, from_ms: i64) -> Self {
        self.events.retain(|_, (at_ms, _)| *at_ms >= from_ms);
        self
    }

    pub fn attempts(&self) -> impl Iterator<Item = &Timed> {
        self.events.values().flat_map(|(_, attempts)| attempts)
    }

    pub fn firsts(&self) -> impl Iterator<Item = &Timed> {
        self.attempts().filter(|attempt| attempt.number == 1)
    }

    pub fn retries(&self) -> impl Iterator<Item = &Timed> {
        self.attempts().filter(|attempt| attempt.number > 1)
    }

    /// The events that did not get the promised attempts: 1, 2 and 3, until one succeeds.
    pub fn incomplete(&self) -> impl Iterator<Item = String> {
        let is_complete = |attempts: &[Timed]| {
            let in_order = attempts.iter().zip(1..).all(|(attempt, number)| attempt.number == number);
            let Some((last, others)) = attempts.split_last() else { return false };
            let ended = last.last && (last.is_good() || last.number == 3);
            in_order && ended && !others.iter().any(|other| other.last || other.is_good())
        };
        self.events.iter().filter(move |(_, (_, attempts))| !is_complete(attempts)).map(|(event, (_, attempts))| {
            let seen: Vec<String> = attempts.iter().map(|one| format!("{} {}", one.number, one.status)).collect();
            format!("{event} got {seen:?}")
        })
    }
}

/// The value that this share of the values, such as 0.99, does not exceed; 0 if there are none.
pub fn quantile(values: impl Iterator<Item = i64>, share: f64) -> i64 {
    let mut values: Vec<i64> = values.collect();
    values.sort_unstable();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "small")]
    let place = (values.len() as f64 * share).ceil() as usize;
    values.get(place.saturating_sub(1)).copied().unwrap_or(0)
}

/// The time of day in the form of entries' ids and scores.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is later");
    i64::try_from(since.as_millis()).expect("it is not that late")
}

async fn watch_retries(mut redis: redis::aio::MultiplexedConnection, key: String, seen: Arc<Mutex<Seen>>) {
    let look = redis::Script::new(LOOK);
    loop {
        // A server that a test stopped has no retries to show.
        let found: Vec<(String, f64)> = look.key(&key).invoke_async(&mut redis).await.unwrap_or_default();
        for (line, score) in found {
            let line: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            let number = u8::try_from(line["attempt"].as_u64().unwrap()).unwrap();
            #[allow(clippy::cast_possible_truncation, reason = "a score is whole milliseconds")]
            let score = score as i64;
            let delivery = line["id"].as_str().unwrap().to_owned();
            seen.lock().unwrap().dues.entry((delivery, number)).or_insert(score);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Records the webhooks that the workers' figures name as limited.
async fn watch_limits(mut redis: redis::aio::MultiplexedConnection, pattern: String, seen: Arc<Mutex<Seen>>) {
    loop {
        let keys: Vec<String> = redis.keys(&pattern).await.unwrap_or_default();
        let mut webhooks = HashSet::new();
        for key in keys {
            let figures: Option<String> = redis.get(key).await.unwrap_or_default();
            let figures: Value = figures.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default();
            let limited = figures["limited"].as_array().into_iter().flatten();
            webhooks.extend(limited.filter_map(|one| one["webhook"].as_str()).map(ToOwned::to_owned));
        }
        seen.lock().unwrap().limited.push((now_ms(), webhooks));
        tokio::time::sleep(ASK_EVERY).await;
    }
}

async fn watch_machine(mut redis: redis::aio::MultiplexedConnection, seen: Arc<Mutex<Seen>>) {
    loop {
        let before_ms = now_ms();
        tokio::time::sleep(LOOK_EVERY).await;
        let _: Option<String> = redis.ping().await.unwrap_or_default();
        let due_ms = before_ms + i64::try_from(LOOK_EVERY.as_millis()).expect("it is short");
        let now_ms = now_ms();
        if u128::try_from(now_ms - due_ms).is_ok_and(|late| late > STALL.as_millis()) {
            seen.lock().unwrap().stalls.push((due_ms, now_ms));
        }
    }
}
