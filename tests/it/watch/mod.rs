//! Metrics, traces, alerts and the dashboard: all by which the program is watched.

mod away;
mod bounds;
mod counted;
pub(crate) mod text;
mod traces;
mod waits;
