//! The strip of the last attempts: one bar each, oldest first. A failure differs from a success by its height too.

use super::words::milliseconds;
use crate::domain::log_entry::{LOG_LIMIT, LogEntry, Status};

/// The distance from one bar to the next.
const STEP: usize = 7;
/// The height of the strip.
const HEIGHT: usize = 28;
/// The height of a success.
const LOW: usize = 18;

/// A strip, ready to be drawn, and its figures.
pub(super) struct Strip {
    pub(super) bars: Vec<Bar>,
    /// The strip in words.
    pub(super) title: String,
    /// The attempts that succeeded, in percent.
    pub(super) share: usize,
    /// The median duration of the attempts.
    pub(super) median: String,
}

/// One bar of a strip.
pub(super) struct Bar {
    pub(super) x: usize,
    pub(super) y: usize,
    pub(super) height: usize,
    /// `good`, `bad`, or `none` where there is no attempt yet.
    pub(super) class: &'static str,
}

impl Strip {
    /// The strip of a log, newest first; `None` if it is empty.
    pub(super) fn new(log: &[LogEntry]) -> Option<Self> {
        let mut durations: Vec<u64> = log.iter().map(|entry| entry.duration_ms).collect();
        durations.sort_unstable();
        let median = *durations.get(durations.len() / 2)?;
        let good = log.iter().filter(|entry| entry.status == Status::Success).count();
        let shown = log.len().min(LOG_LIMIT);
        let title =
            format!("Last {shown} attempts, newest on the right: {good} succeeded, {} failed", log.len() - good);
        let empty = (0..LOG_LIMIT - shown).map(|_| ("none", 3));
        let bars = empty.chain(log[..shown].iter().rev().map(|entry| match entry.status {
            Status::Success => ("good", LOW),
            Status::Failed => ("bad", HEIGHT),
        }));
        let bars =
            bars.enumerate().map(|(place, (class, height))| Bar { x: place * STEP, y: HEIGHT - height, height, class });
        let share = good * 100 / log.len();
        Some(Self { bars: bars.collect(), title, share, median: milliseconds(median) })
    }
}
