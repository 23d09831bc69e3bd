//! Each Lua script is small and says at its head what it is given and what it answers.

use super::{files, judge, read};

/// Lines of a script without its header.
const MOST: usize = 60;

/// The comment lines at the top, and the rest.
fn header_and_body(source: &str) -> (String, String) {
    let is_header = |line: &&str| line.starts_with("--");
    let header: Vec<&str> = source.lines().take_while(is_header).collect();
    let body: Vec<&str> = source.lines().skip(header.len()).collect();
    (header.join("\n"), body.join("\n"))
}

#[test]
fn a_script_has_at_most_60_lines_below_its_header() {
    let mut broken = Vec::new();
    for file in files("src/store/lua", "lua") {
        let lines = header_and_body(&read(&file)).1.lines().count();
        if lines > MOST {
            broken.push((file, format!("{lines} lines")));
        }
    }
    judge("script sizes", &broken);
}

/// A part of the prelude is no script: it is given nothing and answers nothing.
#[test]
fn a_header_says_which_keys_and_arguments_a_script_has_and_what_it_answers() {
    let (mut broken, mut seen) = (Vec::new(), 0);
    for file in files("src/store/lua", "lua") {
        let (header, body) = header_and_body(&read(&file));
        let is_prelude = file.iter().any(|part| part == "prelude");
        let needs = [("KEYS", !is_prelude), ("ARGV", body.contains("ARGV")), ("Answers", !is_prelude)];
        let missing: Vec<&str> =
            needs.iter().filter(|(word, is_due)| *is_due && !header.contains(word)).map(|(word, _)| *word).collect();
        if header.is_empty() || !missing.is_empty() {
            broken.push((file, format!("its header does not say {missing:?}")));
        }
        seen += 1;
    }
    assert!(seen > 20, "only {seen} scripts were found");
    judge("script headers", &broken);
}
