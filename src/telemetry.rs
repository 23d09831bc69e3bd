//! Logs: human on a terminal, JSON elsewhere, on standard error.
//!
//! Never in a log: a secret, a payload, a URL's path or query. Field names, once: `account`, `webhook`, `delivery`,
//! `attempt`, `status`, `error`, `duration_ms`, `partition`, `entry`, `worker`.

use std::io::IsTerminal;

use tracing::{Level, Metadata};
use tracing_subscriber::{EnvFilter, filter::filter_fn, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::{Log, LogFormat};

/// Libraries that see requests, and may write headers or frames into the log below `info`: never, whatever the filter.
const FENCED: [&str; 6] = ["hickory_net", "hickory_resolver", "hyper", "hyper_util", "redis", "rustls"];

/// What is wrong with `log.filter`.
#[derive(Debug, thiserror::Error)]
#[error("log.filter `{filter}` is not a filter such as `info` or `warn,lynkhook=debug`")]
pub struct BadFilter {
    filter: String,
    source: tracing_subscriber::filter::ParseError,
}

/// Starts logging for this process. Once; a second call changes nothing.
pub fn init(log: &Log) -> Result<(), BadFilter> {
    let bad = |source| BadFilter { filter: log.filter.clone(), source };
    let filter = EnvFilter::builder().parse(&log.filter).map_err(bad)?;
    let human = match log.format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    let lines = fmt::layer().with_writer(std::io::stderr);
    // Beside the filter and not a directive in it: `hyper::proto=trace` would prevail over `hyper=info`.
    let fence = filter_fn(may_be_logged);
    let started = if human {
        tracing_subscriber::registry().with(filter).with(fence).with(lines.with_target(false)).try_init()
    } else {
        tracing_subscriber::registry().with(filter).with(fence).with(lines.json().flatten_event(true)).try_init()
    };
    // Only a second call fails, and the first one's logging goes on.
    drop(started);
    Ok(())
}

/// Whether a line may be written at all, whatever `log.filter` says.
fn may_be_logged(line: &Metadata<'_>) -> bool {
    let library = line.target().split("::").next().unwrap_or_default();
    *line.level() <= Level::INFO || !FENCED.contains(&library)
}
