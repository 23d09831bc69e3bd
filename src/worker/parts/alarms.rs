//! The times at which a partition's loops run next. A part of the worker that has work for a loop sets its alarm.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// The time at which one loop runs next.
pub(crate) struct Alarm(watch::Sender<Instant>);

/// The alarms of one partition: one for each loop that has work at certain times.
#[derive(Default)]
pub(crate) struct Alarms {
    pub(crate) promote: Alarm,
    pub(crate) release: Alarm,
    pub(crate) visit: Alarm,
    pub(crate) mend: Alarm,
}

impl Default for Alarm {
    /// The loop runs at once.
    fn default() -> Self {
        Self(watch::Sender::new(Instant::now()))
    }
}

impl Alarm {
    /// Sets the alarm to `at`, unless it is set to an earlier time.
    pub(crate) fn by(&self, at: Instant) {
        self.0.send_if_modified(|next| std::mem::replace(next, at.min(*next)) > at);
    }

    /// Waits for the alarm, but at least until `not_before`. Then sets the alarm to `every` from now; [`Alarm::by`] can
    /// bring it forward.
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
