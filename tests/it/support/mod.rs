//! The base of the integration tests: a real Redis, an HTTPS receiver that can misbehave in every relevant way, a DNS
//! server that can change its answers, and the built program.
//!
//! Nothing here sleeps and hopes. A wait is for a signal or a condition, and it has a deadline. When the deadline
//! passes, the wait panics with the expected condition and the state it found. `support_works` proves each part, so
//! that a fault that does not happen is not mistaken for a program that survives it.

#![allow(dead_code, unused_imports, reason = "an interface for all tests; not all of it is in use at every time")]
#![allow(
    unreachable_pub,
    reason = "`pub` marks what the tests may use; `pub(crate)` everywhere would say nothing more"
)]

mod certificates;
mod cluster;
mod connection;
mod dns;
mod endpoint;
mod installation;
mod ports;
mod program;
mod receiver;
mod redis;
mod timetable;
mod tripwire;

use std::process::Command;
use std::time::{Duration, Instant};

pub use certificates::{Authority, Identity, authority_pem_for, pem_for, server_config, trusted_pem};
pub use cluster::{Moving, RedisCluster, slot_of};
pub use connection::{Connection, Head};
pub use dns::{DnsServer, Reply};
pub use endpoint::{Endpoint, Front};
pub use installation::{CLUSTER, Installation, SOON, TRANSCRIPT, account_id, envelope_of, first, text};
pub use ports::{refused_port, unused_port};
pub use program::{Output, Process, Program, SECRETS_KEY};
pub use receiver::{Answer, Gate, Received, Receiver};
pub use redis::{AppendFsync, RedisServer, connect, faketime_library};
pub use timetable::{Record, TELLING, Timed, Timetable, now_ms, quantile};
pub use tripwire::Tripwire;

/// Calls `probe` every 10 ms until it answers `Some`. Panics with `what` if that takes longer than `deadline`.
///
/// Use it for state that has no signal of its own (a key in Redis). If there is a signal, wait for the signal.
pub async fn eventually<T>(deadline: Duration, what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        // The probe is limited as well: one that hangs must not make the test hang.
        let left = deadline.saturating_sub(started.elapsed());
        match tokio::time::timeout(left, probe()).await {
            Ok(Some(found)) => return found,
            Ok(None) if started.elapsed() < deadline => tokio::time::sleep(Duration::from_millis(10)).await,
            _ => panic!("not within {deadline:?}: {what}"),
        }
    }
}

/// Sends a signal, named as for `kill` (`TERM`, `KILL`, `STOP`, …), without `unsafe`.
pub fn send_signal(process_id: u32, signal: &str) {
    // Use the shell's own `kill`: a slim image has no such program on its PATH.
    let status = Command::new("sh")
        .args(["-c", r#"kill -s "$1" "$2""#, "send-signal", signal, &process_id.to_string()])
        .status()
        .expect("sh is installed");
    assert!(status.success(), "SIG{signal} could not be sent to process {process_id}");
}
