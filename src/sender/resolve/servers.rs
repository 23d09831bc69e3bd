//! The name servers in use, and whether any of them answers.
//!
//! The system's are read again while the program runs. A file that cannot be read, or names none, changes nothing: it may
//! be in the middle of being written, and servers that were right a moment ago are a better guess than none.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use hickory_resolver::{
    Resolver as Hickory,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    net::NetError,
    proto::rr::{Name, RecordType},
};
use tokio::time::Instant;

use super::{
    sockets::{Sockets, stand_in},
    system,
};

/// A question is given up after this. It is sent several times meanwhile, should a packet be lost.
pub(super) const QUESTION_TIMEOUT: Duration = Duration::from_secs(2);

/// As many servers as a system's list has at most, as a rule.
const ASKED_AT_ONCE: usize = 3;

/// Answers kept, for as long as they say and no longer than this. A name that does not exist is asked for again soon,
/// since somebody is probably just setting it up.
const CACHED_ANSWERS: u64 = 4096;
const CACHED_AT_MOST: Duration = Duration::from_secs(300);
const CACHED_ABSENCE_AT_MOST: Duration = Duration::from_secs(10);

/// Questions that may be open at one name server; beyond this deliveries wait.
const OPEN_QUESTIONS: usize = 1024;

/// The system's file is looked at again at a lookup after this, and sooner while no name server is known.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
const LOOK_AGAIN_WITHOUT: Duration = Duration::from_secs(1);
/// The next probe is sent after this, if the one before is over.
const PROBE_EVERY: Duration = Duration::from_millis(250);

/// A client of the name servers. Cheap to clone.
pub(super) type Client = Hickory<Sockets>;

/// The name servers in use.
pub(super) struct Servers {
    /// The system's file, where the settings name no servers.
    file: Option<PathBuf>,
    pub(super) sockets: Sockets,
    current: Mutex<Current>,
    is_probing: Arc<AtomicBool>,
}

struct Current {
    servers: Vec<SocketAddr>,
    /// `None` where no server is known.
    client: Option<Client>,
    /// When the file was read; at first it was not, for most commands look nothing up.
    read: Option<Instant>,
    /// The last fault of the file, which is told once.
    wrong: Option<String>,
    /// When these servers were found to answer nothing.
    silent: Option<Instant>,
}

impl Servers {
    /// These servers, or those that the system's file names, now and later.
    pub(super) fn new(servers: &[SocketAddr], file: PathBuf) -> Result<Self, NetError> {
        let sockets = Sockets::default();
        let client = if servers.is_empty() { None } else { Some(client(servers, &sockets)?) };
        let current = Current { servers: servers.to_vec(), client, read: None, wrong: None, silent: None };
        let file = servers.is_empty().then_some(file);
        Ok(Self { file, sockets, current: current.into(), is_probing: Arc::default() })
    }

    /// A client of the servers that are in use now; `None` where no server is known.
    pub(super) fn client(&self) -> Option<Client> {
        let mut current = self.current();
        let every = if current.client.is_some() { LOOK_AGAIN } else { LOOK_AGAIN_WITHOUT };
        let is_due = current.read.is_none_or(|read| read.elapsed() >= every);
        if let Some(file) = self.file.as_ref().filter(|_| is_due) {
            current.read(file, &self.sockets);
        }
        current.client.clone()
    }

    /// Waits until a server is heard from now on, asking for the root meanwhile. `false`: none was by the deadline.
    pub(super) async fn answer_by(&self, client: &Client, deadline: Instant) -> bool {
        let from = Instant::now();
        while !self.sockets.heard_since(from) {
            if self.are_silent() {
                return false;
            }
            if Instant::now() >= deadline {
                self.note_silence();
                return false;
            }
            self.probe(client);
            self.sockets.hear(deadline.min(Instant::now() + PROBE_EVERY)).await;
        }
        true
    }

