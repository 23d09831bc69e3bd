//! One style of modules, and of comments.

use super::{files, judge, lines_of_code, read, root};

/// A module with children is a folder with `mod.rs`, and its tests stand at its end or in `tests.rs`.
#[test]
fn a_module_with_children_is_a_folder_and_no_source_of_the_program_is_put_elsewhere() {
    let mut broken = Vec::new();
    for file in [files("src", "rs"), files("tests", "rs")].concat() {
        if root().join(file.with_extension("")).is_dir() {
            broken.push((file, "stands beside a folder of its name: it is the folder's mod.rs".to_owned()));
        } else if file.starts_with("src") && file.file_stem().unwrap().to_str().unwrap().ends_with("_tests") {
            broken.push((file, "tests stand at the end of a module or in its tests.rs".to_owned()));
        } else if file.starts_with("src") && lines_of_code(&read(&file)).any(|line| line.contains("#[path")) {
            broken.push((file, "puts a module elsewhere with #[path]".to_owned()));
        }
    }
    judge("modules", &broken);
}

/// A file that no parent declares is never compiled, and its tests never run.
#[test]
fn each_source_of_the_tests_is_declared_by_its_parent() {
    let mut broken = Vec::new();
    for file in files("tests/it", "rs") {
        let folder = file.parent().unwrap();
        let module = if file.ends_with("mod.rs") { folder } else { &file.with_extension("") };
        if module.ends_with("main") {
            continue;
        }
        let inside = module.parent().unwrap();
        let parent = inside.join(if inside.ends_with("tests/it") { "main.rs" } else { "mod.rs" });
        let name = module.file_name().unwrap().to_str().unwrap();
        let declaration = format!("mod {name};");
        let is_declared = |line: &str| {
            line.strip_suffix(&declaration).is_some_and(|before| before.is_empty() || before.starts_with("pub"))
        };
        if !root().join(&parent).is_file() || !read(&parent).lines().any(is_declared) {
            broken.push((file.clone(), format!("has no `{declaration}` in {}", parent.display())));
        }
    }
    judge("modules", &broken);
}

/// A comment names its subject first. A question is excepted, and so is a quotation, which begins with its mark.
#[test]
fn no_comment_begins_with_who_what_or_where() {
    const VAGUE: [&str; 7] = ["Who", "Whoever", "What", "Whatever", "Where", "That they", "So many"];
    let sources = [files("src", "rs"), files("tests", "rs"), files("src", "lua"), files("config", "toml")].concat();
    let mut broken = Vec::new();
    for file in sources {
        for line in read(&file).lines() {
            let line = line.trim_start();
            let Some(comment) = ["//!", "///", "//", "--", "#"].iter().find_map(|mark| line.strip_prefix(mark)) else {
                continue;
            };
            let comment = comment.trim_start();
            let is_vague =
                VAGUE.iter().any(|word| comment.strip_prefix(word).is_some_and(|rest| rest.starts_with(' ')));
            if is_vague && !comment.ends_with('?') {
                broken.push((file.clone(), comment.to_owned()));
            }
        }
    }
    judge("plain English", &broken);
}
