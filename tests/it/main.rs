//! The integration tests: the built program, a real Redis, real sockets. One binary, so that it links once.

mod outcomes;
mod queue;
mod support;
mod support_works;
mod survival;
mod webhooks;
