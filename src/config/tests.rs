//! Facts about the settings: accepted values, refused values, and the errors' texts.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use secrecy::ExposeSecret;

use super::{ConfigError, LogFormat, Settings, layers::Layers, layers::variable};

const NO_ENV: [(&str, &str); 0] = [];

/// A file that is deleted at the end of the test.
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new(text: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("lynkhook-config-{}-{number}.toml", std::process::id()));
        fs::write(&path, text).unwrap();
        Self(path)
    }

    pub(super) fn name(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

pub(super) fn from_file(text: &str) -> Result<Settings, ConfigError> {
    Settings::load(Some(&Scratch::new(text).0), NO_ENV)
}

pub(super) fn from_env(env: &[(&str, &str)]) -> Result<Settings, ConfigError> {
    Settings::load(None, env.iter().copied())
}

fn url(settings: &Settings) -> &str {
    settings.redis.servers[0].expose_secret()
}

/// Asserts that the error's text contains all of these words.
#[track_caller]
pub(super) fn assert_says(result: Result<Settings, ConfigError>, words: &[&str]) {
    let error = result.expect_err("should be refused").to_string();
    for word in words {
        assert!(error.contains(word), "{error:?} does not say {word:?}");
    }
}

#[test]
fn every_default_is_the_documented_one() {
    let settings = from_env(&[]).unwrap();
    assert_eq!(url(&settings), "redis://127.0.0.1:6379/");
    assert_eq!(settings.redis.prefix, "lynkhook");
    assert_eq!(settings.redis.connect_timeout, Duration::from_secs(5));
    assert_eq!(settings.redis.response_timeout, Duration::from_secs(5));
    assert_eq!(settings.queue.partitions, None);
    assert_eq!(settings.worker.concurrency, 256);
    assert_eq!(settings.worker.lease, Duration::from_secs(20));
    assert_eq!(settings.worker.renew_every, Duration::from_secs(3));
    assert_eq!(settings.worker.start_within, Duration::from_secs(8));
    assert_eq!(settings.worker.claim_every, Duration::from_secs(2));
    assert_eq!(settings.worker.max_losses, 5);
    assert_eq!(settings.worker.failing_rate, 300);
    assert_eq!(settings.worker.shutdown_grace, Duration::from_secs(20));
    assert_eq!(settings.delivery.timeout, Duration::from_secs(10));
    assert_eq!(settings.delivery.retry_delays, [Duration::from_secs(2), Duration::from_secs(4)]);
    assert_eq!(settings.delivery.response_max_bytes, 64 * 1024);
    assert_eq!(settings.event.max_bytes, 1024 * 1024);
    assert_eq!(settings.event.types.len(), 1);
    let created = &settings.event.types["transcript.created"];
    assert_eq!(created.description, "Sent when a call transcript is completed and ready to view.");
    assert_eq!(created.identifiers.iter().collect::<Vec<_>>(), [(&"messageId".into(), &"/messageId".into())]);
    assert_eq!((settings.webhooks.limit_per_account, settings.idempotency.max_bytes), (2, 64 << 20));
    let day = Duration::from_secs(24 * 60 * 60);
    for (bounds, limit, retention) in
        [(&settings.held, 10_000, 90 * day), (&settings.failed, 1000, 7 * day), (&settings.rejected, 10_000, 90 * day)]
    {
        assert_eq!((bounds.limit, bounds.max_bytes, bounds.retention), (limit, 64 << 20, retention));
    }
    assert!(settings.egress.allow.is_empty() && settings.egress.extra_ca.is_none());
    assert!(settings.server.trusted_proxies.is_empty(), "nobody says which address a client has");
    assert!(
        settings.dns.servers.is_empty() && settings.secrets.key.is_none() && settings.portal.embed_origins.is_empty()
    );
    assert_eq!(settings.dns.resolv_conf, Path::new("/etc/resolv.conf"));
    assert_eq!(settings.log.filter, "info");
    assert_eq!(settings.log.format, LogFormat::Auto);
}

#[test]
fn a_new_installation_begins_with_one_partition_or_sixteen_on_a_cluster_unless_it_is_told_a_number() {
    for (url, set, expected) in [
        ("redis://host", "0", 1),
        ("redis+cluster://host", "0", 16),
        ("rediss+cluster://host", "0", 16),
        ("redis://host", "16", 16),
        ("redis+cluster://host", "1", 1),
    ] {
        let settings = from_env(&[("LYNKHOOK_REDIS__URL", url), ("LYNKHOOK_QUEUE__PARTITIONS", set)]).unwrap();
        assert_eq!(settings.partitions_at_first(), expected, "{url} with {set}");
    }
}

#[test]
fn the_production_example_loads() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/production.example.toml");
    let settings = Settings::load(Some(&path), NO_ENV).unwrap();
    assert!(settings.event.types.contains_key("transcript.created"), "the defaults' catalogue stays");
    assert!(settings.event.types.contains_key("transcript.deleted"), "the file's catalogue is added");
}

