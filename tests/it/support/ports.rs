//! Ports that stay ours, although nothing is bound to them at the moment.
//!
//! A port from `bind(0)` that is let go may be handed to any other socket a moment later: a server that restarts would
//! find it taken, and a port that should refuse would answer. So these come from below 32768, where Linux begins to
//! hand out ports by itself, and none is given twice within a test process.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port of 127.0.0.1 on which nobody listens. Another process may still take it first: whoever binds it must retry.
pub fn unused_port() -> u16 {
    // Test processes that run at the same time begin at different places.
    let start = u16::try_from(std::process::id().wrapping_mul(191) % u32::from(COUNT)).expect("below COUNT");
    (0..COUNT)
        .map(|_| FIRST + start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT)
        .find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok())
        .expect("one of 20,000 ports is free")
}

/// A port of 127.0.0.1 where every connection is refused.
pub fn refused_port() -> u16 {
    unused_port()
}
