//! Holds the layers of the house: each may use only those before it in the list.

use super::{code_and_tests, files, lines_of_code, read, room};

/// From the pure to the outermost. What a layer names as `crate::…` must stand before it here, or be itself.
const LAYERS: [&str; 17] = [
    "domain",
    "config",
    "telemetry",
    "failpoint",
    "secrets",
    "supervisor",
    "listen",
    "store",
    "scrape",
    "sender",
    "webhooks",
    "queue",
    "access",
    "producer",
    "worker",
    "server",
    "cli",
];

/// Layers that stand side by side: neither of the two uses the other.
const APART: [(&str, &str); 8] = [
    ("worker", "server"),
    ("worker", "producer"),
    ("worker", "webhooks"),
    ("worker", "queue"),
    ("worker", "access"),
    ("webhooks", "queue"),
    ("webhooks", "access"),
    ("queue", "access"),
];

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
        let source = read(&file);
        // `super` from a folder's depth on leads to another room, past the scan below.
        let inside = file.iter().count() - 2 - usize::from(file.ends_with("mod.rs"));
        let outward = format!("use {}", "super::".repeat(inside + 1));
        assert!(
            !code_and_tests(&source).0.contains(&outward),
            "{} leaves its room by `super`: say crate::",
            file.display()
        );
        for name in named(&source) {
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
        for line in lines_of_code(code_and_tests(&source).0) {
            let impure = IMPURE.iter().find(|impure| line.contains(*impure));
            assert!(impure.is_none(), "{} uses {}: {line}", file.display(), impure.unwrap());
        }
    }
}

/// Things that a pure function does not have.
const IMPURE: [&str; 18] = [
    "tokio::",
    "tokio_util",
    "std::fs",
    "std::env::",
    "std::thread",
    "std::process",
    "std::io",
    "std::{fs",
    "std::{env",
    "std::net::Tcp",
    "SystemTime",
    "Utc::now",
    "Local::now",
    "Instant",
    "rand::",
    "async fn",
    "println!",
    "now_v7",
];

/// Names that files may not use, besides other layers: the parts of a worker do not know it, its loops do not know each other, and
/// the command line has the shapes that it prints from those that judge them.
#[test]
fn parts_do_not_know_their_owner_and_surfaces_do_not_know_the_store() {
    let mut seen = 0;
    for file in files("src", "rs") {
        let source = read(&file);
        let code: Vec<&str> = lines_of_code(code_and_tests(&source).0).collect();
        if file.starts_with("src/worker/parts") {
            let owner = code.iter().find(|line| line.contains("super::super") || line.contains("crate::worker"));
            assert!(owner.is_none(), "{} knows more of the worker than its parts: {}", file.display(), owner.unwrap());
            seen += 1;
        }
        if file.starts_with("src/server/api") {
            let store = named(code_and_tests(&source).0).iter().any(|layer| layer == "store");
            assert!(!store, "{} names the store: webhooks, queue, access and producer have its shapes", file.display());
            seen += 1;
        }
        if file.starts_with("src/cli") {
            let grouped = source.replace("\n        ", " ");
            for shapes in grouped.split("store::{").skip(1).map(|rest| rest.split('}').next().unwrap()) {
                let others = shapes
                    .split(',')
                    .map(str::trim)
                    .filter(|name| !["Store", "StoreError", "keys::Keys", ""].contains(name));
                assert_eq!(others.count(), 0, "{} names shapes of the store: {shapes}", file.display());
            }
            seen += 1;
        }
    }
    assert!(seen > 40, "the scan saw only {seen} files");
}

#[test]
fn the_scan_sees_single_and_grouped_uses() {
    let source = "use crate::{a::{b, c}, d,\n  e::f};\nlet x = crate::g::h();\nuse crate::i;";
    assert_eq!(named(source), ["a", "d", "e", "g", "i"]);
}
