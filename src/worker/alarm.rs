//! When a loop is to turn next. Each part of the worker that has something for the loop to do says by when.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// The time at which one loop turns next.
pub(super) struct Alarm(watch::Sender<Instant>);

impl Alarm {
    /// At once.
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(Instant::now()))
    }

    /// The loop is to turn then, or sooner.
    pub(super) fn by(&self, at: Instant) {
        self.0.send_if_modified(|next| std::mem::replace(next, at.min(*next)) > at);
    }

    /// Waits until the loop is to turn; not sooner than `not_before`. From then on it turns again within `every`, unless it
    /// is asked for sooner.
    pub(super) async fn come(&self, not_before: Instant, every: Duration) {
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
