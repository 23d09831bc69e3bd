//! A DNS server on 127.0.0.1, UDP and TCP, whose answers a test sets, and which can change them between two queries.
//!
//! Names are compared without case and without the final dot. A name that no test has set does not exist (NXDOMAIN).
//! Records have a TTL of 0, so that clients ask again every time.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use hickory_proto::op::{Message, Metadata, Query, ResponseCode};
use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

/// The longest chain of aliases that is followed; a circle is answered up to this point.
const ALIASES_LIMIT: usize = 8;

/// A running DNS server. Dropping it ends it.
pub struct DnsServer {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Zone {
    entries: HashMap<String, Entry>,
    queries: HashMap<(String, RecordType), usize>,
    is_down: bool,
    is_failing: bool,
}

#[derive(Clone)]
enum Entry {
    /// One list for each query of a type; the last list answers all later queries.
    Addresses(Vec<Vec<IpAddr>>),
    Alias(String),
    /// An alias whose target the client must look up itself.
    BareAlias(String),
    /// The first entry answers A queries, the second all others.
    ByFamily(Box<Entry>, Box<Entry>),
    ServerFailure,
    Refusal,
    Silence,
}

/// The reply to queries of one family.
#[derive(Clone)]
pub enum Reply {
    Addresses(Vec<IpAddr>),
    ServerFailure,
    Silence,
}

impl From<Reply> for Box<Entry> {
    fn from(reply: Reply) -> Self {
        Box::new(match reply {
            Reply::Addresses(addresses) => Entry::Addresses(vec![addresses]),
            Reply::ServerFailure => Entry::ServerFailure,
            Reply::Silence => Entry::Silence,
        })
    }
}

impl DnsServer {
    pub async fn start() -> Self {
        let (udp, tcp) = bind_both().await;
        let address = udp.local_addr().expect("it is bound");
        let zone = Arc::new(Mutex::new(Zone::default()));
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_udp(udp, Arc::clone(&zone)));
        tasks.spawn(serve_tcp(tcp, Arc::clone(&zone)));
        Self { address, zone, _tasks: tasks }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `name` has these addresses, IPv4 and IPv6 in any order. An empty list is an existing name without addresses.
    pub fn set(&self, name: &str, addresses: impl Into<Vec<IpAddr>>) {
        self.sequence(name, [addresses.into()]);
    }

    /// `name` has the addresses of the first list at the first query, those of the second list at the second query; the
    /// last list stays. A and AAAA queries count separately, so a resolver that asks for both moves through the lists
    /// once.
    pub fn sequence(&self, name: &str, lists: impl Into<Vec<Vec<IpAddr>>>) {
        let lists = lists.into();
        assert!(!lists.is_empty(), "a sequence needs at least one list");
        self.put(name, Entry::Addresses(lists));
    }

    /// `name` is an alias of `target`. The answer also has the target's addresses, like a recursive server's.
    pub fn cname(&self, name: &str, target: &str) {
        self.put(name, Entry::Alias(normal(target)));
    }

    /// The same, but the answer has only the alias, like an authoritative server's.
    pub fn bare_cname(&self, name: &str, target: &str) {
        self.put(name, Entry::BareAlias(normal(target)));
    }

    /// Queries for the IPv4 addresses of `name` get the reply `v4`, queries for its IPv6 addresses `v6`.
    pub fn by_family(&self, name: &str, v4: Reply, v6: Reply) {
        self.put(name, Entry::ByFamily(v4.into(), v6.into()));
    }

    /// Queries for `name` get SERVFAIL.
    pub fn servfail(&self, name: &str) {
        self.put(name, Entry::ServerFailure);
    }

    /// Queries for `name` get REFUSED.
    pub fn refuse(&self, name: &str) {
        self.put(name, Entry::Refusal);
    }

    /// While `is_down`, all queries are dropped.
    pub fn set_down(&self, is_down: bool) {
        self.zone.lock().expect("no test panicked in here").is_down = is_down;
    }

    /// While `is_failing`, all queries get SERVFAIL, as from a forwarder whose server is down.
    pub fn set_failing(&self, is_failing: bool) {
        self.zone.lock().expect("no test panicked in here").is_failing = is_failing;
    }

    /// Queries for `name` are counted and never answered.
    pub fn silent(&self, name: &str) {
        self.put(name, Entry::Silence);
    }

    /// The number of queries of any type for `name` since it was last set, including those that an alias led to.
    pub fn queries(&self, name: &str) -> usize {
        let (zone, name) = (self.zone.lock().expect("no test panicked in here"), normal(name));
        zone.queries.iter().filter(|((asked, _), _)| *asked == name).map(|(_, count)| count).sum()
    }

