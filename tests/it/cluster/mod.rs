//! Redis Cluster: the costs of a fault of a node, and everything that it never costs.
//!
//! Each test starts a cluster of its own, so these tests run one at a time (`serial_`).

mod away;
pub(crate) mod deployed;
mod doctor;
mod faults;
mod made;
mod outages;
mod outgrown;
mod producers;
mod same_tests;
mod scene;
mod storm;
