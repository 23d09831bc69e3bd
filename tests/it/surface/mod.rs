//! The operations that the HTTP API asks for: lists by pages, dry runs, changes of a named revision,
//! work in bounded parts, tests that show what was sent.

mod kept;
mod logs;
mod overview;
mod rejected;
mod settings;
mod test_button;