    fn put(&self, name: &str, entry: Entry) {
        let (mut zone, name) = (self.zone.lock().expect("no test panicked in here"), normal(name));
        zone.queries.retain(|(asked, _), _| *asked != name);
        zone.entries.insert(name, entry);
    }
}

impl Zone {
    /// The answer to the query; `None` is silence.
    fn answer(&mut self, query: &Query) -> Option<Result<Vec<Record>, ResponseCode>> {
        if self.is_down {
            return None;
        }
        if self.is_failing {
            return Some(Err(ResponseCode::ServFail));
        }
        let kind = query.query_type();
        let mut owner = query.name().clone();
        let mut records = Vec::new();
        for _ in 0..ALIASES_LIMIT {
            let name = normal(&owner.to_ascii());
            let count = self.queries.entry((name.clone(), kind)).or_default();
            *count += 1;
            let entry = match self.entries.get(&name) {
                Some(Entry::ByFamily(v4, v6)) => Some(if kind == RecordType::A { &**v4 } else { &**v6 }),
                entry => entry,
            };
            match entry {
                None => return Some(Err(ResponseCode::NXDomain)),
                Some(Entry::ServerFailure) => return Some(Err(ResponseCode::ServFail)),
                Some(Entry::Refusal) => return Some(Err(ResponseCode::Refused)),
                Some(Entry::Silence) => return None,
                Some(Entry::Addresses(lists)) => {
                    let list = &lists[(*count).min(lists.len()) - 1];
                    records.extend(list.iter().filter_map(|&address| record(&owner, kind, address)));
                    return Some(Ok(records));
                }
                Some(Entry::ByFamily(..)) => unreachable!("a family's reply is not split again"),
                Some(alias @ (Entry::Alias(target) | Entry::BareAlias(target))) => {
                    let bare = matches!(alias, Entry::BareAlias(_));
                    let target = Name::from_ascii(format!("{target}.")).expect("the target is a name");
                    records.push(Record::from_rdata(owner, 0, RData::CNAME(CNAME(target.clone()))));
                    if bare {
                        break;
                    }
                    owner = target;
                }
            }
        }
        Some(Ok(records))
    }
}

/// The record with this address, if it is of the kind that the question asks for.
fn record(owner: &Name, kind: RecordType, address: IpAddr) -> Option<Record> {
    let data = match (kind, address) {
        (RecordType::A, IpAddr::V4(address)) => RData::A(address.into()),
        (RecordType::AAAA, IpAddr::V6(address)) => RData::AAAA(address.into()),
        _ => return None,
    };
    Some(Record::from_rdata(owner.clone(), 0, data))
}

/// The reply to a message, in at most `limit` bytes, if there is one.
fn reply(zone: &Mutex<Zone>, message: &[u8], limit: Option<usize>) -> Option<Vec<u8>> {
    let request = Message::from_vec(message).ok()?;
    let query = request.queries.first()?;
    let answer = zone.lock().expect("no test panicked in here").answer(query)?;
    let mut response = Message::response(request.metadata.id, request.metadata.op_code);
    response.metadata = Metadata::response_from_request(&request.metadata);
    response.metadata.recursion_available = true;
    response.add_query(query.clone());
    match answer {
        Ok(records) => drop(response.add_answers(records)),
        Err(code) => response.metadata.response_code = code,
    }
    let bytes = response.to_vec().expect("the response can be written");
    // Over UDP, a record that does not fit is left out, and the client asks again over TCP.
    match limit.map(|limit| limit.min(request.max_payload().into())) {
        Some(limit) if bytes.len() > limit => {
            Some(response.truncate().to_vec().expect("an empty response can be written"))
        }
        _ => Some(bytes),
    }
}

async fn serve_udp(socket: UdpSocket, zone: Arc<Mutex<Zone>>) {
    let mut buffer = vec![0; 65_535];
    loop {
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else { continue };
        if let Some(reply) = reply(&zone, &buffer[..length], Some(1232)) {
            // Ignore the error: the client may have gone.
            let _ = socket.send_to(&reply, client).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, zone: Arc<Mutex<Zone>>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        connections.spawn(serve_connection(stream, Arc::clone(&zone)));
    }
}

/// RFC 1035, section 4.2.2: each message follows its length in two bytes.
async fn serve_connection(mut stream: TcpStream, zone: Arc<Mutex<Zone>>) -> io::Result<()> {
    loop {
        let mut message = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut message).await?;
        if let Some(reply) = reply(&zone, &message, None) {
            stream.write_u16(u16::try_from(reply.len()).map_err(io::Error::other)?).await?;
            stream.write_all(&reply).await?;
        }
    }
}

/// Binds UDP and TCP on the same port, as resolvers expect.
async fn bind_both() -> (UdpSocket, TcpListener) {
    for _ in 0..100 {
        let udp = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().expect("it is bound")).await {
            return (udp, tcp);
        }
    }
    panic!("no port was free for UDP and TCP alike in 100 tries");
}

fn normal(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}
