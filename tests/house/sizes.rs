//! Files and functions stay small, and the rule about endpoints can be explained in five lines.

use std::path::{Path, PathBuf};

use super::{code_and_tests, files, judge, lines_of_code, read};

/// Lines of code of a file; in `src`, its tests are counted apart.
const MOST: usize = 400;

/// The rule and the script that holds.
const RULE: [&str; 2] = ["src/domain/endpoint/mod.rs", "src/store/lua/hold.lua"];
/// The memory of a worker for the rule.
const MEMORY: [&str; 2] = ["src/worker/parts/endpoints/mod.rs", "src/domain/recent.rs"];
/// The way of a delivery that cannot be attempted now, because there is no room, no lease, no name server or no file.
const ADMISSION: [&str; 1] = ["src/worker/admit.rs"];

#[test]
fn no_file_has_more_than_400_lines_of_code() {
    let mut broken = Vec::new();
    for file in [files("src", "rs"), files("tests", "rs")].concat() {
        let source = read(&file);
        let (code, tests) = code_and_tests(&source);
        let (code, tests) = (lines_of_code(code).count(), lines_of_code(tests).count());
        if code.max(tests) > MOST {
            broken.push((file, format!("{code} lines of code, {tests} of tests")));
        }
    }
    judge("sizes", &broken);
}

#[test]
fn a_function_has_at_most_70_lines() {
    let clippy = read(Path::new("clippy.toml"));
    assert!(clippy.lines().any(|line| line == "too-many-lines-threshold = 70"), "{clippy}");
    let allowed = |file: &&PathBuf| lines_of_code(&read(file)).any(|line| line.contains("clippy::too_many_lines"));
    assert_eq!(files("src", "rs").iter().find(allowed), None, "no file of the program may do without");
}

#[test]
fn the_rule_about_endpoints_and_holding_is_small() {
    for (files, most) in [(&RULE[..], 260), (&MEMORY[..], 315), (&ADMISSION[..], 120)] {
        let count = |file| lines_of_code(code_and_tests(&read(Path::new(file))).0).count();
        let lines: Vec<usize> = files.iter().map(count).collect();
        assert!(lines.iter().sum::<usize>() <= most, "{files:?} have {lines:?} lines, more than {most} together");
    }
    let script = read(Path::new(RULE[1]));
    assert!(script.lines().count() <= 60, "{} has more than 60 lines, comments included", RULE[1]);
}

#[test]
fn readme_is_short_and_fits_a_narrow_window() {
    let readme = read(Path::new("README.md"));
    let (lines, widest) = (readme.lines().count(), readme.lines().map(|line| line.chars().count()).max().unwrap());
    assert!(lines <= 280 && widest <= 100, "{lines} lines, the widest has {widest} columns");
}

#[test]
fn readme_tells_the_rule_in_five_lines() {
    let readme = read(Path::new("README.md"));
    let section = readme.split("### Slow and failing endpoints").nth(1).expect("there is such a section");
    let section = section.split("\n### ").next().unwrap();
    let numbered = section.lines().filter(|line| line.chars().next().is_some_and(|first| first.is_ascii_digit()));
    assert_eq!(numbered.count(), 5);
}
