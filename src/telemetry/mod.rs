//! What this process tells its operators.

mod logs;

pub use self::logs::{BadFilter, init, panics};
