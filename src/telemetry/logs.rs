//! Logs on standard error: human on a terminal, JSON elsewhere.
//!
//! A log never contains a secret, a payload, or a URL's path or query. The field names are `account`, `webhook`,
//! `delivery`, `attempt`, `status`, `error`, `duration_ms`, `traceparent`, `partition`, `entry`, `worker`.
//!
//! A panic is logged as a line too, and counted.

use std::{
    any::Any,
    io::IsTerminal,
    panic::PanicHookInfo,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use tracing::{Level, Metadata};
use tracing_subscriber::{EnvFilter, filter::filter_fn, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::{Log, LogFormat};

/// Libraries that see requests, and may log headers or frames at levels below `info`. Those lines are never written,
/// whatever the filter says.
const FENCED: [&str; 6] = ["hickory_net", "hickory_resolver", "hyper", "hyper_util", "redis", "rustls"];

/// The number of panics of this process since its logging was started.
static PANICS: AtomicU64 = AtomicU64::new(0);

/// The value of `log.filter` is not a filter.
#[derive(Debug, thiserror::Error)]
#[error("log.filter `{filter}` is not a filter such as `info` or `warn,lynkhook=debug`")]
pub struct BadFilter {
    filter: String,
    source: tracing_subscriber::filter::ParseError,
}

/// Starts logging for this process, including panics. A second call changes nothing.
pub fn init(log: &Log) -> Result<(), BadFilter> {
    let bad = |source| BadFilter { filter: log.filter.clone(), source };
    let filter = EnvFilter::builder().parse(&log.filter).map_err(bad)?;
    let human = match log.format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    // If standard error is closed, a line is lost. Do not report that, because the report would go there too.
    let lines = fmt::layer().with_writer(std::io::stderr).log_internal_errors(false);
    // A filter of its own and not a directive in `filter`, because there `hyper::proto=trace` would override
    // `hyper=info`.
    let fence = filter_fn(may_be_logged);
    let started = if human {
        tracing_subscriber::registry().with(filter).with(fence).with(lines.with_target(false)).try_init()
    } else {
        tracing_subscriber::registry().with(filter).with(fence).with(lines.json().flatten_event(true)).try_init()
    };
    // Only a second call fails, and the logging of the first continues.
    if started.is_ok() {
        std::panic::set_hook(Box::new(tell_of_panic));
    }
    Ok(())
}

/// The number of panics of this process since its logging was started.
pub fn panics() -> u64 {
    PANICS.load(Relaxed)
}

fn tell_of_panic(panic: &PanicHookInfo<'_>) {
    PANICS.fetch_add(1, Relaxed);
    let (file, line) = panic.location().map_or(("unknown", 0), |place| (place.file(), place.line()));
    let (thread, reason) = (std::thread::current(), reason(panic.payload()));
    tracing::error!(file, line, thread = thread.name(), reason, "panic: this is a bug in Lynkhook");
}

/// The message of a panic, if it is a literal in the source. Any other message was composed at run time and may quote
/// data, such as an error with a URL or a part of a payload. For those, the log line gives only the place in the
/// source.
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
    fn a_panics_message_is_logged_only_if_it_is_a_literal_in_the_source() {
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
