//! Logs: human on a terminal, JSON elsewhere, on standard error.
//!
//! Never in a log: a secret, a payload, a URL's path or query. Field names, once: `account`, `webhook`, `delivery`,
//! `attempt`, `status`, `error`, `duration_ms`, `partition`, `entry`, `worker`.
//!
//! A panic is a line as well, and is counted.

use std::{
    any::Any,
    io::IsTerminal,
    panic::PanicHookInfo,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use tracing::{Level, Metadata};
use tracing_subscriber::{EnvFilter, filter::filter_fn, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::{Log, LogFormat};

/// Libraries that see requests, and may write headers or frames into the log below `info`: never, whatever the filter.
const FENCED: [&str; 6] = ["hickory_net", "hickory_resolver", "hyper", "hyper_util", "redis", "rustls"];

/// Panics of this process since its logging was started.
static PANICS: AtomicU64 = AtomicU64::new(0);

/// What is wrong with `log.filter`.
#[derive(Debug, thiserror::Error)]
#[error("log.filter `{filter}` is not a filter such as `info` or `warn,lynkhook=debug`")]
pub struct BadFilter {
    filter: String,
    source: tracing_subscriber::filter::ParseError,
}

/// Starts logging for this process, of panics as well. Once; a second call changes nothing.
pub fn init(log: &Log) -> Result<(), BadFilter> {
    let bad = |source| BadFilter { filter: log.filter.clone(), source };
    let filter = EnvFilter::builder().parse(&log.filter).map_err(bad)?;
    let human = match log.format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    // Standard error may be closed: a line that cannot be written is lost, and nothing is said of it there.
    let lines = fmt::layer().with_writer(std::io::stderr).log_internal_errors(false);
    // Beside the filter and not a directive in it: `hyper::proto=trace` would prevail over `hyper=info`.
    let fence = filter_fn(may_be_logged);
    let started = if human {
        tracing_subscriber::registry().with(filter).with(fence).with(lines.with_target(false)).try_init()
    } else {
        tracing_subscriber::registry().with(filter).with(fence).with(lines.json().flatten_event(true)).try_init()
    };
    // Only a second call fails, and the first one's logging goes on.
    if started.is_ok() {
        std::panic::set_hook(Box::new(tell_of_panic));
    }
    Ok(())
}

/// How many panics this process has met since its logging was started.
pub fn panics() -> u64 {
    PANICS.load(Relaxed)
}

fn tell_of_panic(panic: &PanicHookInfo<'_>) {
    PANICS.fetch_add(1, Relaxed);
    let (file, line) = panic.location().map_or(("unknown", 0), |place| (place.file(), place.line()));
    let (thread, reason) = (std::thread::current(), reason(panic.payload()));
    tracing::error!(file, line, thread = thread.name(), reason, "a panic, which is a fault of this program");
}

/// The message of a panic, if it stands word for word in a source. Any other was composed when it happened, and may quote what
/// the program had in hand: an error with a URL, or a piece of a payload. Its place in the source says what it is about.
fn reason(payload: &(dyn Any + Send)) -> &'static str {
    payload.downcast_ref::<&'static str>().copied().unwrap_or("not shown, because it may quote data")
}

/// Whether a line may be written at all, whatever `log.filter` says.
fn may_be_logged(line: &Metadata<'_>) -> bool {
    let library = line.target().split("::").next().unwrap_or_default();
    *line.level() <= Level::INFO || !FENCED.contains(&library)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_panic_only_a_message_from_the_source_is_told() {
        let told = |panic: fn()| reason(&*std::panic::catch_unwind(panic).unwrap_err());
        assert_eq!(told(|| panic!("from the source")), "from the source");
        let quoting: [fn(); 4] = [
            || panic!("{}", "hunter2"),
            || panic!("the secret is {}", "hunter2".to_owned()),
            || drop("hunter2".parse::<u8>().map_err(|_| "hunter2").unwrap().to_string()),
            || drop("hunt\u{e9}r2"[..5].to_owned()),
        ];
        for panic in quoting {
            assert_eq!(told(panic), "not shown, because it may quote data");
        }
    }
}
