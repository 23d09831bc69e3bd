//! A private Redis: a `redis-server` that ends with this process, however this process ends.
//!
//! A shell starts it and waits on a pipe from this process. When this process ends, by itself or by SIGKILL, the pipe
//! closes and the shell shuts Redis down cleanly. Both run in a process group of their own, so that Ctrl-C on the
//! terminal reaches only this process, which still needs Redis to finish.

use std::{
    fs::{self, File},
    io,
    net::Ipv4Addr,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::{Child, ChildStdin, Command},
    time::timeout,
};

use super::home::{FOLDER, Home};

const SERVER: &str = "redis-server";

/// The shell's script. Redis inherits the lock on the folder (descriptor 4) and releases it when it ends, so the next
/// run waits for Redis to end. If Redis ends by itself, the script ends the watcher at once: the watcher must not kill
/// the process id of Redis later, because another process may have it by then.
const KEEPER: &str = r#"
exec 3<&0
"$@" </dev/null 3<&- 4>&1 >>../redis.log 2>&1 &
redis=$!
(cat <&3; kill "$redis") >/dev/null 2>&1 &
watcher=$!
wait "$redis"; status=$?
kill "$watcher" 2>/dev/null
exit "$status"
"#;

/// The time limit for starting, including loading the data of earlier runs.
const STARTING: Duration = Duration::from_secs(30);
const ENDING: Duration = Duration::from_secs(10);
/// The interval between two PINGs to a server that is starting.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// The number of lines of Redis's log that an error quotes.
const QUOTED_LINES: usize = 3;

/// The server.
pub(super) struct Redis {
    keeper: Child,
    /// Open while the server must run.
    lifeline: Option<ChildStdin>,
    port: u16,
}

impl Redis {
    /// Starts it on the data of earlier runs, and waits until it answers.
    pub(super) async fn start(home: &Home) -> anyhow::Result<Self> {
        require_server().await?;
        // Bound here only to find a free port, then released for the server.
        let (_, port) = home.listen("redis")?;
        File::create(home.path("redis.log")).context("cannot write redis.log")?;
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "lynkhook-redis", SERVER, "--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""])
            .args(["--dir", ".", "--logfile", "../redis.log", "--daemonize", "no"])
            .current_dir(home.path("redis"))
            .stdin(Stdio::piped())
            .stdout(home.shared_lock()?)
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("cannot start sh")?;
        let lifeline = keeper.stdin.take();
        let mut redis = Self { keeper, lifeline, port };
        tokio::select! {
            // `ended` comes first: if both are ready, the answer may come from another server that took the port.
            biased;
            ended = redis.ended() => bail!("{ended:#}: {}", last_lines(home)),
            ready = timeout(STARTING, ready(port)) => {
                ready.map_err(|_| anyhow!("{SERVER} was silent for {} s: {}", STARTING.as_secs(), last_lines(home)))?;
            }
        }
        Ok(redis)
    }

    /// Its port on 127.0.0.1.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Waits until it ends by itself, which it should not.
    pub(super) async fn ended(&mut self) -> anyhow::Error {
        match self.keeper.wait().await {
            Ok(status) => anyhow!("{SERVER} ended by itself ({status}); see {FOLDER}/redis.log"),
            Err(error) => anyhow!(error).context(format!("cannot watch {SERVER}")),
        }
    }

    /// Ends it, and waits until it is gone.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        drop(self.lifeline.take());
        let status: io::Result<ExitStatus> = timeout(ENDING, self.keeper.wait())
            .await
            .map_err(|_| anyhow!("{SERVER} did not end within {} s; see {FOLDER}/redis.log", ENDING.as_secs()))?;
        status.map(drop).with_context(|| format!("cannot wait for {SERVER}"))
    }
}

async fn require_server() -> anyhow::Result<()> {
    let found = Command::new(SERVER).arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).status().await;
    match found {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => bail!(
            "{SERVER} is not installed, and `lynkhook dev` needs it: install Redis 7.0 or newer (Debian and Ubuntu: \
             apt install redis-server; macOS: brew install redis), or use `make run`, which brings its own Redis"
        ),
        Err(error) => Err(error).context(format!("cannot start {SERVER}")),
    }
}

/// Waits until the server answers PING with PONG, which it does only once its data is loaded.
async fn ready(port: u16) {
    while !matches!(timeout(Duration::from_secs(1), ping(port)).await, Ok(Ok(true))) {
        tokio::time::sleep(ASK_EVERY).await;
    }
}

async fn ping(port: u16) -> io::Result<bool> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.write_all(b"PING\r\n").await?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await?;
    Ok(&answer == b"+PONG")
}

fn last_lines(home: &Home) -> String {
    let log = fs::read_to_string(home.path("redis.log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(QUOTED_LINES)..].join(" / ")
}
