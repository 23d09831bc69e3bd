//! Metrics, traces, alerts and the dashboard: all by which the program is watched.

mod alerts;
mod away;
mod bounds;
mod counted;
mod dashboard;
mod documents;
mod incident;
mod prometheus;
mod scene;
pub(crate) mod text;
mod told;
pub(crate) mod traces;
mod waits;
