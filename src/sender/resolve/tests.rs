//! Lookups at real name servers on 127.0.0.1.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
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

/// A name server on 127.0.0.1 that answers as this says: for a name and a type with a code and addresses, or not at all.
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

    /// One that takes this long to answer.
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

    /// One that knows just [`HOST`] and the root, and gives this answer.
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

/// A resolver that asks these, and may give these addresses.
fn asking(servers: &[&NameServer], allow: AllowList) -> Resolver {
    let servers = servers.iter().map(|server| server.address).collect();
    Resolver::new(&config::Dns { servers, resolv_conf: PathBuf::new() }, allow, ATTEMPT).unwrap()
}

/// A resolver that asks those that this file names.
fn reading(file: &Path) -> Resolver {
    Resolver::new(&config::Dns { servers: Vec::new(), resolv_conf: file.to_owned() }, anybody(), ATTEMPT).unwrap()
}

async fn ask(code: ResponseCode, addresses: &'static [&'static str], allow: AllowList) -> Result<Vec<IpAddr>, String> {
    let server = NameServer::start(move |name, _| {
        Some(if name == "." { (ResponseCode::NoError, Vec::new()) } else { (code, list(addresses)) })
    })
    .await;
    asking(&[&server], allow).addresses(HOST).await.map_err(|error| error.to_string())
}

/// The lookup's result, and how long it took.
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
    // A once; AAAA as often as it is asked for, since this answer says not for how long there is none.
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

#[tokio::test]
async fn a_name_that_is_not_answered_while_the_root_is_fails_well_within_an_attempt() {
    let server = NameServer::start(|name, _| (name == ".").then(|| (ResponseCode::NoError, Vec::new()))).await;
    let (failed, took) = timed(&asking(&[&server], anybody()), HOST).await;
    let text = "DNS: looking up hooks.example failed (no answer from the name servers)";
    assert!(matches!(&failed, Err(LookupError::Failed(fault)) if fault.to_string() == text), "{failed:?}");
    assert!(took >= QUESTION_TIMEOUT * 2 && took < ATTEMPT * 6 / 10, "{took:?}");
}

/// A forwarder answers so while the server behind it is down.
#[tokio::test]
async fn where_every_name_and_the_root_fail_or_are_refused_the_fault_is_ours_until_an_answer_is_useful() {
    for code in [ResponseCode::ServFail, ResponseCode::Refused] {
        let is_down = Arc::new(AtomicBool::new(true));
        let down = is_down.clone();
        let server = NameServer::start(move |_, _| {
            Some(if down.load(Ordering::SeqCst) {
                (code, Vec::new())
            } else {
                (ResponseCode::NoError, list(&["192.0.2.1"]))
            })
        })
        .await;
        let resolver = asking(&[&server], anybody());
        let (failed, took) = timed(&resolver, HOST).await;
        assert_eq!(failed, Err(LookupError::NoServer(NO_ANSWER)), "{code}");
        assert!(took >= JUDGED_WITHIN && took < ATTEMPT * 8 / 10, "{took:?}");
        let (failed, took) = timed(&resolver, "other.example").await;
        assert_eq!(failed, Err(LookupError::NoServer(NO_ANSWER)), "{code}");
        assert!(took < Duration::from_millis(500), "{took:?}");
        is_down.store(false, Ordering::SeqCst);
        assert_eq!(resolver.addresses(HOST).await.unwrap(), list(&["192.0.2.1"]), "{code}");
    }
}

