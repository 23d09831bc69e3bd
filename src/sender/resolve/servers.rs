//! The name servers in use, and whether any of them gives useful answers.
//!
//! The system's file is read again while the program runs. A file that cannot be read, or that names no server, changes
//! nothing: it may be half written, and servers that were right a moment ago are a better guess than none.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hickory_resolver::{
    Resolver as Hickory,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    lookup::Lookup,
    net::NetError,
    proto::rr::{Name, RecordType},
};
use parking_lot::Mutex;
use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
};

use super::{
    JUDGED_WITHIN, is_unanswered,
    sockets::{Sockets, stand_in},
    system,
};

/// The most answers that are cached, each for its own time, within the limits below. A name that does not exist is
/// asked for again soon, since somebody is probably just setting it up.
const CACHED_ANSWERS: u64 = 4096;
const CACHED_AT_MOST: Duration = Duration::from_secs(300);
const CACHED_ABSENCE_AT_MOST: Duration = Duration::from_secs(10);

/// The most questions that may be open at one name server. Beyond that, deliveries wait.
const OPEN_QUESTIONS: usize = 1024;

/// The time after which a lookup reads the system's file again; sooner while no name server is known.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
const LOOK_AGAIN_WITHOUT: Duration = Duration::from_secs(1);
/// The time after which the next probe is sent, answered or not: a server may be slow, or have come back.
const PROBE_EVERY: Duration = Duration::from_millis(500);

/// A client of the name servers. Cheap to clone.
#[derive(Clone)]
pub(super) struct Client {
    /// A client that asks all servers at once, and takes the first answer.
    all: Hickory<Sockets>,
    /// A client for each server, if there are several.
    each: Arc<[Hickory<Sockets>]>,
}

/// The name servers in use.
pub(super) struct Servers {
    /// The system's file, if the settings name no servers.
    file: Option<PathBuf>,
    pub(super) sockets: Sockets,
    current: Mutex<Current>,
}

struct Current {
    servers: Vec<SocketAddr>,
    /// `None` if no server is known.
    client: Option<Client>,
    /// The time at which the file was last read; `None` at first, because most commands look nothing up.
    read: Option<Instant>,
    /// The last fault of the file, which is logged once.
    wrong: Option<String>,
    /// The time at which these servers were found to answer nothing.
    silent: Option<Instant>,
    /// The time at which the last probe was sent.
    probed: Option<Instant>,
    /// The name that was found last.
    found: Option<Name>,
}

impl Client {
    fn new(servers: &[SocketAddr], sockets: &Sockets) -> Result<Self, NetError> {
        let several = if servers.len() > 1 { servers } else { &[] };
        let each = several.iter().map(|server| client(&[*server], sockets)).collect::<Result<_, _>>()?;
        Ok(Self { all: client(servers, sockets)?, each })
    }

    /// Asks for these records, within this time. If the first server to answer fails, refuses or denies the name, the
    /// others are asked, because they may know it.
    pub(super) async fn lookup(&self, name: Name, kind: RecordType, within: Duration) -> Result<Lookup, NetError> {
        let deadline = Instant::now() + within;
        let found = timeout_at(deadline, self.all.lookup(name.clone(), kind)).await.unwrap_or(Err(NetError::Timeout));
        match found {
            Err(error) if error.is_nx_domain() || !(error.is_no_records_found() || is_unanswered(&error)) => {
                self.lookup_at_each(name, kind, deadline).await.unwrap_or(Err(error))
            }
            found => found,
        }
    }

    /// The first records that any of the servers gives, or else one server's answer that there are none.
    async fn lookup_at_each(
        &self,
        name: Name,
        kind: RecordType,
        deadline: Instant,
    ) -> Option<Result<Lookup, NetError>> {
        let mut asking = JoinSet::new();
        for server in &*self.each {
            let (server, name) = (server.clone(), name.clone());
            asking.spawn(async move { server.lookup(name, kind).await });
        }
        let mut absence = None;
        while let Ok(Some(Ok(found))) = timeout_at(deadline, asking.join_next()).await {
            match found {
                Ok(found) => return Some(Ok(found)),
                Err(error) if error.is_no_records_found() => absence = Some(Err(error)),
                Err(_) => {}
            }
        }
        absence
    }
}

