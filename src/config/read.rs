//! From layers to checked settings: what each value must be, said once, and the checks between values.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use bytesize::ByteSize;
use humantime::{format_duration, parse_duration};
use rustls::{
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use secrecy::SecretString;
use toml::Value;
use webpki::{EndEntityCert, anchor_from_trusted_cert};

use super::{
    Delivery, Dns, Egress, Event, EventType, Log, LogFormat, Queue, Redis, RedisTls, Retention, Secrets, Settings,
    Webhooks, Worker,
    error::ConfigError,
    layers::{CATALOGUE, Entry, Layers, kind, nearest, read_bounded},
    redis_url::{self, Refusal},
};

/// Values of these are never shown.
const SECRET: [&str; 2] = ["redis.url", "secrets.key"];
/// The built-in event type, which the test button sends.
const TEST_EVENT: &str = "webhook.test";
/// What a lease must have beyond the latest start and the longest attempt: the time to settle.
const LEASE_MARGIN: Duration = Duration::from_secs(2);
/// `egress.max_connections` is this much for each thread more than `worker.concurrency` unless it is set.
const CONNECTIONS_BESIDES: usize = 1024;
/// More waits than this are no schedule but a mistake.
const RETRY_DELAYS_MAX: usize = 10;
/// A file of certificates is at most this long.
const PEM_FILE_MAX_BYTES: u64 = 1 << 20;
/// A key file is at most this long.
const KEY_FILE_MAX_BYTES: u64 = 4096;
/// Where name servers listen.
const DNS_PORT: u16 = 53;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Redis counts in milliseconds, and a day keeps every sum of times far from overflow.
const TIME_LIMIT: RangeInclusive<Duration> = Duration::from_millis(1)..=DAY;
const WAIT: RangeInclusive<Duration> = Duration::ZERO..=DAY;
const RETENTION: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(3650 * 24 * 60 * 60);
const MESSAGE_BYTES: RangeInclusive<u64> = 1..=16 << 20;
const KEY_BYTES: RangeInclusive<u64> = 1..=1 << 40;

/// Reads every value, then checks them against each other.
pub(super) fn settings(layers: &Layers) -> Result<Settings, ConfigError> {
    let read = Read { layers };
    let mut settings = Settings {
        redis: Redis {
            url: read.redis_url()?,
            tls: read.redis_tls()?,
            prefix: read.prefix()?,
            accept_eviction: read.text("redis.accept_eviction")?.to_owned(),
            connect_timeout: read.duration("redis.connect_timeout", &TIME_LIMIT)?,
            response_timeout: read.duration("redis.response_timeout", &TIME_LIMIT)?,
        },
        queue: Queue { partitions: read.integer("queue.partitions", 1, 1024)? },
        worker: Worker {
            concurrency: read.integer("worker.concurrency", 1, 65_536)?,
            threads: read.integer("worker.threads", 1, 256)?,
            max_bytes: read.bytes("worker.max_bytes", &KEY_BYTES)?,
            failing_rate: read.integer("worker.failing_rate", 1, 1_000_000)?,
            lease: read.duration("worker.lease", &TIME_LIMIT)?,
            renew_every: read.duration("worker.renew_every", &TIME_LIMIT)?,
            start_within: read.duration("worker.start_within", &TIME_LIMIT)?,
            claim_every: read.duration("worker.claim_every", &TIME_LIMIT)?,
            max_losses: read.integer("worker.max_losses", 1, 1000)?,
            shutdown_grace: read.duration("worker.shutdown_grace", &WAIT)?,
            health_bind: read.address("worker.health_bind")?,
        },
        delivery: Delivery {
            timeout: read.duration("delivery.timeout", &TIME_LIMIT)?,
            retry_delays: read.retry_delays()?,
            response_max_bytes: read.bytes("delivery.response_max_bytes", &MESSAGE_BYTES)?,
        },
        event: Event { max_bytes: read.bytes("event.max_bytes", &MESSAGE_BYTES)?, types: read.event_types()? },
        webhooks: Webhooks { limit_per_account: read.integer("webhooks.limit_per_account", 1, 1000)? },
        held: read.bounds("held")?,
        failed: read.bounds("failed")?,
        rejected: read.bounds("rejected")?,
        egress: Egress {
            allow: read.allow()?,
            extra_ca: read.path("egress.extra_ca")?,
            idle_connections_per_host: read.integer("egress.idle_connections_per_host", 0, 65_536)?,
            max_connections: read.integer("egress.max_connections", 0, 1_048_576)?,
        },
        dns: Dns { servers: read.dns_servers()?, resolv_conf: read.text("dns.resolv_conf")?.into() },
        secrets: read.secrets()?,
        log: Log { filter: read.text("log.filter")?.to_owned(), format: read.log_format()? },
    };
    check_leases(&settings)?;
    check_connections(&mut settings)?;
    Ok(settings)
}

/// Works `egress.max_connections` out where it is not set, and refuses one that is too small.
fn check_connections(settings: &mut Settings) -> Result<(), ConfigError> {
    let (concurrency, needed) = (settings.worker.concurrency, settings.connections_needed());
    let threads = settings.threads();
    let most = &mut settings.egress.max_connections;
    if *most == 0 {
        *most = concurrency + CONNECTIONS_BESIDES * threads;
    }
    if *most < needed {
        return Err(ConfigError::TooFewConnections { most: *most, needed, concurrency });
    }
    Ok(())
}

/// The rules that keep an attempt inside its lease:
///
/// - `lease ≥ start_within + delivery.timeout + 2 s`. An attempt starts at most `start_within` after the last renewal
///   and ends at most `delivery.timeout` later; the margin is for the step that settles it. With less, another
///   worker could take the entry over while the request is on its way.
/// - `2 × renew_every × 1.2 < start_within`. Renewals come every `renew_every` ± 20 %. If one is lost, the next comes
///   before `start_within` has passed since the one before, so that no delivery waits for it, and long before the lease ends.
fn check_leases(settings: &Settings) -> Result<(), ConfigError> {
    let Worker { lease, renew_every, start_within, .. } = settings.worker;
    let timeout = settings.delivery.timeout;
    if lease < start_within + timeout + LEASE_MARGIN {
        return Err(ConfigError::LeaseTooShort { lease, start_within, timeout, margin: LEASE_MARGIN });
    }
    if renew_every * 12 / 5 >= start_within {
        return Err(ConfigError::RenewalTooSlow { renew_every, start_within });
    }
    Ok(())
}

struct Read<'a> {
    layers: &'a Layers,
}

