//! Holds the layers of the house: each may use only those before it in the list.

use super::{files, lines_of_code, read, room};

/// From the pure to the outermost. What a layer names as `crate::…` must stand before it here, or be itself.
const LAYERS: [&str; 14] = [
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
    "server",
    "cli",
];

/// Layers that stand side by side: neither of the two uses the other.
const APART: [(&str, &str); 5] =
    [("worker", "server"), ("worker", "producer"), ("worker", "webhooks"), ("worker", "queue"), ("webhooks", "queue")];

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
    let mut seen = 0;
    for file in files("src", "rs") {
        let own = room(&file);
        if own == "lib" || own == "main" {
            continue;
        }
        let rank = |layer: &str| LAYERS.iter().position(|l| *l == layer);
        let own_rank = rank(own).unwrap_or_else(|| panic!("{} is in no layer", file.display()));
        for name in named(&read(&file)) {
            let Some(used) = rank(&name) else {
                panic!("{} uses crate::{name}, which is in no layer", file.display());
            };
            assert!(used <= own_rank, "{} ({own}) uses crate::{name}, a later layer", file.display());
            let apart = APART.contains(&(own, &name)) || APART.contains(&(&name, own));
            assert!(!apart, "{own} and {name} stand apart, yet {} uses crate::{name}", file.display());
            seen += 1;
        }
    }
    assert!(seen > 50, "the scan found only {seen} uses: it no longer sees what it should");
}

#[test]
fn the_domain_is_pure() {
    for file in files("src/domain", "rs") {
        let source = read(&file);
        for impure in ["tokio::", "std::fs", "std::net::Tcp", "SystemTime", "Utc::now", "Instant", "rand::", "async fn"]
        {
            let is_named = lines_of_code(&source).any(|line| line.contains(impure));
            assert!(!is_named, "{} uses {impure}", file.display());
        }
    }
}

#[test]
fn the_scan_sees_single_and_grouped_uses() {
    let source = "use crate::{a::{b, c}, d,\n  e::f};\nlet x = crate::g::h();\nuse crate::i;";
    assert_eq!(named(source), ["a", "d", "e", "g", "i"]);
}
