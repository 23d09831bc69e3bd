//! Whatever crashes, nothing accepted is lost. Three parts:
//!
//! - [`storm`]: several workers, accounts and webhooks under a seeded plan of load, changes and faults; at the end the
//!   books must balance. Short here; `make chaos SECONDS=600` makes it long. `SEED` repeats a plan.
//! - [`crash_points`]: the process is killed before and after every step in Redis and every request.
//! - The parts by themselves: that the proxy loses what it should, that the books see what is missing.

#![allow(unreachable_pub, reason = "`pub` marks what one part offers the others")]

mod attempts;
mod crash_points;
mod ledger;
mod nemesis;
mod plan;
mod proxy;
mod report;
mod storm;
#[path = "../it/support/mod.rs"]
mod support;
mod traffic;
mod world;

/// Timings so short that a short run sees many leases end: the rule wants `start_within` + timeout + 2 s.
const HASTE: [(&str, &str); 6] = [
    ("LYNKHOOK_WORKER__LEASE", "3200ms"),
    ("LYNKHOOK_WORKER__RENEW_EVERY", "200ms"),
    ("LYNKHOOK_WORKER__START_WITHIN", "700ms"),
    ("LYNKHOOK_WORKER__CLAIM_EVERY", "300ms"),
    ("LYNKHOOK_DELIVERY__TIMEOUT", "500ms"),
    ("LYNKHOOK_DELIVERY__RETRY_DELAYS", "400ms,800ms"),
];
