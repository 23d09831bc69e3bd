//! The figures of a turn: how late attempts were, and which events did not get theirs.

use std::{collections::HashMap, time::Duration};

use serde::Serialize;

use super::{
    row::{Load, Row},
    watch::{Attempt, Due},
};
use crate::figures::quantile;

/// The log rounds to milliseconds.
const ROUNDING_MS: f64 = 1.0;
/// A delivery has three attempts.
const ATTEMPTS: u8 = 3;

/// The observations of the watched endpoint.
pub struct Seen<'a> {
    /// The moment when each event was sent.
    pub sent_us: &'a [u64],
    pub attempts: Vec<Attempt>,
    pub due: Due,
    pub started_us: u64,
    pub ended_us: u64,
    pub held: u64,
    pub failed: u64,
    pub others_p99_ms: f64,
}

/// The figures of one turn. Counts are numbers like the others, so that they have medians.
#[derive(Debug, Clone, Serialize)]
pub struct Met {
    pub events: f64,
    pub attempts: f64,
    /// Events that did not get exactly the attempts of the schedule: until the first success, or three.
    pub off_schedule: f64,
    pub delivered: f64,
    /// Events that needed a second attempt.
    pub attempted_again: f64,
    /// First attempts before the row's promise counts, all of them.
    pub before: Lateness,
    pub firsts: Lateness,
    pub retries: Lateness,
    /// Retries that started before they were due.
    pub early: f64,
    /// Retries whose score was not read, so that their lateness is not known.
    pub not_seen: f64,
    pub failed: f64,
    /// Failed deliveries that still had attempts left.
    pub unattempted: f64,
    /// At the end.
    pub held: f64,
    /// Attempts that started per second, from when the promise counts to the end of the load; none for a burst.
    pub attempts_per_second: f64,
    /// For healthy endpoints beside the watched one, from `XADD` to arrival.
    pub others_p99_ms: f64,
}

/// Lateness in ms.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Lateness {
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

impl Lateness {
    fn of(values: &[f64]) -> Self {
        let at = |share| quantile(values, share);
        Self { p50: at(0.5), p99: at(0.99), max: at(1.0) }
    }
}

impl Met {
    pub fn in_short(&self) -> String {
        format!(
            "{:.0} of {:.0} events off schedule, first attempts' p99 {:.0} ms late, retries' {:.0} ms, held {:.0}",
            self.off_schedule, self.events, self.firsts.p99, self.retries.p99, self.held
        )
    }
}

impl Seen<'_> {
    #[allow(clippy::cast_precision_loss, reason = "numbers of events")]
    pub fn met(&self, row: &Row) -> Met {
        let from_us = self.started_us + micros(row.from);
        let started: HashMap<(usize, u8), u64> =
            self.attempts.iter().map(|attempt| ((attempt.event, attempt.number), attempt.started_us)).collect();
        let (before, firsts) = self.firsts(&started, from_us);
        let retries = self.retries(&started, from_us);
        let count = |of: fn(&Attempt) -> bool| self.attempts.iter().filter(|attempt| of(attempt)).count() as f64;
        let failed_at_last = count(|attempt| attempt.last && !attempt.delivered);
        let not_seen = started.keys().filter(|key| key.1 > 1 && !self.due.contains_key(key)).count();
        Met {
            events: self.sent_us.len() as f64,
            attempts: self.attempts.len() as f64,
            off_schedule: self.off_schedule() as f64,
            delivered: count(|attempt| attempt.delivered),
            attempted_again: count(|attempt| attempt.number == 2),
            before: Lateness::of(&before),
            firsts: Lateness::of(&firsts),
            early: retries.iter().filter(|late| **late < -ROUNDING_MS).count() as f64,
            retries: Lateness::of(&retries),
            not_seen: not_seen as f64,
            failed: self.failed as f64,
            unattempted: (self.failed as f64 - failed_at_last).max(0.0),
            held: self.held as f64,
            attempts_per_second: self.attempts_per_second(row, from_us),
            others_p99_ms: self.others_p99_ms,
        }
    }

    /// The lateness of first attempts: of events sent before the promise counts, and of the others.
    fn firsts(&self, started: &HashMap<(usize, u8), u64>, from_us: u64) -> (Vec<f64>, Vec<f64>) {
        let late = |event| late_ms(self.sent_us[event], started.get(&(event, 1)).copied().unwrap_or(self.ended_us));
        let (before, after): (Vec<_>, Vec<_>) =
            (0..self.sent_us.len()).partition(|event| self.sent_us[*event] < from_us);
        (before.into_iter().map(late).collect(), after.into_iter().map(late).collect())
    }

    /// The lateness of retries that fell due after the promise counts. Retries that are not yet due are left out.
    fn retries(&self, started: &HashMap<(usize, u8), u64>, from_us: u64) -> Vec<f64> {
        let counts = self.due.iter().filter(|(_, due_ms)| **due_ms * 1000 >= from_us);
        let late = counts.filter_map(|(key, due_ms)| {
            let due_us = due_ms * 1000;
            let at_us = started.get(key).copied().or((due_us < self.ended_us).then_some(self.ended_us))?;
            Some(late_ms(due_us, at_us))
        });
        late.collect()
    }

    fn off_schedule(&self) -> usize {
        let mut of_event: Vec<Vec<Attempt>> = vec![Vec::new(); self.sent_us.len()];
        for attempt in &self.attempts {
            of_event[attempt.event].push(*attempt);
        }
        of_event.iter().filter(|attempts| !is_on_schedule(attempts)).count()
    }

    #[allow(clippy::cast_precision_loss, reason = "numbers of attempts")]
    fn attempts_per_second(&self, row: &Row, from_us: u64) -> f64 {
        let Load::Steady { duration, .. } = row.load else { return f64::NAN };
        let within = from_us..self.started_us + micros(duration);
        let count = self.attempts.iter().filter(|attempt| within.contains(&attempt.started_us)).count();
        count as f64 / duration.saturating_sub(row.from).as_secs_f64()
    }
}

/// Attempts 1, 2, … each once, until the first success or the third failure.
fn is_on_schedule(attempts: &[Attempt]) -> bool {
    let numbered = (1..).zip(attempts).all(|(number, attempt)| attempt.number == number);
    let Some((last, others)) = attempts.split_last() else { return false };
    numbered && !others.iter().any(|attempt| attempt.delivered) && (last.delivered || last.number == ATTEMPTS)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).expect("less than an age")
}

/// From `due_us` to `at_us`, in ms; negative if the second moment was earlier.
#[allow(clippy::cast_precision_loss, reason = "less than an age")]
fn late_ms(due_us: u64, at_us: u64) -> f64 {
    let ms = at_us.abs_diff(due_us) as f64 / 1000.0;
    if at_us < due_us { -ms } else { ms }
}
