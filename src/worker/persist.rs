//! Repeating a step until Redis answers. Every step is safe to repeat: the fence sees to it.

use std::time::Duration;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The pauses between tries: doubling, with jitter, so that workers do not come back in step.
pub(super) struct Backoff(Duration);

impl Backoff {
    pub(super) fn new() -> Self {
        Self(FIRST_PAUSE)
    }

    /// Waits for the next pause.
    pub(super) async fn pause(&mut self) {
        tokio::time::sleep(self.0.mul_f64(rand::random_range(0.5..1.0))).await;
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
    }

    /// Starts over, after a success.
    pub(super) fn reset(&mut self) {
        self.0 = FIRST_PAUSE;
    }
}

/// Takes a step, and again while Redis is away: its answer, or the error that repeating does not mend.
///
/// A macro, because a closure that lends what it captures to the future it returns is not seen to be `Send`.
macro_rules! until_answered {
    ($name:literal, $step:expr) => {{
        let mut backoff = $crate::worker::persist::Backoff::new();
        loop {
            match $step.await {
                Err(error) if $crate::store::StoreError::is_passing(&error) => {
                    tracing::debug!(step = $name, %error, "no answer, repeating");
                    backoff.pause().await;
                }
                // An operator took this user's rights away, and can give them back: what is in hand waits for that.
                Err(error @ ($crate::store::StoreError::Unfit(_) | $crate::store::StoreError::Forbidden(_))) => {
                    tracing::warn!(step = $name, %error, "Redis refuses, repeating");
                    backoff.pause().await;
                }
                answer => break answer,
            }
        }
    }};
}

pub(super) use until_answered;
