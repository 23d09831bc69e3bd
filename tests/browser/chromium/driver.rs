//! The one `chromedriver` of this test process. It starts a browser of its own for each session.
//!
//! Driver and browsers never outlive the test process, however that ends: a small shell holds a pipe from the test.
//! When the pipe closes, the shell kills their process group and removes their directory.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use tempfile::TempDir;

/// Reads the process group, and waits for the end of its standard input. `$1` is the directory. The browsers join the
/// group of their driver; one that is just ending may write a last file.
const GUARD: &str = r#"
    read -r group
    read -r _
    kill -s KILL -- "-$group"
    until rm -rf "$1"; do sleep 0.1; done
"#;
/// The driver prints it when it is ready, with its port at the end.
const READY: &str = "started successfully on port ";

/// A running driver.
pub(super) struct Driver {
    port: u16,
    home: PathBuf,
    _process: Child,
    /// Holds the pipe.
    _guard: Child,
}

impl Driver {
    /// The driver that all tests of this process share.
    pub(super) fn shared() -> &'static Self {
        static SHARED: OnceLock<Driver> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    fn start() -> Self {
        let home = tempfile::Builder::new().prefix("lynkhook-browser-").tempdir().map(TempDir::keep).unwrap();
        let mut guard = Command::new("sh");
        guard.args(["-c", GUARD, "guard"]).arg(&home).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // An interrupt from the terminal must not end the shell before it has cleaned up.
        let mut guard = guard.process_group(0).spawn().expect("sh is installed");
        let mut driver = Command::new("chromedriver");
        driver.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        // Profiles lie in the directory for temporary files.
        for variable in ["HOME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"] {
            driver.env(variable, &home);
        }
        let mut driver = driver.spawn().expect("chromedriver is needed for this test (`make test-ui` installs it)");
        writeln!(guard.stdin.as_mut().expect("it is piped"), "{}", driver.id()).unwrap();
        let lines = BufReader::new(driver.stdout.take().expect("it is piped")).lines();
        let ready =
            lines.map_while(Result::ok).find_map(|line| line.split_once(READY).map(|(_, port)| port.to_owned()));
        let port = ready.expect("the driver finds a port").trim_end_matches('.').parse().unwrap();
        Self { port, home, _process: driver, _guard: guard }
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The directory that goes when it ends.
    pub(super) fn home(&self) -> &Path {
        &self.home
    }
}
