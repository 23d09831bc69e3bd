//! Tells the service manager that started this process (systemd, or another that sets `NOTIFY_SOCKET`) when it has
//! started, that it is alive, and that it is stopping. systemd has no probes: it restarts a process that falls silent.
//! Without `NOTIFY_SOCKET` all of this does nothing.
//!
//! Source: `sd_notify(3)`, `systemd.service(5)` (`Type=notify`, `WatchdogSec`).

use std::time::Duration;

use sd_notify::{
    NotifyState::{Ready, Status, Stopping, Watchdog},
    notify,
};
use tokio::{
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};

/// A process says that it is alive this many times within the time after which it counts as wedged.
const TIMES: u32 = 4;

/// Says that this process has started and does its work.
pub async fn started() {
    tell(|| notify(&[Ready, Status("working")])).await;
}

/// Says that this process takes no more work and finishes what it has begun.
pub async fn stopping() {
    tell(|| notify(&[Stopping, Status("stopping: finishing what has begun")])).await;
}

/// Says again and again that this process is alive, unless `fault` finds one. Runs until it is dropped. Spawn it on the
/// runtime that does the work: if that is wedged, it falls silent.
pub async fn feed(fault: impl Fn() -> Option<String>) {
    // Without a watchdog, a sign of life every hour does no harm.
    let within = sd_notify::watchdog_enabled().unwrap_or(Duration::from_hours(4));
    let mut turns = interval((within / TIMES).max(Duration::from_millis(1)));
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        match fault() {
            None => tell(|| notify(&[Watchdog])).await,
            Some(fault) => {
                tracing::error!(fault, "a health check fails");
                tell(move || notify(&[Status(&fault)])).await;
            }
        }
    }
}

/// Sends one datagram. It may have to wait for the service manager, so a thread of its own sends it.
async fn tell(sends: impl FnOnce() -> std::io::Result<()> + Send + 'static) {
    if let Ok(Err(error)) = spawn_blocking(sends).await {
        tracing::warn!(%error, "the service manager cannot be told how this process is");
    }
}
