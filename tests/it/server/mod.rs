//! The HTTP API, as a client sees it.

mod clients;
mod document;
mod support;
mod webhooks;
mod unread;
mod walkthrough;
