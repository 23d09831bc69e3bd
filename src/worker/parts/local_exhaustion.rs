//! A shortage of something that requests take, such as file descriptors or a name server that answers, is told once a
//! second however many deliveries wait for it.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

const TELL_EVERY: Duration = Duration::from_secs(1);
/// A shortage that no delivery met for this long is over: those that wait try again at least every 2 s.
const OVER_AFTER: Duration = Duration::from_secs(5);

/// The last shortage.
#[derive(Default)]
pub(crate) struct LocalExhaustion(Mutex<Option<LastMet>>);

#[derive(Clone, Copy)]
struct LastMet {
    lacking: &'static str,
    at: Instant,
    told: Instant,
}

impl LocalExhaustion {
    /// A delivery met a shortage: says so in the log.
    pub(crate) fn tell(&self, lacking: &'static str) {
        let (now, mut last) = (Instant::now(), self.0.lock());
        let told = last.map(|last| last.told).filter(|told| now < *told + TELL_EVERY);
        if told.is_none() {
            tracing::warn!(lacking, "requests cannot be made from here; deliveries wait");
        }
        *last = Some(LastMet { lacking, at: now, told: told.unwrap_or(now) });
    }

    /// What is lacking now.
    pub(crate) fn lacking(&self) -> Option<&'static str> {
        let last = *self.0.lock();
        last.filter(|last| last.at.elapsed() < OVER_AFTER).map(|last| last.lacking)
    }
}
