//! Each answer and each certificate behaves as its name says, seen from the client.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Client;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{Answer, Authority, Gate, Identity, Receiver, refused_port};

const SOON: Duration = Duration::from_secs(10);
/// How long the test watches for silence.
const QUIET: Duration = Duration::from_millis(500);

fn client_config() -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(Authority::shared().der()).unwrap();
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

fn client(receiver: &Receiver) -> Client {
    let mut config = client_config();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Client::builder()
        .tls_backend_preconfigured(config)
        .redirect(reqwest::redirect::Policy::none())
        .resolve("a.hooks.test", receiver.address())
        .build()
        .unwrap()
}

async fn connect(receiver: &Receiver) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(receiver.address()).await?;
    TlsConnector::from(Arc::new(client_config())).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    Closed,
    Failed(ErrorKind),
    /// Neither closed nor failed when enough was read, or after the wait.
    Open,
}

/// Sends one request and reads until `enough` bytes, the end, or `QUIET` without a byte.
async fn exchange(receiver: &Receiver, path: &str, enough: usize) -> (String, End) {
    let mut stream = connect(receiver).await.unwrap();
    let request = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{{}}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    let end = loop {
        if seen.len() >= enough {
            break End::Open;
        }
        match tokio::time::timeout(QUIET, stream.read(&mut buffer)).await {
            Err(_) => break End::Open,
            Ok(Ok(0)) => break End::Closed,
            Ok(Ok(length)) => seen.extend_from_slice(&buffer[..length]),
            Ok(Err(error)) => break End::Failed(error.kind()),
        }
    };
    (String::from_utf8(seen).unwrap(), end)
}

#[tokio::test]
async fn every_fault_is_what_its_name_says() {
    const RESET: End = End::Failed(ErrorKind::ConnectionReset);
    let early_hints = "HTTP/1.1 103 Early Hints\r\n\r\n";
    // The least that is read, and how the connection ends.
    let table = [
        (Answer::ResetBeforeHeaders, String::new(), RESET),
        (Answer::CloseBeforeHeaders, String::new(), End::Closed),
        (Answer::ResetInHeaders, "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-le".to_owned(), RESET),
        (Answer::ResetInBody, "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n0123456789".to_owned(), RESET),
        (Answer::NotHttp, "SSH-2.0-OpenSSH_9.6\r\n".to_owned(), End::Closed),
        (Answer::Silence, String::new(), End::Open),
        (Answer::DripHeaders, "HTTP/1.1 200 OK\r\nx-drip: aaaa".to_owned(), End::Open),
        (
            Answer::DripBody(503),
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 1000000\r\n\r\naaaa".to_owned(),
            End::Open,
        ),
        (Answer::InterimForever, early_hints.repeat(10), End::Open),
    ];
    let receiver = Receiver::start().await;
    for (answer, expected, end) in table {
        receiver.plan("/fault", [answer.clone()]);
        // An endless answer is read up to the expected length; `Silence` must be quiet for a while.
        let enough = if end == End::Open && !expected.is_empty() { expected.len() } else { usize::MAX };
        let seen = exchange(&receiver, "/fault", enough).await;
        assert_eq!(seen, (expected, end), "{answer:?}");
    }
}

#[tokio::test]
async fn headers_before_a_reset_always_arrive() {
    let receiver = Receiver::start().await;
    receiver.plan("/", [Answer::ResetInBody]);
    for _ in 0..30 {
        let response = client(&receiver).post(receiver.url("/")).body("{}").send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(response.bytes().await.is_err());
    }
}

#[tokio::test]
async fn a_plan_is_followed_step_by_step_and_its_last_step_repeats() {
    let receiver = Receiver::start().await;
    receiver.plan(
        "/a",
        [
            Answer::Status(503),
            Answer::StatusWithBody(201, "made".into()),
            Answer::Redirect("https://elsewhere.test/".to_owned()),
            Answer::Status(204),
        ],
    );
    let client = client(&receiver);
    let mut seen = Vec::new();
    for _ in 0..5 {
        let response = client.post(receiver.url("/a?x=1")).body("{}").send().await.unwrap();
        let location = response.headers().get("location").map(|value| value.to_str().unwrap().to_owned());
        seen.push((response.status().as_u16(), location, response.text().await.unwrap()));
    }
    let plain = |status, body: &str| (status, None, body.to_owned());
    let moved = (301, Some("https://elsewhere.test/".to_owned()), String::new());
    assert_eq!(seen, [plain(503, ""), plain(201, "made"), moved, plain(204, ""), plain(204, "")]);
    assert_eq!(client.get(receiver.url("/unplanned")).send().await.unwrap().status(), 404);
    // Connections are kept, so all six requests came on one.
    assert_eq!((receiver.connections(), receiver.all_requests().len()), (1, 6));
}

