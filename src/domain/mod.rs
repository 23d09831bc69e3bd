//! What Lynkhook means by its words, and every rule that can be decided without the world.
//!
//! Pure: no I/O, no clock, no randomness, no async. Whoever needs the time or a random number passes it in as
//! an argument, so each rule here is a function that a table of cases can test.

pub mod account;
pub mod delivery;
pub mod event;
pub mod failure;
pub mod identifier;
pub mod new_event;
pub mod text;
pub mod time;
pub mod transcript;
pub mod webhook_id;

pub mod address;
pub mod busy;
pub mod endpoint;
pub mod entry;
pub mod header;
pub mod lateness;
pub mod lease;
pub mod log_entry;
pub mod outcome;
pub mod recent;
pub mod retry;
pub mod url;
pub mod webhook;
