//! The tests' Redis can be killed, restarted and frozen, and never outlives its process.

use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use tokio::process::Command;

use crate::support::{AppendFsync, Process, RedisServer, eventually};

const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn prefixes_and_the_server_are_shared_as_promised() {
    let (one, other) = (RedisServer::shared(), RedisServer::shared());
    assert_eq!(one.port(), other.port());
    assert_ne!(one.unique_prefix(), other.unique_prefix());
    let pong: String = ::redis::cmd("PING").query_async(&mut one.connection().await).await.unwrap();
    assert_eq!(pong, "PONG");
}

#[tokio::test]
async fn a_restart_after_kill9_keeps_port_and_data() {
    for append_fsync in [AppendFsync::Always, AppendFsync::EverySecond, AppendFsync::No] {
        let mut server = RedisServer::start(append_fsync);
        let port = server.port();
        let mut connection = server.connection().await;
        // If a process is killed (and not the machine), the kernel keeps its writes, so all three policies hold.
        let () = ::redis::cmd("SET").arg("key").arg("value").query_async(&mut connection).await.unwrap();

        server.kill9();
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "a killed server refuses connections");
        server.restart();

        assert_eq!(server.port(), port);
        let mut connection = server.connection().await;
        let value: String = ::redis::cmd("GET").arg("key").query_async(&mut connection).await.unwrap();
        let settings: Vec<String> =
            ::redis::cmd("CONFIG").arg("GET").arg("appendfsync").query_async(&mut connection).await.unwrap();
        assert_eq!((value.as_str(), settings.len()), ("value", 2));
    }
}

#[tokio::test]
async fn a_paused_server_answers_only_when_it_is_resumed() {
    let mut server = RedisServer::start(AppendFsync::No);
    let mut connection = server.connection().await;
    server.pause();
    let command = ::redis::cmd("PING");
    let mut ping = std::pin::pin!(command.query_async::<String>(&mut connection));
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut ping).await.is_err());
    server.resume();
    assert_eq!(ping.await.unwrap(), "PONG");
}

#[test]
fn a_dropped_server_takes_its_directory_with_it_killed_or_not() {
    for is_killed in [false, true] {
        let mut server = RedisServer::start(AppendFsync::No);
        let (port, directory) = (server.port(), server.directory().to_owned());
        assert!(directory.join("appendonlydir").is_dir());
        if is_killed {
            server.kill9();
        }
        drop(server);
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
        assert!(!directory.exists());
    }
}

const ORPHAN: &str = "LYNKHOOK_TEST_ORPHAN";

/// The other half of the next test: a test process that has a Redis and is killed. Run alone, it does nothing.
#[tokio::test]
async fn a_process_that_is_about_to_die() {
    if std::env::var_os(ORPHAN).is_some() {
        let server = RedisServer::start(AppendFsync::No);
        println!("\norphan {} {}", server.port(), server.directory().display());
        std::future::pending::<()>().await;
    }
}

#[tokio::test]
async fn a_test_process_that_is_killed_takes_its_redis_with_it() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "--nocapture", "support_works::redis::a_process_that_is_about_to_die"]).env(ORPHAN, "1");
    let mut process = Process::spawn(command, Vec::new());
    let line = process.wait_for_line("orphan ").await;
    let mut words = line.split(' ').skip(1);
    let port: u16 = words.next().unwrap().parse().unwrap();
    let directory = PathBuf::from(words.next().unwrap());
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());

    process.kill9().await;

    eventually(SOON, "the orphaned Redis and its directory are gone", async || {
        (TcpStream::connect(("127.0.0.1", port)).is_err() && !directory.exists()).then_some(())
    })
    .await;
}