    /// Asks for the root's name servers, which every name server knows. Whether it answers is seen at the sockets. One
    /// probe at a time serves all who wait.
    pub(super) fn probe(&self, client: &Client) {
        if self.is_probing.swap(true, Relaxed) {
            return;
        }
        let (client, is_probing) = (client.clone(), self.is_probing.clone());
        tokio::spawn(async move {
            client.clear_lookup_cache(Name::root(), RecordType::NS);
            let _ = client.lookup(Name::root(), RecordType::NS).await;
            is_probing.store(false, Relaxed);
        });
    }

    /// Takes note that none of these servers answers.
    pub(super) fn note_silence(&self) {
        self.current().silent = Some(Instant::now());
    }

    /// Whether these servers were found to answer nothing, and were not heard since.
    pub(super) fn are_silent(&self) -> bool {
        self.current().silent.is_some_and(|since| !self.sockets.heard_since(since))
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Current {
    fn read(&mut self, file: &Path, sockets: &Sockets) {
        self.read = Some(Instant::now());
        let wrong = match system::read(file) {
            Err(error) => Some(format!("it cannot be read: {error}")),
            Ok(named) => {
                let wrong = match (named.servers.as_slice(), named.unusable.as_slice()) {
                    ([], []) => Some("it names no name server".to_owned()),
                    (_, []) => None,
                    (_, unusable) => Some(format!("it names what is no usable name server: {}", unusable.join(", "))),
                };
                self.take(named.servers, sockets).map_or_else(|error| Some(error.to_string()), |()| wrong)
            }
        };
        if let Some(wrong) = wrong.as_ref().filter(|wrong| self.wrong.as_ref() != Some(wrong)) {
            let in_use: Vec<String> = self.servers.iter().map(ToString::to_string).collect();
            tracing::warn!(file = %file.display(), wrong, in_use = in_use.join(", "), "the system's list of name servers");
        }
        self.wrong = wrong;
    }

    fn take(&mut self, servers: Vec<SocketAddr>, sockets: &Sockets) -> Result<(), NetError> {
        if servers.is_empty() || servers == self.servers {
            return Ok(());
        }
        let client = client(&servers, sockets)?;
        if self.client.replace(client).is_some() {
            tracing::info!(?servers, "the system has other name servers now");
        }
        (self.servers, self.silent) = (servers, None);
        Ok(())
    }
}

fn client(servers: &[SocketAddr], sockets: &Sockets) -> Result<Client, NetError> {
    let servers = servers.iter().copied().map(name_server).collect();
    let mut builder = Hickory::builder_with_config(ResolverConfig::from_name_servers(servers), sockets.clone());
    bound(builder.options_mut());
    builder.build()
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = address.port();
    }
    NameServerConfig::new(stand_in(address), true, connections)
}

/// The servers that answered best are asked at once: one that is dead, or two, cost a lookup nothing.
fn bound(options: &mut ResolverOpts) {
    options.timeout = QUESTION_TIMEOUT;
    options.num_concurrent_reqs = ASKED_AT_ONCE;
    // Whether to ask again is decided by whoever asks.
    options.attempts = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.cache_size = CACHED_ANSWERS;
    options.positive_max_ttl = Some(CACHED_AT_MOST);
    options.negative_max_ttl = Some(CACHED_ABSENCE_AT_MOST);
    options.max_active_requests = OPEN_QUESTIONS;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_kept_for_minutes_at_most_and_the_hosts_file_is_never_read() {
        let mut options = ResolverOpts::default();
        bound(&mut options);
        assert_eq!(options.use_hosts_file, ResolveHosts::Never);
        assert_eq!((options.cache_size, options.max_active_requests), (4096, 1024));
        // An answer that says a day is asked for again after 5 minutes; one that says 0 is not kept, as no minimum is set.
        assert_eq!(options.positive_max_ttl, Some(Duration::from_secs(300)));
        assert_eq!(options.negative_max_ttl, Some(Duration::from_secs(10)));
        assert_eq!(options.positive_min_ttl.unwrap_or_default(), Duration::ZERO);
        assert_eq!((options.timeout, options.attempts), (QUESTION_TIMEOUT, 0));
    }
}
