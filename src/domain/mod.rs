//! What Lynkhook means by its words, and every rule that can be decided without the world.
//!
//! Pure: no I/O, no clock, no randomness, no async. Whoever needs the time or a random number passes it in as
//! an argument, so each rule here is a function that a table of cases can test.

pub mod account;
pub mod address;
pub mod busy;
pub mod delivery;
pub mod endpoint;
pub mod entry;
pub mod event;
pub mod failure;
pub mod header;
pub mod identifier;
pub mod lateness;
pub mod lease;
pub mod log_entry;
pub mod new_event;
pub mod outcome;
pub mod recent;
pub mod retry;
pub mod text;
pub mod transcript;
pub mod url;
pub mod webhook;
