//! The protocol as a model: queue, leases, workers, promoter, releases, visits, and all possible faults.
//!
//! - [`state`] is the content of Redis, the beliefs of each worker, and the books;
//! - [`redis_steps`] are the scripts, and [`worker`] is a worker's side, as pure functions;
//! - [`actions`] are all possible actions, faults included; [`possible`] lists those that can come next;
//! - [`invariants`] must hold whatever happens; [`check`] searches every history within stated bounds, and shows that
//!   each part of the [`protocol`] is needed;
//! - [`replay`] runs random histories on a real Redis and compares the state after each step, so that the model stays
//!   a model of the scripts.

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
