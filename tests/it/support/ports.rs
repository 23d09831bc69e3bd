//! Ports that stay reserved although nothing is bound to them at the moment.
//!
//! A port from `bind(0)` may be given to any other socket as soon as it is released: a server that restarts would find
//! it taken, and a port that should refuse connections would accept them. So these ports are below 32768, where Linux
//! does not assign ports by itself, and none is given twice within a test process.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// An unused port of 127.0.0.1. Another process may still take it first, so the caller must retry.
pub fn unused_port() -> u16 {
    // Simultaneous test processes begin at different ports.
    let start = u16::try_from(std::process::id().wrapping_mul(191) % u32::from(COUNT)).expect("below COUNT");
    (0..COUNT)
        .map(|_| FIRST + start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT)
        .find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok())
        .expect("one of 20,000 ports is free")
}

/// A port of 127.0.0.1 that refuses every connection.
pub fn refused_port() -> u16 {
    unused_port()
}
