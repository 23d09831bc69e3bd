//! What the documents say of the tests is so.

use std::{fs, path::Path};

use super::sources;

#[test]
fn every_test_and_file_that_security_md_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let code: String = ["src", "tests"]
        .iter()
        .flat_map(|folder| sources(&root.join(folder)))
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let document = fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let table = document.lines().filter(|line| line.starts_with("| ")).skip(2);
    let (mut tests, mut files) = (0, 0);
    for name in table.flat_map(|row| row.split('`').skip(1).step_by(2)) {
        if name.contains('/') {
            assert!(root.join(name).exists(), "{name} is not there");
            files += 1;
        } else if name.contains('_') {
            assert!(code.contains(&format!("fn {name}(")), "no test is called {name}");
            tests += 1;
        }
    }
    assert!(tests > 15 && files > 15, "the table was not found: {tests} tests, {files} files");
}
