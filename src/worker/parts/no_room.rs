//! The reason why an endpoint has no room for another attempt, in the words that customers read.

use std::fmt;

use crate::{domain::endpoint::Limit, telemetry::metrics::Wait};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoRoom {
    /// The limit that leaves no room.
    pub(crate) limit: Limit,
    /// Whether the endpoint's last attempt failed.
    pub(crate) fails: bool,
}

impl NoRoom {
    /// The endpoint's host accepts no connection.
    pub(crate) const AT_HOST: Self = Self { limit: Limit::Connections, fails: false };

    /// The reason, as it is counted.
    pub(crate) fn wait(self) -> Wait {
        Wait::Limited(self.limit)
    }
}

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.limit {
            Limit::Connections => "the endpoint's host allows no more connections",
            _ if self.fails => "the endpoint keeps failing",
            _ => "the endpoint is too slow",
        })
    }
}
