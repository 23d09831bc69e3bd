//! Why there is no room for one more attempt at an endpoint, in the customer's words.

use std::fmt;

use crate::domain::endpoint::Limit;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoRoom {
    Slow,
    Failing,
    HostFull,
}

impl NoRoom {
    /// This limit leaves no room, and the endpoint's last attempt failed or did not.
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
