//! When a partition's loops are to turn next. Each part of the worker that has something for a loop to do says by when.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// The time at which one loop turns next.
pub(crate) struct Alarm(watch::Sender<Instant>);

/// One for each loop of a partition that has work at certain times.
#[derive(Default)]
pub(crate) struct Alarms {
    pub(crate) promote: Alarm,
    pub(crate) release: Alarm,
    pub(crate) visit: Alarm,
    pub(crate) mend: Alarm,
}

impl Default for Alarm {
    /// At once.
    fn default() -> Self {
        Self(watch::Sender::new(Instant::now()))
    }
}

impl Alarm {
    /// The loop is to turn then, or sooner.
    pub(crate) fn by(&self, at: Instant) {
        self.0.send_if_modified(|next| std::mem::replace(next, at.min(*next)) > at);
    }

    /// Waits until the loop is to turn; not sooner than `not_before`. From then on it turns again within `every`, unless it
    /// is asked for sooner.
    pub(crate) async fn come(&self, not_before: Instant, every: Duration) {
        let mut next = self.0.subscribe();
        loop {
            let at = not_before.max(*next.borrow_and_update());
            tokio::select! {
                () = sleep_until(at) => break,
                _ = next.changed() => {}
            }
        }
        self.0.send_replace(Instant::now() + every);
    }
}
