//! The steps of `deploy/README.md` that need no service manager: from nothing to a server and two workers.

use std::{fs, path::Path, process::Command};

use serde_json::Value;
use tokio::net::TcpStream;

use crate::{readme, support::*};

use super::files::path_of;

const PAGE: &str = include_str!("../../../deploy/README.md");

#[tokio::test(flavor = "multi_thread")]
async fn the_steps_without_a_service_manager_end_with_a_server_and_two_workers_that_deliver() {
    let receiver = Receiver::start().await;
    receiver.plan("/transcripts", [Answer::Status(200)]);
    let (_, section) = PAGE.split_once("\n## Without a service manager\n").unwrap();
    let (_, script) = readme::blocks(section)[0];
    let (redis, api) = (unused_port().to_string(), format!("127.0.0.1:{}", unused_port()));
    let script = script
        .replace("redis/redis.conf ", &format!("redis/redis.conf --port {redis} "))
        .replace("redis-cli ", &format!("redis-cli -p {redis} "))
        .replace("https://hooks.example.com/transcripts", &receiver.url("/transcripts"));
    // The reader's shell ends its jobs in groups, as this one does.
    let ends = "set -m; trap 'for job in $(jobs -p); do kill -- -$job; done; wait' EXIT";
    let waits = "for i in $(seq 300); do [ -e arrived ] && break; sleep 0.1; done; lynkhook_as operator queue status --json > status.json";
    let script = format!("{ends}\n{script}{waits}\n");

    let folder = tempfile::tempdir().unwrap();
    for file in ["secrets.sh", "redis/redis.conf", "redis/users.acl", "redis/cluster.conf"] {
        let copy = folder.path().join("deploy").join(file);
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::write(copy, fs::read_to_string(path_of(file)).unwrap().replace(":6379/", &format!(":{redis}/"))).unwrap();
    }
    let event = folder.path().join("config/transcript.created.example.json");
    fs::create_dir(event.parent().unwrap()).unwrap();
    fs::write(event, TRANSCRIPT).unwrap();

    let program = Path::new(env!("CARGO_BIN_EXE_lynkhook")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("bash");
    shell.args(["-exuo", "pipefail", "-c", &script]).current_dir(folder.path()).env_clear().env("PATH", path);
    shell.env("LYNKHOOK_SERVER__BIND", &api).env("LYNKHOOK_EGRESS__ALLOW", "127.0.0.0/8,localhost");
    shell.env("LYNKHOOK_EGRESS__EXTRA_CA", receiver.ca_file());
    let running = tokio::task::spawn_blocking(move || shell.output().unwrap());
    receiver.wait_for_ended("/transcripts", 1, SOON).await;
    let reached = async |address: &str| TcpStream::connect(format!("{address}:{redis}")).await.is_ok();
    assert!(reached("127.0.0.1").await);
    assert!(!reached("127.0.0.2").await, "Redis is reached at an address that the steps do not name");
    fs::write(folder.path().join("arrived"), "").unwrap();
    let output = running.await.unwrap();
    let [printed, errors] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "{script}\n--- printed\n{printed}\n--- and on standard error\n{errors}");
    let status = fs::read_to_string(folder.path().join("status.json")).unwrap();
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["workers"].as_array().unwrap().len(), 2, "{status}");
}

#[test]
fn the_steps_for_systemd_let_redis_listen_on_this_machine_alone_with_its_data_in_debians_folder() {
    let (_, section) = PAGE.split_once("\n## systemd\n").unwrap();
    let (_, script) = readme::blocks(section)[0];
    let place = "/etc/redis/redis.conf";
    let edit = script.lines().find(|line| line.starts_with("sudo sed ") && line.ends_with(place)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("redis.conf");
    fs::copy(path_of("redis/redis.conf"), &copy).unwrap();
    let edit = edit.trim_start_matches("sudo ").replace(place, copy.to_str().unwrap());
    assert!(Command::new("sh").args(["-c", &edit]).status().unwrap().success(), "{edit}");
    let edited = fs::read_to_string(&copy).unwrap();
    let lines =
        |word: &str| edited.lines().filter(|line| line.starts_with(word)).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(lines("bind "), ["bind 127.0.0.1 -::1"]);
    assert_eq!(lines("dir "), ["dir /var/lib/redis"]);
    let install = script.lines().find(|line| line.contains("deploy/redis/redis.conf")).unwrap();
    assert!(install.starts_with("sudo install --backup=numbered "), "Debian's own file is kept: {install}");
}
