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

/// Repeats `step` while Redis is away; answers with its answer, or with the error that repeating does not mend.
pub(super) async fn until_answered<T, F>(name: &'static str, step: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut backoff = Backoff::new();
    loop {
        match step().await {
            Err(error) if error.is_passing() => {
                tracing::debug!(step = name, %error, "no answer, repeating");
                backoff.pause().await;
            }
            answer => return answer,
        }
    }
}