#[tokio::test]
async fn a_failure_or_a_refusal_for_one_name_is_the_endpoints_where_another_name_is_answered_meanwhile() {
    for code in [ResponseCode::ServFail, ResponseCode::Refused] {
        // This server refuses the root.
        let server = NameServer::start(move |name, _| {
            Some(if name == "good.example." { (ResponseCode::NXDomain, Vec::new()) } else { (code, Vec::new()) })
        })
        .await;
        let resolver = asking(&[&server], anybody());
        let others = async {
            loop {
                let _ = resolver.addresses("good.example").await;
                sleep(Duration::from_millis(50)).await;
            }
        };
        let (failed, took) = tokio::select! {
            judged = timed(&resolver, HOST) => judged,
            () = others => unreachable!(),
        };
        assert!(matches!(failed, Err(LookupError::Failed(_))), "{failed:?}");
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
}

/// A name server that serves just some zones, in a closed network, refuses the root, fails or drops it.
#[tokio::test]
async fn where_the_root_is_not_served_a_dead_name_is_the_endpoints_though_the_only_good_name_is_a_kept_one() {
    let (fails, refuses) = (Some(ResponseCode::ServFail), Some(ResponseCode::Refused));
    let judged = async |root: Option<ResponseCode>, dead: Option<ResponseCode>| {
        let server = NameServer::start(move |name, _| match name {
            "good.example." => Some((ResponseCode::NoError, list(&["192.0.2.1", "2001:db8::1"]))),
            "." => root.map(|code| (code, Vec::new())),
            _ => dead.map(|code| (code, Vec::new())),
        })
        .await;
        let resolver = asking(&[&server], anybody());
        // Before any name was found, nothing shows that the server works.
        assert_eq!(resolver.addresses(HOST).await, Err(LookupError::NoServer(NO_ANSWER)), "{root:?}, {dead:?}");
        let asked = server.asked.load(Ordering::SeqCst);
        while resolver.addresses("good.example").await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
        assert!(server.asked.load(Ordering::SeqCst) > asked);
        let (failed, took) = timed(&resolver, HOST).await;
        assert!(matches!(failed, Err(LookupError::Failed(_))), "{root:?}, {dead:?}: {failed:?}");
        took
    };
    let (first, second, third) = tokio::join!(judged(refuses, fails), judged(None, fails), judged(fails, None));
    assert!(first < Duration::from_secs(2) && second < Duration::from_secs(2), "{first:?}, {second:?}");
    assert!(third >= QUESTION_TIMEOUT * 2 && third < ATTEMPT * 6 / 10, "{third:?}");
}

/// A forwarder whose own server is down goes on giving the addresses that it keeps, and fails or refuses the rest.
#[tokio::test]
async fn where_all_fails_but_the_addresses_of_the_name_found_last_the_fault_is_ours() {
    let judged = async |code: ResponseCode, keeps: bool| {
        let is_down = Arc::new(AtomicBool::new(false));
        let down = is_down.clone();
        let server = NameServer::start(move |name, kind| {
            let is_kept = keeps && name == "good.example." && kind != RecordType::SOA;
            let answers = is_kept || !down.load(Ordering::SeqCst);
            Some(if answers {
                (ResponseCode::NoError, list(&["192.0.2.1", "2001:db8::1"]))
            } else {
                (code, Vec::new())
            })
        })
        .await;
        let resolver = asking(&[&server], anybody());
        resolver.addresses("good.example").await.unwrap();
        is_down.store(true, Ordering::SeqCst);
        assert_eq!(resolver.addresses(HOST).await, Err(LookupError::NoServer(NO_ANSWER)), "{code}, {keeps}");
        is_down.store(false, Ordering::SeqCst);
        assert!(resolver.addresses(HOST).await.is_ok(), "{code}, {keeps}");
    };
    let (fails, refuses) = (ResponseCode::ServFail, ResponseCode::Refused);
    tokio::join!(judged(fails, true), judged(refuses, true), judged(fails, false), judged(refuses, false));
}

#[tokio::test]
async fn a_name_server_that_takes_three_seconds_for_each_answer_is_waited_for_and_then_known() {
    let known = |name: &str, _| {
        (name != "silent.example.").then(|| (ResponseCode::NoError, list(&["192.0.2.1", "2001:db8::1"])))
    };
    let server = NameServer::slow("127.0.0.1:0".parse().unwrap(), Duration::from_secs(3), known).await;
    let resolver = asking(&[&server], anybody());
    let lookup = timed(&resolver, HOST);
    let ((found, took), (silent, _)) = tokio::join!(lookup, timed(&resolver, "silent.example"));
    assert_eq!(found.unwrap(), list(&["192.0.2.1", "2001:db8::1"]));
    assert!(took < ATTEMPT * 8 / 10, "{took:?}");
    assert!(matches!(silent, Err(LookupError::Failed(_))), "{silent:?}");
    let (found, took) = timed(&resolver, HOST).await;
    assert!(found.is_ok() && took < Duration::from_millis(500), "its answer is kept: {took:?}");
}

#[tokio::test]
async fn where_no_name_server_answers_the_fault_is_ours_and_then_known_at_once() {
    let server = NameServer::mute().await;
    let resolver = asking(&[&server], anybody());
    let (failed, took) = timed(&resolver, HOST).await;
    assert_eq!(failed, Err(LookupError::NoServer("no name server answers")));
    assert!(took >= JUDGED_WITHIN && took < ATTEMPT * 8 / 10, "{took:?}");
    let (failed, took) = timed(&resolver, "other.example").await;
    assert_eq!(failed, Err(LookupError::NoServer("no name server answers")));
    assert!(took < Duration::from_millis(500), "{took:?}");
}

#[tokio::test]
async fn silence_that_outlasts_a_short_attempt_is_ours_and_then_known_at_once() {
    let server = NameServer::mute().await;
    let resolver = asking(&[&server], anybody());
    let began = tokio::time::Instant::now();
    timeout(Duration::from_millis(1200), resolver.addresses(HOST)).await.unwrap_err();
    assert_eq!(resolver.silent_since(began), Some(NO_ANSWER));
    let (failed, took) = timed(&resolver, HOST).await;
    assert!(failed == Err(LookupError::NoServer(NO_ANSWER)) && took < Duration::from_millis(500), "{took:?}");
}

#[tokio::test]
async fn a_name_server_that_comes_back_is_used_at_once_and_known_names_are_found_meanwhile() {
    let known = |name: &str, _| (name != "lost.example.").then(|| (ResponseCode::NoError, list(&["192.0.2.1"])));
    // The absence of IPv6 addresses is not kept: the answer says not for how long there are none.
    let server = NameServer::start(known).await;
    let resolver = asking(&[&server], anybody());
    let address = server.address;
    resolver.addresses(HOST).await.unwrap();
    drop(server);
    let (lost, kept) = tokio::join!(resolver.addresses("other.example"), async {
        sleep(Duration::from_secs(3)).await;
        resolver.addresses(HOST).await
    });
    assert_eq!(lost, Err(LookupError::NoServer(NO_ANSWER)));
    assert_eq!(kept.unwrap(), list(&["192.0.2.1"]));
    assert!(timed(&resolver, HOST).await.0.is_ok(), "also while no name server answers");
    let _back = NameServer::at(address, known).await;
    let began = Instant::now();
    while resolver.addresses("other.example").await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(3));
        sleep(Duration::from_millis(20)).await;
    }
}

