//! The turns of the loop that accepts connections. A loop that takes no turns is wedged.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use crate::failpoint;

/// The loop takes a turn at least this often, even if no client comes.
pub(super) const TURN_EVERY: Duration = Duration::from_secs(1);

/// The last turn of one loop.
pub struct Turns {
    name: &'static str,
    created: Instant,
    /// In ms since `created`.
    last: AtomicU64,
}

impl Turns {
    /// The turns of the loop with this name, by which a test stops it (`LYNKHOOK_WEDGE`). Its time begins now.
    pub fn of(name: &'static str) -> Self {
        Self { name, created: Instant::now(), last: AtomicU64::new(0) }
    }

    pub(super) async fn take(&self) {
        self.last.store(u64::try_from(self.created.elapsed().as_millis()).unwrap_or(u64::MAX), Relaxed);
        failpoint::wedge(self.name).await;
    }

    /// The time since the loop's last turn: about a second at most while it works.
    pub fn since_last(&self) -> Duration {
        self.created.elapsed().saturating_sub(Duration::from_millis(self.last.load(Relaxed)))
    }
}
