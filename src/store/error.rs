//! Errors of Redis, sorted by the caller's next step.

use std::sync::Arc;

use redis::{ErrorKind, ServerErrorKind};

use crate::domain::failure::Failure;

/// The beginning of Redis's text if it has its most clients.
const TOO_MANY_CLIENTS: &str = "max number of clients";
/// Redis's text for a client that sends a password although none is configured.
const NO_PASSWORD_KNOWN: &str = "without any password configured";
/// Redis's text for a client that selects a database beyond the last.
const NO_SUCH_DATABASE: &str = "DB index is out of range";
/// The texts for a missing permission within a script (NOPERM elsewhere): Redis 7.0's, and that of later versions and
/// Valkey.
const LACKS_A_PERMISSION: [&str; 2] = ["user executing the script", "ACL failure in script"];
/// The text for a TLS connection that was not established in time.
pub(super) const NO_TLS_IN_TIME: &str = "timed out while connecting with TLS";
/// The codes of a node of a cluster that cannot serve a slot now.
const OF_A_SLOT: [&str; 4] = ["MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN"];
/// The codes of a server that may have become a replica, or whose master may have been replaced.
const OF_ANOTHER_ROLE: [&str; 4] = ["READONLY", "NOREPLICAS", "MASTERDOWN", "LOADING"];
/// The longest part of Redis's text that is shown, in characters.
const SENTENCE_MAX: usize = 300;

/// An error of the store.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// No answer came, or the server is not ready. Repeat the call: every step is safe to repeat.
    #[error(transparent)]
    Unreachable(Silence),
    /// The queue's consumer group is gone (the stream was deleted, or the group destroyed): create it and go on.
    #[error("the queue's consumer group is gone")]
    NoGroup,
    /// Redis is at `maxmemory`.
    #[error(
        "Redis is full (maxmemory reached), so the event was not accepted: let workers drain the queue, or raise maxmemory"
    )]
    Full,
    /// The user in `redis.url` lacks a right. It is worth repeating the call, because an operator can grant the right.
    #[error("the Redis user in redis.url lacks a permission: {}", sentence(.0))]
    Forbidden(redis::RedisError),
    /// Redis takes no commands from this client, because of its password, user, database or address. An operator has to
    /// mend that.
    #[error("Redis refused the connection: {}", sentence(.0))]
    Denied(redis::RedisError),
    /// This Redis, or the data in it, cannot serve. The text says what to do.
    #[error("{0}")]
    Unfit(String),
    /// A value is not in the form that this program writes.
    #[error("the value at `{key}` is not what Lynkhook writes there: {reason}")]
    Corrupt {
        /// The key.
        key: String,
        /// The fault of the value.
        reason: String,
    },
    /// Redis answered with an error that repeating does not mend.
    #[error("Redis refused: {}", sentence(.0))]
    Refused(redis::RedisError),
}

/// A server that does not answer, or that cannot serve at the moment.
#[derive(Debug, Clone, thiserror::Error)]
pub struct Silence {
    /// Its address, if there are several servers.
    pub(super) at: Option<Arc<str>>,
    #[source]
    pub(super) cause: redis::RedisError,
}

impl std::fmt::Display for Silence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = self.at.as_ref().map(|at| format!(" at {at}")).unwrap_or_default();
        // An answer shows that Redis was reached.
        let does = if said(&self.cause).is_some() { "refused" } else { "is unreachable" };
        write!(f, "Redis{at} {does}: {}", sentence(&self.cause))
    }
}

/// The error of a server that is no longer a master.
pub(super) fn no_longer_master() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::ConnectionAborted, "it is no longer the master, and another one is")
}

impl Silence {
    fn of(cause: redis::RedisError) -> StoreError {
        StoreError::Unreachable(Self { at: None, cause })
    }
}

/// The answer of a node of a cluster that another one has a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Redirect {
    pub(super) slot: u16,
    /// `None`: that of the node that answered.
    pub(super) host: Option<String>,
    pub(super) port: u16,
    /// Whether it has the whole slot, and not only the keys that have moved already.
    pub(super) is_for_good: bool,
}

