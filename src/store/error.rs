//! What can go wrong with Redis, sorted by what the caller does next.

use redis::{ErrorKind, ServerErrorKind};

/// An error of the store.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// No answer came, or the server is not ready. Worth repeating: every step is safe to repeat.
    #[error("Redis is unreachable: {0}")]
    Unreachable(#[source] redis::RedisError),
    /// The queue's consumer group is gone (the stream was deleted, or the group destroyed): create it and go on.
    #[error("the queue's consumer group is gone")]
    NoGroup,
    /// Redis is at `maxmemory`.
    #[error(
        "Redis is full (maxmemory reached), so the event was not accepted: let workers drain the queue, or raise maxmemory"
    )]
    Full,
    /// The user in `redis.url` lacks a right. Worth repeating, for an operator can give it.
    #[error("the Redis user in redis.url may do too little: {0}")]
    Forbidden(#[source] redis::RedisError),
    /// This Redis, or what lies in it, cannot serve. The text says what to do.
    #[error("{0}")]
    Unfit(String),
    /// A value that is not what this program writes.
    #[error("the value at `{key}` is not what Lynkhook writes there: {reason}")]
    Corrupt {
        /// The key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Redis answered with an error that repeating does not mend.
    #[error("Redis refused: {0}")]
    Refused(#[source] redis::RedisError),
}

/// Why commands that are not safe to repeat have no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Unanswered {
    /// They never left: nothing happened.
    #[error("nothing was sent")]
    NotSent(#[source] StoreError),
    /// They were sent, and the connection was lost or silent: each may have happened or not.
    #[error("no answer came")]
    Unknown(#[source] StoreError),
}

impl Unanswered {
    /// Why, for who may repeat the commands.
    pub fn into_cause(self) -> StoreError {
        match self {
            Self::NotSent(cause) | Self::Unknown(cause) => cause,
        }
    }
}

impl StoreError {
    /// Whether a key is of another type than this program makes.
    pub fn is_wrong_type(&self) -> bool {
        matches!(self, Self::Refused(error) if error.code() == Some("WRONGTYPE"))
    }

    /// Whether an answer came that is of another kind than was asked for.
    pub fn is_unreadable(&self) -> bool {
        matches!(self, Self::Unreachable(error) if error.kind() == ErrorKind::Parse)
    }

    /// Whether the same call may succeed later without anyone's doing.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::NoGroup)
    }
}

impl From<redis::RedisError> for StoreError {
    fn from(error: redis::RedisError) -> Self {
        // A pipeline's error is a list and has no code of its own; the first one speaks for it.
        let first = error.clone().into_server_errors().and_then(|errors| Some(errors.first()?.1.code().to_owned()));
        match error.code().or(first.as_deref()) {
            // UNBLOCKED: the stream was deleted under a blocked reader.
            Some("NOGROUP" | "UNBLOCKED") => return Self::NoGroup,
            Some("OOM") => return Self::Full,
            // It cannot persist just now, has too few replicas just now, runs somebody's long script just now.
            Some("MISCONF" | "NOREPLICAS" | "BUSY") => return Self::Unreachable(error),
            Some("NOAUTH") => return Self::Unfit("Redis wants a password: put one into redis.url".to_owned()),
            Some("NOPERM") => return Self::Forbidden(error),
            _ => {}
        }
        match error.kind() {
            ErrorKind::Io
            | ErrorKind::Parse
            | ErrorKind::Server(
                ServerErrorKind::BusyLoading
                | ServerErrorKind::ReadOnly
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::TryAgain,
            ) => Self::Unreachable(error),
            ErrorKind::AuthenticationFailed => {
                Self::Unfit("Redis refused the user name or password in redis.url".to_owned())
            }
            _ => Self::Refused(error),
        }
    }
}

/// Errors as a server would cause them, for tests of what is made of them.
#[cfg(test)]
impl StoreError {
    /// The server answered with this line: `-WRONGTYPE …`.
    pub(crate) fn answered(line: &str) -> Self {
        redis::parse_redis_value(line.as_bytes()).unwrap().extract_error().unwrap_err().into()
    }

    /// Nobody answered.
    pub(crate) fn gone() -> Self {
        redis::RedisError::from(std::io::Error::from(std::io::ErrorKind::ConnectionRefused)).into()
    }
}
