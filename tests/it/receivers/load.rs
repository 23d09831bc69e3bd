//! The load: events for the worker, and the same bodies from Node's `fetch`.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use redis::AsyncCommands;
use serde::Deserialize;
use tempfile::TempDir;
use tokio::process::Command;

use super::server;
use crate::support::{Installation, Process, TRANSCRIPT};

/// The address that Node's requests come from. The worker's come from 127.0.0.1, which the kernel chooses.
pub const FETCH_ADDRESS: [u8; 4] = [127, 0, 0, 2];
const CLIENT: &str = include_str!("servers/fetch.mjs");
/// After its last request, Node's client waits up to 10 s for each answer.
const FETCH_TAIL: Duration = Duration::from_secs(30);

/// The times of the requests: `burst` of them at each time.
#[derive(Clone, Copy)]
pub struct Pace {
    pub burst: usize,
    pub every: Duration,
    pub turns: u32,
}

impl Pace {
    pub const fn new(burst: usize, every: Duration, turns: u32) -> Self {
        Self { burst, every, turns }
    }

    pub fn requests(self) -> usize {
        self.burst * self.turns as usize
    }

    pub fn length(self) -> Duration {
        self.every * self.turns
    }

    /// Pushes the account's events as they become due.
    pub async fn push(self, here: &Installation, account: &str) {
        let mut ticks = tokio::time::interval(self.every);
        for turn in 0..self.turns {
            ticks.tick().await;
            for one in 0..self.burst {
                push(here, account, &format!("event-{turn}-{one}"), TRANSCRIPT).await;
            }
        }
    }
}

/// Pushes one event with an id.
pub async fn push(here: &Installation, account: &str, event: &str, envelope: &str) {
    let fields = [("account", account), ("envelope", envelope), ("id", event)];
    let _: String = here.redis.clone().xadd(here.key("queue"), "*", &fields).await.expect("Redis is up");
}

/// A running Node client.
pub struct Fetch {
    process: Process,
    _files: TempDir,
    pace: Pace,
}

/// The results of the requests of Node's client.
#[derive(Debug, Deserialize)]
pub struct Fetched {
    pub made: usize,
    /// Lost requests, by reason.
    pub lost: BTreeMap<String, usize>,
}

impl Fetch {
    /// Starts a client that begins at once. Answers when it has begun.
    pub async fn start(port: u16, ca_file: &Path, pace: Pace) -> Self {
        let files = tempfile::Builder::new().prefix("lynkhook-fetch-").tempdir().expect("a directory");
        let (script, body) = (files.path().join("fetch.mjs"), files.path().join("body"));
        fs::write(&script, CLIENT).and_then(|()| fs::write(&body, TRANSCRIPT)).expect("it can be written to");
        let mut command = Command::new("node");
        let address = std::net::Ipv4Addr::from(FETCH_ADDRESS).to_string();
        command.arg(script).args([format!("https://127.0.0.1:{port}/"), address]).arg(body);
        command.args([pace.burst.to_string(), pace.every.as_millis().to_string(), pace.turns.to_string()]);
        command.env("PATH", server::path()).env("NODE_EXTRA_CA_CERTS", ca_file);
        let process = Process::spawn(command, Vec::new());
        process.wait_for_line("ready").await;
        Self { process, _files: files, pace }
    }

    pub async fn end(self) -> Fetched {
        let output = self.process.output(self.pace.length() + FETCH_TAIL).await;
        let line = output.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {output:#?}"))
    }
}
