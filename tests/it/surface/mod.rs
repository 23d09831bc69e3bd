//! The operations that the HTTP API asks for: lists by pages, dry runs, changes of a named revision.

mod kept;
mod logs;
mod settings;
