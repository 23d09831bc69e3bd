//! The house is as its documents say: its layers, its rooms, its sizes, and the tests that they name.

mod crates;
mod documents;
mod layers;
mod scripts;
mod sizes;
mod style;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Fails where files break a rule. Each is a file and what it does.
fn judge(rule: &str, broken: &[(PathBuf, String)]) {
    let lines: Vec<String> = broken.iter().map(|(file, how)| format!("{}: {how}", file.display())).collect();
    assert!(lines.is_empty(), "{rule}:\n{}", lines.join("\n"));
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &Path) -> String {
    fs::read_to_string(root().join(file)).unwrap()
}

/// Every file below a folder that ends so, by its path from the root; nothing that a build made.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap());
    entries
        .flat_map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            let path = format!("{folder}/{name}");
            match entry.file_type().unwrap().is_dir() {
                true if name == "target" || name == "node_modules" => Vec::new(),
                true => files(&path, ending),
                false => vec![path.into()],
            }
        })
        .filter(|path: &PathBuf| path.extension().is_some_and(|its| its == ending))
        .collect()
}

/// A source's code, and the tests that stand at its end; nothing comes after them.
fn code_and_tests(source: &str) -> (&str, &str) {
    if let Some((_, tests)) = source.split_once("#[cfg(test)]\nmod tests {") {
        let (_, after) = tests.split_once("\n}\n").expect("the tests end");
        assert!(after.trim().is_empty(), "code follows the tests: {after}");
    }
    let elsewhere = || Some((source.strip_suffix("#[cfg(test)]\nmod tests;\n")?, ""));
    source.split_once("#[cfg(test)]\nmod tests {").or_else(elsewhere).unwrap_or((source, ""))
}

/// The lines that are neither blank nor comments.
fn lines_of_code(source: &str) -> impl Iterator<Item = &str> {
    let lines = source.lines().filter(|line| !line.trim().is_empty());
    lines.filter(|line| !["//", "--"].iter().any(|mark| line.trim_start().starts_with(mark)))
}

/// The room of a source: the first part of its path below `src`.
fn room(file: &Path) -> &str {
    let first = file.strip_prefix("src").unwrap().components().next().unwrap();
    first.as_os_str().to_str().unwrap().trim_end_matches(".rs")
}
