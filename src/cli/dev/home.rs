//! The folder `.lynkhook`, which `lynkhook dev` keeps between runs.
//!
//! | file | content |
//! |---|---|
//! | `lock` | a lock, held by the running process and by its Redis, so that two never write the same data |
//! | `redis/` | the data of the embedded Redis |
//! | `redis.log` | its log, of this run |
//! | `redis.port`, `receiver.port`, `server.port` | the ports of the last run; used again if they are free, so that earlier webhooks and command lines still work |
//! | `secrets.key` | the key that seals webhooks' secrets; made once |
//! | `api.key` | a key of the API with the scope `admin`; made once |
//! | `ca.pem` | the authority that signed the receiver's certificate; new in each run, and its key is never written |
//! | `dev.toml` | settings with which every other command finds this installation |
//! | `transcript.json` | the example event |

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write},
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use toml::{Table, Value};

use crate::{config::Settings, secrets::Vault};

/// The folder's name, in the working directory.
pub(super) const FOLDER: &str = ".lynkhook";

/// The Redis of a killed run ends within this time, and only then releases the lock.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// Only environment variables that begin with this have an effect, so that the demonstration is the same everywhere.
const COUNTED_VARIABLES: &str = "LYNKHOOK_LOG__";

/// The folder, locked.
pub(super) struct Home {
    root: PathBuf,
    lock: File,
}

impl Home {
    /// Makes the folder if it is missing, and locks it.
    pub(super) async fn open() -> anyhow::Result<Self> {
        let root = std::env::current_dir().context("the working directory is gone")?.join(FOLDER);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(root.join("redis"));
        made.with_context(|| format!("cannot create the folder {FOLDER}"))?;
        let path = root.join("lock");
        let opened = OpenOptions::new().create(true).append(true).open(&path);
        let lock = opened.with_context(|| format!("cannot open {FOLDER}/lock"))?;
        let deadline = Instant::now() + LOCK_WAIT;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Self { root, lock }),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(TryLockError::WouldBlock) => {
                    bail!(
                        "another `lynkhook dev` is running in this folder ({FOLDER}/lock is held); end it, or use \
                         another folder"
                    )
                }
                Err(TryLockError::Error(error)) => return Err(error).context(format!("cannot lock {FOLDER}/lock")),
            }
        }
    }

    /// The path of a file or folder in it.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The lock, for a child process to hold as well until it ends.
    pub(super) fn shared_lock(&self) -> io::Result<Stdio> {
        self.lock.try_clone().map(Stdio::from)
    }

    /// Listens on the port that `name` had in the last run, or on a free one.
    pub(super) fn listen(&self, name: &str) -> anyhow::Result<(TcpListener, u16)> {
        let file = self.path(&format!("{name}.port"));
        let last = fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, last));
        let bound = bound.or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let listener = bound.context("no port is free on 127.0.0.1")?;
        let port = listener.local_addr()?.port();
        self.write(&format!("{name}.port"), &format!("{port}\n"))?;
        Ok((listener, port))
    }

    /// Writes a small file.
    pub(super) fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        fs::write(self.path(name), text).with_context(|| format!("cannot write {FOLDER}/{name}"))
    }

    /// Writes `dev.toml` and reads it, so that this process has the same settings as every command that uses the file.
    ///
    /// `given` is a settings file to build on, e.g. one with more event types. The settings that this installation
    /// needs override it.
    pub(super) fn settings(&self, given: Option<&Path>, redis_port: u16) -> anyhow::Result<Settings> {
        self.ensure_key()?;
        let mut table = match given {
            // Loaded as settings first, so that an error names this file and its lines.
            Some(path) => {
                Settings::load_with(Some(path), std::iter::empty::<(OsString, OsString)>(), &[])?;
                fs::read_to_string(path)?.parse::<Table>()?
            }
            None => Table::new(),
        };
        let text = |path: PathBuf| path.into_os_string().into_string().map(Value::from);
        let unreadable = |_| anyhow::anyhow!("the path of this folder is not UTF-8, and settings must be UTF-8");
        set(&mut table, "redis", [("url", format!("redis://127.0.0.1:{redis_port}/").into())]);
        // The server opens the port itself, a moment later.
        let (_, port) = self.listen("server")?;
        let url = format!("http://127.0.0.1:{port}");
        set(&mut table, "server", [("bind", format!("127.0.0.1:{port}").into()), ("public_url", url.into())]);
        let key_file = text(self.path("secrets.key")).map_err(unreadable)?;
        set(&mut table, "secrets", [("key", "".into()), ("key_file", key_file)]);
        let allow = Value::Array(vec!["127.0.0.0/8".into(), "localhost".into()]);
        let extra_ca = text(self.path("ca.pem")).map_err(unreadable)?;
        set(&mut table, "egress", [("allow", allow), ("extra_ca", extra_ca)]);
        if table.get("log").is_none_or(|log| log.get("filter").is_none()) {
            set(&mut table, "log", [("filter", "warn".into())]);
        }
        let about = "# Settings of the installation that `lynkhook dev` runs. Each run overwrites this file.\n\n";
        self.write("dev.toml", &format!("{about}{table}"))?;
        let environment = std::env::vars_os().filter(|(name, _)| is_counted(&name.to_string_lossy()));
        Ok(Settings::load_with(Some(&self.path("dev.toml")), environment, &[])?)
    }

    fn ensure_key(&self) -> anyhow::Result<()> {
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.path("secrets.key"));
        let written = match made {
            Ok(mut file) => writeln!(file, "{}", *Vault::new_key()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        };
        written.with_context(|| format!("cannot write {FOLDER}/secrets.key"))
    }
}

/// The names of variables that are set here and would override `dev.toml` in the user's own commands.
pub(super) fn prevailing_variables() -> Vec<String> {
    let names = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    names
        .filter(|name| {
            let overlaid = [
                "LYNKHOOK_REDIS__",
                "LYNKHOOK_SECRETS__",
                "LYNKHOOK_EGRESS__",
                "LYNKHOOK_QUEUE__",
                "LYNKHOOK_SERVER__",
            ];
            name == "REDIS_URL" || overlaid.iter().any(|section| name.starts_with(section))
        })
        .collect()
}

fn is_counted(variable: &str) -> bool {
    variable.starts_with(COUNTED_VARIABLES)
}

fn set<const N: usize>(table: &mut Table, section: &str, keys: [(&str, Value); N]) {
    let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(section) = section {
        section.extend(keys.map(|(key, value)| (key.to_owned(), value)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_file_keeps_what_this_installation_does_not_need() {
        let mut table: Table = "[redis]\nurl = \"redis://elsewhere/\"\nprefix = \"mine\"".parse().unwrap();
        set(&mut table, "redis", [("url", "redis://127.0.0.1:1/".into())]);
        set(&mut table, "egress", [("extra_ca", "ca.pem".into())]);
        assert_eq!(table["redis"]["url"].as_str(), Some("redis://127.0.0.1:1/"));
        assert_eq!(table["redis"]["prefix"].as_str(), Some("mine"));
        assert_eq!(table["egress"]["extra_ca"].as_str(), Some("ca.pem"));
    }
}
