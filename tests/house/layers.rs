//! Holds the layers of the house: each may use only those before it in the list.

use std::{fs, path::Path};

use super::sources;

/// From the pure to the outermost. What a layer names as `crate::…` must stand before it here, or be itself.
const LAYERS: [&str; 13] = [
    "domain",
    "config",
    "telemetry",
    "failpoint",
    "secrets",
    "listen",
    "store",
    "sender",
    "webhooks",
    "queue",
    "producer",
    "worker",
    "cli",
];

/// Layers that stand side by side: neither uses the other.
const APART: [[&str; 2]; 4] =
    [["worker", "producer"], ["worker", "webhooks"], ["worker", "queue"], ["webhooks", "queue"]];

/// The layer of a file: the first part of its path below `src`.
fn layer(file: &Path, src: &Path) -> String {
    let first = file.strip_prefix(src).unwrap().components().next().unwrap();
    first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// The layers that a source names after `crate::`, alone or in a `use crate::{…}`.
fn named(source: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in source.match_indices("crate::") {
        let rest = source[at + "crate::".len()..].trim_start();
        if let Some(group) = rest.strip_prefix('{') {
            let (mut depth, mut start, mut parts) = (1, 0, Vec::new());
            for (i, character) in group.char_indices() {
                match character {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    _ => {}
                }
                if depth == 0 || (depth == 1 && character == ',') {
                    parts.push(&group[start..i]);
                    start = i + 1;
                }
                if depth == 0 {
                    break;
                }
            }
            names.extend(parts.into_iter().map(first_word));
        } else {
            names.push(first_word(rest));
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn first_word(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn each_layer_uses_only_those_before_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut seen = 0;
    for file in sources(&src) {
        let own = layer(&file, &src);
        if own == "lib" || own == "main" {
            continue;
        }
        let rank = |layer: &str| LAYERS.iter().position(|l| *l == layer);
        let own_rank = rank(&own).unwrap_or_else(|| panic!("{} is in no layer", file.display()));
        for name in named(&fs::read_to_string(&file).unwrap()) {
            let Some(used) = rank(&name) else {
                panic!("{} uses crate::{name}, which is in no layer", file.display());
            };
            assert!(used <= own_rank, "{} ({own}) uses crate::{name}, a later layer", file.display());
            let apart = own != name && APART.iter().any(|pair| pair.contains(&&*own) && pair.contains(&&*name));
            assert!(!apart, "{own} and {name} stand apart, yet {} uses crate::{name}", file.display());
            seen += 1;
        }
    }
    assert!(seen > 50, "the scan found only {seen} uses: it no longer sees what it should");
}

#[test]
fn only_the_store_knows_redis_and_the_domain_is_pure() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for file in sources(&src) {
        let (own, source) = (layer(&file, &src), fs::read_to_string(&file).unwrap());
        let code: String = source.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        assert!(own == "store" || !code.contains("redis::"), "{} names the redis crate", file.display());
        for impure in ["tokio::", "std::fs", "std::net::Tcp", "SystemTime", "Utc::now", "Instant", "rand::", "async fn"]
        {
            assert!(own != "domain" || !code.contains(impure), "{} uses {impure}", file.display());
        }
    }
}

#[test]
fn the_scan_sees_single_and_grouped_uses() {
    let source = "use crate::{a::{b, c}, d,\n  e::f};\nlet x = crate::g::h();\nuse crate::i;";
    assert_eq!(named(source), ["a", "d", "e", "g", "i"]);
}
