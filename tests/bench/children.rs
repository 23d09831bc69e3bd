//! Processes that are measured. They are told what to do by arguments and lines of JSON. They end when their standard
//! input does, so they never outlive this process, however it ends.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::Write,
    process::Stdio,
    sync::OnceLock,
};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines, Stdin},
    process::{ChildStdin, ChildStdout, Command},
};

/// Runs a program that does not watch its standard input: prints its process id, and kills it when our standard input
/// ends.
const GUARD: &str = r#"
    "$@" </dev/null >/dev/null &
    echo $!
    read -r _
    kill -9 $! 2>/dev/null
    wait
"#;

/// A process that is measured. Dropping it ends the process.
pub struct Child {
    pub id: u32,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
    process: tokio::process::Child,
}

impl Child {
    /// Starts this binary again in another role. Answers once the child reports that it is ready, with its report.
    pub async fn of_this_binary<R: DeserializeOwned>(arguments: Vec<OsString>) -> (Self, R) {
        let mut command = Command::new(std::env::current_exe().expect("this binary is a file"));
        command.args(arguments);
        let mut child = Self::spawn(command, log());
        child.id = child.process.id().expect("it runs");
        let ready = child.answer().await;
        (child, ready)
    }

    /// Starts a program as it ships, with this environment and no other. Its standard error goes to `log`.
    pub async fn of_program(
        program: &str,
        arguments: &[&str],
        environment: &[(&'static str, String)],
        log: File,
    ) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", GUARD, "guard", program]).args(arguments).env_clear();
        let inherited = ["PATH", "HOME"].into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        command.envs(inherited).envs(environment.iter().cloned());
        let mut child = Self::spawn(command, log);
        child.id = child.answer().await;
        child
    }

    fn spawn(mut command: Command, log: File) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut process = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdin = process.stdin.take().expect("it is piped");
        let stdout = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        Self { id: 0, stdin, stdout, process }
    }

    /// Whether the process still runs: it has not exited by itself.
    pub fn runs(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id)).unwrap_or_default();
        // The state follows the program's name in parentheses; Z is a zombie and X is dead.
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
    }

    /// Stops the process until it is told to [`go_on`](Self::go_on).
    pub fn stop(&self) {
        self.signal(Signal::STOP);
    }

    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.id).ok().and_then(Pid::from_raw).expect("it runs");
        kill_process(id, signal).expect("it is ours");
    }

    /// Sends the child a question, and waits for its answer.
    pub async fn ask<R: DeserializeOwned>(&mut self, ask: &impl Serialize) -> R {
        let line = serde_json::to_string(ask).expect("it can be written") + "\n";
        self.stdin.write_all(line.as_bytes()).await.expect("the child listens");
        self.answer().await
    }

    async fn answer<R: DeserializeOwned>(&mut self) -> R {
        let line = self.stdout.next_line().await.expect("the child's output can be read");
        let line = line.unwrap_or_else(|| panic!("process {} ended before its time", self.id));
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?} is no answer: {error}"))
    }

    /// Ends the process, and waits until it is gone.
    pub async fn end(mut self) {
        drop(self.stdin);
        self.process.wait().await.expect("it is our child");
    }
}

/// In a child: sends one message to the parent.
pub fn say(what: &impl Serialize) {
    let line = serde_json::to_string(what).expect("it can be written");
    // The parent is gone, and with it the reason to run.
    if writeln!(std::io::stdout(), "{line}").is_err() {
        std::process::exit(0);
    }
}

/// In a child: the parent's questions.
pub struct Questions(Lines<BufReader<Stdin>>);

impl Questions {
    pub fn new() -> Self {
        Self(BufReader::new(tokio::io::stdin()).lines())
    }

    /// The next question, or `None` if the parent is gone or has no more.
    pub async fn next<A: DeserializeOwned>(&mut self) -> Option<A> {
        let line = self.0.next_line().await.ok().flatten()?;
        Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}")))
    }
}

/// The file to which children write their logs and errors; emptied when this process begins.
pub fn log() -> File {
    static LOG: OnceLock<File> = OnceLock::new();
    let file = LOG
        .get_or_init(|| File::create(crate::report::folder().join("children.log")).expect("target can be written to"));
    file.try_clone().expect("a file can be shared")
}
