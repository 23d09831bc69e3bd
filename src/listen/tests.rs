//! Clients that are many, slow, silent or gone.

use std::{io::Write, time::Instant};

use http_body_util::Full;
use hyper::body::Bytes;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::{ServerConfig, crypto::aws_lc_rs, server::ResolvesServerCertUsingSni};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinHandle,
};

use super::*;

const REQUEST: &str = "GET / HTTP/1.1\r\nhost: here\r\n\r\n";
/// A bound that no test reaches …
const LONG: Duration = Duration::from_secs(60);
/// … because the server does what the test waits for within this time.
const SOON: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(400);
const LIMITS: Limits =
    Limits { connections_max: 8, head_within: LONG, exchange_within: None, head_max_bytes: 16 << 10 };

/// A port whose answers wait at a gate.
struct Port {
    address: SocketAddr,
    /// A unit for each request that arrived.
    came: mpsc::UnboundedReceiver<()>,
    gate: Arc<Semaphore>,
    /// The most requests that waited together.
    most: Arc<AtomicUsize>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

/// An answer that no buffer of the kernel takes whole.
const LARGE: usize = 64 << 20;

impl Port {
    /// Waits for a request.
    async fn comes(&mut self) {
        timeout(SOON, self.came.recv()).await.expect("a request comes").unwrap();
    }

    async fn start(limits: Limits, tls: Option<Tls>) -> Self {
        Self::answering(limits, tls, Bytes::from_static(b"answered")).await
    }

    async fn answering(limits: Limits, tls: Option<Tls>, body: Bytes) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (tell, came) = mpsc::unbounded_channel();
        let (gate, most, now) =
            (Arc::new(Semaphore::new(0)), Arc::<AtomicUsize>::default(), Arc::new(AtomicUsize::new(0)));
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let (gate_in, most_in) = (gate.clone(), most.clone());
        let answer = move |_| {
            let (tell, gate, most, now) = (tell.clone(), gate_in.clone(), most_in.clone(), now.clone());
            let body = body.clone();
            async move {
                most.fetch_max(now.fetch_add(1, Relaxed) + 1, Relaxed);
                tell.send(()).unwrap();
                gate.acquire().await.unwrap().forget();
                now.fetch_sub(1, Relaxed);
                Response::new(Full::new(body))
            }
        };
        let serving = tokio::spawn(serve(listener, limits, tls, Arc::new(Turns::of("test")), stop.clone(), answer));
        Self { address, came, gate, most, stop, serving }
    }

    /// A connection on which `text` was sent.
    async fn send(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }
}

/// Reads one answer of a connection that is kept.
async fn one_answer(stream: &mut TcpStream) {
    let mut read = Vec::new();
    while !read.ends_with(b"answered") {
        assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0, "{}", String::from_utf8_lossy(&read));
    }
}

/// Reads until the connection is closed.
async fn rest(mut stream: TcpStream) -> String {
    let mut read = Vec::new();
    // A connection that is closed with unread bytes is reset, so an error is possible here.
    let _ = timeout(SOON, stream.read_to_end(&mut read)).await.expect("the server closes it");
    String::from_utf8(read).unwrap()
}

#[tokio::test]
async fn a_request_knows_the_address_it_came_from() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = |request: Request<Incoming>| {
        let Peer(peer) = *request.extensions().get().unwrap();
        async move { Response::new(Full::new(Bytes::from(format!("{peer} is answered")))) }
    };
    let limits = Limits { exchange_within: Some(LONG), ..LIMITS };
    let serving =
        tokio::spawn(serve(listener, limits, None, Arc::new(Turns::of("test")), CancellationToken::new(), answer));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(REQUEST.as_bytes()).await.unwrap();
    let own = stream.local_addr().unwrap();
    let answer = rest(stream).await;
    assert!(answer.ends_with(&format!("\r\n{own} is answered")), "{answer}");
    serving.abort();
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_until_another_one_ends() {
    let limits = Limits { connections_max: 2, exchange_within: Some(LONG), ..LIMITS };
    let mut port = Port::start(limits, None).await;
    let mut streams = Vec::new();
    for _ in 0..2 {
        streams.push(port.send(REQUEST).await);
        port.comes().await;
    }
    for _ in 0..6 {
        streams.push(port.send(REQUEST).await);
    }
    port.gate.add_permits(streams.len());
    for stream in streams {
        assert!(rest(stream).await.ends_with("answered"));
    }
    assert_eq!(port.most.load(Relaxed), 2);
}

#[tokio::test]
async fn a_connection_whose_head_is_late_is_closed_and_others_are_served_meanwhile() {
    let port = Port::start(Limits { head_within: SHORT, ..LIMITS }, None).await;
    let (began, late) = (Instant::now(), port.send("GET / HTTP/1.1\r\nhost:").await);
    port.gate.add_permits(1);
    let mut kept = port.send(REQUEST).await;
    one_answer(&mut kept).await;
    let rested = Instant::now();
    assert!(!rest(late).await.contains("answered"));
    assert!(began.elapsed() >= SHORT);
    assert_eq!(rest(kept).await, "", "the head of a further request has the same time limit");
    assert!(rested.elapsed() + Duration::from_millis(5) >= SHORT);
}

#[tokio::test]
async fn an_exchange_is_cut_at_its_time_limit_and_a_connection_with_a_limit_serves_one_request() {
    let limit = |within| Limits { exchange_within: Some(within), ..LIMITS };
    let mut port = Port::start(limit(SHORT), None).await;
    let (began, stream) = (Instant::now(), port.send(REQUEST).await);
    port.comes().await;
    assert_eq!(rest(stream).await, "");
    assert!(began.elapsed() >= SHORT);

    let port = Port::start(limit(LONG), None).await;
    port.gate.add_permits(2);
    let answers = rest(port.send(&REQUEST.repeat(2)).await).await;
    assert_eq!(answers.matches("answered").count(), 1, "{answers}");
}