impl Read<'_> {
    /// The error about a key's value.
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

    /// A path, or `None` where it is empty.
    fn path(&self, key: &str) -> Result<Option<PathBuf>, ConfigError> {
        Ok(Some(self.text(key)?).filter(|text| !text.is_empty()).map(PathBuf::from))
    }

    fn redis_url(&self) -> Result<SecretString, ConfigError> {
        const KEY: &str = "redis.url";
        let text = self.text(KEY)?;
        redis_url::check(text).map_err(|refusal| match refusal {
            Refusal::Expected(what) => self.refuse(KEY, format!("{what} (it may hold a password and is not shown)")),
            Refusal::NotYet(scheme) => {
                ConfigError::SchemeNotYet { origin: self.layers.get(KEY).origin.clone(), scheme }
            }
        })?;
        Ok(SecretString::from(text))
    }

    fn redis_tls(&self) -> Result<RedisTls, ConfigError> {
        const KEYS: [&str; 3] = ["redis.ca", "redis.client_cert", "redis.client_key"];
        let [ca, certificate, key] = KEYS.map(|key| self.pem(key));
        let (ca, certificate, key) = (ca?, certificate?, key?);
        for (key, file) in KEYS.into_iter().zip([&ca, &certificate, &key]) {
            if file.is_some() && !redis_url::is_of_tls(self.text("redis.url")?) {
                return Err(self.refuse(key, "\"\", or a redis.url that begins with rediss://: only that speaks TLS"));
            }
        }
        let client = match (certificate, key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some((certificate.into_bytes(), SecretString::from(key))),
            (_, None) => return Err(self.refuse(KEYS[2], "the file of the key that belongs to redis.client_cert")),
            (None, _) => {
                return Err(self.refuse(KEYS[1], "the file of the certificate that belongs to redis.client_key"));
            }
        };
        Ok(RedisTls { ca: ca.map(String::into_bytes), client })
    }

    /// The text of a file of certificates, or of a key, that a setting names.
    fn pem(&self, key: &'static str) -> Result<Option<String>, ConfigError> {
        let Some(path) = self.path(key)? else { return Ok(None) };
        let unfit = |source: io::Error| {
            let origin = self.layers.get(key).origin.clone();
            ConfigError::PemFile { key, origin, path: path.clone(), source }
        };
        let text = read_bounded(&path, PEM_FILE_MAX_BYTES).map_err(unfit)?;
        let (holds, wanted) = if key == "redis.client_key" {
            (holds_key(text.as_bytes()), "private key")
        } else {
            (holds_certificates(text.as_bytes(), key == "redis.client_cert"), "certificate")
        };
        if holds {
            return Ok(Some(text));
        }
        Err(unfit(io::Error::new(io::ErrorKind::InvalidData, format!("it holds no usable {wanted} in PEM"))))
    }

    fn prefix(&self) -> Result<String, ConfigError> {
        const KEY: &str = "redis.prefix";
        let text = self.text(KEY)?;
        if !is_name(text, |c| c.is_ascii_alphanumeric() || "._:-".contains(c)) {
            return Err(self.refuse(KEY, "1 to 64 of A-Z a-z 0-9 . _ : - and nothing else, such as \"lynkhook\""));
        }
        Ok(text.to_owned())
    }

    fn retry_delays(&self) -> Result<Vec<Duration>, ConfigError> {
        const KEY: &str = "delivery.retry_delays";
        let expected = format!(
            "a list of at most {RETRY_DELAYS_MAX}, each {}, such as {}",
            a_duration(&WAIT),
            self.layers.default(KEY)
        );
        let list = self.list(KEY, &expected)?;
        if list.len() > RETRY_DELAYS_MAX {
            return Err(self.refuse(KEY, expected));
        }
        list.iter()
            .map(|item| duration(item, &WAIT).map_err(|hint| self.refuse(KEY, format!("{expected}{hint}"))))
            .collect()
    }

    fn bounds(&self, section: &str) -> Result<Retention, ConfigError> {
        Ok(Retention {
            limit: self.integer(&format!("{section}.limit"), 1, 10_000_000)?,
            max_bytes: self.bytes(&format!("{section}.max_bytes"), &KEY_BYTES)?,
            retention: self.duration(&format!("{section}.retention"), &RETENTION)?,
        })
    }

    /// As written: what each entry allows is the egress policy's to say.
    fn allow(&self) -> Result<Vec<String>, ConfigError> {
        const KEY: &str = "egress.allow";
        let expected = "a list of networks and host names, such as [\"10.1.0.0/16\", \"hooks.internal\"]";
        let item = |item: &Value| item.as_str().filter(|text| !text.trim().is_empty()).map(str::to_owned);
        self.list(KEY, expected)?.iter().map(|value| item(value).ok_or_else(|| self.refuse(KEY, expected))).collect()
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

    fn dns_servers(&self) -> Result<Vec<SocketAddr>, ConfigError> {
        const KEY: &str = "dns.servers";
        let expected = "a list of addresses, each with or without a port, such as [\"10.0.0.53\", \"[fd00::53]:5353\"]";
        let server = |item: &Value| {
            let text = item.as_str()?;
            let with_port = text.parse().ok();
            with_port.or_else(|| text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, DNS_PORT)))
        };
        self.list(KEY, expected)?.iter().map(|item| server(item).ok_or_else(|| self.refuse(KEY, expected))).collect()
    }

    /// The sealing key or keys, wherever they are. Their form is checked where they are used.
    fn secrets(&self) -> Result<Secrets, ConfigError> {
        let (key, path) = (self.text("secrets.key")?, self.path("secrets.key_file")?);
        let origin = |key: &str| self.layers.get(key).origin.clone();
        let key = match (key, path) {
            ("", None) => None,
            (key, None) => Some(SecretString::from(key)),
            ("", Some(path)) => Some(key_from(&path).map_err(|source| {
                let origin = origin("secrets.key_file");
                ConfigError::KeyFile { origin, source }
            })?),
            _ => {
                return Err(ConfigError::TwoKeys { key: origin("secrets.key"), key_file: origin("secrets.key_file") });
            }
        };
        Ok(Secrets { key })
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

    fn event_types(&self) -> Result<BTreeMap<String, EventType>, ConfigError> {
        self.layers.types().map(|(name, entry)| Ok((name.clone(), event_type(name, entry)?))).collect()
    }
}