/// The reason why a command that is not safe to repeat was not done.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Unanswered {
    /// It was not sent, or Redis refused it: nothing happened.
    #[error("nothing was done")]
    NotDone(#[source] StoreError),
    /// It was sent, and the connection was lost or gave no answer: it may have happened or not.
    #[error("no answer came")]
    Unknown(#[source] StoreError),
}

impl Unanswered {
    /// The cause, for a caller that may repeat the commands.
    pub fn into_cause(self) -> StoreError {
        match self {
            Self::NotDone(cause) | Self::Unknown(cause) => cause,
        }
    }
}

/// Redis's answer, if there is one: the code, and the text after it. For a pipeline, that of its first error.
fn said(error: &redis::RedisError) -> Option<(String, String)> {
    let own = |code: &str, detail: Option<&str>| (code.to_owned(), detail.unwrap_or_default().to_owned());
    // The error of a pipeline has a code of its own, but the text is only in the errors of its commands.
    if let Some(errors) = error.clone().into_server_errors()
        && let Some((_, first)) = errors.first()
    {
        return Some(own(first.code(), first.details()));
    }
    error.code().map(|code| own(code, error.detail()))
}

/// The first sentence of Redis's answer, or the client library's text if Redis did not answer.
fn sentence(error: &redis::RedisError) -> String {
    let Some((code, detail)) = said(error) else { return error.to_string() };
    let first = detail.split_once(". ").map_or(detail.as_str(), |(first, _)| first);
    format!("{code} {first}").trim_end().trim_end_matches('.').chars().take(SENTENCE_MAX).collect()
}

impl StoreError {
    /// The kind of failure.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Unreachable(_)
            | Self::Forbidden(_)
            | Self::Unfit(_)
            | Self::Denied(_)
            | Self::NoGroup
            | Self::Full => Failure::Unavailable,
            Self::Corrupt { .. } | Self::Refused(_) => Failure::Broken,
        }
    }

    /// The code and the text of Redis's answer; `None` if it did not answer.
    pub(crate) fn answer(&self) -> Option<(String, String)> {
        match self {
            Self::Unreachable(Silence { cause: error, .. })
            | Self::Forbidden(error)
            | Self::Denied(error)
            | Self::Refused(error) => said(error),
            _ => None,
        }
    }

    /// The TLS error, if that is why there is no connection.
    pub(crate) fn tls_fault(&self) -> Option<rustls::Error> {
        let Self::Unreachable(Silence { cause, .. }) = self else { return None };
        // The client library keeps an I/O error behind a pointer that is an error itself.
        let source = std::error::Error::source(cause)?.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>()?;
        source.downcast_ref::<std::io::Error>()?.get_ref()?.downcast_ref::<rustls::Error>().cloned()
    }

    /// Whether it is the silence of one of several servers.
    pub(crate) fn is_of_a_node(&self) -> bool {
        matches!(self, Self::Unreachable(silence) if silence.at.is_some())
    }

    /// Whether the TLS handshake did not end in time. The address or the scheme may be wrong.
    pub(crate) fn is_of_late_tls(&self) -> bool {
        matches!(self, Self::Unreachable(silence) if silence.cause.to_string().contains(NO_TLS_IN_TIME))
    }

    /// Whether Redis has its most clients (`maxclients`).
    pub(crate) fn is_of_too_many_clients(&self) -> bool {
        self.answer().is_some_and(|(_, detail)| detail.contains(TOO_MANY_CLIENTS))
    }

    /// Whether a password was sent to a Redis without one.
    pub(crate) fn is_of_a_needless_password(&self) -> bool {
        self.answer().is_some_and(|(_, detail)| detail.contains(NO_PASSWORD_KNOWN))
    }

    /// Whether a key has another type than this program gives it.
    pub fn is_wrong_type(&self) -> bool {
        matches!(self, Self::Refused(error) if error.code() == Some("WRONGTYPE"))
    }

    /// Whether an answer came in an unexpected form.
    pub fn is_unreadable(&self) -> bool {
        matches!(self, Self::Unreachable(silence) if silence.cause.kind() == ErrorKind::Parse)
    }

    /// Whether a connection was closed, and not refused at its opening.
    pub(crate) fn is_of_a_closed_connection(&self) -> bool {
        matches!(self, Self::Unreachable(Silence { cause, .. })
            if cause.is_connection_dropped() && !cause.is_connection_refusal())
    }

    /// Whether a node of a cluster answered that it cannot serve a slot now: another one has it, the slot moves, or too
    /// few masters are there. Nothing was done.
    pub(super) fn is_of_a_slot(&self) -> bool {
        self.answer().is_some_and(|(code, _)| OF_A_SLOT.contains(&code.as_str()))
    }

    /// Whether the masters should be looked up anew.
    pub(super) fn tells_of_a_change(&self) -> bool {
        matches!(self, Self::NoGroup)
            || self.is_of_a_slot()
            || self.answer().is_some_and(|(code, _)| OF_ANOTHER_ROLE.contains(&code.as_str()))
    }

    /// The server that has a slot, as a node of a cluster names it.
    pub(super) fn redirect(&self) -> Option<Redirect> {
        let (code, detail) = self.answer()?;
        let mut words = detail.split_ascii_whitespace();
        let (slot, (host, port)) = (words.next()?.parse().ok()?, words.next()?.rsplit_once(':')?);
        // A node that does not know a host's name or address leaves it out.
        let host = Some(host.to_owned()).filter(|host| !["", "?"].contains(&host.as_str()));
        let is_for_good = match code.as_str() {
            "MOVED" => true,
            "ASK" => false,
            _ => return None,
        };
        Some(Redirect { slot, host, port: port.parse().ok()?, is_for_good })
    }

    /// The server is no longer the master of the keys.
    pub(super) fn deposed() -> Self {
        redis::RedisError::from(no_longer_master()).into()
    }

    /// Whether the same call may succeed later without anyone's help.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::NoGroup)
    }
}