#[test]
fn the_reference_itself_is_a_valid_file() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/default.toml");
    Settings::load(Some(&path), NO_ENV).unwrap();
}

#[test]
fn each_layer_overrides_the_one_before() {
    let file = Scratch::new("redis.url = \"redis://file/\"\nworker.concurrency = 2\nlog.filter = \"warn\"");
    let env = [("LYNKHOOK_WORKER__CONCURRENCY", "3"), ("LYNKHOOK_LOG__FILTER", "debug")];
    let flags = [("log.filter", "trace".to_owned())];
    let settings = Settings::load_with(Some(&file.0), env, &flags).unwrap();
    assert_eq!(
        (url(&settings), settings.worker.concurrency, settings.log.filter.as_str()),
        ("redis://file/", 3, "trace")
    );
    assert_eq!(settings.worker.max_losses, 5, "a key that no layer names keeps its default");
}

#[test]
fn the_variable_redis_url_is_used_if_our_own_variable_is_absent() {
    let file = Scratch::new("[redis]\nurl = \"redis://file/\"");
    let platform = ("REDIS_URL", "redis://platform/");
    let own = ("LYNKHOOK_REDIS__URL", "redis://own/");
    for (env, expected) in
        [(vec![], "redis://file/"), (vec![platform], "redis://platform/"), (vec![platform, own], "redis://own/")]
    {
        assert_eq!(url(&Settings::load(Some(&file.0), env).unwrap()), expected);
    }
}

