//! Replays the inputs that fuzzing found, or that represent their kind, against the properties that hold for every
//! input.

#[path = "../fuzz/properties.rs"]
mod properties;

use std::{fs, path::Path};

/// Checks every kept input of a target against its property; there must be at least one.
fn replay(target: &str, property: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/kept").join(target);
    let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(!files.is_empty(), "nothing is kept in {}", folder.display());
    for file in files {
        println!("{}", file.display());
        property(&fs::read(&file).unwrap());
    }
}

#[test]
fn every_kept_input_of_each_target_still_holds() {
    replay("url", properties::url);
    replay("header", properties::header);
    replay("entry", properties::entry);
    replay("log_entry", properties::log_entry);
    replay("sealed", properties::sealed);
}