/// A name server that answers after the question was given up must not make an endpoint's fault of its own silence.
#[tokio::test]
async fn a_name_server_that_comes_back_during_a_lookup_is_asked_again() {
    let server = NameServer::mute().await;
    let (resolver, address) = (asking(&[&server], anybody()), server.address);
    let (found, ()) = tokio::join!(resolver.addresses(HOST), async {
        sleep(Duration::from_secs(3)).await;
        drop(server);
        sleep(Duration::from_millis(10)).await;
        let answering = |_: &str, _| Some((ResponseCode::NoError, list(&["192.0.2.1"])));
        std::mem::forget(NameServer::at(address, answering).await);
    });
    assert_eq!(found.unwrap(), list(&["192.0.2.1"]));
}

#[tokio::test]
async fn one_or_two_dead_servers_beside_a_good_one_delay_nothing() {
    let (dead, good) = (NameServer::mute().await, NameServer::knowing(ResponseCode::NoError, &["192.0.2.1"]).await);
    for servers in [[&dead, &good], [&good, &dead]] {
        let (found, took) = timed(&asking(&servers, anybody()), HOST).await;
        assert_eq!(found.unwrap(), list(&["192.0.2.1"]));
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
    let another = NameServer::mute().await;
    let resolver = asking(&[&dead, &another, &good], anybody());
    let (found, took) = timed(&resolver, HOST).await;
    assert_eq!(found.unwrap(), list(&["192.0.2.1"]));
    assert!(took < Duration::from_secs(2), "{took:?}");
    let (_, took) = timed(&resolver, HOST).await;
    assert!(took < Duration::from_millis(500), "{took:?}");
}

/// The server that knows the name is the slowest, so that the others' words are there first.
#[tokio::test]
async fn an_address_outdoes_a_failure_a_refusal_and_a_denial_of_other_servers_in_any_order() {
    let addresses = |_: &str, _| Some((ResponseCode::NoError, list(&["192.0.2.1", "2001:db8::1"])));
    let good = NameServer::slow("127.0.0.1:0".parse().unwrap(), Duration::from_millis(100), addresses).await;
    let dead = NameServer::mute().await;
    for code in [ResponseCode::ServFail, ResponseCode::Refused, ResponseCode::NXDomain] {
        let bad = NameServer::knowing(code, &[]).await;
        let others = NameServer::knowing(ResponseCode::ServFail, &[]).await;
        for servers in [vec![&good, &bad], vec![&bad, &good], vec![&dead, &others, &bad, &good]] {
            let resolver = asking(&servers, anybody());
            for nth in 0..3 {
                let (found, took) = timed(&resolver, HOST).await;
                assert_eq!(found, Ok(list(&["192.0.2.1", "2001:db8::1"])), "{code}, lookup {nth}");
                assert!(took < Duration::from_secs(1), "{code}: {took:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_denial_outdoes_failures_and_silence_and_without_one_the_failure_is_told() {
    let failing = NameServer::knowing(ResponseCode::ServFail, &[]).await;
    let denying = NameServer::start(|name, _| {
        Some((if name == "." { ResponseCode::NoError } else { ResponseCode::NXDomain }, Vec::new()))
    })
    .await;
    let dead = NameServer::mute().await;
    for servers in [[&failing, &denying], [&denying, &failing], [&dead, &denying], [&denying, &dead]] {
        let (failed, took) = timed(&asking(&servers, anybody()), HOST).await;
        assert_eq!(failed.unwrap_err().to_string(), "DNS: no such host hooks.example");
        assert!(took < Duration::from_secs(6), "{took:?}: two seconds, and on a busy machine more");
    }
    let alike = NameServer::start(|name, _| {
        Some((if name == "." { ResponseCode::NoError } else { ResponseCode::ServFail }, Vec::new()))
    })
    .await;
    let (failed, took) = timed(&asking(&[&failing, &alike], anybody()), HOST).await;
    let text = "DNS: looking up hooks.example failed (the name server failed)";
    assert!(matches!(&failed, Err(LookupError::Failed(fault)) if fault.to_string() == text), "{failed:?}");
    assert!(took < Duration::from_secs(6), "{took:?}: two seconds, and on a busy machine more");
}

#[tokio::test]
async fn without_a_name_server_nothing_can_be_looked_up_but_localhost_is_known() {
    let resolver = reading(Path::new("/dev/null"));
    assert_eq!(resolver.addresses(HOST).await, Err(LookupError::NoServer("no name server is configured")));
    assert_eq!(resolver.addresses("localhost").await.unwrap(), [Ipv4Addr::LOCALHOST]);
}

#[tokio::test]
async fn a_changed_file_is_read_again_and_one_that_names_no_server_changes_nothing() {
    let first = NameServer::knowing(ResponseCode::NoError, &["192.0.2.1"]).await;
    let second = NameServer::knowing(ResponseCode::NoError, &["192.0.2.2"]).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let write = |text: String| std::fs::write(file.path(), text).unwrap();
    let line = |server: &NameServer| format!("nameserver [127.0.0.1]:{}\n", server.address.port());
    write("search -x.local\n".to_owned());
    let resolver = reading(file.path());
    resolver.addresses(HOST).await.unwrap_err();
    let until_found = async |address: &str| {
        let began = Instant::now();
        while resolver.addresses(HOST).await.ok() != Some(list(&[address])) {
            assert!(began.elapsed() < Duration::from_secs(15), "{address} is never found");
            sleep(Duration::from_millis(50)).await;
        }
    };
    write(format!("search -x.local\noptions :\n{}", line(&first)));
    until_found("192.0.2.1").await;
    // A file that names no usable server changes nothing.
    write("nameserver nowhere\n".to_owned());
    sleep(Duration::from_secs(6)).await;
    until_found("192.0.2.1").await;
    write(format!("{}\n{}", line(&second), "\u{feff}\r\nrubbish"));
    until_found("192.0.2.2").await;
}

/// The loopback interface has link-local addresses where a machine gives it one; an interface that has is needed.
#[tokio::test]
async fn a_link_local_name_server_is_asked_through_its_interface() {
    let Some((address, zone)) = link_local() else {
        println!("skipped: no interface here has a link-local address");
        return;
    };
    let text = format!("[{address}%{zone}]:0");
    let bound = std::net::SocketAddrV6::new(address, 0, 0, zone);
    let server = NameServer::at(bound.into(), |_, _| Some((ResponseCode::NoError, list(&["192.0.2.1"])))).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let line = text.replace(":0", &format!(":{}", server.address.port()));
    std::fs::write(file.path(), format!("nameserver {line}\n")).unwrap();
    assert_eq!(reading(file.path()).addresses(HOST).await.unwrap(), list(&["192.0.2.1"]));
}

/// A link-local address of this machine, and the index of its interface.
fn link_local() -> Option<(std::net::Ipv6Addr, u32)> {
    let table = std::fs::read_to_string("/proc/net/if_inet6").ok()?;
    table.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let address = std::net::Ipv6Addr::from_bits(u128::from_str_radix(words.next()?, 16).ok()?);
        let zone = u32::from_str_radix(words.next()?, 16).ok()?;
        address.is_unicast_link_local().then_some((address, zone))
    })
}
