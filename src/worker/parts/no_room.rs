//! The reason why an endpoint has no room for another attempt, in the words that customers read.

use std::fmt;

use crate::domain::endpoint::Limit;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoRoom {
    Slow,
    Failing,
    HostFull,
}

impl NoRoom {
    /// The reason, from the limit that leaves no room and whether the endpoint's last attempt failed.
    pub(crate) fn by(limit: Limit, fails: bool) -> Self {
        match limit {
            Limit::Connections => Self::HostFull,
            _ if fails => Self::Failing,
            _ => Self::Slow,
        }
    }
}

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Slow => "the endpoint is too slow",
            Self::Failing => "the endpoint keeps failing",
            Self::HostFull => "the endpoint's host allows no more connections",
        })
    }
}
