//! `lynkhook webhook logs --follow`: prints the log, oldest entry first, and then each new entry.
//!
//! The log is a list of the newest 50 entries and has no cursor. The command reads it repeatedly and leaves out the
//! entries that it has printed. If Redis is unreachable for a while, it waits, and prints no entry twice afterwards.

use std::{collections::VecDeque, time::Duration};

use tokio::time::{MissedTickBehavior, interval};

use super::{super::output, super::output::Reader, Exit, Target, tables};
use crate::{
    domain::log_entry::{LOG_LIMIT, LogEntry},
    webhooks::{LogFilter, Webhooks, WebhooksError},
};

/// The interval between two reads of the log.
const POLL_EVERY: Duration = Duration::from_millis(500);
/// The number of printed entries that are remembered. It is more than the log holds, because after a failover Redis may
/// show an older log for a while.
const REMEMBERED: usize = 8 * LOG_LIMIT;

/// Follows the entries that the filter chooses until a signal comes, the webhook is deleted, or the reader of the output is gone.
pub(super) async fn run(webhooks: &Webhooks, target: &Target, filter: &LogFilter, json: bool) -> anyhow::Result<Exit> {
    let stop = super::super::signal::on_signal()?;
    let mut ticks = interval(POLL_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = Seen::default();
    let mut waiting = false;
    loop {
        let read = async {
            ticks.tick().await;
            // The whole log shows whether entries were missed.
            webhooks.logs(&target.account, target.id, &LogFilter::default(), None, LOG_LIMIT).await
        };
        let log = tokio::select! {
            () = stop.cancelled() => return Ok(Exit::Success),
            log = read => log,
        };
        match log {
            Ok(log) => {
                waiting = false;
                let mut fresh = seen.fresh(log.items);
                fresh.oldest_first.retain(|entry| filter.matches(entry));
                if print(&fresh, json)? == Reader::Gone {
                    return Ok(Exit::Success);
                }
            }
            Err(WebhooksError::Store(error)) if error.is_passing() => {
                if !waiting {
                    tracing::warn!(%error, "Redis is unavailable; following continues when it is back");
                }
                waiting = true;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn print(fresh: &Fresh, json: bool) -> std::io::Result<Reader> {
    if fresh.overrun {
        tracing::warn!("the log filled up ({LOG_LIMIT} entries) between two reads; entries may be missing here");
    }
    if fresh.oldest_first.is_empty() {
        return Ok(Reader::Present);
    }
    let line = |entry: &LogEntry| if json { entry.to_json() } else { tables::log_line(entry) } + "\n";
    output::write(&fresh.oldest_first.iter().map(line).collect::<String>())
}

/// Identifies the entry of one attempt.
#[derive(PartialEq, Eq)]
struct Key {
    delivery: String,
    attempt: u8,
    redelivery: Option<u32>,
    time: String,
}

/// The entries that were printed: the newest [`REMEMBERED`].
#[derive(Default)]
struct Seen {
    keys: VecDeque<Key>,
    read_before: bool,
}

/// The new entries of the log.
struct Fresh {
    oldest_first: Vec<LogEntry>,
    /// Every entry of the log is new, so older new entries may have been pushed out of it unseen.
    overrun: bool,
}

impl Seen {
    /// The entries of a log just read that were not seen before. They count as seen from now on.
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
    fn new_entries_come_oldest_first_and_once() {
        let mut seen = Seen::default();
        assert_eq!(times(&seen.fresh(log(0..2))), ["00:00", "00:01"]);
        assert!(times(&seen.fresh(log(0..2))).is_empty());
        assert_eq!(times(&seen.fresh(log(1..4))), ["00:02", "00:03"]);
        assert!(times(&seen.fresh(log(0..3))).is_empty(), "an older log, as after a failover, brings nothing new");
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
    fn a_log_with_only_new_entries_counts_as_overrun_except_at_the_first_read() {
        let mut seen = Seen::default();
        assert!(!seen.fresh(log(0..LOG_LIMIT)).overrun);
        assert!(!seen.fresh(log(LOG_LIMIT - 1..2 * LOG_LIMIT - 1)).overrun, "one of them is known");
        assert!(seen.fresh(log(2 * LOG_LIMIT..3 * LOG_LIMIT)).overrun);
    }

    #[test]
    fn the_number_of_remembered_entries_is_bounded() {
        let mut seen = Seen::default();
        for round in 0..20 {
            seen.fresh(log(round * LOG_LIMIT..(round + 1) * LOG_LIMIT));
        }
        assert_eq!(seen.keys.len(), REMEMBERED);
    }
}
