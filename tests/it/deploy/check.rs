//! `deploy/check.sh` finds what it should. `make check-deploy` installs its tools and runs these tests.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use super::files::{files, path_of};

/// For each file that a tool checks: a word in it, and what takes its place so that the tool must refuse the file.
const FAULTS: [(&str, &str, &str); 18] = [
    ("Dockerfile", "\nUSER ", "\nUSR "),
    ("check.sh", "esac", "essac"),
    ("compose.yaml", "mem_limit:", "memlimit:"),
    ("install.sh", "\nfi", "\nfy"),
    ("kubernetes/kustomization.yaml", "\nresources:", "\nresorces:"),
    ("kubernetes/namespace.yaml", "metadata:", "metdata:"),
    ("kubernetes/networkpolicy.yaml", "podSelector:", "podSelecter:"),
    ("kubernetes/scaledobject.yaml", "kind: ScaledObject", "kind: ScaledObjekt"),
    ("kubernetes/scaledobject-cluster.yaml", "kind: ScaledObject", "kind: ScaledObjekt"),
    ("kubernetes/scaledobject-cluster.yaml", "name: lynkhook-worker", "name: lynkhook-workr"),
    ("kubernetes/server.yaml", "readinessProbe:", "readynessProbe:"),
    ("kubernetes/worker.yaml", "terminationGracePeriodSeconds:", "terminationGracePeriodSecond:"),
    ("prometheus/alerts.yaml", "\n        expr:", "\n        exp:"),
    ("prometheus/alerts_test.yaml", "values: 60x40", "values: 61x40"),
    ("prometheus/prometheus.yaml", "scrape_configs:", "scrape_config:"),
    ("secrets.sh", "\ndone", "\ndun"),
    ("systemd/lynkhook-server.service", "\nUMask=", "\nUMsk="),
    ("systemd/lynkhook-worker@.service", "\nUMask=", "\nUMsk="),
];

/// Units that any program could escape from are refused as well.
const UNPROTECTED: (&str, &str) = ("\nSystemCallFilter=", "\n#SystemCallFilter=");

/// Files that no tool of the check reads, and the tests or programs that do.
const ELSEWHERE: [(&str, &str); 9] = [
    ("Dockerfile.dockerignore", "make build-static"),
    ("README.md", "people"),
    ("grafana/lynkhook.json", "watch/dashboard.rs"),
    ("grafana/provisioning/dashboards/lynkhook.yaml", "deploy/compose.rs"),
    ("grafana/provisioning/datasources/prometheus.yaml", "deploy/compose.rs"),
    ("kubernetes/lynkhook.toml", "deploy/pods.rs"),
    ("redis/cluster.conf", "cluster/deployed.rs"),
    ("redis/redis.conf", "deploy/redis.rs"),
    ("redis/users.acl", "deploy/redis.rs"),
];

/// All files in `deploy`, by their paths in it, without the secrets that somebody made for use.
fn all_files() -> Vec<String> {
    let all = files(&path_of("")).into_iter().map(|file| file.strip_prefix(path_of("")).unwrap().display().to_string());
    all.filter(|file| !file.starts_with("secrets/")).collect()
}

/// A copy of the folder `deploy` that a test may spoil.
fn copy() -> TempDir {
    let copy = tempfile::Builder::new().prefix("lynkhook-deploy-").tempdir().unwrap();
    for file in all_files() {
        let to = copy.path().join(&file);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(path_of(&file), to).unwrap();
    }
    copy
}

/// Runs the check on a folder, with these programs alone.
fn check(folder_to_check: &Path, programs: &OsStr) -> Output {
    Command::new("sh").arg(path_of("check.sh")).arg(folder_to_check).env("PATH", programs).output().unwrap()
}

/// All programs on the PATH except one.
fn programs_without(missing: &str) -> TempDir {
    let programs = tempfile::Builder::new().prefix("lynkhook-programs-").tempdir().unwrap();
    let path = std::env::var_os("PATH").unwrap();
    let entries = std::env::split_paths(&path).filter_map(|folder| fs::read_dir(folder).ok()).flatten();
    for program in entries.map(|entry| entry.unwrap()).filter(|entry| entry.file_name() != missing) {
        // The first of a name is the one that runs; the others are there already.
        let _ = symlink(program.path(), programs.path().join(program.file_name()));
    }
    programs
}

/// Spoils one file of a copy, and expects the check to refuse the copy and to name the file.
fn assert_refused(file: &str, word: &str, misspelt: &str) {
    let copy = copy();
    let spoilt = copy.path().join(file);
    let text = fs::read_to_string(&spoilt).unwrap_or_else(|error| panic!("{file}: {error}"));
    assert!(text.contains(word), "{file} has no {word:?}");
    fs::write(&spoilt, text.replace(word, misspelt)).unwrap();
    let output = check(copy.path(), &std::env::var_os("PATH").unwrap());
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{file} with {misspelt:?}: {error}");
    assert!(error.lines().any(|line| line.starts_with(&format!("{file}: "))), "{file} is not named: {error}");
}

#[test]
fn each_file_is_checked_by_a_tool_or_by_a_test() {
    let known: Vec<&str> = FAULTS.iter().map(|(file, ..)| *file).chain(ELSEWHERE.map(|(file, _)| file)).collect();
    let unknown: Vec<String> = all_files().into_iter().filter(|file| !known.contains(&file.as_str())).collect();
    assert!(unknown.is_empty(), "tests/it/deploy/check.rs does not say how these are checked: {unknown:?}");
    let gone: Vec<&str> = known.into_iter().filter(|file| !path_of(file).is_file()).collect();
    assert!(gone.is_empty(), "tests/it/deploy/check.rs knows files that are not there: {gone:?}");
    for (file, test) in ELSEWHERE.into_iter().filter(|(_, test)| test.contains(".rs")) {
        let test = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it").join(test);
        let name = file.rsplit('/').next().unwrap();
        assert!(fs::read_to_string(&test).unwrap().contains(name), "{} does not name {name}", test.display());
    }
}

#[test]
#[ignore = "it needs tools: make check-deploy"]
fn tools_a_fault_in_any_file_is_found_and_the_file_is_named() {
    let sound = check(copy().path(), &std::env::var_os("PATH").unwrap());
    assert!(sound.status.success(), "{sound:?}");
    let said = String::from_utf8_lossy(&sound.stdout);
    let unread: Vec<&str> =
        said.lines().filter_map(|line| line.trim().strip_suffix(": no tool looked at it")).collect();
    assert_eq!(unread, ELSEWHERE.map(|(file, _)| file), "{said}");
    for (file, word, misspelt) in FAULTS {
        assert_refused(file, word, misspelt);
        if file.starts_with("systemd/") {
            assert_refused(file, UNPROTECTED.0, UNPROTECTED.1);
        }
    }
}

#[test]
#[ignore = "it needs tools: make check-deploy"]
fn tools_a_missing_tool_fails_the_check_and_only_kubectl_may_be_absent() {
    for tool in ["kubernetes-validate", "hadolint", "docker-compose", "systemd-analyze", "promtool"] {
        let programs = programs_without(tool);
        let output = check(&path_of(""), programs.path().as_os_str());
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "without {tool}: {error}");
        assert!(error.contains(&format!("error: {tool} is missing")), "{error}");
    }
    let programs = programs_without("kubectl");
    let output = check(&path_of(""), programs.path().as_os_str());
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("kubectl is missing, so nothing was rendered"));
}
