//! The rule about endpoints stays small enough to be explained in five lines.

use std::{fs, path::Path};

/// The rule and the script that holds.
const RULE: [&str; 2] = ["src/domain/endpoint/mod.rs", "src/store/lua/hold.lua"];
/// What a worker remembers for the rule.
const MEMORY: [&str; 2] = ["src/worker/parts/endpoints/mod.rs", "src/domain/recent.rs"];
/// The way of a delivery that cannot be attempted now, because there is no room, no lease, no name server or no file.
const ADMISSION: [&str; 1] = ["src/worker/admit.rs"];

/// Lines of code: no tests, no comments, no blank lines.
fn lines_of_code(file: &str) -> usize {
    let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let code = source.split("#[cfg(test)]").next().unwrap().lines().map(str::trim_start);
    code.filter(|line| !line.is_empty() && !line.starts_with("//") && !line.starts_with("--")).count()
}

#[test]
fn the_rule_about_endpoints_and_holding_is_small() {
    for (files, most) in [(&RULE[..], 260), (&MEMORY[..], 315), (&ADMISSION[..], 120)] {
        let lines: Vec<usize> = files.iter().map(|file| lines_of_code(file)).collect();
        assert!(lines.iter().sum::<usize>() <= most, "{files:?} have {lines:?} lines, more than {most} together");
    }
    let script = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(RULE[1])).unwrap();
    assert!(script.lines().count() <= 60, "{} has more than 60 lines, comments included", RULE[1]);
}

#[test]
fn readme_tells_the_rule_in_five_lines() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let section = readme.split("### Slow and failing endpoints").nth(1).expect("there is such a section");
    let section = section.split("\n### ").next().unwrap();
    let numbered = section.lines().filter(|line| line.chars().next().is_some_and(|first| first.is_ascii_digit()));
    assert_eq!(numbered.count(), 5);
}