#[test]
fn every_key_can_be_set_by_environment() {
    for key in Layers::defaults().keys() {
        let (text, expected) = match key.as_str() {
            "redis.url" => ("rediss://elsewhere/", "SecretBox<str>([REDACTED])"),
            "redis.ca" | "redis.client_cert" | "redis.client_key" => ("", ""),
            "redis.prefix" => ("other:1", "other:1"),
            "queue.partitions" => ("7", "7"),
            "worker.concurrency" => ("77", "77"),
            "worker.threads" => ("5", "5"),
            "redis.accept_eviction" => ("volatile-lru", "volatile-lru"),
            "worker.health_bind" => ("127.0.0.1:81", "127.0.0.1:81"),
            "worker.max_losses" => ("9", "9"),
            "worker.failing_rate" => ("55", "55"),
            "webhooks.limit_per_account" => ("3", "3"),
            "worker.lease" => ("31s", "31s"),
            "worker.renew_every" => ("1234ms", "1.234s"),
            "worker.start_within" => ("7500ms", "7.5s"),
            "delivery.timeout" => ("7s", "7s"),
            "delivery.send_traceparent" => ("true", "send_traceparent: true"),
            "delivery.retry_delays" => ("1s, 3s,9s", "[1s, 3s, 9s]"),
            "event.types" => ("{ \"a.b\" = { description = \"D\", identifiers = { i = \"/i\" } } }", "\"i\": \"/i\""),
            "egress.allow" => ("127.0.0.0/8,localhost", "[\"127.0.0.0/8\", \"localhost\"]"),
            "egress.extra_ca" => ("/ca.pem", "/ca.pem"),
            "egress.idle_connections_per_host" => ("65", "65"),
            "egress.max_connections" | "server.max_connections" | "server.requests_per_second" => ("4321", "4321"),
            "server.bind" => ("127.0.0.1:82", "127.0.0.1:82"),
            "server.health_bind" => ("127.0.0.1:83", "127.0.0.1:83"),
            "server.public_url" => ("https://public.example/", "https://public.example"),
            "server.trusted_proxies" => ("10.0.0.0/8,::1", "[\"10.0.0.0/8\", \"::1\"]"),
            "server.tests_per_10s" => ("9", "tests_per_10s: 9"),
            "dns.servers" => ("9.9.9.9,[::1]:5353", "[9.9.9.9:53, [::1]:5353]"),
            "dns.resolv_conf" => ("/r.conf", "resolv_conf: \"/r.conf\""),
            "portal.embed_origins" => ("https://a.example,http://localhost:1", "https://a.example"),
            "secrets.key" => ("k", "Some(SecretBox<str>([REDACTED]))"),
            "secrets.key_file" => (concat!(env!("CARGO_MANIFEST_DIR"), "/LICENSE"), "Some(SecretBox<str>([REDACTED]))"),
            "log.filter" => ("lynkhook=trace", "lynkhook=trace"),
            "log.format" => ("json", "Json"),
            key if key.ends_with("limit") => ("4321", "4321"),
            key if key.ends_with("max_bytes") => ("4321", "4321"),
            key if key.ends_with("timeout") || key.ends_with("every") || key.ends_with("grace") => ("8s", "8s"),
            key if key.ends_with("retention") => ("2h", "7200s"),
            key => panic!("{key} is missing from this table"),
        };
        if text.is_empty() {
            continue; // Files for TLS have tests of their own.
        }
        let before = format!("{:?}", from_env(&[]).unwrap());
        let after = format!("{:?}", from_env(&[(&variable(key), text)]).unwrap_or_else(|e| panic!("{key}: {e}")));
        assert!(after.contains(expected), "{key}: {after}");
        assert!(key == "redis.url" || before != after, "{key} changed nothing");
    }
}

#[test]
fn an_empty_variable_is_an_empty_list_or_text() {
    let file = Scratch::new(
        "[delivery]\nretry_delays = [\"1s\"]\n[egress]\nallow = [\"localhost\"]\nextra_ca = \"/ca.pem\"\n[secrets]\nkey = \"k\"",
    );
    let names = ["DELIVERY__RETRY_DELAYS", "EGRESS__ALLOW", "EGRESS__EXTRA_CA", "SECRETS__KEY"];
    let settings = Settings::load(Some(&file.0), names.map(|name| (format!("LYNKHOOK_{name}"), ""))).unwrap();
    assert!(settings.delivery.retry_delays.is_empty() && settings.egress.allow.is_empty());
    assert!(settings.egress.extra_ca.is_none() && settings.secrets.key.is_none());
}

