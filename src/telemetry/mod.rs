//! The information that this process gives its operators.

mod logs;
pub mod metrics;

pub use self::logs::{BadFilter, init, panics};