impl From<redis::RedisError> for StoreError {
    fn from(error: redis::RedisError) -> Self {
        let (code, detail) = said(&error).unwrap_or_default();
        match code.as_str() {
            // UNBLOCKED: the stream was deleted under a blocked reader.
            "NOGROUP" | "UNBLOCKED" => return Self::NoGroup,
            "OOM" => return Self::Full,
            // At the moment, it cannot persist, has too few replicas, or runs a long script.
            "MISCONF" | "NOREPLICAS" | "BUSY" => return Silence::of(error),
            code if OF_A_SLOT.contains(&code) => return Silence::of(error),
            "ERR" if detail.contains(TOO_MANY_CLIENTS) => return Silence::of(error),
            "NOAUTH" | "WRONGPASS" | "DENIED" => return Self::Denied(error),
            "ERR" if detail.contains(NO_PASSWORD_KNOWN) || detail.contains(NO_SUCH_DATABASE) => {
                return Self::Denied(error);
            }
            "NOPERM" => return Self::Forbidden(error),
            _ if LACKS_A_PERMISSION.iter().any(|words| detail.contains(words)) => return Self::Forbidden(error),
            _ => {}
        }
        match error.kind() {
            ErrorKind::Io
            | ErrorKind::Parse
            | ErrorKind::Server(
                ServerErrorKind::BusyLoading | ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown,
            ) => Silence::of(error),
            ErrorKind::InvalidClientConfig => Self::Unfit(format!(
                "the files for TLS to Redis cannot be used ({error}): make sure that redis.client_key is the key of redis.client_cert"
            )),
            ErrorKind::AuthenticationFailed => Self::Denied(error),
            _ => Self::Refused(error),
        }
    }
}

/// Errors as a server would cause them, for tests.
#[cfg(test)]
impl StoreError {
    /// The server answered with this line: `-WRONGTYPE …`.
    pub(crate) fn answered(line: &str) -> Self {
        redis::parse_redis_value(line.as_bytes()).unwrap().extract_error().unwrap_err().into()
    }

    /// No server answered.
    pub(crate) fn gone() -> Self {
        redis::RedisError::from(std::io::Error::from(std::io::ErrorKind::ConnectionRefused)).into()
    }
}
