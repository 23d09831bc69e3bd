//! Tests of connections: negotiated, kept and used again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rustls::HandshakeKind;
use tokio::{io::AsyncWriteExt, sync::mpsc, task::JoinSet};
use tokio_rustls::TlsAcceptor;

use super::{
    IMPATIENT, PATIENT, attempt,
    endpoint::{Endpoint, answering, good_tls, listen, listen_tls, read_request},
    loopback, met, request, sender, words,
};
use crate::sender::NotMade;

const OK: &[u8] = b"HTTP/1.1 200 X\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn a_second_request_uses_the_first_ones_connection() {
    let endpoint = answering("HTTP/1.1 200 X\r\ncontent-length: 2\r\n\r\nok").await;
    let sender = sender(PATIENT, loopback());
    let first = attempt(&sender, &endpoint).await.phases;
    assert!(first.dns.is_some() && first.connect.is_some() && first.tls.is_some() && first.first_byte.is_some());
    let second = attempt(&sender.clone(), &endpoint).await.phases;
    assert!(second.dns.is_none() && second.connect.is_none() && second.tls.is_none() && second.first_byte.is_some());
    assert_eq!(endpoint.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_body_within_the_limit_keeps_the_connection_and_one_far_beyond_does_not() {
    for (bytes, connections) in [(1000, 1), (4 << 20, 2)] {
        for head in
            [format!("content-length: {bytes}\r\n\r\n"), format!("transfer-encoding: chunked\r\n\r\n{bytes:x}\r\n")]
        {
            let end = if head.contains("chunked") { "\r\n0\r\n\r\n" } else { "" };
            let endpoint = answering(format!("HTTP/1.1 200 X\r\n{head}{}{end}", "x".repeat(bytes))).await;
            let sender = sender(PATIENT, loopback());
            assert_eq!(words(&attempt(&sender, &endpoint).await), "200");
            assert_eq!(words(&attempt(&sender, &endpoint).await), "200");
            assert_eq!(endpoint.connections.load(Ordering::SeqCst), connections, "{bytes} {head}");
        }
    }
}

#[tokio::test]
async fn a_second_connection_resumes_the_first_ones_session() {
    let (seen, mut handshakes) = mpsc::unbounded_channel();
    let endpoint = listen_tls(good_tls(), move |mut stream| {
        let seen = seen.clone();
        async move {
            read_request(&mut stream).await;
            seen.send(stream.get_ref().1.handshake_kind()).unwrap();
            stream.write_all(b"HTTP/1.1 200 X\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            let _ = stream.shutdown().await;
        }
    })
    .await;
    let sender = sender(PATIENT, loopback());
    attempt(&sender, &endpoint).await;
    attempt(&sender, &endpoint).await;
    assert_ne!(handshakes.recv().await, Some(Some(HandshakeKind::Resumed)));
    assert_eq!(handshakes.recv().await, Some(Some(HandshakeKind::Resumed)));
}

/// Answers each request with `OK`, and then does `then` to the connection.
async fn after_each_answer<F: Future<Output = bool> + Send + 'static>(
    then: impl Fn(Arc<AtomicUsize>) -> F + Clone + Send + Sync + 'static,
) -> Endpoint {
    let answered = Arc::new(AtomicUsize::new(0));
    listen_tls(good_tls(), move |mut stream| {
        let (then, answered) = (then.clone(), answered.clone());
        async move {
            while read_request(&mut stream).await.is_some() {
                stream.write_all(OK).await.unwrap();
                stream.flush().await.unwrap();
                answered.fetch_add(1, Ordering::SeqCst);
                if !then(answered.clone()).await {
                    return;
                }
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_request_meets_no_connection_that_its_endpoint_closed() {
    let endpoint = after_each_answer(|_| async { false }).await;
    let sender = sender(PATIENT, loopback());
    for attempts in 1..=50 {
        assert_eq!(words(&attempt(&sender, &endpoint).await), "200");
        assert_eq!(endpoint.connections.load(Ordering::SeqCst), attempts);
    }
}

#[tokio::test]
async fn a_dead_connection_fails_one_attempt_and_the_next_one_gets_a_new_connection() {
    // A connection that has brought its answer resets with the next request.
    let endpoint = listen_tls(good_tls(), |mut stream| async move {
        read_request(&mut stream).await;
        stream.write_all(OK).await.unwrap();
        stream.flush().await.unwrap();
        read_request(&mut stream).await;
        stream.get_ref().0.set_zero_linger().unwrap();
    })
    .await;
    let sender = sender(PATIENT, loopback());
    let url = format!("https://localhost:{}/", endpoint.port);
    let mut failures = 0;
    for _ in 0..20 {
        let first = words(&sender.attempt(request(&url)).await.unwrap());
        if first == "200" {
            continue;
        }
        failures += 1;
        assert!(first.starts_with("connection reset") || first.starts_with("connection closed"), "{first}");
        let mut second = request(&url);
        second.answered_within = Some(Duration::ZERO);
        assert_eq!(words(&sender.attempt(second).await.unwrap()), "200");
    }
    assert_eq!(failures, 2, "from then on none is reused");
}

#[tokio::test]
async fn a_connection_that_brings_more_than_its_answer_is_not_used_again() {
    for response in [
        "HTTP/1.1 200 X\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 X\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 X\r\n\r\nok",
    ] {
        let endpoint = listen_tls(good_tls(), move |mut stream| async move {
            read_request(&mut stream).await;
            stream.write_all(response.as_bytes()).await.unwrap();
            let _ = stream.shutdown().await;
            let _ = read_request(&mut stream).await;
        })
        .await;
        let sender = sender(PATIENT, loopback());
        for connections in 1..=5 {
            assert_eq!(words(&attempt(&sender, &endpoint).await), "200");
            assert_eq!(endpoint.connections.load(Ordering::SeqCst), connections);
        }
    }
}

#[tokio::test]
async fn a_connection_is_given_up_before_the_time_for_which_its_endpoint_keeps_it() {
    for (said, connections) in [("timeout=1", 2), ("max=100, timeout=5", 1), ("nonsense", 1)] {
        let answer = format!("HTTP/1.1 200 X\r\nkeep-alive: {said}\r\ncontent-length: 0\r\n\r\n");
        let endpoint = answering(answer).await;
        let sender = sender(PATIENT, loopback());
        attempt(&sender, &endpoint).await;
        attempt(&sender, &endpoint).await;
        assert_eq!(endpoint.connections.load(Ordering::SeqCst), connections, "{said}");
    }
}

#[tokio::test]
async fn an_answer_that_comes_before_the_request_was_read_counts() {
    for status in ["200", "401", "413", "503"] {
        let endpoint = listen_tls(good_tls(), move |mut stream| async move {
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 100]).await;
            let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.flush().await;
        })
        .await;
        let sender = sender(PATIENT, loopback());
        let mut seen = 0;
        for _ in 0..50 {
            let mut large = request(&format!("https://localhost:{}/", endpoint.port));
            large.body = vec![b'x'; 900_000].into();
            seen += usize::from(words(&sender.attempt(large).await.unwrap()) == status);
        }
        assert!(seen >= 48, "{status} came {seen} times of 50");
    }
}

#[tokio::test]
async fn a_refused_connection_is_no_attempt_if_others_show_that_it_is_the_hosts_limit() {
    let (open, most) = (Arc::new(AtomicUsize::new(0)), 3);
    let acceptor = TlsAcceptor::from(Arc::new(good_tls()));
    let endpoint = Arc::new(
        listen(move |stream| {
            let (acceptor, open) = (acceptor.clone(), open.clone());
            async move {
                if open.fetch_add(1, Ordering::SeqCst) < most {
                    let mut stream = acceptor.accept(stream).await.unwrap();
                    while read_request(&mut stream).await.is_some() {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        stream.write_all(OK).await.unwrap();
                    }
                }
                open.fetch_sub(1, Ordering::SeqCst);
            }
        })
        .await,
    );
    let sender = sender(PATIENT, loopback());
    let url = format!("https://localhost:{}/", endpoint.port);
    assert_eq!(words(&attempt(&sender, &endpoint).await), "200");
    for _ in 0..3 {
        let mut attempts = JoinSet::new();
        for _ in 0..8 {
            let (sender, request) = (sender.clone(), request(&url));
            attempts.spawn(async move { sender.attempt(request).await });
        }
        let (made, not_made): (Vec<_>, Vec<_>) = attempts.join_all().await.into_iter().partition(Result::is_ok);
        assert!(made.iter().flatten().all(|attempt| words(attempt) == "200"), "{made:?}");
        assert_eq!(made.len(), most);
        assert!(not_made.iter().all(|why| matches!(why, Err(NotMade::HostFull))), "{not_made:?}");
        assert_eq!(sender.room(&format!("localhost:{}", endpoint.port)), most, "those are idle now");
    }
    assert_eq!(endpoint.connections.load(Ordering::SeqCst), 8, "the first three, and five that were refused once");
}

#[tokio::test]
async fn an_endpoint_that_closes_just_after_the_handshake_may_speak_http_2_only_unless_it_chose_http_1_1() {
    let closed = "connection closed while waiting for the response";
    let hint = "; the endpoint may support only HTTP/2";
    for (chosen, after_ms, more) in [(None, 0, hint), (None, 600, ""), (Some("http/1.1"), 0, "")] {
        let mut tls = good_tls();
        tls.alpn_protocols = chosen.into_iter().map(|name| name.as_bytes().to_vec()).collect();
        let endpoint = listen_tls(tls, move |mut stream| async move {
            read_request(&mut stream).await;
            tokio::time::sleep(Duration::from_millis(after_ms)).await;
            let _ = stream.shutdown().await;
        })
        .await;
        assert_eq!(met(&endpoint).await, format!("{closed}{more}"));
    }
}

#[tokio::test]
async fn two_hundred_attempts_in_turn_use_one_connection() {
    let endpoint = answering(OK).await;
    let sender = sender(PATIENT, loopback());
    for _ in 0..200 {
        assert_eq!(words(&attempt(&sender, &endpoint).await), "200");
    }
    assert_eq!(endpoint.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn however_an_attempt_ends_no_socket_is_left_in_the_books() {
    let mute = listen(|stream| async move {
        let _kept = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let refuses = Endpoint {
        port: std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port(),
        ..listen(|_| async {}).await
    };
    let sender = sender(IMPATIENT, loopback());
    for (name, endpoint) in [
        ("handshake", mute),
        ("refused", refuses),
        ("silent", answering("").await),
        ("endless", answering("HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\n").await),
        ("closes", answering("HTTP/1.1 200 X\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await),
    ] {
        attempt(&sender, &endpoint).await;
        assert_eq!(sender.0.connections.pool().sockets(), 0, "{name}");
    }
    let unmade = sender.attempt(request("https://hooks.test/")).await;
    assert_eq!(unmade, Err(NotMade::NoNameServer("no name server answers")), "also where the deadline ends a lookup");
    assert_eq!(sender.0.connections.pool().sockets(), 0, "lookup");
}
