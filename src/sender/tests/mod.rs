//! Attempts against a real endpoint with real TLS.

mod connections;
mod endpoint;

use std::{sync::Arc, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use tokio::{io::AsyncWriteExt, sync::mpsc};
use url::Url;

use self::endpoint::{
    Endpoint, TRUSTED, answering, authority, chain, dripping_after, good_tls, intermediate, listen, listen_tls,
    read_request, resetting_after, tls, tls_of_authority,
};
use super::{Attempt, Request, Sender};
use crate::{
    config::{Delivery, Dns, Egress},
    domain::outcome::Outcome,
};

const PATIENT: Duration = Duration::from_secs(20);
const IMPATIENT: Duration = Duration::from_millis(500);
const BODY_LIMIT_BYTES: u64 = 1000;

/// A sender that trusts the tests' authority and, unless told otherwise, dials 127.0.0.0/8 only.
fn sender(timeout: Duration, allow: &str) -> Sender {
    let ca = std::env::temp_dir().join(format!("lynkhook-{}.pem", uuid::Uuid::now_v7()));
    std::fs::write(&ca, TRUSTED.pem()).unwrap();
    let sender = Sender::new(
        &Delivery { timeout, retry_delays: Vec::new(), response_max_bytes: BODY_LIMIT_BYTES, send_traceparent: false },
        &Egress {
            allow: allow.split_terminator(',').map(str::to_owned).collect(),
            extra_ca: Some(ca.clone()),
            idle_connections_per_host: 64,
            max_connections: 1000,
        },
        &Dns { servers: vec!["127.0.0.1:1".parse().unwrap()], resolv_conf: "/dev/null".into() },
    )
    .unwrap();
    std::fs::remove_file(ca).unwrap();
    sender
}

fn loopback() -> &'static str {
    "127.0.0.0/8"
}

fn request(url: &str) -> Request {
    let mut secret = HeaderValue::from_static("Bearer sesame");
    secret.set_sensitive(true);
    let headers = HeaderMap::from_iter([(AUTHORIZATION, secret)]);
    let body = Bytes::from_static(b"{\"event\":\"x\"}");
    Request { url: Url::parse(url).unwrap(), headers, body, answered_within: None }
}

async fn attempt(sender: &Sender, endpoint: &Endpoint) -> Attempt {
    sender.attempt(request(&format!("https://localhost:{}/hidden?key=hidden", endpoint.port))).await.unwrap()
}

/// The text of the outcome of a patient attempt, as customers read it.
async fn met(endpoint: &Endpoint) -> String {
    words(&attempt(&sender(PATIENT, loopback()), endpoint).await)
}

/// The text of the outcome of an attempt of half a second, which must not take much longer.
async fn met_in_time(endpoint: &Endpoint) -> String {
    let attempt = attempt(&sender(IMPATIENT, loopback()), endpoint).await;
    assert!(attempt.duration >= IMPATIENT && attempt.duration < IMPATIENT * 3, "{attempt:?}");
    words(&attempt)
}

fn words(attempt: &Attempt) -> String {
    assert!(!format!("{attempt:?}").contains("hidden"), "{attempt:?}");
    match &attempt.outcome {
        Outcome::Response { status } => status.to_string(),
        Outcome::NetworkError(fault) => fault.to_string(),
        Outcome::Refused(why) => format!("refused: {why}"),
    }
}

