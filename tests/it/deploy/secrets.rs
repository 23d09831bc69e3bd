//! `deploy/secrets.sh` makes what a deployment needs to keep secret.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::files::path_of;
use crate::support::*;

/// The programs that the script runs, apart from the one that hashes.
const PROGRAMS: [&str; 11] = ["sh", "base64", "chmod", "cp", "dirname", "head", "mktemp", "mv", "rm", "sed", "tr"];

/// A copy of the files that the script uses.
fn copy() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("redis")).unwrap();
    for name in ["secrets.sh", "redis/users.acl", "redis/redis.conf", "redis/cluster.conf"] {
        fs::copy(path_of(name), folder.path().join(name)).unwrap();
    }
    folder
}

/// Runs the script from another folder. Returns its exit code and all that it says.
fn run(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new("sh").arg(folder.join("secrets.sh")).args(arguments).current_dir("/").output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_secrets_that_it_makes_redis_starts_every_role_logs_in_and_secrets_are_sealed() {
    let folder = copy();
    let (code, said) = run(folder.path(), &["127.0.0.1"]);
    assert_eq!(code, Some(0), "{said}");
    let secrets = folder.path().join("secrets");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&secrets), 0o700);
    for (path, content) in files(&secrets) {
        assert_eq!(mode(&path), 0o644, "{path:?}");
        let content = String::from_utf8(content).unwrap();
        let words = content.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-' && c != '/' && c != '+');
        for secret in words.filter(|word| word.len() > 40) {
            assert!(!said.contains(secret), "{path:?} has what was printed");
        }
    }
    let text = |name: &str| fs::read_to_string(secrets.join(name)).unwrap();
    let users = text("users.acl");
    let redis = RedisServer::start_configured(&folder.path().join("redis/redis.conf"), &users);
    let mut urls = Vec::new();
    for role in ["producer", "worker", "server", "operator"] {
        let line = text(&format!("{role}.env"));
        let url = line.strip_prefix("LYNKHOOK_REDIS__URL=").unwrap().trim_end();
        assert!(url.starts_with(&format!("redis://{role}:")) && url.ends_with("@127.0.0.1:6379/"), "{role}");
        urls.push((role, url.replace(":6379/", &format!(":{}/", redis.port()))));
    }
    for role in ["keda", "backup", "cluster"] {
        let lines = text(&format!("{role}.env"));
        let [user, password] =
            ["username=", "password="].map(|name| lines.lines().find_map(|line| line.strip_prefix(name)).unwrap());
        urls.push((role, format!("redis://{user}:{password}@127.0.0.1:{}/", redis.port())));
    }
    let cluster = text("cluster.conf");
    let password = cluster.lines().find_map(|line| line.strip_prefix("masterauth ")).unwrap();
    urls.push(("replica", format!("redis://replica:{password}@127.0.0.1:{}/", redis.port())));
    assert_eq!(files(&secrets).len(), 10);
    for (role, url) in &urls {
        let mut connection = ::redis::Client::open(&**url).unwrap().get_multiplexed_async_connection().await.unwrap();
        // Some may do this, and none without the right password.
        let answer = ::redis::cmd("XLEN").arg("lynkhook:{0}:queue").query_async::<u64>(&mut connection).await;
        assert_eq!(answer.is_ok(), !["producer", "backup", "cluster", "replica"].contains(role), "{role}: {answer:?}");
    }
    let (_, server) = urls.iter().find(|(role, _)| *role == "server").unwrap();
    let program = Program::new(&redis, "lynkhook").env("LYNKHOOK_REDIS__URL", server);
    // The file alone gives the key.
    let program =
        program.env("LYNKHOOK_SECRETS__KEY", "").env("LYNKHOOK_SECRETS__KEY_FILE", secrets.join("secrets.key"));
    let arguments =
        ["webhook", "add", "--account", "acme", "--url", "https://example.com/", "--bearer-token-file", "-"];
    let added = program.run_with_input(arguments, "t0ken").await;
    assert_eq!(added.code, Some(0), "{added:#?}");
}