/// Lets the time pass after which a client that does not take its answer is cut for certain.
async fn taking_time_passes() {
    tokio::time::pause();
    for _ in 0..2 {
        tokio::time::advance(LIMITS.head_within + TAKEN_WITHIN).await;
        tokio::task::yield_now().await;
    }
    tokio::time::resume();
}

#[tokio::test]
async fn a_client_that_sends_requests_and_does_not_take_the_answers_is_cut() {
    let mut port = Port::answering(LIMITS, None, vec![0; LARGE].into()).await;
    port.gate.add_permits(2);
    let mut stream = port.send(&REQUEST.repeat(2)).await;
    port.comes().await;
    let mut read = vec![0; 1];
    stream.read_exact(&mut read).await.unwrap();
    taking_time_passes().await;
    let mut taken = 0;
    let mut rest = vec![0; 1 << 20];
    while let Ok(count @ 1..) = timeout(SOON, stream.read(&mut rest)).await.expect("the server cuts it") {
        taken += count;
    }
    assert!(taken < LARGE, "{taken} bytes came");
}

#[tokio::test]
async fn a_client_that_waits_long_for_an_answer_gets_it() {
    let mut port = Port::start(LIMITS, None).await;
    let mut stream = port.send(REQUEST).await;
    port.comes().await;
    taking_time_passes().await;
    port.gate.add_permits(1);
    one_answer(&mut stream).await;
}

#[tokio::test]
async fn a_connection_serves_a_limited_number_of_exchanges() {
    let port = Port::start(LIMITS, None).await;
    port.gate.add_permits(EXCHANGES_MAX + 1);
    let (reading, mut writing) = TcpStream::connect(port.address).await.unwrap().into_split();
    let sending = tokio::spawn(async move {
        // The server closes it in the meantime.
        let _ = writing.write_all(REQUEST.repeat(EXCHANGES_MAX + 1).as_bytes()).await;
        writing
    });
    let mut answers = String::new();
    let mut reading = tokio::io::BufReader::new(reading);
    let _ = timeout(SOON, reading.read_to_string(&mut answers)).await.expect("the server closes it");
    drop(sending.await);
    assert_eq!(answers.matches("answered").count(), EXCHANGES_MAX);
    assert_eq!(answers.matches("connection: close").count(), 1);
}

#[tokio::test]
async fn a_connection_without_a_handshake_is_closed() {
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()));
    let port = Port::start(LIMITS, Some((TlsAcceptor::from(Arc::new(config)), SHORT))).await;
    let began = Instant::now();
    assert_eq!(rest(port.send("").await).await, "");
    assert!(began.elapsed() >= SHORT);
}

#[tokio::test]
async fn while_no_file_descriptor_is_left_the_server_pauses_and_then_continues() {
    const ALONE: &str = "LYNKHOOK_TEST_ALONE";
    const NAME: &str = "listen::tests::while_no_file_descriptor_is_left_the_server_pauses_and_then_continues";
    // The limit applies to the whole process, so the test runs in a process of its own.
    if std::env::var_os(ALONE).is_none() {
        let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
        let ended = alone.args(["--exact", NAME, "--nocapture"]).env(ALONE, "1").output().unwrap();
        assert!(ended.status.success() && ended.stdout.windows(8).any(|part| part == b"1 passed"), "{ended:#?}");
        return;
    }
    let mut port = Port::start(LIMITS, None).await;
    port.gate.add_permits(1);
    // The server does not run until something is awaited.
    let mut waiting = std::net::TcpStream::connect(port.address).unwrap();
    waiting.write_all(REQUEST.as_bytes()).unwrap();
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(0), ..limit }).unwrap();
    let metrics = tokio::runtime::Handle::current().metrics();
    let (began, busy) = (Instant::now(), metrics.worker_total_busy_duration(0));
    sleep(ACCEPT_PAUSE * 3).await;
    let busy = metrics.worker_total_busy_duration(0).saturating_sub(busy);
    assert!(busy < began.elapsed() * 3 / 4, "busy for {busy:?} of {:?}", began.elapsed());
    assert!(port.came.try_recv().is_err());

    setrlimit(Resource::Nofile, limit).unwrap();
    waiting.set_nonblocking(true).unwrap();
    one_answer(&mut TcpStream::from_std(waiting).unwrap()).await;
}

#[tokio::test]
async fn a_stopped_server_finishes_exchanges_in_progress_and_accepts_no_more_connections() {
    let mut port = Port::start(LIMITS, None).await;
    let mut idle = port.send(REQUEST).await;
    port.gate.add_permits(1);
    one_answer(&mut idle).await;
    port.comes().await;
    let begun = port.send(REQUEST).await;
    port.comes().await;
    port.stop.cancel();
    assert_eq!(rest(idle).await, "", "an idle connection is closed");
    assert!(TcpStream::connect(port.address).await.is_err());
    assert!(!port.serving.is_finished());
    port.gate.add_permits(1);
    assert!(rest(begun).await.ends_with("answered"));
    timeout(SOON, port.serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_server_that_is_dropped_cuts_its_connections() {
    let mut port = Port::start(LIMITS, None).await;
    let begun = port.send(REQUEST).await;
    port.comes().await;
    port.serving.abort();
    assert_eq!(rest(begun).await, "");
}
