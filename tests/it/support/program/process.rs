//! One running process: its output, the signals it can be sent, and its end.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::support::send_signal;

/// The longest time until a process prints an expected line.
const LINE_LIMIT: Duration = Duration::from_secs(30);
/// The longest time until a process ends; its own shutdown grace period is 20 s.
const EXIT_LIMIT: Duration = Duration::from_secs(60);

/// The output of a process, and how it ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// `None` if a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A process of the program. Dropping it kills it; if the test is panicking, its output is printed first.
pub struct Process {
    child: Child,
    /// The command line, for messages.
    name: String,
    printed: watch::Receiver<Printed>,
    reading: [JoinHandle<()>; 2],
}

/// The output so far, line by line. When both streams have ended, the sender is dropped.
#[derive(Clone, Debug, Default)]
struct Printed {
    stdout: String,
    stderr: String,
}

impl Process {
    /// Starts a command, with `input` on its standard input.
    pub fn spawn(mut command: Command, input: Vec<u8>) -> Self {
        let name = format!("{:?}", command.as_std().get_args().collect::<Vec<_>>());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut stdin = child.stdin.take().expect("it is piped");
        tokio::spawn(async move {
            // A command that does not read its input may close it.
            let _ = stdin.write_all(&input).await;
        });
        let (sender, printed) = watch::channel(Printed::default());
        let stdout = child.stdout.take().expect("it is piped");
        let stderr = child.stderr.take().expect("it is piped");
        let reading = [
            tokio::spawn(read_lines(stdout, sender.clone(), |printed| &mut printed.stdout)),
            tokio::spawn(read_lines(stderr, sender, |printed| &mut printed.stderr)),
        ];
        Self { child, name, printed, reading }
    }

    pub fn id(&self) -> u32 {
        self.child.id().unwrap_or_else(|| panic!("{} has ended", self.name))
    }

    /// Waits for a line that contains `pattern`, on either stream, and answers the line. A line already printed counts.
    /// Panics after 30 s, or as soon as the process ends without such a line.
    pub async fn wait_for_line(&self, pattern: &str) -> String {
        let mut printed = self.printed.clone();
        let there = |printed: &Printed| printed.line_with(pattern).is_some();
        let Ok(waited) = tokio::time::timeout(LINE_LIMIT, printed.wait_for(there)).await else {
            panic!("{} did not print {pattern:?} within {LINE_LIMIT:?}", self.name)
        };
        let printed = waited.unwrap_or_else(|_| panic!("{} ended without printing {pattern:?}", self.name));
        printed.line_with(pattern).expect("it was there a moment ago")
    }

    pub fn stdout(&self) -> String {
        self.printed.borrow().stdout.clone()
    }

    pub fn stderr(&self) -> String {
        self.printed.borrow().stderr.clone()
    }

    /// Kills the process with SIGKILL, like a crash, and returns when it is gone.
    pub async fn kill9(&mut self) {
        self.child.kill().await.unwrap_or_else(|error| panic!("{} could not be killed: {error}", self.name));
    }

    pub fn sigterm(&self) {
        self.signal("TERM");
    }

    pub fn sigint(&self) {
        self.signal("INT");
    }

    /// A value of its `/proc` status, in KiB: `VmRSS` is the present memory, `VmHWM` the peak.
    pub fn memory_kib(&self, line: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let value = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':')).unwrap();
        value.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// The number of its open files, connections included.
    pub fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.id())).unwrap().count()
    }

    /// Limits its open files to this number from now on; files that are already open stay. `None` restores the limit
    /// that it had at its start.
    pub fn limit_files(&self, limit: Option<usize>) {
        let pid = rustix::process::Pid::from_raw(self.id().try_into().unwrap());
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", self.id())).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        let maximum = line.split_whitespace().nth(4).unwrap().parse().ok();
        let current = limit.map_or(maximum, |limit| u64::try_from(limit).ok());
        let limit = rustix::process::Rlimit { current, maximum };
        rustix::process::prlimit(pid, rustix::process::Resource::Nofile, limit).unwrap();
    }

    /// Freezes the process. It keeps its sockets and does nothing until [`sigcont`](Self::sigcont).
    pub fn sigstop(&self) {
        self.signal("STOP");
    }

    pub fn sigcont(&self) {
        self.signal("CONT");
    }

    /// Whether it has ended, by itself or not.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_some()
    }

    /// Waits for its end and answers the exit code, or `None` if a signal ended it. Panics after 60 s.
    pub async fn wait(&mut self) -> Option<i32> {
        self.wait_at_most(EXIT_LIMIT).await
    }

    /// Waits for its end, and for the end of its output. Panics if that takes longer than `limit`.
    pub async fn output(mut self, limit: Duration) -> Output {
        let code = self.wait_at_most(limit).await;
        for reading in &mut self.reading {
            let ended = tokio::time::timeout(limit, reading).await;
            ended.unwrap_or_else(|_| panic!("{} ended, but its output stays open", self.name)).expect("it can be read");
        }
        Output { code, stdout: self.stdout(), stderr: self.stderr() }
    }

    async fn wait_at_most(&mut self, limit: Duration) -> Option<i32> {
        let ended = tokio::time::timeout(limit, self.child.wait()).await;
        ended.unwrap_or_else(|_| panic!("{} did not end within {limit:?}", self.name)).expect("it is our child").code()
    }

    /// Sends it a signal, such as `HUP`.
    pub fn signal(&self, signal: &str) {
        send_signal(self.id(), signal);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Printed { stdout, stderr } = &*self.printed.borrow();
            eprintln!("--- {} printed\n{stdout}--- and on standard error\n{stderr}---", self.name);
        }
    }
}

impl Printed {
    fn line_with(&self, pattern: &str) -> Option<String> {
        self.stdout.lines().chain(self.stderr.lines()).find(|line| line.contains(pattern)).map(ToOwned::to_owned)
    }
}

async fn read_lines(
    stream: impl AsyncRead + Unpin,
    printed: watch::Sender<Printed>,
    place: fn(&mut Printed) -> &mut String,
) {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    while stream.read_until(b'\n', &mut line).await.is_ok_and(|length| length > 0) {
        printed.send_modify(|printed| place(printed).push_str(&String::from_utf8_lossy(&line)));
        line.clear();
    }
}
