//! What the program tells those who watch it.

mod away;
mod bounds;
mod counted;
pub(crate) mod text;
mod waits;
