//! `lynkhook webhook logs --follow`: prints the log, oldest first, and then what is added to it.
//!
//! The log is a list of the newest 50 and has no cursor, so it is read again and again and what was seen is left out.
//! Redis may be away for a while: following waits for it, and prints nothing twice afterwards.

use std::{collections::VecDeque, time::Duration};

use tokio::time::{MissedTickBehavior, interval};

use super::{super::output, super::output::Reader, Exit, Target, tables};
use crate::{
    domain::log_entry::{LOG_LIMIT, LogEntry},
    webhooks::{Webhooks, WebhooksError},
};

/// The log is read this often.
const POLL_EVERY: Duration = Duration::from_millis(500);
/// What was printed is remembered for this many entries: more than the log holds, because a Redis that fails over
/// may show an older log for a while.
const REMEMBERED: usize = 8 * LOG_LIMIT;

/// Follows until a signal, the webhook's deletion, or until nobody reads any more.
pub(super) async fn run(webhooks: &Webhooks, target: &Target, json: bool) -> anyhow::Result<Exit> {
    let stop = super::super::signal::on_signal()?;
    let mut ticks = interval(POLL_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = Seen::default();
    let mut waiting = false;
    loop {
        let read = async {
            ticks.tick().await;
            webhooks.logs(&target.account, target.id).await
        };
        let log = tokio::select! {
            () = stop.cancelled() => return Ok(Exit::Success),
            log = read => log,
        };
        match log {
            Ok(log) => {
                waiting = false;
                if print(&seen.fresh(log), json)? == Reader::Gone {
                    return Ok(Exit::Success);
                }
            }
            Err(WebhooksError::Store(error)) if error.is_passing() => {
                if !waiting {
                    tracing::warn!(%error, "following goes on when Redis is back");
                }
                waiting = true;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn print(fresh: &Fresh, json: bool) -> std::io::Result<Reader> {
    if fresh.overrun {
        tracing::warn!("more was logged than the log holds ({LOG_LIMIT}); entries may be missing here");
    }
    if fresh.oldest_first.is_empty() {
        return Ok(Reader::Present);
    }
    let line = |entry: &LogEntry| if json { entry.to_json() } else { tables::log_line(entry) } + "\n";
    output::write(&fresh.oldest_first.iter().map(line).collect::<String>())
}

/// What tells two attempts' entries apart.
#[derive(PartialEq, Eq)]
struct Key {
    delivery: String,
    attempt: u8,
    redelivery: Option<u32>,
    time: String,
}

/// What was printed, the newest [`REMEMBERED`] of it.
#[derive(Default)]
struct Seen {
    keys: VecDeque<Key>,
    read_before: bool,
}

/// What is new in the log.
struct Fresh {
    oldest_first: Vec<LogEntry>,
    /// All that the log holds is new: what was pushed out of it meanwhile, nobody knows.
    overrun: bool,
}

impl Seen {
    /// What a log that was just read holds beyond what was seen; seen from now on.
    fn fresh(&mut self, newest_first: Vec<LogEntry>) -> Fresh {
        let mut oldest_first = Vec::new();
        for entry in newest_first.into_iter().rev() {
            let key = Key {
                delivery: entry.delivery_id.clone(),
                attempt: entry.attempt,
                redelivery: entry.redelivery,
                time: entry.time.clone(),
            };
            if !self.keys.contains(&key) {
                self.keys.push_back(key);
                oldest_first.push(entry);
            }
        }
        self.keys.drain(..self.keys.len().saturating_sub(REMEMBERED));
        let overrun = std::mem::replace(&mut self.read_before, true) && oldest_first.len() >= LOG_LIMIT;
        Fresh { oldest_first, overrun }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(second: usize) -> LogEntry {
        super::super::tables::tests::entry(|entry| {
            entry.time = format!("2026-03-26T14:{:02}:{:02}.000Z", second / 60, second % 60);
        })
    }

    fn log(seconds: std::ops::Range<usize>) -> Vec<LogEntry> {
        seconds.rev().map(entry).collect()
    }

    fn times(fresh: &Fresh) -> Vec<&str> {
        fresh.oldest_first.iter().map(|entry| &entry.time[14..19]).collect()
    }

    #[test]
    fn what_is_new_comes_oldest_first_and_once() {
        let mut seen = Seen::default();
        assert_eq!(times(&seen.fresh(log(0..2))), ["00:00", "00:01"]);
        assert!(times(&seen.fresh(log(0..2))).is_empty());
        assert_eq!(times(&seen.fresh(log(1..4))), ["00:02", "00:03"]);
        assert!(times(&seen.fresh(log(0..3))).is_empty(), "an older log, as after a failover, brings nothing anew");
    }

    #[test]
    fn a_further_attempt_and_a_redelivery_are_entries_of_their_own() {
        let mut seen = Seen::default();
        let first = entry(0);
        let second = LogEntry { attempt: 2, ..first.clone() };
        let again = LogEntry { redelivery: Some(1), ..first.clone() };
        let other = LogEntry { delivery_id: "e2.wh".into(), ..first.clone() };
        assert_eq!(seen.fresh(vec![other, again, second, first]).oldest_first.len(), 4);
    }

    #[test]
    fn a_log_that_is_all_new_is_said_to_be_overrun_but_not_when_it_is_read_first() {
        let mut seen = Seen::default();
        assert!(!seen.fresh(log(0..LOG_LIMIT)).overrun);
        assert!(!seen.fresh(log(LOG_LIMIT - 1..2 * LOG_LIMIT - 1)).overrun, "one of them is known");
        assert!(seen.fresh(log(2 * LOG_LIMIT..3 * LOG_LIMIT)).overrun);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut seen = Seen::default();
        for round in 0..20 {
            seen.fresh(log(round * LOG_LIMIT..(round + 1) * LOG_LIMIT));
        }
        assert_eq!(seen.keys.len(), REMEMBERED);
    }
}
