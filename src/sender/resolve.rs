//! From a host name to addresses that may be dialled.
//!
//! Every address a name has is judged, IPv4 and IPv6; one that is refused refuses the name. What is answered is what
//! is dialled, so that a name cannot change its mind between the check and the connect. Names are asked for as they
//! are, absolute: neither search domains nor the hosts file turn one name into another.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hickory_resolver::{
    Resolver as Hickory,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    lookup::Lookup,
    net::{
        DnsError, NetError,
        runtime::{RuntimeProvider, TokioRuntimeProvider},
    },
    proto::{op::ResponseCode, rr},
};
use tokio::time::Instant;

use super::{SenderError, shortage::lacking};
use crate::domain::{
    address::{AllowList, judge_with},
    outcome::NetworkFault,
};

/// A question is given up after this, and asked [`RETRIES`] times again: about 4 s in all, well inside the 10 s.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(2);
const RETRIES: usize = 1;

/// Answers kept, for as long as they say and no longer than this. A name that does not exist is asked for again soon,
/// since somebody is probably just setting it up.
const CACHED_ANSWERS: u64 = 4096;
const CACHED_AT_MOST: Duration = Duration::from_secs(300);
const CACHED_ABSENCE_AT_MOST: Duration = Duration::from_secs(10);

/// Questions that may be open at one name server; beyond this deliveries wait.
const OPEN_QUESTIONS: usize = 1024;

/// At most this many addresses of each family are dialled, though all are judged: an attempt has time for few.
const DIALLED_PER_FAMILY: usize = 8;

/// Looks names up and has their addresses judged.
pub struct Resolver {
    /// `None` where neither the settings nor the system name a server.
    dns: Option<Hickory<Sockets>>,
    sockets: Sockets,
    allow: AllowList,
}

/// Why a name has no address to dial.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// An address was refused; the text says whose and why.
    #[error("{0}")]
    Refused(String),
    /// This machine could not ask.
    #[error("{0}")]
    Unable(&'static str),
    /// The lookup itself went wrong.
    #[error("{0}")]
    Failed(NetworkFault),
}

impl Resolver {
    /// Asks `servers`, or the system's where none are given.
    pub fn new(servers: &[SocketAddr], allow: AllowList) -> Result<Self, SenderError> {
        let sockets = Sockets::default();
        let builder = if servers.is_empty() {
            Hickory::builder(sockets.clone())
                .inspect_err(|error| tracing::warn!(%error, "no name servers: every lookup will fail"))
                .ok()
        } else {
            let config = ResolverConfig::from_name_servers(servers.iter().copied().map(name_server).collect());
            Some(Hickory::builder_with_config(config, sockets.clone()))
        };
        let dns = builder
            .map(|mut builder| {
                bound(builder.options_mut());
                builder.build()
            })
            .transpose()
            .map_err(|error| SenderError::Dns(Box::new(error)))?;
        Ok(Self { dns, sockets, allow })
    }

    /// The addresses to dial for `host`, in order, all of them judged; at least one.
    ///
    /// # Errors
    /// A lookup that failed, or an address that is not allowed: then none of them is.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, LookupError> {
        let (v4, v6) = self.look_up(host).await?;
        for address in v4.iter().chain(&v6) {
            judge_with(*address, &self.allow).map_err(|why| {
                LookupError::Refused(format!("refused to connect: {host} resolves to {address}; {why}"))
            })?;
        }
        Ok(in_turns(&v4, &v6))
    }

    /// All IPv4 and all IPv6 addresses of `host`; at least one in all.
    async fn look_up(&self, host: &str) -> Result<(Vec<IpAddr>, Vec<IpAddr>), LookupError> {
        if host.trim_end_matches('.').eq_ignore_ascii_case("localhost") {
            return Ok((vec![Ipv4Addr::LOCALHOST.into()], Vec::new()));
        }
        let failed = |reason: String| LookupError::Failed(NetworkFault::LookupFailed { host: host.to_owned(), reason });
        let dns = self.dns.as_ref().ok_or_else(|| failed("no name server is configured".to_owned()))?;
        let mut name = rr::Name::from_ascii(host).map_err(|_| failed("not a valid DNS name".to_owned()))?;
        name.set_fqdn(true);

        let asked = Instant::now();
        let (v4, v6) = tokio::join!(dns.ipv4_lookup(name.clone()), dns.ipv6_lookup(name));
        let failures = [v4.as_ref().err(), v6.as_ref().err()];
        let is_busy = failures.into_iter().flatten().any(|error| matches!(error, NetError::Busy));
        let lacking = is_busy.then_some("too many names are being looked up").or(self.sockets.lacking_since(asked));
        // A family that could not be asked for may be the one that leads to the endpoint.
        let is_open = failures.into_iter().flatten().any(|error| !error.is_no_records_found());
        if let Some(lacking) = lacking.filter(|_| is_open) {
            return Err(LookupError::Unable(lacking));
        }
        match (v4, v6) {
            (Err(v4), Err(v6)) => Err(LookupError::Failed(absence(host, &v4, &v6))),
            (v4, v6) => {
                let [v4, v6] = [v4, v6].map(|found| found.as_ref().map_or_else(|_| Vec::new(), addresses_in));
                if v4.is_empty() && v6.is_empty() {
                    return Err(LookupError::Failed(NetworkFault::NoAddress { host: host.to_owned() }));
                }
                Ok((v4, v6))
            }
        }
    }
}

