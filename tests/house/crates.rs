//! Which crate lives in which room: outside, nothing names it, so that another one can take its place.

use super::{code_and_tests, files, judge, lines_of_code, read};

/// A crate, and the rooms or files below `src` whose code may name it. Tests may name what they like.
const ROOMS: [(&str, &[&str]); 32] = [
    ("redis", &["store"]),
    ("hickory_resolver", &["sender"]),
    ("webpki_root_certs", &["sender"]),
    ("rustls_native_certs", &["sender", "store"]),
    ("hyper_util", &["listen", "sender"]),
    // Those that answer name the type of a body, and nothing that opens or serves a connection.
    ("hyper", &["listen", "sender", "server/mod.rs", "worker/probes.rs", "cli/dev/receiver.rs"]),
    ("tokio_rustls", &["listen", "sender", "cli/dev"]),
    ("sd_notify", &["supervisor"]),
    ("reqwest", &["cli/health"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("comfy_table", &["cli"]),
    ("indicatif", &["cli"]),
    ("terminal_size", &["cli"]),
    ("anyhow", &["cli"]),
    ("rcgen", &["cli/dev"]),
    ("toml", &["config", "cli/dev"]),
    ("strsim", &["domain"]),
    ("bytesize", &["config", "queue", "cli"]),
    ("ipnet", &["domain"]),
    ("crc32fast", &["domain"]),
    ("tracing_subscriber", &["telemetry"]),
    ("mimalloc", &["main"]),
    ("axum", &["server"]),
    ("tower", &["server"]),
    ("tower_http", &["server"]),
    ("governor", &["server", "access"]),
    ("askama", &["server"]),
    ("cookie", &["server/screen"]),
    // Each shape describes itself where it is defined, so that the document cannot differ from it.
    ("utoipa", &["server", "access", "webhooks", "queue", "store", "domain"]),
    ("utoipa_axum", &["server"]),
    // It is not here yet; it has its room already.
    ("prometheus_client", &["telemetry"]),
];

/// Whether a line names a crate, by the first part of a path.
fn names(line: &str, name: &str) -> bool {
    let path = format!("{name}::");
    let is_first = |at: usize| {
        let before = &line[..at];
        let is_inner =
            before.strip_suffix("::").is_some_and(|path| path.ends_with(|c: char| c.is_alphanumeric() || c == '_'));
        !is_inner && !before.trim_end_matches("::").ends_with(|c: char| c.is_alphanumeric() || "_\"`".contains(c))
    };
    let renamed = ["use ", "extern crate "].iter().any(|begins| {
        let rest = line.trim_start().strip_prefix(begins).map(|rest| rest.trim_start_matches("::"));
        rest.and_then(|rest| rest.strip_prefix(name))
            .is_some_and(|rest| rest.starts_with(" as ") || rest.starts_with(';'))
    });
    renamed || line.match_indices(&path).any(|(at, _)| is_first(at))
}

#[test]
fn each_crate_is_named_in_its_rooms_only() {
    let (mut broken, mut seen) = (Vec::new(), 0);
    for file in files("src", "rs") {
        let below = file.strip_prefix("src").unwrap().with_extension("");
        if below.ends_with("tests") || below.iter().any(|part| part == "tests") {
            continue;
        }
        let source = read(&file);
        let paths: Vec<&str> = lines_of_code(code_and_tests(&source).0).collect();
        for (name, rooms) in ROOMS {
            if paths.iter().any(|line| names(line, name)) {
                seen += 1;
                if !rooms.iter().any(|room| below.starts_with(room.trim_end_matches(".rs"))) {
                    broken.push((file.clone(), format!("names {name}, which lives in {rooms:?}")));
                }
            }
        }
    }
    assert!(seen > 50, "the scan found only {seen} names: it no longer sees what it should");
    judge("crates", &broken);
}

#[test]
fn the_scan_sees_the_first_part_of_a_path() {
    for line in
        ["use redis::Value;", "let x: &redis::Value", "use ::redis::Value;", "use redis as r;", "extern crate redis;"]
    {
        assert!(names(line, "redis"), "{line}");
    }
    for other in ["use crate::redis::Value;", "config_redis::X", r#""redis::x""#, "redis.url", "redis_url::x"] {
        assert!(!names(other, "redis"), "{other}");
    }
}
