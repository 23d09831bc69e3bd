//! The built program, run as an operator runs it: another process, with its settings in the environment and nothing
//! inherited.

mod process;

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use tokio::process::Command;

use super::{DnsServer, Receiver, RedisServer};
pub use process::{Output, Process};

/// The longest time that a command may run in [`Program::run`].
const RUN_LIMIT: Duration = Duration::from_secs(60);
/// 32 bytes that protect no real secrets.
pub const SECRETS_KEY: &str = "dGVzdHMgb25seSwgbmV2ZXIgYSByZWFsIHNlY3JldCE=";
/// The receivers are on 127.0.0.1.
const ALLOWED: &str = "127.0.0.0/8,localhost,hooks.test";

/// One installation of the program: a Redis, a prefix, settings. Any number of processes can be started from it.
#[derive(Clone, Debug)]
pub struct Program {
    environment: Vec<(OsString, OsString)>,
    allowed: String,
}

impl Program {
    /// Settings for tests: local networks, `localhost` and `hooks.test` are allowed as targets, and secrets have a key.
    pub fn new(redis: &RedisServer, prefix: &str) -> Self {
        Self::at(&redis.url(), prefix)
    }

    /// The same for this `redis.url`.
    pub fn at(url: &str, prefix: &str) -> Self {
        Self { environment: Vec::new(), allowed: ALLOWED.to_owned() }
            .env("LYNKHOOK_REDIS__URL", url)
            .env("LYNKHOOK_REDIS__PREFIX", prefix)
            .env("LYNKHOOK_SECRETS__KEY", SECRETS_KEY)
            .env("LYNKHOOK_EGRESS__ALLOW", ALLOWED)
    }

    /// Trusts the receivers' authority. One receiver is enough for all of them; it must exist while the program runs.
    #[must_use]
    pub fn trusting(self, receiver: &Receiver) -> Self {
        self.env("LYNKHOOK_EGRESS__EXTRA_CA", receiver.ca_file())
    }

    /// Asks this DNS server instead of the system's.
    #[must_use]
    pub fn resolving_with(self, dns: &DnsServer) -> Self {
        self.env("LYNKHOOK_DNS__SERVERS", dns.address().to_string())
    }

    /// Allows one more host name or network as a target.
    #[must_use]
    pub fn allowing(mut self, target: &str) -> Self {
        self.allowed = format!("{},{target}", self.allowed);
        let allowed = self.allowed.clone();
        self.env("LYNKHOOK_EGRESS__ALLOW", allowed)
    }

    /// Sets a variable; the last value counts.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Runs a command to its end, with an empty standard input. Panics if that takes longer than 60 s.
    pub async fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.run_with_input(args, "").await
    }

    /// The same, with `input` on standard input.
    pub async fn run_with_input<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
        input: impl Into<Vec<u8>>,
    ) -> Output {
        Process::spawn(self.command(args), input.into()).output(RUN_LIMIT).await
    }

    /// Runs a command with `--json`, asserts that it succeeds, and reads the single document that it prints.
    pub async fn json<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> serde_json::Value {
        self.json_with_input(args, "").await
    }

    /// The same, with `input` on standard input.
    pub async fn json_with_input<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
        input: impl Into<Vec<u8>>,
    ) -> serde_json::Value {
        let mut args: Vec<OsString> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        if !args.iter().any(|arg| arg == "--json") {
            args.push("--json".into());
        }
        let output = self.run_with_input(&args, input).await;
        assert_eq!(output.code, Some(0), "{args:?} failed: {output:#?}");
        serde_json::from_str(&output.stdout)
            .unwrap_or_else(|error| panic!("{args:?} printed no JSON ({error}): {output:#?}"))
    }

    /// Starts `lynkhook worker` with these additional variables. It runs until it is told to stop or is dropped.
    pub fn worker<const N: usize>(&self, extra: [(&str, &str); N]) -> Process {
        extra.into_iter().fold(self.clone(), |program, (name, value)| program.env(name, value)).start(["worker"])
    }

    /// Starts a worker that may have at most this many open files, connections included.
    pub fn worker_with_files(&self, limit: usize) -> Process {
        let mut command = Command::new("sh");
        let script = format!("ulimit -n {limit}; exec \"$0\" worker");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_lynkhook")]);
        Process::spawn(self.with_environment(command), Vec::new())
    }

    /// Starts a command that runs until it is told to stop, such as `server`.
    pub fn start<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Process {
        Process::spawn(self.command(args), Vec::new())
    }

    /// The same from a shell that handles SIGHUP as `taken` says: `default`, or `ignore` like `nohup`. The tests' own
    /// shell may do either.
    pub fn start_with_hangup(&self, taken: &str, args: &[&str]) -> Process {
        let mut command = Command::new("env");
        command.arg(format!("--{taken}-signal=HUP")).arg(env!("CARGO_BIN_EXE_lynkhook")).args(args);
        Process::spawn(self.with_environment(command), Vec::new())
    }

    /// A command that has not been started.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lynkhook"));
        command.args(args);
        self.with_environment(command)
    }

    /// A command with this program's environment and nothing else.
    pub fn with_environment(&self, mut command: Command) -> Command {
        command.env_clear();
        let inherited = ["PATH", "HOME"].into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        command.envs(inherited).envs(self.environment.iter().cloned());
        command
    }
}