/// One of each family in turns (RFC 8305, 4), so that a family that leads nowhere costs little.
fn in_turns(v4: &[IpAddr], v6: &[IpAddr]) -> Vec<IpAddr> {
    (0..DIALLED_PER_FAMILY).flat_map(|nth| [v4.get(nth), v6.get(nth)]).flatten().copied().collect()
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = address.port();
    }
    NameServerConfig::new(address.ip(), true, connections)
}

fn bound(options: &mut ResolverOpts) {
    options.timeout = QUESTION_TIMEOUT;
    options.attempts = RETRIES;
    options.use_hosts_file = ResolveHosts::Never;
    options.cache_size = CACHED_ANSWERS;
    options.positive_max_ttl = Some(CACHED_AT_MOST);
    options.negative_max_ttl = Some(CACHED_ABSENCE_AT_MOST);
    options.max_active_requests = OPEN_QUESTIONS;
}

fn addresses_in(lookup: &Lookup) -> Vec<IpAddr> {
    lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect()
}

/// Why both questions came back without an address. A failure outweighs "there is none": it may be there after all.
fn absence(host: &str, v4: &NetError, v6: &NetError) -> NetworkFault {
    let host = host.to_owned();
    match [v4, v6].into_iter().find(|error| !error.is_no_records_found()) {
        Some(failure) => NetworkFault::LookupFailed { host, reason: reason(failure) },
        None if v4.is_nx_domain() || v6.is_nx_domain() => NetworkFault::NoSuchHost { host },
        None => NetworkFault::NoAddress { host },
    }
}

/// What the name servers did, in a few words.
fn reason(error: &NetError) -> String {
    match error {
        NetError::Dns(DnsError::ResponseCode(ResponseCode::ServFail)) => "the name server failed".to_owned(),
        NetError::Dns(DnsError::ResponseCode(ResponseCode::Refused)) => "the name server refused to answer".to_owned(),
        NetError::Dns(DnsError::ResponseCode(code)) => format!("the name server answered: {code}"),
        NetError::Timeout => "no answer from the name servers".to_owned(),
        NetError::NoConnections | NetError::Io(_) => "the name servers cannot be reached".to_owned(),
        NetError::Truncated => "the answer is too large".to_owned(),
        _ => "the name servers gave no usable answer".to_owned(),
    }
}

/// The library's sockets. Its errors do not tell that this machine is short of something, so this does.
#[derive(Clone, Default)]
struct Sockets {
    tokio: TokioRuntimeProvider,
    lacking: Arc<Mutex<Option<(Instant, &'static str)>>>,
}

impl Sockets {
    /// The shortage that this machine met at some time since then, if it met one.
    fn lacking_since(&self, then: Instant) -> Option<&'static str> {
        let lacking = *self.lacking.lock().unwrap_or_else(PoisonError::into_inner);
        lacking.filter(|(when, _)| *when >= then).map(|(_, what)| what)
    }

    fn watch<T>(
        &self,
        opening: impl Future<Output = io::Result<T>> + Send + 'static,
    ) -> Pin<Box<dyn Future<Output = io::Result<T>> + Send>> {
        let noted = self.lacking.clone();
        Box::pin(async move {
            opening.await.inspect_err(|error| {
                if let Some(what) = lacking(error) {
                    *noted.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), what));
                }
            })
        })
    }
}

impl RuntimeProvider for Sockets {
    type Handle = <TokioRuntimeProvider as RuntimeProvider>::Handle;
    type Timer = <TokioRuntimeProvider as RuntimeProvider>::Timer;
    type Udp = <TokioRuntimeProvider as RuntimeProvider>::Udp;
    type Tcp = <TokioRuntimeProvider as RuntimeProvider>::Tcp;

    fn create_handle(&self) -> Self::Handle {
        self.tokio.create_handle()
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        from: Option<SocketAddr>,
        timeout: Option<Duration>,
    ) -> Pin<Box<dyn Future<Output = io::Result<Self::Tcp>> + Send>> {
        self.watch(self.tokio.connect_tcp(server, from, timeout))
    }

