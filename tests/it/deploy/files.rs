//! Reading the files of `deploy/`.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// A file or folder of `deploy/`.
pub(crate) fn path_of(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path)
}

/// All files below a folder, folders excepted.
pub(super) fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The text of a file of `deploy/`.
pub(crate) fn text(path: &str) -> String {
    std::fs::read_to_string(path_of(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The files of a folder of `deploy/`, each by its path below `deploy/`, in order.
pub(super) fn folder(path: &str) -> Vec<String> {
    let entries = std::fs::read_dir(path_of(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names.into_iter().map(|name| format!("{path}/{name}")).collect()
}

/// The documents of a YAML text. Anchors and merge keys are resolved; a key that occurs twice is an error.
pub(crate) fn documents(yaml: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"))
}

/// A file that changes the Kubernetes base where it is listed as a patch: no object of its own.
pub(super) const FOR_A_CLUSTER: &str = "kubernetes/scaledobject-cluster.yaml";

/// Every document of the Kubernetes base.
pub(super) fn manifests() -> Vec<Value> {
    let files = folder("kubernetes").into_iter().filter(|path| Path::new(path).extension() == Some("yaml".as_ref()));
    files.filter(|path| path != FOR_A_CLUSTER).flat_map(|path| documents(&text(&path))).collect()
}

/// The one document of this kind and name in the Kubernetes base.
pub(super) fn manifest(kind: &str, name: &str) -> Value {
    let mut found = manifests();
    found.retain(|it| it["kind"] == kind && it["metadata"]["name"] == name);
    assert_eq!(found.len(), 1, "{kind} {name}");
    found.remove(0)
}

/// A text whose examples are in force. In the files of the Kubernetes base, a comment that ends in a colon is followed
/// by an example: comment lines that become settings without their `# `.
pub(super) fn with_examples(text: &str) -> String {
    let (mut lines, mut is_example, mut count) = (Vec::new(), false, 0);
    for line in text.lines() {
        let comment = line.trim_start().strip_prefix("# ");
        if let (Some(comment), true) = (comment, is_example) {
            lines.push(line.replacen(&format!("# {comment}"), comment, 1));
            count += 1;
            continue;
        }
        is_example = comment.is_some_and(|comment| comment.ends_with(':'));
        lines.push(line.to_owned());
    }
    assert!(count > 0, "there is no example");
    lines.join("\n")
}

/// The number of seconds in `30`, `"30"` or `"30s"`.
pub(super) fn seconds(value: &Value) -> Option<u64> {
    let text = value.as_str();
    value.as_u64().or_else(|| text?.parse().ok()).or_else(|| Some(humantime::parse_duration(text?).ok()?.as_secs()))
}
