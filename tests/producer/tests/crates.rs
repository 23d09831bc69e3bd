//! The crates that a backend brings if it depends only on the library.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

/// A backend has at most this many crates more than those that it is compared with.
const MORE_MAX: usize = 15;
/// Crates that only the program uses.
const ABSENT: [&str; 6] = ["clap", "comfy-table", "indicatif", "rcgen", "hickory-resolver", "hyper"];
/// Their versions and features are the library's. `rustls` provides the cryptography that `redis` needs for TLS.
const COMPARED: [&str; 7] = ["chrono", "redis", "rustls", "serde_json", "tokio", "tracing", "uuid"];

/// Every crate that this package brings with one of its features, by name and version.
fn crates(feature: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"])
        .args(["--no-default-features", "--features", feature])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let name_and_version = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let all = String::from_utf8(output.stdout).unwrap();
    all.lines().map(name_and_version).filter(|one| !one.starts_with("lynkhook")).collect()
}

#[test]
fn a_producer_brings_few_crates_and_none_of_the_programs() {
    let (brought, compared) = (crates("library"), crates("compared"));
    assert!(compared.len() > 50, "{compared:?} are not the crates of a client of Redis");
    let more: Vec<_> = brought.difference(&compared).collect();
    assert!(more.len() <= MORE_MAX, "{} crates more than {MORE_MAX}: {more:?}", more.len() - MORE_MAX);
    for absent in ABSENT {
        assert!(!brought.iter().any(|one| one.starts_with(&format!("{absent} "))), "{absent} is brought");
    }
}

#[test]
fn the_compared_crates_have_the_librarys_versions_and_features() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dependencies = |folder: &Path| {
        let manifest: toml::Table = fs::read_to_string(folder.join("Cargo.toml")).unwrap().parse().unwrap();
        manifest["dependencies"].clone()
    };
    let (ours, librarys) = (dependencies(own), dependencies(&own.join("../..")));
    let plain = |dependency: &toml::Value| {
        let version = || toml::Table::from_iter([("version".to_owned(), dependency.clone())]);
        let mut dependency = dependency.as_table().cloned().unwrap_or_else(version);
        dependency.remove("optional");
        dependency
    };
    for name in COMPARED {
        assert_eq!(plain(&ours[name]), plain(&librarys[name]), "{name}");
    }
}
