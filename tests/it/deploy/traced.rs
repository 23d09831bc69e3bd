//! The fence around system calls: a traced worker and server stay inside it.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    path::{Path, PathBuf},
    process::Command,
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::*;

use super::units::{unit, values};

/// The output of a tool that `make check-deploy` installs.
fn output_of(tool: &str, arguments: &[&str]) -> String {
    let output = Command::new(tool).args(arguments).output().unwrap_or_else(|error| panic!("{tool}: {error}"));
    assert!(output.status.success(), "{tool} {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The system calls of a group, with those of the groups in it.
fn group(name: &str) -> BTreeSet<String> {
    let text = output_of("systemd-analyze", &["--no-pager", "syscall-filter", name]);
    let lines = text.lines().skip(1).map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.flat_map(|line| if line.starts_with('@') { group(line) } else { BTreeSet::from([line.to_owned()]) }).collect()
}

/// The system calls that a unit allows.
fn allowed(name: &str) -> BTreeSet<String> {
    let unit = unit(name);
    let mut allowed = BTreeSet::new();
    for filter in values(&unit, "SystemCallFilter") {
        let (taken, names) = filter.strip_prefix('~').map_or((false, filter), |names| (true, names));
        for call in names.split(' ').flat_map(group) {
            if taken {
                allowed.remove(&call)
            } else {
                allowed.insert(call)
            };
        }
    }
    allowed
}

/// The system calls in a trace of `strace -f`.
fn calls(trace: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(trace).unwrap();
    // "1234 openat(AT_FDCWD, …", "1234 <... futex resumed>…", "1234 +++ exited with 0 +++"
    let calls = text.lines().filter_map(|line| line.split_once(' ')?.1.trim_start().split_once('(')).map(|call| call.0);
    calls.filter(|call| call.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')).map(str::to_owned).collect()
}

/// A process under `strace`, and the file with its trace.
fn traced(program: &Program, process: &str, directory: &Path) -> (Process, PathBuf) {
    let trace = directory.join(process);
    let mut command = tokio::process::Command::new("strace");
    // `strace` passes the signals that it gets on to nobody, so the test signals the program itself.
    command.arg("-fqq").arg("-o").arg(&trace).arg(env!("CARGO_BIN_EXE_lynkhook")).arg(process);
    (Process::spawn(program.with_environment(command), Vec::new()), trace)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs strace and systemd-analyze: make check-deploy"]
async fn tools_a_worker_and_a_server_use_no_system_call_that_their_units_forbid() {
    let (receiver, dns) = (Receiver::start().await, DnsServer::start().await);
    dns.set("hooks.test", [IpAddr::from([127, 0, 0, 1])]);
    let here = Installation::new(&receiver).await;
    receiver.plan("/flaky", [Answer::Status(503), Answer::Status(200)]);
    receiver.plan("/named", [Answer::Status(200)]);
    let directory = tempfile::tempdir().unwrap();
    let (worker_port, server_port, api_port) = (unused_port(), unused_port(), unused_port());
    let at = |port| format!("127.0.0.1:{port}");
    let program = here.program.clone().env("LYNKHOOK_WORKER__HEALTH_BIND", at(worker_port));
    let program =
        program.env("LYNKHOOK_SERVER__HEALTH_BIND", at(server_port)).env("LYNKHOOK_SERVER__BIND", at(api_port));
    let program = program.env("LYNKHOOK_DELIVERY__RETRY_DELAYS", "50ms").env("LYNKHOOK_WORKER__THREADS", "2");
    let manager = super::supervisor::Manager::listen();
    let program = manager.starts(&program.resolving_with(&dns));

    for process in ["worker", "server"] {
        let (mut running, trace) = traced(&program, process, directory.path());
        eventually(SOON, "a healthy process", async || {
            (program.run(["health", process, "--ready"]).await.code == Some(0)).then_some(())
        })
        .await;
        if process == "worker" {
            let webhook = here.add("acme", &receiver.url("/flaky")).await;
            here.add("other", &receiver.url_for("hooks.test", "/named")).await;
            here.push("acme", TRANSCRIPT).await;
            here.push("other", TRANSCRIPT).await;
            receiver.wait_for("/flaky", 2, SOON).await;
            receiver.wait_for("/named", 1, SOON).await;
            here.drained().await;
            assert_eq!(here.log(webhook).await.len(), 2);
        } else {
            let mut stream = tokio::net::TcpStream::connect(at(api_port)).await.unwrap();
            stream.write_all(b"GET /docs HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n").await.unwrap();
            let mut page = String::new();
            stream.read_to_string(&mut page).await.unwrap();
            assert!(page.starts_with("HTTP/1.1 200"), "{page}");
        }
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", running.id())).unwrap();
        send_signal(children.trim().parse().unwrap(), "TERM");
        assert_eq!(running.wait().await, Some(0), "{}", running.stderr());

        let unit = if process == "worker" { "lynkhook-worker@.service" } else { "lynkhook-server.service" };
        let (used, allowed) = (calls(&trace), allowed(unit));
        assert!(used.len() > 30 && used.contains("epoll_wait"), "the trace is not whole: {used:?}");
        let forbidden: Vec<_> = used.difference(&allowed).collect();
        assert!(forbidden.is_empty(), "{process} uses {forbidden:?}");
        assert!(!allowed.contains("reboot") && !allowed.contains("setpriority"), "the fence keeps something out");
    }
}