#[test]
fn variables_that_a_container_platform_injects_are_ignored() {
    from_env(&[
        ("LYNKHOOK_PORT", "tcp://10.0.0.1:80"),
        ("LYNKHOOK_SERVICE_HOST", "10.0.0.1"),
        ("LYNKHOOK_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("OTHER__VARIABLE", ""),
        ("lynkhook_redis__urk", ""),
    ])
    .unwrap();
}

#[test]
fn a_misspelt_key_or_section_is_named_with_its_line_and_the_nearest() {
    for (text, words) in [
        ("[worker]\nconcurency = 4", &["`worker.concurency`", "line 2", "did you mean `worker.concurrency`?"] as &[_]),
        ("\n[wroker]\nconcurrency = 4", &["`wroker`", "line 2", "did you mean `worker`?"]),
        ("worker.lese = \"30s\"", &["`worker.lese`", "line 1", "`worker.lease`"]),
        ("[worker]\npartitions = 4", &["`worker.partitions`", "did you mean `queue.partitions`?"]),
        ("partitions = 4", &["`partitions`", "did you mean `queue.partitions`?"]),
        ("[log]\nFormat = \"json\"", &["`log.Format`", "did you mean `log.format`?"]),
        (
            "[event.types.\"a.b\"]\ndescripton = \"x\"",
            &["`event.types.\"a.b\".descripton`", "line 1", "did you mean `event.types.\"a.b\".description`?"],
        ),
    ] {
        assert_says(from_file(text), words);
    }
}

#[test]
fn a_misspelt_variable_is_named_with_the_nearest() {
    for (name, nearest) in [
        ("LYNKHOOK_REDIS__URI", "did you mean `LYNKHOOK_REDIS__URL`?"),
        ("LYNKHOOK_REDDIS__URL", "did you mean `LYNKHOOK_REDIS__URL`?"),
        ("LYNKHOOK_worker__lease", "did you mean `LYNKHOOK_WORKER__LEASE`?"),
        ("LYNKHOOK_WORKER__PARTITIONS", "did you mean `LYNKHOOK_QUEUE__PARTITIONS`?"),
    ] {
        assert_says(from_env(&[(name, "x")]), &[name, nearest]);
    }
}

#[test]
fn a_misspelt_flag_is_named_with_the_nearest() {
    let result = Settings::load_with(None, NO_ENV, &[("redis.prefixx", "x".to_owned())]);
    assert_says(result, &["`redis.prefixx` (command line)", "did you mean `redis.prefix`?"]);
}

#[test]
fn nothing_is_suggested_if_no_name_is_near() {
    for result in [
        from_file("[bananas]\nripe = 1"),
        from_file("[redis]\nbananas = 1"),
        from_env(&[("LYNKHOOK_BANANAS__RIPE", "1")]),
        from_env(&[("LYNKHOOK__", "1")]),
    ] {
        let error = result.unwrap_err().to_string();
        assert!(!error.contains("did you mean"), "{error}");
    }
}

#[test]
fn the_error_for_a_value_of_the_wrong_kind_has_the_value_and_an_example() {
    for (text, words) in [
        ("worker.lease = 30", &["`worker.lease`", "line 1", "is 30;", "such as \"20s\"", "\"30s\" if seconds"] as &[_]),
        ("worker.lease = \"30\"", &["is \"30\";", "add the unit"]),
        ("held.retention = \"90M\"", &["\"M\" means months"]),
        ("held.retention = \"soon\"", &["is \"soon\"", "from 1m to 3650d", "such as \"90d\""]),
        ("worker.concurrency = \"many\"", &["is \"many\"", "whole number from 1 to 65536", "such as 256"]),
        ("worker.concurrency = 1.5", &["is 1.5"]),
        ("held.max_bytes = \"big\"", &["is \"big\"", "size from 1 B to 1.0 TiB", "such as \"64MiB\""]),
        ("held.max_bytes = -1", &["is -1"]),
        ("redis.prefix = 1", &["is 1", "a text in quotes, such as \"lynkhook\""]),
        ("delivery.retry_delays = \"2s\"", &["a list", "[\"2s\", \"4s\"]"]),
        ("delivery.retry_delays = [2, 4]", &["is [2, 4]", "add the unit: \"2s\""]),
        ("dns.servers = [\"one.one.one.one\"]", &["`dns.servers`", "addresses"]),
        ("egress.allow = [\"\"]", &["`egress.allow`"]),
        ("egress.extra_ca = false", &["is false", "a text in quotes"]),
        ("log.format = \"xml\"", &["is \"xml\"", "\"auto\", \"human\" or \"json\""]),
        ("log = \"info\"", &["`log`", "is a text", "[log]"]),
        ("[log.filter]\nx = 1", &["`log.filter`", "line 1", "a text in quotes"]),
        ("event.types = 3", &["`event.types`", "a table of event types"]),
    ] {
        assert_says(from_file(text), words);
    }
    assert_says(from_env(&[("LYNKHOOK_WORKER__LEASE", "30")]), &["(LYNKHOOK_WORKER__LEASE)", "add the unit"]);
    assert_says(from_env(&[("LYNKHOOK_QUEUE__PARTITIONS", "")]), &["(LYNKHOOK_QUEUE__PARTITIONS) is \"\""]);
    assert_says(from_env(&[("LYNKHOOK_DELIVERY__RETRY_DELAYS", "2s,,4s")]), &["\"2s\", \"\", \"4s\""]);
    assert_says(from_env(&[("LYNKHOOK_EVENT__TYPES", "transcript.deleted")]), &["a table of event types"]);
}

#[test]
fn values_just_inside_their_range_pass_and_just_outside_are_refused() {
    let ten = "[\"1s\",\"1s\",\"1s\",\"1s\",\"1s\",\"1s\",\"1s\",\"1s\",\"1s\",\"24h\"]";
    let eleven = "[\"1s\",\"1s\",\"1s\",\"1s\",\"1s\",\"1s\",\"1s\",\"1s\",\"1s\",\"1s\",\"1s\"]";
    let (long, longer) = (format!("\"{}\"", "x".repeat(64)), format!("\"{}\"", "x".repeat(65)));
    for (key, inside, outside) in [
        ("worker.concurrency", "1", "0"),
        ("worker.concurrency", "65536", "65537"),
        ("queue.partitions", "0", "-1"),
        ("queue.partitions", "1024", "1025"),
        ("worker.max_losses", "1", "0"),
        ("worker.failing_rate", "1", "0"),
        ("webhooks.limit_per_account", "1", "0"),
        ("held.limit", "1", "0"),
        ("failed.limit", "10000000", "10000001"),
        ("rejected.max_bytes", "1", "0"),
        ("rejected.max_bytes", "\"1TiB\"", "\"1025GiB\""),
        ("event.max_bytes", "\"16MiB\"", "\"17MiB\""),
        ("held.retention", "\"1m\"", "\"59s\""),
        ("held.retention", "\"3650d\"", "\"3651d\""),
        ("delivery.timeout", "\"1ms\"", "\"0s\""),
        ("redis.connect_timeout", "\"24h\"", "\"24h 1ms\""),
        ("redis.response_timeout", "\"1ms\"", "\"999us\""),
        ("worker.shutdown_grace", "\"0s\"", "\"25h\""),
        ("delivery.retry_delays", "[]", "[\"\"]"),
        ("delivery.retry_delays", ten, eleven),
        ("delivery.retry_delays", "[\"24h\"]", "[\"24h 1s\"]"),
        ("redis.prefix", "\"A-z0.9_:\"", "\"a{b}\""),
        ("redis.prefix", &long, &longer),
        ("redis.prefix", "\"x\"", "\"\""),
        ("redis.url", "\"redis://host\"", "\"redis://\""),
        ("redis.url", "\"rediss://u:p%2Fq@host:6380/2\"", "\"http://host/\""),
        ("redis.url", "\"redis://[::1]:6379\"", "\"127.0.0.1:6379\""),
        ("redis.url", "\"redis+unix:///run/redis.sock\"", "\"redis+unix://\""),
        ("worker.lease", "\"20s\"", "\"19s 999ms\""),
        ("worker.start_within", "\"8s\"", "\"8s 1ms\""),
        ("worker.renew_every", "\"3s 333ms\"", "\"3s 334ms\""),
    ] {
        from_file(&format!("{key} = {inside}")).unwrap_or_else(|e| panic!("{key} = {inside}: {e}"));
        let refused = from_file(&format!("{key} = {outside}"));
        assert_says(refused, &[key]);
    }
}

#[test]
fn a_file_that_is_missing_or_not_toml_is_refused_with_its_place() {
    assert_says(Settings::load(Some(Path::new("no/such.toml")), NO_ENV), &["no/such.toml", "No such file", "--config"]);
    assert_says(from_file("[redis]\n\nurl = redis"), &["line 3", "is not TOML"]);
    assert_says(from_file("[redis]\nprefix = \"a\"\nprefix = \"b\""), &["line 3", "duplicate"]);
    assert_says(from_file(&"#".repeat((1 << 20) + 1)), &["longer than"]);
}

#[test]
fn no_error_and_no_debug_shows_a_secret() {
    let files = [
        "redis.url = \"http://:hunter2@host\"",
        "redis.url = \"hunter2:x@host:6379\"",
        "redis.url = \"redis://:hunter2#@host\"",
        "redis.url = [\"redis://:hunter2@host\"]",
        "redis = \"redis://:hunter2@host\"",
        "redis.prefix = \"redis://:hunter2@host\"",
        "redis.url = \"redis://:hunter2@host\" oops",
        "redis.url = \"redis://:hunter2@host",
        "redis.url = redis://:hunter2@host",
        "redis.uri = \"redis://:hunter2@host\"",
        "secrets.key = [\"hunter2\"]",
        "secrets = \"hunter2\"",
        "secrets.kye = \"hunter2\"",
        "secrets.key = \"hunter2\"\nsecrets.key_file = \"x\"",
        "secrets.key_file = \"hunter2\"",
        "secrets.key = 'hunter2' 'x'",
    ];
    let errors = files.map(|text| (text, from_file(text).expect_err(text)));
    let variables = [("REDIS_URL", "hunter2"), ("LYNKHOOK_REDIS__URI", "redis://:hunter2@host")];
    let more = variables.map(|(name, value)| (name, from_env(&[(name, value)]).expect_err(name)));
    for (cause, error) in errors.into_iter().chain(more) {
        for text in [format!("{error}"), format!("{error:?}")] {
            assert!(!text.contains("hunter2"), "{cause}: {text}");
        }
    }

    let settings = from_env(&[("REDIS_URL", "redis://:hunter2@host"), ("LYNKHOOK_SECRETS__KEY", "hunter2")]).unwrap();
    assert!(!format!("{settings:?}").contains("hunter2"));
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf8_is_an_error_only_if_it_is_ours() {
    use std::os::unix::ffi::OsStringExt;
    let broken = || OsString::from_vec(vec![b'a', 0xff]);
    let load = |name: OsString| Settings::load(None, [(name, broken())]);
    assert_says(load("LYNKHOOK_LOG__FILTER".into()), &["LYNKHOOK_LOG__FILTER is not UTF-8"]);
    assert_says(load("REDIS_URL".into()), &["REDIS_URL is not UTF-8"]);
    assert_says(load(OsString::from_vec(b"LYNKHOOK_LOG__\xff".to_vec())), &["names no setting"]);
    load("PATH".into()).unwrap();
    load(broken()).unwrap();
}

#[test]
fn a_settings_file_and_a_key_file_are_read_after_a_byte_order_mark_and_refused_as_utf_16() {
    let (settings, key) = (tempfile::NamedTempFile::new().unwrap(), tempfile::NamedTempFile::new().unwrap());
    let secret = "dGVzdHMgb25seSwgbmV2ZXIgYSByZWFsIHNlY3JldCE=";
    std::fs::write(key.path(), format!("\u{feff}{secret}\r\n")).unwrap();
    let toml = format!("\u{feff}[secrets]\nkey_file = {:?}\n", key.path());
    std::fs::write(settings.path(), &toml).unwrap();
    let load = || Settings::load(Some(settings.path()), std::iter::empty::<(String, String)>());
    assert_eq!(load().unwrap().secrets.key.unwrap().expose_secret(), secret);
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<_>>();
    for file in [&key, &settings] {
        std::fs::write(file.path(), utf16(&toml)).unwrap();
        let said = format!("{:#}", anyhow::Error::from(load().unwrap_err()));
        assert!(said.contains("it is UTF-16; save it as UTF-8"), "{said}");
    }
}
