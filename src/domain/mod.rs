//! The types for Lynkhook's terms, and every rule that needs no I/O.
//!
//! This module is pure: no I/O, no clock, no randomness, no async. Time and random numbers are arguments, so a table of
//! cases can test each rule.

pub mod account;
pub mod delivery;
pub mod event;
pub mod failure;
pub mod idempotency;
pub mod identifier;
pub mod new_event;
pub mod origin;
pub mod text;
pub mod time;
pub mod traceparent;
pub mod transcript;
pub mod webhook_id;

#[cfg(feature = "program")]
pub mod address;
#[cfg(feature = "program")]
pub mod api_key;
#[cfg(feature = "program")]
pub mod busy;
#[cfg(feature = "program")]
pub mod client;
#[cfg(feature = "program")]
pub mod endpoint;
#[cfg(feature = "program")]
pub mod entry;
#[cfg(feature = "program")]
pub mod header;
#[cfg(feature = "program")]
pub mod lateness;
#[cfg(feature = "program")]
pub mod lease;
#[cfg(feature = "program")]
pub mod log_entry;
#[cfg(feature = "program")]
pub mod outcome;
#[cfg(feature = "program")]
pub mod page;
#[cfg(feature = "program")]
pub mod portal;
#[cfg(feature = "program")]
pub mod recent;
#[cfg(feature = "program")]
pub mod retry;
#[cfg(feature = "program")]
pub mod token;
#[cfg(feature = "program")]
pub mod url;
#[cfg(feature = "program")]
pub mod webhook;
