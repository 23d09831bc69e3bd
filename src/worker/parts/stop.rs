//! The signal to stop: the worker was told to stop, or one of its loops panicked.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// Whether a worker is to stop, and whether a panic is the reason.
pub(crate) struct Stop {
    /// Cancelled when the worker is to take no more entries.
    token: CancellationToken,
    /// Whether one of its loops panicked.
    panicked: AtomicBool,
}

impl Stop {
    pub(crate) fn new(token: CancellationToken) -> Self {
        Self { token, panicked: AtomicBool::new(false) }
    }

    /// Waits until the worker is to take no more entries.
    pub(crate) async fn begins(&self) {
        self.token.cancelled().await;
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Stops the worker after a panic of a loop: it takes no more entries, finishes what it can, and ends with an
    /// error.
    pub(crate) fn after_a_panic(&self) {
        self.panicked.store(true, Relaxed);
        self.token.cancel();
    }

    /// Notes that a loop has ended; it may have panicked.
    pub(crate) fn note_end(&self, ended: &Result<(), JoinError>) {
        if ended.as_ref().is_err_and(JoinError::is_panic) {
            self.after_a_panic();
        }
    }

    pub(crate) fn has_panicked(&self) -> bool {
        self.panicked.load(Relaxed)
    }
}

/// Waits until one of these loops panics.
pub(crate) async fn a_panic(loops: &mut JoinSet<()>) {
    loop {
        match loops.join_next().await {
            Some(Err(error)) if error.is_panic() => return,
            Some(_) => {}
            None => std::future::pending().await,
        }
    }
}
