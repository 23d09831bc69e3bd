//! Redis Cluster: what a fault of a node costs, and what it never costs.
//!
//! Each test starts a cluster of its own, so these tests run one at a time (`serial_`).

mod away;
mod doctor;
mod faults;
mod outages;
mod same_tests;
mod scene;
