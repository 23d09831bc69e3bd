//! A real `redis-server` for the tests, in a directory of its own, with the append-only file on.
//!
//! The server never outlives the test process, however that ends: a small shell holds a pipe from the test. When the
//! pipe closes (dropped, or the process is gone, SIGKILL included), the shell kills the server and removes the
//! directory.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;

use super::{send_signal, unused_port};

/// The file in the server's directory that sets its clock.
const CLOCK: &str = "clock";
/// The longest time until a server answers and has loaded its data.
const START_LIMIT: Duration = Duration::from_secs(20);
/// The response timeout of [`connect`]. The client's own default, 500 ms, is too short for a busy
/// machine.
const RESPONSE_LIMIT: Duration = Duration::from_secs(10);

/// Runs `redis-server`, or the program in `LYNKHOOK_TEST_REDIS_SERVER`. Prints its process id, and ends it when
/// standard input says so or closes.
///
/// `$1` is the directory, the rest are the server's arguments. The word `keep` keeps the directory for a restart.
const GUARD: &str = r#"
    directory=$1; shift
    "${LYNKHOOK_TEST_REDIS_SERVER:-redis-server}" "$@" >"$directory/redis.log" 2>&1 </dev/null &
    echo $!
    read -r fate
    kill -9 $! 2>/dev/null
    wait
    [ "$fate" = keep ] || rm -rf "$directory"
"#;

/// When Redis forces the append-only file to disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendFsync {
    Always,
    EverySecond,
    No,
}

/// A running `redis-server`, or a killed one that can be restarted.
pub struct RedisServer {
    port: u16,
    /// The port for the other nodes of its cluster; `None` if it belongs to none.
    bus_port: Option<u16>,
    directory: PathBuf,
    /// The user in the server's own URL, with password and `@`; empty: none.
    user: &'static str,
    /// All arguments but the port.
    arguments: Vec<String>,
    /// Environment variables of the process.
    environment: Vec<(&'static str, String)>,
    /// The number of prefixes given out so far.
    prefixes: AtomicU32,
    /// `None` between [`kill9`](Self::kill9) and [`restart`](Self::restart).
    guarded: Option<Guarded>,
}

struct Guarded {
    shell: Child,
    process_id: u32,
}

impl RedisServer {
    /// The server that all tests of this binary share, each with its own [`unique_prefix`](Self::unique_prefix).
    ///
    /// It is behind `&`, and methods that would disturb other tests need `&mut`: a test that calls them starts its own
    /// server.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<RedisServer> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(AppendFsync::EverySecond))
    }

    /// A server of the caller's own, ready to answer. Dropping it ends it.
    pub fn start(append_fsync: AppendFsync) -> Self {
        Self::start_with(append_fsync, Vec::new(), |_| Vec::new())
    }

    /// The same, with more arguments.
    pub fn start_with_arguments(arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Self::start_with(AppendFsync::No, arguments, |_| Vec::new())
    }

    /// The same, with a time of day that can be [stepped](Self::step_clock); its monotonic clock stays correct.
    pub fn start_with_a_clock() -> Self {
        Self::start_with(AppendFsync::No, Vec::new(), |directory| {
            let file = directory.join(CLOCK);
            std::fs::write(&file, "+0").expect("its directory is there");
            vec![
                // Use the C library's allocator: Redis's own asks for the time before the shifting library is ready.
                ("LD_PRELOAD", format!("{} libc.so.6", faketime_library())),
                ("FAKETIME_TIMESTAMP_FILE", file.to_str().expect("a plain path").to_owned()),
                ("FAKETIME_NO_CACHE", "1".to_owned()),
                ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ]
        })
    }

    /// Sets the clock this far from the true time, such as `+1d`; `+0` is correct.
    pub fn step_clock(&self, by: &str) {
        // In one step, so that the server reads either the old or the new value.
        let new = self.directory.join("clock.new");
        std::fs::write(&new, by).expect("its directory is there");
        std::fs::rename(new, self.directory.join(CLOCK)).expect("its directory is there");
    }

    /// A server with this configuration and these users, and one more, `admin`, whom its URL names.
    pub fn start_configured(configuration: &Path, users: &str) -> Self {
        Self::configured(configuration, users, None, &[])
    }

    /// The same as a server that can join a cluster, with these additional arguments.
    pub fn start_configured_node(configuration: &Path, users: &str, arguments: &[&str]) -> Self {
        Self::configured(configuration, users, Some(unused_port()), arguments)
    }

