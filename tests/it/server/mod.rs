//! The HTTP API, as a client sees it.

mod clients;
mod document;
mod support;
mod walkthrough;
mod webhooks;
