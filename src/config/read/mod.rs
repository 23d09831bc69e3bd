//! Turns layers into checked settings. The rule for each value is written once here, and so are the checks between
//! values.

mod duration;
mod egress;
mod event;
mod placeholder;
mod portal;
mod redis;
mod secrets;
mod server;
mod worker;

use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use bytesize::ByteSize;
use toml::Value;

use self::duration::{a_duration, duration};
use super::{
    Idempotency, Log, LogFormat, PARTITIONS_MAX, Queue, Retention, Settings, Webhooks,
    error::ConfigError,
    layers::{Entry, Layers, kind},
};

/// The keys whose values are never shown.
const SECRET: [&str; 2] = ["redis.url", "secrets.key"];

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The range of a time limit: Redis counts in milliseconds, and a day keeps every sum of times far from overflow.
const TIME_LIMIT: RangeInclusive<Duration> = Duration::from_millis(1)..=DAY;
const WAIT: RangeInclusive<Duration> = Duration::ZERO..=DAY;
const RETENTION: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(3650 * 24 * 60 * 60);
const MESSAGE_BYTES: RangeInclusive<u64> = 1..=16 << 20;
const KEY_BYTES: RangeInclusive<u64> = 1..=1 << 40;

/// Reads every value, then checks them against each other.
pub(super) fn settings(layers: &Layers) -> Result<Settings, ConfigError> {
    let read = Read { layers };
    read.no_placeholder()?;
    let mut settings = Settings {
        redis: read.redis()?,
        queue: read.queue()?,
        worker: read.worker()?,
        server: read.server()?,
        delivery: read.delivery()?,
        event: read.event()?,
        idempotency: Idempotency { max_bytes: read.bytes("idempotency.max_bytes", &KEY_BYTES)? },
        webhooks: Webhooks { limit_per_account: read.integer("webhooks.limit_per_account", 1, 1000)? },
        held: read.retention("held")?,
        failed: read.retention("failed")?,
        rejected: read.retention("rejected")?,
        egress: read.egress()?,
        dns: read.dns()?,
        portal: read.portal()?,
        secrets: read.secrets()?,
        log: Log { filter: read.text("log.filter")?.to_owned(), format: read.log_format()? },
    };
    worker::check_leases(&settings)?;
    egress::check_connections(&mut settings)?;
    Ok(settings)
}

struct Read<'a> {
    layers: &'a Layers,
}

impl Read<'_> {
    /// The error for a key's value.
    fn refuse(&self, key: &str, expected: impl Into<String>) -> ConfigError {
        refuse(key, self.layers.get(key), expected)
    }

    fn text(&self, key: &str) -> Result<&str, ConfigError> {
        self.layers.get(key).value.as_str().ok_or_else(|| {
            let example = match self.layers.default(key).as_str() {
                Some(default) if !default.is_empty() => format!(", such as \"{default}\""),
                _ => String::new(),
            };
            self.refuse(key, format!("a text in quotes{example}"))
        })
    }

    fn integer<T: TryFrom<i64>>(&self, key: &str, least: i64, most: i64) -> Result<T, ConfigError> {
        let found = self.layers.get(key).value.as_integer().filter(|value| (least..=most).contains(value));
        found.and_then(|value| T::try_from(value).ok()).ok_or_else(|| {
            self.refuse(key, format!("a whole number from {least} to {most}, such as {}", self.layers.default(key)))
        })
    }

    fn truth(&self, key: &str) -> Result<bool, ConfigError> {
        self.layers.get(key).value.as_bool().ok_or_else(|| self.refuse(key, "true or false"))
    }

    fn duration(&self, key: &str, range: &RangeInclusive<Duration>) -> Result<Duration, ConfigError> {
        let found = duration(&self.layers.get(key).value, range);
        found.map_err(|hint| {
            self.refuse(key, format!("{}, such as {}{hint}", a_duration(range), self.layers.default(key)))
        })
    }

    fn bytes(&self, key: &str, range: &RangeInclusive<u64>) -> Result<u64, ConfigError> {
        let found = match &self.layers.get(key).value {
            Value::Integer(bytes) => u64::try_from(*bytes).ok(),
            Value::String(text) => text.trim().parse::<ByteSize>().ok().map(|size| size.as_u64()),
            _ => None,
        };
        found.filter(|bytes| range.contains(bytes)).ok_or_else(|| {
            let (least, most) = (ByteSize::b(*range.start()), ByteSize::b(*range.end()));
            self.refuse(key, format!("a size from {least} to {most}, such as {}", self.layers.default(key)))
        })
    }

    fn list(&self, key: &str, expected: &str) -> Result<&[Value], ConfigError> {
        self.layers.get(key).value.as_array().map(Vec::as_slice).ok_or_else(|| self.refuse(key, expected))
    }

    /// A path, or `None` if the text is empty.
    fn path(&self, key: &str) -> Result<Option<PathBuf>, ConfigError> {
        Ok(Some(self.text(key)?).filter(|text| !text.is_empty()).map(PathBuf::from))
    }

    fn retention(&self, section: &str) -> Result<Retention, ConfigError> {
        Ok(Retention {
            limit: self.integer(&format!("{section}.limit"), 1, 10_000_000)?,
            max_bytes: self.bytes(&format!("{section}.max_bytes"), &KEY_BYTES)?,
            retention: self.duration(&format!("{section}.retention"), &RETENTION)?,
        })
    }

    /// An address with a port, or nothing.
    fn address(&self, key: &str) -> Result<Option<SocketAddr>, ConfigError> {
        let text = self.text(key)?;
        if text.is_empty() {
            return Ok(None);
        }
        let expected = "an IP address with a port, such as \"0.0.0.0:8081\", or nothing";
        text.parse().map(Some).map_err(|_| self.refuse(key, expected))
    }

    /// `[queue]`
    fn queue(&self) -> Result<Queue, ConfigError> {
        let partitions = self.integer("queue.partitions", 0, i64::from(PARTITIONS_MAX))?;
        Ok(Queue { partitions: Some(partitions).filter(|partitions| *partitions > 0) })
    }

    fn log_format(&self) -> Result<LogFormat, ConfigError> {
        const KEY: &str = "log.format";
        match self.text(KEY)? {
            "auto" => Ok(LogFormat::Auto),
            "human" => Ok(LogFormat::Human),
            "json" => Ok(LogFormat::Json),
            _ => Err(self.refuse(KEY, "\"auto\", \"human\" or \"json\"")),
        }
    }
}

/// The error for a value. The value is shown only if it cannot be a secret: a URL may have been put into any key by
/// mistake.
fn refuse(key: &str, entry: &Entry, expected: impl Into<String>) -> ConfigError {
    let shown = entry.value.to_string();
    let hidden = SECRET.contains(&key) || shown.contains("://") || shown.chars().count() > 100;
    ConfigError::Value {
        key: key.to_owned(),
        origin: entry.origin.clone(),
        found: if hidden { kind(&entry.value).to_owned() } else { shown },
        expected: expected.into(),
    }
}

fn is_name(text: &str, allowed: impl Fn(char) -> bool) -> bool {
    (1..=64).contains(&text.len()) && text.chars().all(allowed)
}
