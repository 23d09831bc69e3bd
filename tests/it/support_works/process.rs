//! A process's output and its end are known, and signals arrive. Other programs stand in for the built one.

use std::time::Duration;

use tokio::process::Command;

use crate::support::{DnsServer, Process, Program, Receiver, RedisServer};

const LIMIT: Duration = Duration::from_secs(30);

fn shell(script: &str) -> Process {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    Process::spawn(command, b"input".to_vec())
}

#[tokio::test]
async fn output_holds_both_streams_and_the_exit_code() {
    let output = shell("cat; echo; echo wrong >&2; exit 7").output(LIMIT).await;
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (Some(7), "input\n", "wrong\n"));
}

/// Redis stands in here, because a shell cannot catch a signal that was ignored when it started, as `make test &`
/// ignores SIGINT.
#[tokio::test]
async fn a_process_gets_the_signal_it_was_sent() {
    let directory = tempfile::tempdir().unwrap();
    for signal in ["SIGTERM", "SIGINT"] {
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--unixsocket"]).arg(directory.path().join("redis.sock"));
        let mut process = Process::spawn(command, Vec::new());
        process.wait_for_line("ready to accept connections at").await;
        if signal == "SIGTERM" {
            process.sigterm();
        } else {
            process.sigint();
        }
        process.wait_for_line(&format!("Received {signal}")).await;
        assert_eq!(process.wait().await, Some(0));
    }
}

#[tokio::test]
async fn a_stopped_process_resumes_when_it_is_continued() {
    let process = shell("while :; do echo tick; sleep 0.02; done");
    process.wait_for_line("tick").await;
    process.sigstop();
    // Output from before the stop may still be on its way.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let frozen = process.stdout();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(process.stdout(), frozen);
    process.sigcont();
    crate::support::eventually(LIMIT, "it prints again", async || (process.stdout() != frozen).then_some(())).await;
}

#[tokio::test]
async fn a_killed_process_has_no_exit_code() {
    let mut process = shell("echo ready; exec sleep 1000");
    process.wait_for_line("ready").await;
    process.kill9().await;
    assert_eq!(process.wait().await, None);
}

#[tokio::test]
#[should_panic(expected = "ended without printing")]
async fn a_line_that_can_no_longer_come_is_not_waited_for() {
    shell("echo something else").wait_for_line("ready").await;
}

#[tokio::test]
async fn the_built_program_can_be_started() {
    let redis = RedisServer::shared();
    let (receiver, dns) = (Receiver::start().await, DnsServer::start().await);
    let program = Program::new(redis, &redis.unique_prefix())
        .trusting(&receiver)
        .resolving_with(&dns)
        .allowing("other.test")
        .env("RUST_BACKTRACE", "1");
    // Every version of the program answers `--help` in the same way.
    assert_eq!(program.run(["--help"]).await.code, Some(0));
}
