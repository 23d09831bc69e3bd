//! How connections are agreed on, kept and used again.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::{Response, Version};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use rustls::HandshakeKind;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{Notify, mpsc},
};
use tokio_rustls::TlsAcceptor;

use super::{
    PATIENT, Sender, attempt,
    endpoint::{Endpoint, answering, good_tls, listen, listen_tls, read_request},
    loopback, met, sender, words,
};
use crate::domain::outcome::Phases;

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

/// The first connection answers when told to; a second one is accepted and left alone.
#[tokio::test]
async fn an_attempt_that_takes_over_a_freed_connection_is_not_blamed_for_its_own_connect() {
    let acceptor = TlsAcceptor::from(Arc::new(good_tls()));
    let (begun, first_is_asked, second_is_there) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (asked, there) = (first_is_asked.clone(), second_is_there.clone());
    let second_is_left = Arc::new(Notify::new());
    let left = second_is_left.clone();
    let endpoint = listen(move |stream| {
        let (acceptor, begun, asked, there) = (acceptor.clone(), begun.clone(), asked.clone(), there.clone());
        let left = left.clone();
        async move {
            if begun.fetch_add(1, Ordering::SeqCst) > 0 {
                there.notify_one();
                // Never a word, and read until the other side gives up.
                let _ = tokio::io::copy(&mut { stream }, &mut tokio::io::sink()).await;
                return left.notify_one();
            }
            let mut stream = acceptor.accept(stream).await.unwrap();
            read_request(&mut stream).await.unwrap();
            asked.notify_one();
            there.notified().await;
            stream.write_all(OK).await.unwrap();
            read_request(&mut stream).await.unwrap();
            stream.write_all(OK).await.unwrap();
        }
    })
    .await;
    let endpoint = Arc::new(endpoint);
    let sender = sender(PATIENT, loopback());
    let first = tokio::spawn({
        let (sender, endpoint) = (sender.clone(), endpoint.clone());
        async move { attempt(&sender, &endpoint).await }
    });
    first_is_asked.notified().await;
    let second = attempt(&sender, &endpoint).await;
    assert_eq!(words(&first.await.unwrap()), "200");
    assert_eq!(words(&second), "200");
    assert_eq!(Phases { first_byte: None, ..second.phases }, Phases::default());
    assert!(second.phases.first_byte.is_some());
    // No attempt's deadline holds the second connection any more, and yet it does not stay.
    tokio::time::timeout(PATIENT, second_is_left.notified()).await.expect("its socket is given up");
}

/// An HTTP/2 endpoint that answers, or fails a stream, as `answer` says.
async fn http_2(answer: fn() -> io::Result<Response<String>>, versions: mpsc::UnboundedSender<Version>) -> Endpoint {
    let mut tls = good_tls();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    listen_tls(tls, move |stream| {
        let versions = versions.clone();
        async move {
            let service = service_fn(move |request: http::Request<Incoming>| {
                versions.send(request.version()).unwrap();
                async move { answer() }
            });
            let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        }
    })
    .await
}

#[tokio::test]
async fn http_2_is_spoken_where_the_endpoint_offers_it() {
    let (seen, mut versions) = mpsc::unbounded_channel();
    let endpoint = http_2(|| Ok(Response::new("ok".to_owned())), seen).await;
    assert_eq!(met(&endpoint).await, "200");
    assert_eq!(versions.recv().await, Some(Version::HTTP_2));
}

async fn all_are_delivered_at_once(count: usize, sender: &Sender, endpoint: &Arc<Endpoint>) {
    let mut attempts = tokio::task::JoinSet::new();
    for _ in 0..count {
        let (sender, endpoint) = (sender.clone(), endpoint.clone());
        attempts.spawn(async move { attempt(&sender, &endpoint).await });
    }
    for attempt in attempts.join_all().await {
        assert_eq!(words(&attempt), "200");
    }
}

#[tokio::test]
async fn many_attempts_at_once_share_an_http_2_connection_and_none_is_lost() {
    let (seen, _versions) = mpsc::unbounded_channel();
    let endpoint = Arc::new(http_2(|| Ok(Response::new("ok".to_owned())), seen).await);
    let sender = sender(PATIENT, loopback());
    all_are_delivered_at_once(50, &sender, &endpoint).await;
}

#[tokio::test]
async fn bodies_far_beyond_the_limit_cost_an_http_2_connection_none_of_its_other_streams() {
    static ANSWERED: AtomicUsize = AtomicUsize::new(0);
    let answer = || {
        let long = !ANSWERED.fetch_add(1, Ordering::SeqCst).is_multiple_of(3);
        Ok(Response::new("x".repeat(if long { 300_000 } else { 10 })))
    };
    let (seen, _versions) = mpsc::unbounded_channel();
    let endpoint = Arc::new(http_2(answer, seen).await);
    let sender = sender(PATIENT, loopback());
    assert_eq!(words(&attempt(&sender, &endpoint).await), "200");
    for _ in 0..10 {
        all_are_delivered_at_once(60, &sender, &endpoint).await;
    }
    assert_eq!(endpoint.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_http_2_stream_that_is_reset_names_the_endpoints_reason() {
    let (seen, _versions) = mpsc::unbounded_channel();
    let endpoint = http_2(|| Err(io::Error::other("no")), seen).await;
    assert_eq!(met(&endpoint).await, "connection reset by the endpoint (HTTP/2 stream reset: INTERNAL_ERROR)");
}

#[tokio::test]
async fn an_http_2_connection_that_ends_without_an_answer_was_closed() {
    let mut tls = good_tls();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let endpoint = listen_tls(tls, |mut stream| async move {
        stream.read_u8().await.unwrap();
        stream.shutdown().await.unwrap();
    })
    .await;
    assert_eq!(met(&endpoint).await, "connection closed while waiting for the response");
}