#[tokio::test]
async fn a_status_is_a_response_whatever_it_says() {
    for status in ["200", "204", "404", "503", "999"] {
        let endpoint = answering(format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n")).await;
        assert_eq!(met(&endpoint).await, status);
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let endpoint = answering("HTTP/1.1 301 X\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(met(&endpoint).await, "301");
    assert_eq!(endpoint.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_request_is_what_is_promised_and_nothing_else() {
    let (seen, mut requests) = mpsc::unbounded_channel();
    let endpoint = listen_tls(good_tls(), move |mut stream| {
        let seen = seen.clone();
        async move { seen.send(read_request(&mut stream).await.unwrap()).unwrap() }
    })
    .await;
    met(&endpoint).await;
    let request = requests.recv().await.unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<_> = head.lines().collect();
    lines.sort_unstable();
    let expected = [
        "POST /hidden?key=hidden HTTP/1.1",
        "accept: */*",
        "authorization: Bearer sesame",
        "content-length: 13",
        "content-type: application/json",
        &format!("host: localhost:{}", endpoint.port),
        concat!("user-agent: Lynkhook/", env!("CARGO_PKG_VERSION")),
    ];
    assert_eq!(lines, expected);
    assert_eq!(body, "{\"event\":\"x\"}");
}

#[tokio::test]
async fn the_body_after_the_headers_does_not_matter() {
    let endpoint = resetting_after(b"HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\nstart").await;
    assert_eq!(met(&endpoint).await, "200");
    let endpoint = dripping_after(b"HTTP/1.1 200 X\r\ncontent-length: 900\r\n\r\n").await;
    assert_eq!(met_in_time(&endpoint).await, "200");
}

#[tokio::test]
async fn an_endpoint_that_breaks_off_is_reported_with_the_phase() {
    let waiting = "while waiting for the response";
    for start in [&b""[..], b"HTTP/1.1 200 X\r\nhalf-a-he"] {
        assert_eq!(met(&resetting_after(start).await).await, format!("connection reset {waiting}"));
    }
    let endpoint = listen_tls(good_tls(), |mut stream| async move {
        read_request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 X\r\nhalf-a-he").await;
        let _ = stream.shutdown().await;
    })
    .await;
    assert_eq!(met(&endpoint).await, format!("connection closed {waiting}"));
    let endpoint = listen(|stream| async move { drop(stream) }).await;
    let met = met(&endpoint).await;
    assert!(
        ["connection closed while negotiating TLS", "connection reset while negotiating TLS"].contains(&&*met),
        "{met}"
    );
}

#[tokio::test]
async fn bytes_that_are_not_http_are_an_invalid_response() {
    let garbage = "invalid HTTP response (not HTTP)";
    let malformed = "invalid HTTP response (its headers are malformed)";
    let too_large = "invalid HTTP response (its headers are too large)";
    let table = [
        ("SSH-2.0-OpenSSH_9.2\r\n\r\n".to_owned(), garbage),
        ("HTTP/1.1 200 X\r\nno colon\r\n\r\n".to_owned(), malformed),
        ("HTTP/1.1 200 X\r\na b: c\r\n\r\n".to_owned(), malformed),
        ("HTTP/1.1 200 X\r\n: c\r\n\r\n".to_owned(), malformed),
        ("HTTP/1.1 200 X\r\na: \0\r\n\r\n".to_owned(), malformed),
        (
            "HTTP/1.1 200 X\r\ncontent-length: five\r\n\r\n".to_owned(),
            "invalid HTTP response (its Content-Length header is malformed)",
        ),
        (format!("HTTP/1.1 200 X\r\nlong: {}\r\n\r\n", "x".repeat(1 << 20)), too_large),
        (format!("HTTP/1.1 200 X\r\n{}\r\n", "a: b\r\n".repeat(101)), too_large),
        (
            "HTTP/1.1 101 X\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n".to_owned(),
            "invalid HTTP response (status 101 as the final one)",
        ),
    ];
    for (response, text) in table {
        assert_eq!(met(&answering(response).await).await, text);
    }
}

#[tokio::test]
async fn what_is_wrong_with_tls_is_named() {
    let alpn = || {
        let mut tls = good_tls();
        tls.alpn_protocols = vec![b"gopher".to_vec()];
        tls
    };
    let own = "TLS: certificate is self-signed, or belongs to a certificate authority instead of a server";
    let incomplete =
        "TLS: certificate chain is incomplete (an intermediate certificate was not sent), or its authority is unknown";
    let table = [
        (tls(&TRUSTED, "localhost", 2020), "TLS: certificate expired"),
        (tls(&TRUSTED, "elsewhere.example", 2500), "TLS: certificate is not for this host name"),
        (tls(&authority("unknown"), "localhost", 2500), incomplete),
        (tls_of_authority(&TRUSTED), own),
        (tls_of_authority(&authority("unknown")), own),
        (
            alpn(),
            "TLS: the endpoint does not accept HTTP/1.1, which deliveries use (alert no_application_protocol); it may support only HTTP/2",
        ),
    ];
    for (tls, text) in table {
        let endpoint = listen_tls(tls, |mut stream| async move { _ = read_request(&mut stream).await }).await;
        assert_eq!(met(&endpoint).await, text);
    }
    let plain = listen(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    })
    .await;
    assert_eq!(met(&plain).await, "TLS: the endpoint does not speak TLS");
}

#[tokio::test]
async fn the_chain_that_was_sent_decides_the_text_about_an_unknown_issuer() {
    let incomplete =
        "TLS: certificate chain is incomplete (an intermediate certificate was not sent), or its authority is unknown";
    let unknown = authority("unknown");
    let (known_middle, unknown_middle) = (intermediate(&TRUSTED), intermediate(&unknown));
    let table = [
        (chain(&known_middle, &[&known_middle]), "200"),
        (chain(&known_middle, &[]), incomplete),
        (chain(&unknown_middle, &[&unknown_middle]), incomplete),
        (chain(&unknown_middle, &[&unknown_middle, &unknown]), "TLS: certificate is not signed by a known authority"),
        (chain(&unknown, &[&unknown]), "TLS: certificate is not signed by a known authority"),
    ];
    for (number, (tls, text)) in table.into_iter().enumerate() {
        let endpoint = listen_tls(tls, |mut stream| async move {
            if read_request(&mut stream).await.is_some() {
                let _ = stream.write_all(b"HTTP/1.1 200 X\r\ncontent-length: 0\r\n\r\n").await;
            }
        })
        .await;
        assert_eq!(met(&endpoint).await, text, "row {number}");
    }
}

/// The text of the outcome of an attempt at the `openssl` server with these arguments.
async fn met_openssl(key: &[&str], server: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let openssl = |words: &[&str]| {
        let done = std::process::Command::new("openssl").args(words).current_dir(&folder).output().unwrap();
        assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
    };
    std::fs::write(folder.path().join("ca.pem"), TRUSTED.pem()).unwrap();
    std::fs::write(folder.path().join("ca.key"), TRUSTED.key().serialize_pem()).unwrap();
    std::fs::write(folder.path().join("names"), "subjectAltName=DNS:localhost\n").unwrap();
    openssl(&[&["req", "-new", "-nodes", "-subj", "/CN=server", "-keyout", "key", "-out", "csr"], key].concat());
    let signing = ["x509", "-req", "-in", "csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"];
    openssl(&[&signing[..], &["-extfile", "names", "-out", "cert"]].concat());
    let port = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let mut running = tokio::process::Command::new("openssl")
        .args(["s_server", "-quiet", "-www", "-cert", "cert", "-key", "key", "-accept", &format!("127.0.0.1:{port}")])
        .args(server)
        .current_dir(&folder)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        assert!(running.try_wait().unwrap().is_none(), "openssl ended");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    met(&Endpoint { port, connections: Arc::default() }).await
}

#[tokio::test]
async fn the_text_names_old_tls_other_suites_a_required_client_certificate_or_a_short_key() {
    let rsa = |bits: &'static str| ["-newkey", bits];
    let suites = "TLS: handshake refused by the endpoint (alert handshake_failure); it may require a client certificate, or have no cipher suite, curve or key type in common with us (CBC suites and RSA key exchange are not supported)";
    let old = "TLS: the endpoint supports neither TLS 1.2 nor TLS 1.3 (alert protocol_version)";
    let short = "TLS: certificate has an RSA key of less than 2048 bits";
    let weak = "DEFAULT:@SECLEVEL=0";
    let table: [(&str, &[&str], &str); 8] = [
        ("rsa:2048", &["-tls1_2", "-cipher", "ECDHE-RSA-AES256-SHA384"], suites),
        ("rsa:2048", &["-tls1_2", "-cipher", "AES128-GCM-SHA256"], suites),
        ("rsa:2048", &["-tls1_2", "-Verify", "1"], suites),
        ("rsa:2048", &["-tls1_2", "-groups", "P-521"], suites),
        ("rsa:2048", &["-tls1_1", "-cipher", weak], old),
        ("rsa:2048", &["-tls1", "-cipher", weak], old),
        ("rsa:1024", &["-tls1_3", "-cipher", weak], short),
        ("rsa:1024", &["-tls1_2", "-cipher", weak], short),
    ];
    for (bits, server, text) in table {
        assert_eq!(met_openssl(&rsa(bits), server).await, text, "{bits} {server:?}");
    }
}

#[tokio::test]
async fn a_deadline_names_what_was_going_on() {
    let queue = tokio::net::TcpSocket::new_v4().unwrap();
    queue.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = queue.listen(0).unwrap();
    let address = full.local_addr().unwrap();
    let _first = tokio::net::TcpStream::connect(address).await.unwrap();
    let full = Endpoint { port: address.port(), connections: Arc::default() };
    assert_eq!(met_in_time(&full).await, "timed out after 0.5 s while connecting");

    let mute = listen(|stream| async move {
        let _kept = stream;
        std::future::pending::<()>().await;
    })
    .await;
    assert_eq!(met_in_time(&mute).await, "timed out after 0.5 s while negotiating TLS");

    let waiting = "timed out after 0.5 s while waiting for the response";
    assert_eq!(met_in_time(&answering("").await).await, waiting);
    assert_eq!(met_in_time(&dripping_after(b"HTTP/1.1 200 X\r\nlong: ").await).await, waiting);
    assert_eq!(met_in_time(&answering("HTTP/1.1 103 X\r\n\r\n".repeat(50)).await).await, waiting);
}

#[tokio::test]
async fn a_port_where_nobody_listens_refuses() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    assert_eq!(met(&Endpoint { port, connections: Arc::default() }).await, "connection refused");
}

#[tokio::test]
async fn nobody_is_connected_to_who_is_not_allowed() {
    let endpoint = answering("HTTP/1.1 200 X\r\ncontent-length: 0\r\n\r\n").await;
    let nobody = sender(PATIENT, "");
    let refused = attempt(&nobody, &endpoint).await;
    let why = words(&refused);
    assert!(why.starts_with("refused: refused to connect: localhost resolves to 127.0.0.1; "), "{why}");

    let everybody = sender(PATIENT, "0.0.0.0/0,::/0");
    for host in ["127.0.0.1", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]"] {
        let refused = everybody.attempt(request(&format!("https://{host}:{}/", endpoint.port))).await.unwrap();
        assert!(words(&refused).ends_with("is an IP address; a host name is needed"), "{refused:?}");
    }
    let plain = everybody.attempt(request(&format!("http://localhost:{}/", endpoint.port))).await.unwrap();
    assert_eq!(words(&plain), "refused: http: requests are sent with https only");
    assert_eq!(endpoint.connections.load(Ordering::SeqCst), 0);
}

#[test]
fn secrets_and_paths_are_in_no_debug_text() {
    let text = format!("{:?} {:?}", request("https://localhost/hidden?key=hidden"), sender(PATIENT, loopback()));
    assert!(text.contains("authorization") && !text.contains("sesame") && !text.contains("hidden"), "{text}");
}
