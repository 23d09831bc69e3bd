//! The clock of Redis, as this worker last heard it, carried on by the monotonic clock. The machine's own time of day
//! is never asked: it may be hours off.

use std::sync::Mutex;

use chrono::{DateTime, TimeDelta, TimeZone, Utc};
use tokio::time::Instant;

/// Redis's time of day.
pub(super) struct ServerClock(Mutex<(DateTime<Utc>, Instant)>);

impl ServerClock {
    pub(super) fn new(now: DateTime<Utc>) -> Self {
        Self(Mutex::new((now, Instant::now())))
    }

    /// Takes note of what Redis's clock just said.
    pub(super) fn hear(&self, now_ms: i64) {
        if let Some(now) = Utc.timestamp_millis_opt(now_ms).single() {
            *self.0.lock().expect("never poisoned") = (now, Instant::now());
        }
    }

    /// What Redis's clock says now.
    pub(super) fn now(&self) -> DateTime<Utc> {
        let (then, heard) = *self.0.lock().expect("never poisoned");
        then + TimeDelta::from_std(heard.elapsed()).unwrap_or_default()
    }
}