impl Servers {
    /// These servers, or, if there are none, those that the system's file names, now and later.
    pub(super) fn new(servers: &[SocketAddr], file: PathBuf) -> Result<Self, NetError> {
        let sockets = Sockets::default();
        let client = if servers.is_empty() { None } else { Some(Client::new(servers, &sockets)?) };
        let servers_in_use = servers.to_vec();
        let current = Current {
            servers: servers_in_use,
            client,
            read: None,
            wrong: None,
            silent: None,
            probed: None,
            found: None,
        };
        let file = servers.is_empty().then_some(file);
        Ok(Self { file, sockets, current: current.into() })
    }

    /// A client of the servers that are in use now; `None` if no server is known.
    pub(super) fn client(&self) -> Option<Client> {
        let mut current = self.current.lock();
        let every = if current.client.is_some() { LOOK_AGAIN } else { LOOK_AGAIN_WITHOUT };
        let is_due = current.read.is_none_or(|read| read.elapsed() >= every);
        if let Some(file) = self.file.as_ref().filter(|_| is_due) {
            current.read(file, &self.sockets);
        }
        current.client.clone()
    }

    /// Waits for a useful answer from now on, and sends probes meanwhile; returns whether one came by the deadline.
    pub(super) async fn answer_by(&self, deadline: Instant) -> bool {
        let from = Instant::now();
        while !self.sockets.heard_since(from) {
            if self.are_silent() {
                return false;
            }
            if Instant::now() >= deadline {
                self.note_silence();
                return false;
            }
            self.probe();
            self.sockets.hear(deadline.min(Instant::now() + PROBE_EVERY)).await;
        }
        true
    }

    /// Sends a probe. It asks for the root's name servers, which most name servers know, and about the name that was
    /// found last, for servers that serve just some zones. The sockets notice the answers. The probe uses a new client,
    /// which has no cached answers and does not wait for the answer to an earlier probe.
    ///
    /// The question about the name is for its SOA record. A forwarder whose own server is down may still have the
    /// name's addresses, but rarely has this record. "There is none" is a useful answer too.
    pub(super) fn probe(&self) {
        let mut current = self.current.lock();
        if current.probed.is_some_and(|probed| probed.elapsed() < PROBE_EVERY) {
            return;
        }
        current.probed = Some(Instant::now());
        if let Ok(client) = client(&current.servers, &self.sockets) {
            let questions = [Some((Name::root(), RecordType::NS)), current.found.clone().zip(Some(RecordType::SOA))];
            for (name, kind) in questions.into_iter().flatten() {
                let client = client.clone();
                tokio::spawn(async move { client.lookup(name, kind).await });
            }
        }
    }

    /// Notes that this name has addresses, perhaps cached ones.
    pub(super) fn note_found(&self, name: &Name) {
        let mut current = self.current.lock();
        if current.found.as_ref() != Some(name) {
            current.found = Some(name.clone());
        }
    }

    /// Notes that none of these servers gives a useful answer.
    pub(super) fn note_silence(&self) {
        self.current.lock().silent = Some(Instant::now());
    }

    /// Whether these servers were found to give no useful answer, and have given none since.
    pub(super) fn are_silent(&self) -> bool {
        self.current.lock().silent.is_some_and(|since| !self.sockets.heard_since(since))
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
        let client = Client::new(&servers, sockets)?;
        if self.client.replace(client).is_some() {
            tracing::info!(?servers, "the system has other name servers now");
        }
        (self.servers, self.silent) = (servers, None);
        Ok(())
    }
}

fn client(servers: &[SocketAddr], sockets: &Sockets) -> Result<Hickory<Sockets>, NetError> {
    let count = servers.len();
    let servers = servers.iter().copied().map(name_server).collect();
    let mut builder = Hickory::builder_with_config(ResolverConfig::from_name_servers(servers), sockets.clone());
    bound(builder.options_mut());
    // Ask all at once, so that dead servers cost a lookup nothing.
    builder.options_mut().num_concurrent_reqs = count;
    builder.build()
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = address.port();
    }
    NameServerConfig::new(stand_in(address), true, connections)
}

fn bound(options: &mut ResolverOpts) {
    // A probe has this much time; other questions have less.
    options.timeout = JUDGED_WITHIN;
    // The caller decides whether to ask again.
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
        // An answer valid for a day is kept for 5 minutes. An answer valid for 0 s is not kept, because there is no
        // minimum.
        assert_eq!(options.positive_max_ttl, Some(Duration::from_secs(300)));
        assert_eq!(options.negative_max_ttl, Some(Duration::from_secs(10)));
        assert_eq!(options.positive_min_ttl.unwrap_or_default(), Duration::ZERO);
        assert_eq!((options.timeout, options.attempts), (JUDGED_WITHIN, 0));
    }
}
