//! The protocol as a model: queue, leases, workers, promoter, releases, visits, and all that can go wrong.
//!
//! - [`state`] is what lies in Redis, what each worker believes, and the books;
//! - [`redis_steps`] are the scripts, [`worker`] is a worker's side, as pure functions;
//! - [`actions`] is all that can happen, faults included; [`possible`] says what can happen next;
//! - [`invariants`] must hold whatever happens; [`check`] searches every history within stated bounds, and shows that
//!   each part of the [`protocol`] is needed;
//! - [`replay`] takes random histories on a real Redis and compares after each step, so that this model stays a model
//!   of the scripts.

mod actions;
mod bounds;
mod check;
mod invariants;
mod possible;
mod protocol;
mod redis_steps;
mod replay;
mod search;
mod state;
#[path = "../it/support/mod.rs"]
mod support;
mod worker;
