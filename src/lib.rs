//! Lynkhook: webhook delivery over Redis.

pub mod config;
pub mod domain;
pub mod sender;
