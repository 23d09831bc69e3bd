//! A shortage of something that requests need, such as file descriptors or a name server that answers. It is logged
//! once a second, however many deliveries wait.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

const TELL_EVERY: Duration = Duration::from_secs(1);
/// A shortage is over if no delivery met it for this long: waiting deliveries try again at least every 2 s.
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
    /// Notes that a delivery met a shortage, and logs it.
    pub(crate) fn tell(&self, lacking: &'static str) {
        let (now, mut last) = (Instant::now(), self.0.lock());
        let told = last.map(|last| last.told).filter(|told| now < *told + TELL_EVERY);
        if told.is_none() {
            tracing::warn!(lacking, "this machine cannot make requests; deliveries wait");
        }
        *last = Some(LastMet { lacking, at: now, told: told.unwrap_or(now) });
    }

    /// The resource that is lacking now.
    pub(crate) fn lacking(&self) -> Option<&'static str> {
        let last = *self.0.lock();
        last.filter(|last| last.at.elapsed() < OVER_AFTER).map(|last| last.lacking)
    }
}
