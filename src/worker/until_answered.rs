//! Repeating a step until Redis answers. Every step is safe to repeat: the fence sees to it.

use std::time::Duration;

use crate::store::StoreError;

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

/// Tells of a step that failed and will be taken again: Redis is away, which passes, or refuses, which somebody has to mend.
pub(super) fn tell(step: &str, partition: Option<u16>, error: &StoreError) {
    if error.is_passing() {
        tracing::debug!(step, partition, %error, "no answer, repeating");
    } else {
        tracing::warn!(step, partition, %error, "Redis refuses, repeating");
    }
}

/// Whether it is worth while to take a step again that failed so. An operator who took this user's rights away, or left
/// Redis unfit, can mend that: what is in hand waits for it.
pub(super) fn is_mended_by_waiting(error: &StoreError) -> bool {
    error.is_passing() || matches!(error, StoreError::Unfit(_) | StoreError::Denied(_) | StoreError::Forbidden(_))
}

/// Takes a step, and again while Redis is away: its answer, or the error that repeating does not mend.
///
/// A macro, because a closure that lends what it captures to the future it returns is not seen to be `Send`.
macro_rules! until_answered {
    ($name:literal, $step:expr) => {{
        let mut backoff = $crate::worker::until_answered::Backoff::new();
        loop {
            match $step.await {
                Err(error) if $crate::worker::until_answered::is_mended_by_waiting(&error) => {
                    $crate::worker::until_answered::tell($name, None, &error);
                    backoff.pause().await;
                }
                answer => break answer,
            }
        }
    }};
}

pub(super) use until_answered;
