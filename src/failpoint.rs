//! Points at which a test can end the process, as a crash would, or a loop, as a deadlock would. Only in builds with debug assertions; in a release
//! build this is nothing.
//!
//! `LYNKHOOK_FAILPOINT=<point>` or `<point>:<detail>` arms one point for all or for one detail (an account);
//! `…@<n>` lets it pass n - 1 times first. `LYNKHOOK_WEDGE=<loop>` stops one of the worker's loops.

/// Passes a point; a test may have armed it.
#[inline]
pub fn reach(point: &str, detail: &str) {
    #[cfg(debug_assertions)]
    armed::reach(point, detail);
    #[cfg(not(debug_assertions))]
    let _ = (point, detail);
}

/// Stays here for ever where a test asked for it.
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
        point: String,
        detail: Option<String>,
        passes: AtomicU64,
    }

    static ARMED: LazyLock<Option<Armed>> = LazyLock::new(|| {
        let text = std::env::var("LYNKHOOK_FAILPOINT").ok()?;
        let (text, passes) = text.split_once('@').map_or((&*text, 1), |(text, n)| (text, n.parse().unwrap_or(1)));
        let (point, detail) = text.split_once(':').map_or((text, None), |(p, d)| (p, Some(d.to_owned())));
        Some(Armed { point: point.to_owned(), detail, passes: AtomicU64::new(passes) })
    });

    pub(super) fn reach(point: &str, detail: &str) {
        let Some(armed) = &*ARMED else { return };
        let meant = armed.point == point && armed.detail.as_deref().is_none_or(|d| d == detail);
        if meant && armed.passes.fetch_sub(1, Relaxed) == 1 {
            std::process::abort();
        }
    }
}
