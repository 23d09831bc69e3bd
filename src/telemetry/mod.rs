//! The information that this process gives its operators.

mod logs;

pub use self::logs::{BadFilter, init, panics};