    fn configured(configuration: &Path, users: &str, bus_port: Option<u16>, more: &[&str]) -> Self {
        let directory = new_directory();
        let file = directory.join("users.acl");
        std::fs::write(&file, format!("{users}user admin on >admin ~* &* +@all\n")).expect("its directory is there");
        let [configuration, folder, file] =
            [configuration, &directory, &file].map(|path| path.to_str().expect("a plain path").to_owned());
        let mut arguments = vec![configuration];
        let own = ["--bind", "127.0.0.1", "--dir", &folder, "--aclfile", &file];
        arguments.extend(own.iter().chain(more).map(|&argument| argument.to_owned()));
        Self::launched(directory, "admin:admin@", bus_port, arguments, Vec::new())
    }

    /// A server that can join a cluster, with these additional arguments.
    pub(super) fn start_node(arguments: &[&str]) -> Self {
        let arguments = ["--cluster-enabled", "yes"].iter().chain(arguments).map(|&argument| argument.to_owned());
        let directory = new_directory();
        let arguments = with_defaults(&directory, AppendFsync::EverySecond, arguments);
        Self::launched(directory, "", Some(unused_port()), arguments, Vec::new())
    }

    fn start_with(
        append_fsync: AppendFsync,
        more: Vec<String>,
        environment: impl FnOnce(&Path) -> Vec<(&'static str, String)>,
    ) -> Self {
        let directory = new_directory();
        let arguments = with_defaults(&directory, append_fsync, more);
        let environment = environment(&directory);
        Self::launched(directory, "", None, arguments, environment)
    }

    fn launched(
        directory: PathBuf,
        user: &'static str,
        bus_port: Option<u16>,
        arguments: Vec<String>,
        environment: Vec<(&'static str, String)>,
    ) -> Self {
        assert_installed();
        let (port, prefixes) = (unused_port(), AtomicU32::new(0));
        let mut server = Self { port, bus_port, directory, user, arguments, environment, prefixes, guarded: None };
        let started = Instant::now();
        while !server.launch() {
            assert!(started.elapsed() < START_LIMIT, "Redis found no free port: {}", server.log());
            server.port = unused_port();
            server.bus_port = server.bus_port.map(|_| unused_port());
        }
        server
    }

    pub fn url(&self) -> String {
        format!("redis://{}127.0.0.1:{}/", self.user, self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address as `redis-cli --cluster` wants it.
    pub fn address_in_cluster(&self) -> String {
        format!("127.0.0.1:{}@{}", self.port, self.bus_port.expect("it can join a cluster"))
    }

    /// Whether the server was not killed. A paused server runs.
    pub fn is_running(&self) -> bool {
        self.guarded.is_some()
    }

    /// The folder with the server's data; removed when the server is dropped.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The server's log since it last started.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("redis.log")).unwrap_or_default()
    }

    /// A new connection. It belongs to the runtime of the test that asked for it.
    pub async fn connection(&self) -> MultiplexedConnection {
        connect(&self.url()).await
    }

    /// A key prefix that no other test on this server uses.
    pub fn unique_prefix(&self) -> String {
        format!("t{}-{}", std::process::id(), self.prefixes.fetch_add(1, Ordering::Relaxed))
    }

    /// Kills the server with SIGKILL, like a crash, and returns when it is gone. Its data stays.
    pub fn kill9(&mut self) {
        self.guarded.take().expect("Redis is running").end("keep");
    }

    /// Stops the server with SIGTERM, as an operator does, and returns when it is gone. Its data stays.
    pub fn stop(&mut self) {
        let guarded = self.guarded.take().expect("Redis is running");
        send_signal(guarded.process_id, "TERM");
        let started = Instant::now();
        while !self.log().contains("Redis is now ready to exit") {
            assert!(started.elapsed() < START_LIMIT, "Redis did not stop: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        guarded.end("keep");
    }

    /// Starts the killed server again with the same port and data. Returns when the data is loaded and it answers.
    pub fn restart(&mut self) {
        assert!(self.guarded.is_none(), "Redis still runs; kill it first");
        let started = Instant::now();
        while !self.launch() {
            assert!(started.elapsed() < START_LIMIT, "port {} was taken meanwhile: {}", self.port, self.log());
        }
    }

    /// The same as a server that can join a cluster, with these additional arguments from now on.
    pub fn restart_as_a_node(&mut self, arguments: &[&str]) {
        self.bus_port = Some(unused_port());
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self.restart();
    }

    /// Freezes the server (SIGSTOP): connections stay open and get no answers until [`resume`](Self::resume).
    pub fn pause(&mut self) {
        send_signal(self.guarded.as_ref().expect("Redis is running").process_id, "STOP");
    }

    pub fn resume(&mut self) {
        send_signal(self.guarded.as_ref().expect("Redis is running").process_id, "CONT");
    }

    /// Starts the process and waits until it is ready. Answers `false` if another process has the port.
    fn launch(&mut self) -> bool {
        let mut ports = vec!["--port".to_owned(), self.port.to_string()];
        ports.extend(self.bus_port.iter().flat_map(|port| ["--cluster-port".to_owned(), port.to_string()]));
        let guarded = Guarded::spawn(&self.directory, &ports, &self.arguments, &self.environment);
        let started = Instant::now();
        while !is_ready(&self.url(), guarded.process_id) {
            // Look at the log and not at the port, because another Redis may answer on a taken port.
            if self.log().contains("Failed listening on port") {
                guarded.end("keep");
                return false;
            }
            assert!(started.elapsed() < START_LIMIT, "redis-server did not get ready; its log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        self.guarded = Some(guarded);
        true
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        match self.guarded.take() {
            Some(guarded) => guarded.end("remove"),
            None => drop(std::fs::remove_dir_all(&self.directory)),
        }
    }
}

impl Guarded {
    fn spawn(directory: &Path, ports: &[String], arguments: &[String], environment: &[(&'static str, String)]) -> Self {
        // A configuration file comes before all other arguments.
        let (file, options) = arguments.split_at(usize::from(!arguments[0].starts_with("--")));
        let mut shell = Command::new("sh")
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .args(["-c", GUARD, "redis-guard"])
            .arg(directory)
            .args(file)
            .args(ports)
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A Ctrl-C at the terminal must not end the guard before it has killed the server.
            .process_group(0)
            .spawn()
            .expect("sh is installed");
        let mut line = String::new();
        BufReader::new(shell.stdout.take().expect("it is piped")).read_line(&mut line).expect("the guard writes");
        let process_id = line.trim().parse().unwrap_or_else(|_| panic!("{line:?} should be a process id"));
        Self { shell, process_id }
    }

    /// Kills the server and waits until it is gone.
    fn end(mut self, fate: &str) {
        let mut stdin = self.shell.stdin.take().expect("it is piped");
        // This fails only if the guard is gone, and then the server is gone as well.
        let _ = writeln!(stdin, "{fate}");
        drop(stdin);
        self.shell.wait().expect("the guard ends");
    }
}

/// The arguments of every server without a configuration file, then these.
fn with_defaults(directory: &Path, append_fsync: AppendFsync, more: impl IntoIterator<Item = String>) -> Vec<String> {
    let fsync = match append_fsync {
        AppendFsync::Always => "always",
        AppendFsync::EverySecond => "everysec",
        AppendFsync::No => "no",
    };
    let folder = directory.to_str().expect("a plain path");
    let own = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--appendfsync", fsync, "--dir", folder];
    own.iter().map(|&argument| argument.to_owned()).chain(more).collect()
}

/// A new connection to the server at this URL.
pub async fn connect(url: &str) -> MultiplexedConnection {
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(RESPONSE_LIMIT));
    redis::Client::open(url)
        .expect("the URL is well formed")
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .expect("Redis is up")
}

fn new_directory() -> PathBuf {
    let directory = tempfile::Builder::new().prefix("lynkhook-redis-").tempdir().expect("a directory for Redis");
    directory.keep()
}

/// Whether the server at `url` is the process that the test started, and has loaded its data.
fn is_ready(url: &str, process_id: u32) -> bool {
    let info = || -> redis::RedisResult<redis::InfoDict> {
        let client = redis::Client::open(url)?;
        redis::cmd("INFO").query(&mut client.get_connection_with_timeout(Duration::from_secs(1))?)
    };
    info().is_ok_and(|info| info.get("process_id") == Some(process_id) && info.get("loading") == Some(0))
}

/// The library that shifts a process's time of day, the same one that the `faketime` command loads.
pub fn faketime_library() -> String {
    let shown = Command::new("faketime").args(["-f", "+0", "sh", "-c", "printf %s \"$LD_PRELOAD\""]).output();
    let shown = shown.expect("`faketime` is installed; `make test` installs it");
    String::from_utf8(shown.stdout).expect("a path")
}

fn assert_installed() {
    let server = std::env::var("LYNKHOOK_TEST_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
    let found = Command::new(server).arg("--version").stdout(Stdio::null()).status();
    assert!(
        found.is_ok_and(|status| status.success()),
        "These tests need a real Redis, and `redis-server` is not on the PATH. Install it (Debian: `apt-get install \
         redis-server`) and run `make test`."
    );
}
