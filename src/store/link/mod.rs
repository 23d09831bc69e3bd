//! The way to Redis: connections, scripts, and what a server says of itself.

mod info;
mod node;
mod scripts;

pub use self::info::{MAX_CLIENTS, NO_EVICTION, ServerInfo};
pub(in crate::store) use self::{
    node::{Node, answered},
    scripts::{Run, Scripts, Step},
};
