//! Nothing accepted is lost, whatever crashes. Three parts:
//!
//! - [`storm`]: several workers, accounts and webhooks under a seeded plan of load, changes and faults; at the end the
//!   books must balance. Short here; `make chaos SECONDS=600` makes it long. `SEED` repeats a plan.
//! - [`crash_points`]: the process is killed before and after every step in Redis and every request.
//! - The parts by themselves: that the proxy loses what it should, that the books see what is missing.

#![allow(unreachable_pub, reason = "`pub` marks the items that one part offers the others")]

mod attempts;
mod crash_points;
mod lateness;
mod ledger;
mod logs;
mod lost_answers;
mod nemesis;
mod plan;
mod proxy;
mod report;
mod storm;
#[path = "../it/support/mod.rs"]
mod support;
mod takeovers;
mod traffic;
mod world;