#[test]
fn it_changes_nothing_in_a_folder_that_is_there_and_no_two_runs_make_the_same_secrets() {
    let folder = copy();
    assert_eq!(run(folder.path(), &[]).0, Some(0));
    let secrets = folder.path().join("secrets");
    let made = files(&secrets);
    assert!(fs::read_to_string(secrets.join("worker.env")).unwrap().ends_with("@redis:6379/\n"));
    let (code, said) = run(folder.path(), &[]);
    assert_eq!((code, &files(&secrets)), (Some(1), &made), "{said}");
    assert!(said.contains("is there already") && said.contains("move the folder away"), "{said}");
    // Nor in an empty one, or a file of that name.
    let other = folder.path().join("moved");
    fs::rename(&secrets, &other).unwrap();
    fs::write(&secrets, "mine").unwrap();
    assert_eq!(run(folder.path(), &[]).0, Some(1));
    assert_eq!(fs::read_to_string(&secrets).unwrap(), "mine");
    fs::remove_file(&secrets).unwrap();
    assert_eq!(run(folder.path(), &[]).0, Some(0));
    for ((path, before), (_, after)) in made.iter().zip(files(&secrets)) {
        assert_ne!(*before, after, "{path:?}");
    }
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left.len(), 4, "nothing else stays: {left:?}");
}

#[test]
fn a_host_that_no_url_can_hold_is_refused_before_anything_is_made() {
    let folder = copy();
    let with_port = ["redis:6380", "127.0.0.1:6380", "[fd00::7]:6380", "a.b:", ":6380", "fd00::7:redis"];
    for host in ["a b", "a/b", "user@host", "--help", "a'b", "a|b"].into_iter().chain(with_port) {
        let (code, said) = run(folder.path(), &[host]);
        assert_eq!(code, Some(2), "{host}: {said}");
        assert!(said.contains("usage: secrets.sh [HOST]") && said.contains("without a port"), "{said}");
        assert!(!folder.path().join("secrets").exists(), "{host}");
    }
    assert_eq!(run(folder.path(), &["fd00::7"]).0, Some(0));
    let worker = fs::read_to_string(folder.path().join("secrets/worker.env")).unwrap();
    assert!(worker.ends_with("@[fd00::7]:6379/\n"));
}

/// The folder in the PATH that has this program.
fn folder_of(program: &str) -> PathBuf {
    let folders = std::env::var_os("PATH").unwrap();
    let mut found = std::env::split_paths(&folders).filter(|folder| folder.join(program).exists());
    found.next().unwrap_or_else(|| panic!("there is no {program}"))
}

#[test]
fn without_sha256sum_it_hashes_with_shasum_and_without_both_it_makes_nothing() {
    let folder = copy();
    let programs = tempfile::tempdir().unwrap();
    let link = |name: &str| std::os::unix::fs::symlink(folder_of(name).join(name), programs.path().join(name)).unwrap();
    PROGRAMS.into_iter().for_each(link);
    let run = || {
        let mut script = Command::new(programs.path().join("sh"));
        script.arg(folder.path().join("secrets.sh")).env("PATH", programs.path());
        script.output().unwrap()
    };
    let output = run();
    assert!(!output.status.success(), "{output:?}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "only what was copied");
    link("shasum");
    let output = run();
    assert!(output.status.success(), "{output:?}");
    let text = |name: &str| fs::read_to_string(folder.path().join("secrets").join(name)).unwrap();
    let keda = text("keda.env");
    let password = keda.lines().find_map(|line| line.strip_prefix("password=")).unwrap();
    let hash = Command::new("sh").args(["-c", "printf %s \"$0\" | sha256sum", password]).output().unwrap().stdout;
    let hash = String::from_utf8(hash[..64].to_vec()).unwrap();
    assert!(text("users.acl").contains(&format!("user keda on #{hash} ")));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_leaves_nothing_when_a_signal_ends_it() {
    for signal in ["HUP", "INT", "TERM"] {
        let folder = copy();
        // One of its programs waits, so that the signal comes in the middle.
        let (programs, begun) = (folder.path().join("redis"), folder.path().join("redis/begun"));
        let head = programs.join("head");
        fs::write(&head, format!("#!/bin/sh\n: >{}\nexec sleep 60\n", begun.display())).unwrap();
        fs::set_permissions(&head, fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        let mut script = Command::new("env");
        script.args(["--default-signal=HUP,INT,TERM", "sh"]).arg(folder.path().join("secrets.sh")).env("PATH", path);
        let mut script = script.process_group(0).stderr(Stdio::null()).spawn().unwrap();
        eventually(SOON, "the script is at work", async || begun.exists().then_some(())).await;
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "the folder is under way");
        // To the whole group, as a terminal does.
        let group = format!("-{}", script.id());
        assert!(Command::new("sh").args(["-c", "kill -s $0 -- $1", signal, &group]).status().unwrap().success());
        assert_eq!(script.wait().unwrap().code(), Some(1), "{signal}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "{signal}: nothing is left");
    }
}
