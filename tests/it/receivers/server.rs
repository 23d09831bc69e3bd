//! A running server: an unprivileged foreground process and its children, in a directory of their own.
//!
//! A server never outlives the test process, however that ends: a small shell holds a pipe from the test. When the pipe
//! closes, the shell kills the server's whole process group and removes the directory.

use std::{
    collections::{BTreeSet, HashSet},
    ffi::OsString,
    fs,
    io::{BufRead, BufReader},
    net::SocketAddrV4,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::recipes::Recipe;
use crate::support::{send_signal, trusted_pem, unused_port};

/// The longest time until a server answers.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Another process may take a port between the check and the start.
const PORTS_TO_TRY: usize = 5;
/// The user `nobody` and its group, as everywhere.
const NOBODY: u32 = 65_534;

/// Runs a server in a process group of its own, prints its process id, and kills the group when standard input closes.
///
/// `$1` is the directory, the rest is the command line.
const GUARD: &str = r#"
    directory=$1; shift
    cd "$directory" || exit 1
    setsid "$@" >output 2>&1 </dev/null &
    echo $!
    read -r _
    kill -s KILL -- "-$!" 2>/dev/null
    wait
    cd / && rm -rf "$directory"
"#;

/// A running server. Dropping it ends it and removes its directory.
pub struct Server {
    pub port: u16,
    directory: PathBuf,
    process_id: u32,
    renew: &'static str,
    shell: Child,
}

impl Server {
    /// Starts a server, and waits until `answers` says that its port answers.
    pub async fn start(recipe: &Recipe, app: Option<u16>, more: &str, answers: impl AsyncFn(u16) -> bool) -> Self {
        let mut said = String::new();
        for _ in 0..PORTS_TO_TRY {
            let mut server = Self::launch(recipe, app, more);
            let started = Instant::now();
            while server.runs() {
                if answers(server.port).await {
                    return server;
                }
                let log = || server.output();
                assert!(started.elapsed() < START_LIMIT, "{} does not answer:\n{}", recipe.program, log());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            said = server.output();
        }
        panic!("{} ended on {PORTS_TO_TRY} ports. It said:\n{said}", recipe.program)
    }

    fn launch(recipe: &Recipe, app: Option<u16>, more: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("lynkhook-receivers-").tempdir().expect("a directory").keep();
        let port = unused_port();
        let fill = |text: &str| {
            let text = text.replace("@PORT@", &port.to_string()).replace("@MORE@", more);
            let text = text.replace("@APP@", &app.unwrap_or_default().to_string());
            text.replace("@DIR@", directory.to_str().expect("it is ASCII"))
        };
        let (certificate, key) = trusted_pem();
        let files = [("certificate.pem", &certificate), ("key.pem", &key), ("both.pem", &(certificate.clone() + &key))];
        let texts = recipe.files.iter().map(|(name, text)| (*name, fill(text)));
        for (name, text) in files.map(|(name, text)| (name, text.clone())).into_iter().chain(texts) {
            fs::write(directory.join(name), text).expect("the directory can be written to");
        }
        let mut command = Command::new("sh");
        command.args(["-c", GUARD, "receiver-guard"]).arg(&directory).env("PATH", path());
        if rustix::process::geteuid().is_root() {
            give_to_nobody(&directory);
            let nobody = NOBODY.to_string();
            command.args(["setpriv", "--reuid", &nobody, "--regid", &nobody, "--clear-groups", "--"]);
        }
        command.args(recipe.command.iter().map(|part| fill(part)));
        // A Ctrl-C at the terminal must not end the guard before it has killed the server.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut shell = command.spawn().expect("sh is installed");
        let mut line = String::new();
        BufReader::new(shell.stdout.take().expect("it is piped")).read_line(&mut line).expect("the guard writes");
        let process_id = line.trim().parse().unwrap_or_else(|_| panic!("{line:?} should be a process id"));
        Self { port, directory, process_id, renew: recipe.renew, shell }
    }

    /// Tells the server to replace its processes.
    pub fn renew(&self) {
        send_signal(self.process_id, self.renew);
    }

    /// The ids of the server's running child processes.
    pub fn children(&self) -> HashSet<u32> {
        let processes = fs::read_dir("/proc")
            .expect("there is /proc")
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let ids = processes.filter_map(|name| name.parse().ok());
        ids.filter(|id| State::of(*id).is_some_and(|state| state.parent == self.process_id && state.is_alive)).collect()
    }

    /// The number of connections from this address that brought requests, by the server's access log. A port that was
    /// used twice counts once; among thousands of connections, a few percent are missing.
    pub fn connections_from(&self, address: [u8; 4]) -> usize {
        let log = fs::read_to_string(self.directory.join("access.log")).unwrap_or_default() + &self.output();
        clients(&log).iter().filter(|client| client.ip().octets() == address).count()
    }

    fn output(&self) -> String {
        fs::read_to_string(self.directory.join("output")).unwrap_or_default()
    }

    fn runs(&mut self) -> bool {
        State::of(self.process_id).is_some_and(|state| state.is_alive)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the server said\n{}---", self.output());
        }
        drop(self.shell.stdin.take());
        // This fails only if the guard is gone, and then the server is gone as well.
        let _ = self.shell.wait();
    }
}

/// The `PATH` for servers: the system's own programs first, including those that Debian keeps from ordinary users.
pub fn path() -> OsString {
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let mut path = OsString::from("/usr/sbin:/usr/bin:/sbin:/bin:");
    path.push(inherited);
    path
}

/// The version that a program prints, or `None` if it is not installed.
pub fn version(recipe: &Recipe) -> Option<String> {
    let output =
        Command::new("sh").args(["-c", r#""$0" "$1""#, recipe.program, recipe.version]).env("PATH", path()).output();
    let output = output.expect("sh is installed");
    if !output.status.success() {
        return None;
    }
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    let number = said.trim_start_matches(|character: char| !character.is_ascii_digit());
    Some(number.chars().take_while(|character| character.is_ascii_digit() || *character == '.').collect())
}

/// A test that runs as root runs its servers as `nobody`, so they must own their files.
fn give_to_nobody(directory: &Path) {
    let entries = fs::read_dir(directory).expect("it can be read").map(|entry| entry.expect("it can be read").path());
    for path in entries.chain([directory.to_owned()]) {
        chown(path, Some(NOBODY), Some(NOBODY)).expect("root may give files away");
    }
}

/// The clients in an access log: the first `ADDRESS:PORT` of each line.
fn clients(log: &str) -> BTreeSet<SocketAddrV4> {
    log.lines().filter_map(|line| line.split_whitespace().find_map(|word| word.parse().ok())).collect()
}

/// Facts about a process from `/proc`.
struct State {
    parent: u32,
    is_alive: bool,
}

impl State {
    fn of(process_id: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{process_id}/stat")).ok()?;
        // The program's name comes first, in parentheses; it may contain parentheses itself.
        let mut rest = stat.rsplit_once(") ")?.1.split(' ');
        let is_alive = !rest.next()?.starts_with(['Z', 'X']);
        Some(Self { parent: rest.next()?.parse().ok()?, is_alive })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        receivers::recipes::APP,
        support::{SOON, eventually},
    };

    #[tokio::test]
    #[ignore = "needs setsid and setpriv: make test-receivers"]
    async fn a_server_that_is_dropped_is_gone_with_its_children_and_its_directory() {
        let recipe = Recipe { command: &["sh", "-c", "sleep 1000 & wait"], ..APP };
        let server = Server::start(&recipe, None, "", async |_| true).await;
        let children = async || Some(server.children()).filter(|children| !children.is_empty());
        let processes = eventually(SOON, "a child", children).await;
        let directory = server.directory.clone();
        assert!(directory.exists());
        drop(server);
        assert!(!directory.exists());
        assert!(processes.iter().all(|id| State::of(*id).is_none_or(|state| !state.is_alive)));
    }

    #[test]
    fn each_connection_of_an_access_log_counts_once() {
        let log =
            "127.0.0.1:4000 200\n127.0.0.1:4000 200\nINFO:     127.0.0.2:4000 - \"POST / HTTP/1.1\" 200 OK\nstarted\n";
        assert_eq!(clients(log).len(), 2);
    }
}
