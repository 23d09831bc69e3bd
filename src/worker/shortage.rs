//! This machine's own troubles, told once a second however many attempts meet them.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

const TELL_EVERY: Duration = Duration::from_secs(1);

/// When it was told last.
#[derive(Default)]
pub(super) struct Shortage(Mutex<Option<Instant>>);

impl Shortage {
    /// Says in the log what is lacking.
    pub(super) fn tell(&self, lacking: &str) {
        let mut told = self.0.lock().expect("never poisoned");
        if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            *told = Some(Instant::now());
            tracing::error!(lacking, "no request can be made from here; deliveries wait");
        }
    }
}
