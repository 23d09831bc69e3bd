//! Failpoints for tests. At a point before or after every step in Redis and every request, a test can end the process,
//! as a crash would, or make it panic, as a fault of this program would. A test can also stop a loop, as a deadlock
//! would. The points exist only in builds with debug assertions; a release build has none.
//!
//! `LYNKHOOK_FAILPOINT=before-<step>` or `after-<step>` arms one point for all, `…:<detail>` for one detail (an
//! account); `…@<n>` lets it pass n - 1 times first. `LYNKHOOK_PANIC` has the same form, and panics there, once.
//! `LYNKHOOK_WEDGE=<loop>` stops a loop by its name in `/healthz`.

/// All steps with a point before and after them: taking entries, requests, and each script of the store.
/// `tests/chaos/crash_points/mod.rs` crashes at all of them.
pub const STEPS: [&str; 38] = [
    "read",
    "request",
    "accept",
    "audit",
    "claim",
    "delete_api_key",
    "delete_webhook",
    "drop_rejected",
    "fan_out",
    "group",
    "hold",
    "ids",
    "leave",
    "list_kept",
    "log",
    "look",
    "look_at_ids",
    "may",
    "mend_times",
    "overview",
    "portal_end",
    "portal_enter",
    "portal_link",
    "promote",
    "publish",
    "put_api_key",
    "put_webhook",
    "redeliver",
    "reject",
    "release",
    "renew",
    "requeue_rejected",
    "settle",
    "status",
    "sweep",
    "take_back",
    "use_api_key",
    "visit",
];

/// Passes the point before a step. A test may have armed it.
#[inline]
pub fn before(step: &str, detail: &str) {
    reach("before", step, detail);
}

/// Passes the point after a step, when its answer is there and not used yet.
#[inline]
pub fn after(step: &str, detail: &str) {
    reach("after", step, detail);
}

#[inline]
fn reach(side: &str, step: &str, detail: &str) {
    #[cfg(debug_assertions)]
    armed::reach(side, step, detail);
    #[cfg(not(debug_assertions))]
    let _ = (side, step, detail);
}

/// Stays here for ever if a test asked for it.
#[inline]
pub async fn wedge(name: &str) {
    #[cfg(debug_assertions)]
    if std::env::var("LYNKHOOK_WEDGE").is_ok_and(|wedged| wedged == name) {
        std::future::pending::<()>().await;
    }
    #[cfg(not(debug_assertions))]
    let _ = name;
}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    };

    struct Armed {
        side: String,
        step: String,
        detail: Option<String>,
        passes: AtomicU64,
    }

    static CRASH: LazyLock<Option<Armed>> = LazyLock::new(|| armed("LYNKHOOK_FAILPOINT"));
    static PANIC: LazyLock<Option<Armed>> = LazyLock::new(|| armed("LYNKHOOK_PANIC"));

    fn armed(variable: &str) -> Option<Armed> {
        let text = std::env::var(variable).ok()?;
        let (text, passes) = text.split_once('@').map_or((&*text, 1), |(text, n)| (text, n.parse().unwrap_or(1)));
        let (point, detail) = text.split_once(':').map_or((text, None), |(p, d)| (p, Some(d.to_owned())));
        let (side, step) = point.split_once('-')?;
        Some(Armed { side: side.to_owned(), step: step.to_owned(), detail, passes: AtomicU64::new(passes) })
    }

    impl Armed {
        /// Whether this point is to act now.
        fn is_due(&self, side: &str, step: &str, detail: &str) -> bool {
            let meant = self.side == side && self.step == step && self.detail.as_deref().is_none_or(|d| d == detail);
            meant && self.passes.fetch_sub(1, Relaxed) == 1
        }
    }

    pub(super) fn reach(side: &str, step: &str, detail: &str) {
        debug_assert!(super::STEPS.contains(&step), "no test crashes at {step}: it is missing from STEPS");
        let is_due = |armed: &Option<Armed>| armed.as_ref().is_some_and(|armed| armed.is_due(side, step, detail));
        if is_due(&CRASH) {
            std::process::abort();
        }
        assert!(!is_due(&PANIC), "a test wanted a panic here");
    }
}