#[tokio::test]
async fn a_request_is_recorded_byte_for_byte() {
    let receiver = Receiver::start().await;
    let body: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let url = receiver.url_for("a.hooks.test", "/b?x=1&y");
    client(&receiver).put(url).header("x-mine", "v").body(body.clone()).send().await.unwrap();

    let request = receiver.wait_for("/b", 1, SOON).await.remove(0);
    assert_eq!((request.method.as_str(), request.query.as_deref()), ("PUT", Some("x=1&y")));
    assert_eq!((request.header("x-mine"), request.header("x-other")), (Some("v"), None));
    assert_eq!(request.connection, 1);
    assert!(request.body == body && request.ended.unwrap() >= request.arrived);
}

#[tokio::test]
async fn a_chunked_body_is_put_together() {
    let receiver = Receiver::start().await;
    let mut stream = connect(&receiver).await.unwrap();
    let request =
        "POST /c HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(receiver.wait_for("/c", 1, SOON).await[0].body, "abc0123456789");
}

#[tokio::test]
async fn a_gate_holds_answers_until_it_is_opened() {
    let receiver = Receiver::start().await;
    let gate = Gate::new();
    receiver.plan("/g", [gate.before(Answer::Status(200))]);
    let mut request = std::pin::pin!(client(&receiver).post(receiver.url("/g")).send());
    tokio::select! {
        _ = &mut request => panic!("the gate is closed"),
        _ = receiver.wait_for("/g", 1, SOON) => {}
    }
    assert!(tokio::time::timeout(QUIET, &mut request).await.is_err());
    assert_eq!(receiver.in_flight("/g"), 1);
    gate.open();
    assert_eq!(request.await.unwrap().status(), 200);
    assert_eq!(receiver.in_flight("/g"), 0);
}

#[tokio::test]
async fn an_answer_is_given_after_its_delay() {
    const DELAY: Duration = Duration::from_millis(50);
    let receiver = Receiver::start().await;
    receiver.plan("/d", [Answer::Delay(DELAY, Box::new(Answer::StatusWithBody(202, "late".into())))]);
    let started = Instant::now();
    let response = client(&receiver).post(receiver.url("/d")).body("{}").send().await.unwrap();
    assert_eq!((response.status().as_u16(), started.elapsed() >= DELAY), (202, true));
    assert_eq!(response.text().await.unwrap(), "late");
}

#[tokio::test]
async fn a_client_that_gives_up_is_noticed() {
    let receiver = Receiver::start().await;
    receiver.plan("/s", [Answer::Silence]);
    let limited = client(&receiver).post(receiver.url("/s")).timeout(QUIET).send().await;
    assert!(limited.unwrap_err().is_timeout());
    let request = receiver.wait_for_ended("/s", 1, SOON).await.remove(0);
    assert!(request.ended.unwrap() > request.arrived);
}

#[tokio::test]
async fn every_bad_certificate_is_bad_for_its_own_reason() {
    let table = [
        (Identity::Trusted, None),
        (Identity::Expired, Some("Expired")),
        (Identity::WrongName, Some("NotValidForName")),
        (Identity::UnknownAuthority, Some("UnknownIssuer")),
        (Identity::SelfSigned, Some("UnknownIssuer")),
        (Identity::PlainTcp, Some("InvalidMessage")),
    ];
    for (identity, reason) in table {
        let receiver = Receiver::with_certificate(identity).await;
        match (connect(&receiver).await, reason) {
            (Ok(_), None) => {}
            (Err(error), Some(reason)) => assert!(format!("{error:?}").contains(reason), "{identity:?}: {error:?}"),
            (other, _) => panic!("{identity:?}: {other:?}"),
        }
        assert_eq!(receiver.connections(), 1);
    }
}

#[tokio::test]
async fn a_silent_handshake_never_ends_and_a_refused_port_refuses() {
    let receiver = Receiver::with_certificate(Identity::SilentHandshake).await;
    assert!(tokio::time::timeout(QUIET, connect(&receiver)).await.is_err());
    assert_eq!(receiver.connections(), 1);

    let refused = TcpStream::connect(("127.0.0.1", refused_port())).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}
