//! Every fault that settings can have. Each text says what to change.
//!
//! No error may hold a secret, in `Display` or in `Debug`: not the value of `redis.url` or `secrets.key`, and not the
//! text of the file around a mistake. A TOML error is therefore kept as message and line, without its source, whose
//! `Debug` prints the whole file.

use std::{fmt, io, path::PathBuf, time::Duration};

use humantime::format_duration;
use thiserror::Error;

use crate::domain::failure::Failure;

/// The source of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The embedded `config/default.toml`.
    Default,
    /// The settings file.
    File {
        /// As it was given.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// An environment variable, by name.
    Variable(String),
    /// A flag.
    CommandLine,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}, line {line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::CommandLine => f.write_str("command line"),
        }
    }
}

/// The reason why the settings cannot be used. Each text says what to change.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The settings file cannot be read.
    #[error("cannot read the settings file {}: {source}; check the path that `--config` names", path.display())]
    File {
        /// As it was given.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The settings file is not TOML.
    #[error("{}, line {line}, is not TOML: {message}", path.display())]
    Syntax {
        /// As it was given.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The parser's expectation; never the file's text.
        message: String,
    },
    /// No setting has this name.
    #[error(
        "there is no setting `{key}` ({origin}){}; config/default.toml lists all settings",
        did_you_mean(nearest.as_ref())
    )]
    UnknownKey {
        /// The name, with its section.
        key: String,
        /// Its place.
        origin: Origin,
        /// The setting that was probably meant.
        nearest: Option<String>,
    },
    /// A variable begins like a setting but names none.
    #[error(
        "the environment variable {name} names no setting{}; correct or unset it (config/default.toml lists all \
         settings)",
        did_you_mean(nearest.as_ref())
    )]
    UnknownVariable {
        /// The variable.
        name: String,
        /// The variable that was probably meant.
        nearest: Option<String>,
    },
    /// A variable's value is not text.
    #[error("the environment variable {name} is not UTF-8; set it again as plain text")]
    NotUtf8 {
        /// The variable.
        name: String,
    },
    /// A value of the wrong type, form or range.
    #[error("`{key}` ({origin}) is {found}; expected {expected}")]
    Value {
        /// The setting.
        key: String,
        /// The value's source.
        origin: Origin,
        /// The value, or only its type if the value may be a secret.
        found: String,
        /// The values that it may have, with an example.
        expected: String,
    },
    /// A value that the files in `deploy` leave to the operator is not filled in.
    #[error("`{key}` ({origin}) still holds the placeholder {placeholder}; replace it with your own value")]
    Placeholder {
        /// The setting.
        key: String,
        /// The source of the value, or of the name of the file with the value.
        origin: Origin,
        /// The placeholder, without the text around it.
        placeholder: String,
    },
    /// A way to reach Redis that is planned but not supported yet.
    #[error(
        "`redis.url` ({origin}): this version does not support {scheme}:// yet; name a single Redis with redis://, \
         rediss:// or redis+unix://"
    )]
    SchemeNotYet {
        /// The URL's source.
        origin: Origin,
        /// `redis+sentinel` or `redis+cluster`.
        scheme: &'static str,
    },
    /// A file for TLS to Redis cannot be used. Its content is not shown.
    #[error("`{key}` ({origin}): cannot use {}: {source}; name a readable PEM file", path.display())]
    PemFile {
        /// The setting.
        key: &'static str,
        /// The source of the file's name.
        origin: Origin,
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// An attempt could outlive its lease.
    #[error(
        "`worker.lease` is {}, so an attempt could outlive it; raise it to {} or more (`worker.start_within` {} + \
         `delivery.timeout` {} + {}), or lower one of these",
        format_duration(*lease), format_duration(*start_within + *timeout + *margin),
        format_duration(*start_within), format_duration(*timeout), format_duration(*margin)
    )]
    LeaseTooShort {
        /// `worker.lease`.
        lease: Duration,
        /// `worker.start_within`.
        start_within: Duration,
        /// `delivery.timeout`.
        timeout: Duration,
        /// The time that is needed in addition.
        margin: Duration,
    },
    /// After one lost renewal, a healthy worker's leases would be too old to start on.
    #[error(
        "`worker.renew_every` is {}, so after one lost renewal a lease may be {} old (± 20 % included), but \
         `worker.start_within` is {}: deliveries would wait for renewals; lower `worker.renew_every`, or raise \
         `worker.start_within` above that age",
        format_duration(*renew_every), format_duration(*renew_every * 12 / 5), format_duration(*start_within)
    )]
    RenewalTooSlow {
        /// `worker.renew_every`.
        renew_every: Duration,
        /// `worker.start_within`.
        start_within: Duration,
    },
    /// An attempt in flight could lack a connection.
    #[error(
        "`egress.max_connections` is {most}, but `worker.concurrency` {concurrency} needs {needed} connections (64 \
         more than attempts in flight); raise `egress.max_connections`, or set it to 0, so that it follows \
         `worker.concurrency`"
    )]
    TooFewConnections {
        /// `egress.max_connections`.
        most: usize,
        /// The least that it may be.
        needed: usize,
        /// `worker.concurrency`.
        concurrency: usize,
    },
    /// Both settings for sealing keys are set.
    #[error(
        "both `secrets.key` ({key}) and `secrets.key_file` ({key_file}) are set; keep one and remove the other, or set \
         the other to \"\""
    )]
    TwoKeys {
        /// The key's source.
        key: Origin,
        /// The source of the file's name.
        key_file: Origin,
    },
    /// The sealing key's file cannot be used. Its name is not shown: it may be the key itself, put there by mistake.
    #[error(
        "cannot read the file that `secrets.key_file` ({origin}) names: {source}; it must be a readable file with \
         one key per line and nothing else"
    )]
    KeyFile {
        /// The source of the file's name.
        origin: Origin,
        /// The reason.
        source: io::Error,
    },
}

impl ConfigError {
    /// The kind of failure.
    pub fn failure(&self) -> Failure {
        Failure::Usage
    }
}

fn did_you_mean(nearest: Option<&String>) -> String {
    nearest.map(|name| format!(", did you mean `{name}`?")).unwrap_or_default()
}