/// One `[event.types."…"]`.
fn event_type(name: &str, entry: &Entry) -> Result<EventType, ConfigError> {
    const KEYS: [&str; 2] = ["description", "identifiers"];
    let key = format!("{CATALOGUE}.\"{name}\"");
    let wrong = |key: &str, found: &str, expected: &str| ConfigError::Value {
        key: key.to_owned(),
        origin: entry.origin.clone(),
        found: found.to_owned(),
        expected: expected.to_owned(),
    };
    if !is_name(name, |c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.".contains(c)) {
        return Err(wrong(
            &key,
            "no name of an event type",
            "1 to 64 of a-z 0-9 _ and dots, such as transcript.deleted",
        ));
    }
    if name == TEST_EVENT {
        return Err(wrong(&key, "built in and cannot be defined", "another name"));
    }
    let table = entry.value.as_table().ok_or_else(|| {
        wrong(&key, kind(&entry.value), "a table, such as { description = \"A transcript has been deleted\" }")
    })?;
    if let Some(unknown) = table.keys().find(|known| !KEYS.contains(&known.as_str())) {
        return Err(ConfigError::UnknownKey {
            key: format!("{key}.{unknown}"),
            origin: entry.origin.clone(),
            nearest: nearest(unknown, KEYS.into_iter()).map(|known| format!("{key}.{known}")),
        });
    }

    let expected = "one line for people, such as \"A transcript has been deleted\"";
    let description = match table.get("description") {
        Some(Value::String(text)) if !text.trim().is_empty() && !text.contains('\n') => text.clone(),
        found => {
            let found = found.map_or_else(|| "missing".to_owned(), ToString::to_string);
            return Err(wrong(&format!("{key}.description"), &found, expected));
        }
    };

    let expected =
        "a table of labels and JSON pointers, which begin with \"/\", such as { messageId = \"/messageId\" }";
    let identifiers = match table.get("identifiers") {
        None => BTreeMap::new(),
        Some(Value::Table(pointers)) => pointers
            .iter()
            .map(|(label, pointer)| match pointer.as_str().filter(|pointer| is_json_pointer(pointer)) {
                Some(pointer) if !label.is_empty() => Ok((label.clone(), pointer.to_owned())),
                _ => Err(wrong(&format!("{key}.identifiers.{label}"), &pointer.to_string(), expected)),
            })
            .collect::<Result<_, _>>()?,
        Some(other) => return Err(wrong(&format!("{key}.identifiers"), kind(other), expected)),
    };
    Ok(EventType { description, identifiers })
}

