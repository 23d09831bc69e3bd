//! The tests and files that the documents name are there.

use std::path::Path;

use super::{files, read, root};

#[test]
fn every_test_and_file_that_security_md_names_is_there() {
    let code: String = [files("src", "rs"), files("tests", "rs")].concat().iter().map(|file| read(file)).collect();
    let document = read(Path::new("SECURITY.md"));
    let table = document.lines().filter(|line| line.starts_with("| ")).skip(2);
    let (mut tests, mut files) = (0, 0);
    for name in table.flat_map(|row| row.split('`').skip(1).step_by(2)) {
        if name.contains('/') {
            assert!(root().join(name).exists(), "{name} is not there");
            files += 1;
        } else if name.contains('_') {
            assert!(code.contains(&format!("fn {name}(")), "no test is called {name}");
            tests += 1;
        }
    }
    assert!(tests > 15 && files > 15, "the table was not found: {tests} tests, {files} files");
}
