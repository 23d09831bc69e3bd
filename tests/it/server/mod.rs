//! The HTTP API, as a client sees it.

mod away;
mod changes;
mod clients;
mod document;
mod events;
mod idempotency;
mod kept;
mod keys;
mod limits;
mod metrics;
mod pages;
mod revisions;
mod screen;
mod secrets;
mod stopping;
mod support;
mod test_button;
mod traces;
mod walkthrough;
mod webhooks;
mod wire;
