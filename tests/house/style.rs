//! One style of modules.

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
