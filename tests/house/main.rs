//! What is said of the house is so: its layers, and the tests that its documents name.

mod documents;
mod layers;
mod sizes;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Every Rust source below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|ending| ending == "rs"))
        .collect()
}
