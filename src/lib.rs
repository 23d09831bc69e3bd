//! Lynkhook: webhook delivery over Redis.

pub mod cli;
pub mod config;
pub mod domain;
pub mod producer;
pub mod secrets;
pub mod sender;
pub mod store;
pub mod telemetry;
pub mod webhooks;
pub mod worker;