    fn bind_udp(
        &self,
        local: SocketAddr,
        server: SocketAddr,
    ) -> Pin<Box<dyn Future<Output = io::Result<Self::Udp>> + Send>> {
        self.watch(self.tokio.bind_udp(local, server))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use hickory_resolver::proto::{
        op::{Message, OpCode},
        rr::{RData, Record, RecordType},
    };
    use tokio::net::UdpSocket;

    use super::*;

    /// A resolver whose one name server, on 127.0.0.1, knows just this; and how often that was asked.
    async fn knowing(code: ResponseCode, addresses: &'static [&'static str], allow: AllowList) -> (Resolver, Asked) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let server = socket.local_addr().unwrap();
        let asked = Asked::default();
        let counter = asked.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 1500];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                counter.fetch_add(1, Ordering::SeqCst);
                let question = Message::from_vec(&buffer[..length]).unwrap();
                socket.send_to(&answer(&question, code, addresses), from).await.unwrap();
            }
        });
        (Resolver::new(&[server], allow).unwrap(), asked)
    }

    type Asked = Arc<AtomicUsize>;

    async fn ask(
        code: ResponseCode,
        addresses: &'static [&'static str],
        allow: AllowList,
    ) -> Result<Vec<IpAddr>, String> {
        let (resolver, _) = knowing(code, addresses, allow).await;
        resolver.addresses("hooks.example").await.map_err(|error| error.to_string())
    }

    fn answer(question: &Message, code: ResponseCode, addresses: &[&str]) -> Vec<u8> {
        let mut answer = Message::response(question.metadata.id, OpCode::Query);
        answer.metadata.response_code = code;
        let query = question.queries[0].clone();
        assert_eq!(query.name().to_ascii(), "hooks.example.");
        for address in addresses {
            let address: IpAddr = address.parse().unwrap();
            if address.is_ipv4() == (query.query_type() == RecordType::A) {
                answer.add_answer(Record::from_rdata(query.name().clone(), 60, RData::from(address)));
            }
        }
        answer.add_query(query);
        answer.to_vec().unwrap()
    }

    fn anybody() -> AllowList {
        AllowList::parse(&["0.0.0.0/0".to_owned(), "::/0".to_owned()]).unwrap()
    }

    #[tokio::test]
    async fn both_families_are_asked_for() {
        let both = ask(ResponseCode::NoError, &["192.0.2.1", "2001:db8::1"], anybody()).await;
        assert_eq!(both.unwrap(), ["192.0.2.1".parse::<IpAddr>().unwrap(), "2001:db8::1".parse().unwrap()]);
        assert_eq!(ask(ResponseCode::NoError, &["2001:db8::1"], anybody()).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn an_answer_is_kept_but_judged_each_time() {
        let (resolver, asked) = knowing(ResponseCode::NoError, &["192.0.2.1"], AllowList::default()).await;
        for _ in 0..3 {
            resolver.addresses("hooks.example").await.unwrap_err();
        }
        // A once; AAAA as often as it is asked for, since this answer says not for how long there is none.
        assert_eq!(asked.load(Ordering::SeqCst), 4);
    }

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
        let given_up = options.timeout * u32::try_from(1 + options.attempts).unwrap();
        assert!(given_up < Duration::from_secs(10) / 2, "{given_up:?}: time is left for a request");
    }

    #[tokio::test]
    async fn a_mute_name_server_is_given_up_well_within_an_attempt() {
        let mute = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let resolver = Resolver::new(&[mute.local_addr().unwrap()], anybody()).unwrap();
        let lookup = tokio::time::timeout(Duration::from_secs(8), resolver.addresses("hooks.example"));
        let failed = lookup.await.unwrap().unwrap_err();
        assert_eq!(failed.to_string(), "DNS: looking up hooks.example failed (no answer from the name servers)");
    }

    #[tokio::test]
    async fn one_refused_address_among_good_ones_refuses_the_name() {
        let public_only = AllowList::default();
        let refused = ask(ResponseCode::NoError, &["8.8.8.8", "fd00::1"], public_only).await;
        let why = refused.unwrap_err();
        assert!(why.starts_with("refused to connect: hooks.example resolves to fd00::1; "), "{why}");
    }

    #[tokio::test]
    async fn a_name_server_that_gives_no_address_is_told_in_its_own_words() {
        let table = [
            (ResponseCode::NXDomain, "DNS: no such host hooks.example"),
            (ResponseCode::NoError, "DNS: hooks.example has no address"),
            (ResponseCode::ServFail, "DNS: looking up hooks.example failed (the name server failed)"),
            (ResponseCode::Refused, "DNS: looking up hooks.example failed (the name server refused to answer)"),
        ];
        for (code, text) in table {
            assert_eq!(ask(code, &[], anybody()).await.unwrap_err(), text);
        }
    }

    #[tokio::test]
    async fn without_a_name_server_lookups_fail_but_localhost_is_known() {
        let resolver = Resolver { dns: None, sockets: Sockets::default(), allow: anybody() };
        let failed = resolver.addresses("hooks.example").await.unwrap_err();
        assert_eq!(failed.to_string(), "DNS: looking up hooks.example failed (no name server is configured)");
        assert_eq!(resolver.addresses("localhost").await.unwrap(), [Ipv4Addr::LOCALHOST]);
    }
}
