//! The signals that ask this process to end. All mean the same: after the first, the process finishes the work it has
//! begun; the second ends it at once. A SIGHUP never counts as the second: when a terminal closes, the shell and the
//! kernel both send one.
//!
//! A separate thread receives the signals, because the second one must end the process even if its other threads are
//! blocked, for example on writing log lines that nobody reads.

use std::{
    future::poll_fn,
    io::{self, Stderr},
    os::fd::AsFd,
    sync::mpsc,
    task::Poll,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Returns a token that the first SIGTERM, SIGINT, SIGHUP or SIGQUIT cancels. A second signal other than SIGHUP ends
/// the process with exit code 1. (If the caller cancels the token itself, that does not count as a signal.) A SIGHUP
/// that is ignored, as under `nohup`, stays ignored.
pub(super) fn on_signal() -> io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let token = stop.clone();
    let (sender, heard) = mpsc::sync_channel(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async move {
            let mut signals = match listen() {
                Ok(signals) => signals,
                Err(error) => return sender.send(Err(error)).unwrap_or_default(),
            };
            sender.send(Ok(())).unwrap_or_default();
            next(&mut signals).await;
            token.cancel();
            signals.retain(|(kind, _)| *kind != SignalKind::hangup());
            next(&mut signals).await;
            tell(&io::stderr(), b"second signal: ending at once\n");
            std::process::exit(1);
        });
    })?;
    // From here on, no signal is missed.
    heard.recv().map_err(io::Error::other)??;
    Ok(stop)
}

fn listen() -> io::Result<Vec<(SignalKind, Signal)>> {
    let mut kinds = vec![SignalKind::terminate(), SignalKind::interrupt(), SignalKind::quit()];
    if !hangup_is_ignored() {
        kinds.push(SignalKind::hangup());
    }
    kinds.into_iter().map(|kind| Ok((kind, signal(kind)?))).collect()
}

/// Waits for one of these signals.
async fn next(signals: &mut [(SignalKind, Signal)]) {
    poll_fn(|context| {
        let mut came = false;
        for (_, signal) in &mut *signals {
            came |= signal.poll_recv(context).is_ready();
        }
        if came { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Whether this process was started so that it outlives its terminal.
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let hangup = 1 << (SignalKind::hangup().as_raw_value() - 1);
    ignored.is_some_and(|mask| mask & hangup != 0)
}

/// Writes a line if that does not block, without taking any lock: possibly nobody reads this process's output.
fn tell(stderr: &Stderr, line: &[u8]) {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut ready = [PollFd::new(stderr, PollFlags::OUT)];
    if poll(&mut ready, Some(&now)) == Ok(1) && ready[0].revents() == PollFlags::OUT {
        // If that fails, nothing can be done.
        let _ = rustix::io::write(stderr.as_fd(), line);
    }
}
