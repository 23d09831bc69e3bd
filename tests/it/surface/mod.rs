//! The operations that the HTTP API asks for: lists by pages, dry runs, changes of a named revision.

mod logs;
mod settings;
