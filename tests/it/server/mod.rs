//! The HTTP API, as a client sees it.

mod away;
mod clients;
mod document;
mod events;
mod idempotency;
mod kept;
mod limits;
mod pages;
mod stopping;
mod support;
mod test_button;
mod walkthrough;
mod webhooks;
mod wire;
