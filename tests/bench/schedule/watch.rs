//! The observed attempts of an account: their starts, from the worker's log, and the due times of retries, from their
//! scores.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufRead, BufReader, Seek},
    sync::{Arc, Mutex},
    time::Duration,
};

use chrono::{DateTime, Utc};
use lynkhook::domain::{account::AccountId, delivery::Delivery};
use redis::aio::MultiplexedConnection;
use serde::Deserialize;
use tokio::task::JoinSet;

use crate::{producer::account, receiver::now_micros, world::World};

/// With these settings a worker's log has a line for each attempt.
pub const TELLING: [(&str, &str); 2] =
    [("LYNKHOOK_LOG__FILTER", "info,lynkhook::worker=debug"), ("LYNKHOOK_LOG__FORMAT", "json")];

/// How often scores are read, and how far ahead. No retry is due sooner than 2 s after it is written.
const LOOK: Duration = Duration::from_millis(250);
const AHEAD_MS: u64 = 1000;

/// One attempt that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    /// The event's number among those of its account.
    pub event: usize,
    /// Counted from 1.
    pub number: u8,
    pub started_us: u64,
    /// Whether it is the last attempt.
    pub last: bool,
    pub delivered: bool,
}

/// A line of the worker's log.
#[derive(Deserialize)]
struct Line {
    timestamp: DateTime<Utc>,
    delivery: String,
    attempt: u8,
    duration_ms: u64,
    last: bool,
    error: Option<String>,
}

/// The attempts of account n, in the order in which they ended. The worker that wrote the log must have ended.
pub fn attempts(mut log: File, n: usize) -> Vec<Attempt> {
    log.rewind().expect("a file can be read again");
    let account = format!(r#""account":"{}""#, account(n));
    let lines = BufReader::new(log).lines().map(|line| line.expect("a line"));
    let of_account = lines.filter(|line| line.contains(r#""message":"attempt""#) && line.contains(&account));
    of_account.map(|line| Attempt::parse(&line)).collect()
}

impl Attempt {
    fn parse(line: &str) -> Self {
        let line: Line = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let ended_us = u64::try_from(line.timestamp.timestamp_micros()).expect("it is after 1970");
        Self {
            event: number(&line.delivery),
            number: line.attempt,
            started_us: ended_us - line.duration_ms * 1000,
            last: line.last,
            delivered: line.error.is_none(),
        }
    }
}

/// The event's number, from a delivery's id: `<Unix microseconds>-<number>.<webhook>`.
fn number(delivery: &str) -> usize {
    let event = delivery.split_once('.').and_then(|(event, _)| event.split_once('-'));
    event.and_then(|(_, number)| number.parse().ok()).unwrap_or_else(|| panic!("{delivery} is none of ours"))
}

/// The due time by event and attempt, in Unix ms.
pub type Due = HashMap<(usize, u8), u64>;

/// Reads the scores of account n's retries until they are asked for.
pub struct Scores {
    due: Arc<Mutex<Due>>,
    reading: JoinSet<()>,
}

impl Scores {
    pub fn of(n: usize, world: &World) -> Self {
        let due = Arc::default();
        let mut reading = JoinSet::new();
        for retries in world.retries() {
            reading.spawn(read(world.redis.clone(), retries, account(n), Arc::clone(&due)));
        }
        Self { due, reading }
    }

    pub fn seen(self) -> Due {
        drop(self.reading);
        std::mem::take(&mut self.due.lock().expect("never poisoned"))
    }
}

/// Reads the scores that fall due within the next second and were not yet read; so each score is read once, soon before
/// it is due.
async fn read(mut redis: MultiplexedConnection, retries: String, account: AccountId, due: Arc<Mutex<Due>>) {
    let mut from = "-inf".to_owned();
    let mut looks = tokio::time::interval(LOOK);
    loop {
        looks.tick().await;
        let until = now_micros() / 1000 + AHEAD_MS;
        let mut range = redis::cmd("ZRANGE");
        range.arg(&retries).arg(&from).arg(until).arg("BYSCORE").arg("WITHSCORES");
        let read: Vec<(Vec<u8>, u64)> = range.query_async(&mut redis).await.expect("Redis answers");
        from = format!("({until}");
        let mut due = due.lock().expect("never poisoned");
        for (member, score) in read {
            let (delivery, _) = Delivery::parse(&member).expect("a delivery");
            if delivery.account == account {
                // If the retry is put off, the first due time counts.
                due.entry((number(&delivery.id), delivery.attempt)).or_insert(score);
            }
        }
    }
}
