//! The result of one attempt, as a value: never an error, because a customer's broken endpoint is an expected result.
//!
//! Customers read these texts in the delivery log. The texts name the fault at *their* endpoint, and never contain a
//! path, a query or a secret.

use std::{fmt, time::Duration};

/// The result of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Complete response headers arrived with this status. The body does not matter.
    Response {
        /// The HTTP status code, 200 to 999.
        status: u16,
    },
    /// No complete response headers within the attempt's time limit.
    NetworkError(NetworkFault),
    /// The egress policy refused to connect; the text says to which address or host, and why.
    Refused(String),
}

/// The class of an outcome. The next attempt, the endpoint's limit and the log depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The receiver acknowledged the event.
    Delivered,
    /// Another attempt may help.
    Retryable,
    /// The receiver answered, and would give the same answer again.
    Final,
    /// The egress policy forbids the request, now and later.
    Forbidden,
}

impl Outcome {
    /// The class of this outcome. No other place decides it.
    pub fn class(&self) -> Class {
        match self {
            Self::Response { status: 200..=299 } => Class::Delivered,
            Self::Response { status: 500..=599 } | Self::NetworkError(_) => Class::Retryable,
            Self::Response { .. } => Class::Final,
            Self::Refused(_) => Class::Forbidden,
        }
    }
}

/// The reason why no complete response headers arrived. Customers read its `Display`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkFault {
    /// The attempt's one deadline passed.
    #[error("timed out after {} while {phase}", decimal_seconds(*after))]
    TimedOut {
        /// The time limit of the attempt.
        after: Duration,
        /// The attempt's phase when time ran out.
        phase: Phase,
    },
    /// The name does not exist (NXDOMAIN).
    #[error("DNS: no such host {host}")]
    NoSuchHost {
        /// The host of the webhook's URL.
        host: String,
    },
    /// The name exists and has neither an A nor an AAAA record.
    #[error("DNS: {host} has no address")]
    NoAddress {
        /// The host of the webhook's URL.
        host: String,
    },
    /// The name servers failed or gave no usable answer.
    #[error("DNS: looking up {host} failed ({reason})")]
    LookupFailed {
        /// The host of the webhook's URL.
        host: String,
        /// The name servers' behaviour, in a few words.
        reason: String,
    },
    /// Nothing listens at the endpoint's address and port.
    #[error("connection refused")]
    ConnectionRefused,
    /// There is no route, the network is down, or a similar fault.
    #[error("endpoint unreachable ({0})")]
    Unreachable(String),
    /// The endpoint reset the connection.
    #[error("connection reset while {0}")]
    Reset(Phase),
    /// The endpoint closed the connection before its headers were complete.
    #[error("connection closed while {0}")]
    Closed(Phase),
    /// The endpoint closed or reset the connection just after a handshake in which it did not choose HTTP/1.1.
    #[error("{0}; the endpoint may support only HTTP/2")]
    PerhapsHttp2(Box<Self>),
    /// The endpoint refused the handshake because HTTP/1.1 was offered.
    #[error(
        "TLS: the endpoint does not accept HTTP/1.1, which deliveries use (alert no_application_protocol); it may support only HTTP/2"
    )]
    OnlyHttp2,
    /// The TLS handshake failed.
    #[error("TLS: {0}")]
    Tls(String),
    /// Nothing was sent: a request must not go without its authentication, and this worker cannot open the secret.
    /// Another worker may be able to, so another attempt may help.
    #[error("nothing was sent: this webhook's credentials could not be used; ask the operator of this service")]
    NoCredentials,
    /// The response is not HTTP, or breaks a limit on it.
    #[error("invalid HTTP response ({0})")]
    InvalidResponse(String),
}

impl NetworkFault {
    /// Whether the endpoint did not accept a connection: it refused, reset or closed it before the handshake ended.
    pub fn is_refusal(&self) -> bool {
        let begun = |phase: &Phase| matches!(phase, Phase::Connecting | Phase::Handshaking);
        match self {
            Self::ConnectionRefused => true,
            Self::Reset(phase) | Self::Closed(phase) => begun(phase),
            _ => false,
        }
    }
}

/// A phase of an attempt, in the words of `timed out after 10 s while …`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Looking up the host's addresses.
    Resolving,
    /// Opening the TCP connection.
    Connecting,
    /// Negotiating TLS.
    Handshaking,
    /// Sending the request and waiting for complete response headers.
    Waiting,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolving => "looking up the host name",
            Self::Connecting => "connecting",
            Self::Handshaking => "negotiating TLS",
            Self::Waiting => "waiting for the response",
        })
    }
}

/// The duration of each phase of an attempt. `None` if the phase did not happen (a kept-alive connection has no `dns`,
/// `connect` or `tls`) or did not finish.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Phases {
    /// Looking up the host's addresses.
    pub dns: Option<Duration>,
    /// Opening the TCP connection.
    pub connect: Option<Duration>,
    /// Negotiating TLS.
    pub tls: Option<Duration>,
    /// From the request's start on a ready connection to complete response headers.
    pub first_byte: Option<Duration>,
}

/// `10 s`, `1.5 s`: a time limit as people write it.
fn decimal_seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}
