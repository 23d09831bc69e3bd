//! Repeats a step until Redis answers. Every step is safe to repeat, because of the fence.

use std::time::Duration;

use crate::store::{Store, StoreError};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The pauses between tries. They double, with jitter, so that workers do not come back at the same time.
pub(super) struct Backoff(Duration);

impl Backoff {
    pub(super) fn new() -> Self {
        Self(FIRST_PAUSE)
    }

    /// Waits for the next pause. It ends early if other masters take over.
    pub(super) async fn pause(&mut self, store: &Store) {
        let pause = tokio::time::sleep(self.0.mul_f64(rand::random_range(0.5..1.0)));
        tokio::select! {
            () = pause => self.0 = (self.0 * 2).min(LONGEST_PAUSE),
            () = store.masters_changed() => self.reset(),
        }
    }

    /// Starts over, after a success.
    pub(super) fn reset(&mut self) {
        self.0 = FIRST_PAUSE;
    }
}

/// Logs a step that failed and will be repeated. Either Redis is away, which passes, or it refuses, which an operator
/// has to mend.
pub(super) fn tell(step: &str, partition: Option<u16>, error: &StoreError) {
    if error.is_passing() {
        tracing::debug!(step, partition, %error, "no answer from Redis, repeating");
    } else {
        tracing::warn!(step, partition, %error, "Redis refuses, repeating");
    }
}

/// Whether a step that failed with this error is worth repeating. If the user lacks a right, or Redis is unfit, an
/// operator can mend that, and the entries in hand wait.
pub(super) fn is_mended_by_waiting(error: &StoreError) -> bool {
    error.is_passing() || matches!(error, StoreError::Unfit(_) | StoreError::Denied(_) | StoreError::Forbidden(_))
}

/// Takes a step, and repeats it while Redis is away. The value is the answer, or an error that repeating does not mend.
///
/// It is a macro because the compiler cannot prove `Send` for a closure whose future borrows from the closure's
/// captures.
macro_rules! until_answered {
    ($name:literal at $store:expr, $step:expr) => {{
        let mut backoff = $crate::worker::until_answered::Backoff::new();
        loop {
            match $step.await {
                Err(error) if $crate::worker::until_answered::is_mended_by_waiting(&error) => {
                    $crate::worker::until_answered::tell($name, None, &error);
                    backoff.pause(&$store).await;
                }
                answer => break answer,
            }
        }
    }};
}

pub(super) use until_answered;
