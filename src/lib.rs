//! Lynkhook: webhook delivery over Redis.

pub mod config;
pub mod domain;
pub mod secrets;
pub mod sender;
pub mod store;
pub mod webhooks;
pub mod worker;
