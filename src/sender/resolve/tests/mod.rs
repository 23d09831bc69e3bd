//! Lookups at real name servers on 127.0.0.1.

mod file;
mod several;
mod silence;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use hickory_resolver::proto::{
    op::{Message, OpCode},
    rr::{RData, Record},
};
use tokio::{net::UdpSocket, task::AbortHandle};

use super::*;

const ATTEMPT: Duration = Duration::from_secs(10);
const HOST: &str = "hooks.example";

/// A name server on 127.0.0.1 that answers a name and a type with a code and addresses, or not at all.
struct NameServer {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    serving: AbortHandle,
}

type Reply = Option<(ResponseCode, Vec<IpAddr>)>;

impl NameServer {
    async fn start(answer: impl Fn(&str, RecordType) -> Reply + Send + 'static) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), answer).await
    }

    async fn at(address: SocketAddr, answer: impl Fn(&str, RecordType) -> Reply + Send + 'static) -> Self {
        Self::slow(address, Duration::ZERO, answer).await
    }

    /// A name server that takes this long to answer.
    async fn slow(
        address: SocketAddr,
        takes: Duration,
        answer: impl Fn(&str, RecordType) -> Reply + Send + 'static,
    ) -> Self {
        let socket = Arc::new(UdpSocket::bind(address).await.unwrap());
        let address = socket.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = asked.clone();
        let serving = tokio::spawn(async move {
            let mut buffer = [0; 1500];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                let question = Message::from_vec(&buffer[..length]).unwrap();
                let query = &question.queries[0];
                counter.fetch_add(usize::from(!query.name().is_root()), Ordering::SeqCst);
                if let Some((code, addresses)) = answer(&query.name().to_ascii(), query.query_type()) {
                    let (socket, reply) = (socket.clone(), reply(&question, code, &addresses));
                    tokio::spawn(async move {
                        sleep(takes).await;
                        socket.send_to(&reply, from).await
                    });
                }
            }
        });
        Self { address, asked, serving: serving.abort_handle() }
    }

    /// A name server that knows just [`HOST`] and the root, and gives this answer.
    async fn knowing(code: ResponseCode, addresses: &'static [&'static str]) -> Self {
        Self::start(move |name, _| {
            assert!(["hooks.example.", "."].contains(&name), "{name}");
            Some((code, list(addresses)))
        })
        .await
    }

    async fn mute() -> Self {
        Self::start(|_, _| None).await
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn list(addresses: &[&str]) -> Vec<IpAddr> {
    addresses.iter().map(|address| address.parse().unwrap()).collect()
}

fn reply(question: &Message, code: ResponseCode, addresses: &[IpAddr]) -> Vec<u8> {
    let mut answer = Message::response(question.metadata.id, OpCode::Query);
    answer.metadata.response_code = code;
    let query = question.queries[0].clone();
    for address in addresses {
        if query.query_type() == if address.is_ipv4() { RecordType::A } else { RecordType::AAAA } {
            answer.add_answer(Record::from_rdata(query.name().clone(), 60, RData::from(*address)));
        }
    }
    answer.add_query(query);
    answer.to_vec().unwrap()
}

fn anybody() -> AllowList {
    AllowList::parse(&["0.0.0.0/0".to_owned(), "::/0".to_owned()]).unwrap()
}

/// A resolver that asks these name servers, and may return the addresses in `allow`.
fn asking(servers: &[&NameServer], allow: AllowList) -> Resolver {
    let servers = servers.iter().map(|server| server.address).collect();
    Resolver::new(&config::Dns { servers, resolv_conf: PathBuf::new() }, allow, ATTEMPT).unwrap()
}

async fn ask(code: ResponseCode, addresses: &'static [&'static str], allow: AllowList) -> Result<Vec<IpAddr>, String> {
    let server = NameServer::start(move |name, _| {
        Some(if name == "." { (ResponseCode::NoError, Vec::new()) } else { (code, list(addresses)) })
    })
    .await;
    asking(&[&server], allow).addresses(HOST).await.map_err(|error| error.to_string())
}

/// The lookup's result, and its duration.
async fn timed(resolver: &Resolver, host: &str) -> (Result<Vec<IpAddr>, LookupError>, Duration) {
    let began = Instant::now();
    let found = resolver.addresses(host).await;
    (found, began.elapsed())
}

#[tokio::test]
async fn both_families_are_asked_for() {
    let both = ask(ResponseCode::NoError, &["192.0.2.1", "2001:db8::1"], anybody()).await;
    assert_eq!(both.unwrap(), list(&["192.0.2.1", "2001:db8::1"]));
    assert_eq!(ask(ResponseCode::NoError, &["2001:db8::1"], anybody()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_answer_is_kept_but_judged_each_time() {
    let server = NameServer::knowing(ResponseCode::NoError, &["192.0.2.1"]).await;
    let resolver = asking(&[&server], AllowList::default());
    for _ in 0..3 {
        resolver.addresses(HOST).await.unwrap_err();
    }
    // A is asked once, AAAA at each lookup, since its answer does not say for how long there is none.
    assert_eq!(server.asked.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn one_refused_address_among_good_ones_refuses_the_name() {
    let public_only = AllowList::default();
    let refused = ask(ResponseCode::NoError, &["8.8.8.8", "fd00::1"], public_only).await;
    let why = refused.unwrap_err();
    assert!(why.starts_with("refused to connect: hooks.example resolves to fd00::1; "), "{why}");
}

#[tokio::test]
async fn each_way_in_which_a_name_server_gives_no_address_has_its_own_text() {
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
async fn a_family_that_is_never_answered_costs_less_than_half_a_second() {
    for (mute, known) in [(RecordType::AAAA, "192.0.2.1"), (RecordType::A, "2001:db8::1")] {
        let server =
            NameServer::start(move |_, kind| (kind != mute).then(|| (ResponseCode::NoError, list(&[known])))).await;
        let (found, took) = timed(&asking(&[&server], anybody()), HOST).await;
        assert_eq!(found.unwrap(), list(&[known]));
        assert!(took >= OTHER_FAMILY && took < Duration::from_millis(500), "{mute}: {took:?}");
    }
}

#[tokio::test]
async fn a_family_that_answers_late_is_not_dialled_now_but_judged_next_time() {
    let answered = Arc::new(Mutex::new(false));
    let now = answered.clone();
    let server = NameServer::start(move |_, kind| {
        let v6 = kind == RecordType::AAAA;
        if v6 && !std::mem::replace(&mut *now.lock().unwrap(), true) {
            // This question is lost; the library asks again soon.
            return None;
        }
        if v6 {
            std::thread::sleep(OTHER_FAMILY);
        }
        Some((ResponseCode::NoError, list(&["8.8.8.8", "fd00::1"])))
    })
    .await;
    let resolver = asking(&[&server], AllowList::default());
    assert_eq!(resolver.addresses(HOST).await.unwrap(), list(&["8.8.8.8"]), "only what was judged is dialled");
    let began = Instant::now();
    loop {
        match resolver.addresses(HOST).await {
            Err(LookupError::Refused(_)) => break,
            found => assert!(began.elapsed() < ATTEMPT, "{found:?}"),
        }
        sleep(Duration::from_millis(20)).await;
    }
}