/// The error about a value. The value is shown only where it cannot be a secret: a URL may have strayed into any key.
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

/// A duration within the range, or a hint for the commonest mistakes (empty where there is none).
fn duration(value: &Value, range: &RangeInclusive<Duration>) -> Result<Duration, String> {
    let text = match value {
        Value::String(text) => text.trim(),
        Value::Integer(number) => return Err(format!("; add the unit: \"{number}s\" if seconds are meant")),
        _ => return Err(String::new()),
    };
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("; add the unit: \"{text}s\" if seconds are meant"));
    }
    if text.contains('M') {
        return Err("; \"M\" would be months: write \"m\" for minutes, \"d\" for days".to_owned());
    }
    parse_duration(text).ok().filter(|found| range.contains(found)).ok_or_else(String::new)
}

fn a_duration(range: &RangeInclusive<Duration>) -> String {
    format!("a duration in quotes from {} to {}", format_duration(*range.start()), plain_days(*range.end()))
}

/// In days, where it is whole days: humantime would write 3650 days as years and months.
fn plain_days(duration: Duration) -> String {
    match (duration.as_secs() / DAY.as_secs(), duration.as_secs() % DAY.as_secs()) {
        (days, 0) if days > 0 => format!("{days}d"),
        _ => format_duration(duration).to_string(),
    }
}

fn is_name(text: &str, allowed: impl Fn(char) -> bool) -> bool {
    (1..=64).contains(&text.len()) && text.chars().all(allowed)
}

/// RFC 6901, less the empty pointer: an identifier is a part of `data`, never the whole.
fn is_json_pointer(text: &str) -> bool {
    text.starts_with('/') && text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']))
}

/// Whether PEM has a private key of a kind that TLS can use.
fn holds_key(pem: &[u8]) -> bool {
    PrivateKeyDer::from_pem_slice(pem).is_ok_and(|key| any_supported_type(&key).is_ok())
}

/// Whether PEM has certificates and nothing that only looks like one: authorities, or what one shows and then its authorities.
fn holds_certificates(pem: &[u8], to_show: bool) -> bool {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let Ok(found) = found else { return false };
    let is_certificate = |(position, der): (usize, &CertificateDer<'_>)| match position {
        0 if to_show => EndEntityCert::try_from(der).is_ok(),
        _ => anchor_from_trusted_cert(der).is_ok(),
    };
    !found.is_empty() && found.iter().enumerate().all(is_certificate)
}

/// The key or keys in a file, without the newline that editors and `echo` add.
fn key_from(path: &Path) -> io::Result<SecretString> {
    let text = read_bounded(path, KEY_FILE_MAX_BYTES)?;
    let key = text.strip_suffix('\n').unwrap_or(&text);
    let key = key.strip_suffix('\r').unwrap_or(key);
    if key.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is empty"));
    }
    Ok(SecretString::from(key))
}
