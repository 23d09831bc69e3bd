//! The integration tests: the built program, a real Redis, real sockets. One binary, so that it links once.

mod ages;
mod bounded;
mod claim;
mod cli;
mod clock;
mod connections;
mod egress;
mod failed;
mod full;
mod health;
mod hot_path;
mod invariants;
mod isolation;
mod known;
mod outcomes;
mod partitions;
mod poison;
mod queue;
mod rotation;
mod schedule;
mod steps;
mod support;
mod support_works;
mod survival;
mod upkeep;
mod webhooks;
