//! Answers that are wrong, endless or meant to do harm: each ends as the table of outcomes says, and is told in the
//! log.

use std::time::Duration;

use serde_json::Value;

use super::hostile::*;
use crate::support::*;

const TIMED_OUT: &str = "timed out after 1 s while waiting for the response";
const CLOSED: &str = "connection closed while waiting for the response";
const RESET: &str = "connection reset while waiting for the response";
const TOO_LARGE: &str = "invalid HTTP response (its headers are too large)";
const TOO_MUCH: &str = "invalid HTTP response (it exceeds the size limit)";
const NOT_HTTP: &str = "invalid HTTP response (not HTTP)";
const BAD_HEADERS: &str = "invalid HTTP response (its headers are malformed)";
const BAD_LENGTH: &str = "invalid HTTP response (its Content-Length header is malformed)";
const BAD_STATUS: &str = "invalid HTTP response (its status line is malformed)";
const DELIVERED: &str = "200";
/// An empty SETTINGS frame (RFC 9113, 6.5), which a server that supports only HTTP/2 sends first.
const HTTP_2_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

type Row = (&'static str, Vec<Act>, &'static str);

/// Delivers an event to each row's endpoint, all at once, one attempt each, and compares the log entries.
async fn assert_outcomes(rows: Vec<Row>) {
    let authority = Receiver::start().await;
    let here = Installation::new(&authority).await;
    let mut expected = Vec::new();
    for (number, (name, script, met)) in rows.into_iter().enumerate() {
        let floods = script.iter().any(|act| matches!(act, Act::Flood(_)));
        let endpoint = Hostile::start(script).await;
        let account = format!("account-{number}");
        let webhook = here.add(&account, &endpoint.url()).await;
        here.push(&account, TRANSCRIPT).await;
        expected.push((name, webhook, met, endpoint, floods));
    }
    let _worker = here.program.worker([("LYNKHOOK_DELIVERY__TIMEOUT", "1s"), ("LYNKHOOK_DELIVERY__RETRY_DELAYS", "")]);
    let mut wrong = Vec::new();
    for (name, webhook, met, ..) in &expected {
        let log = here.finished(*webhook).await;
        assert_eq!(log.len(), 1, "{name}: {log:#?}");
        let took = Duration::from_millis(log[0]["durationMs"].as_u64().unwrap());
        assert!(took < Duration::from_secs(3), "{name}: {}", log[0]);
        // A client that is writing when the reset arrives gets a closed connection instead.
        let same = words(&log[0]) == *met || (*met == RESET && words(&log[0]) == CLOSED);
        if !same {
            wrong.push(format!("{name}: {} instead of {met}", words(&log[0])));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    here.drained().await;
    // A flood ends by itself, not by an unanswered ping after a long time.
    for (name, .., endpoint, floods) in &expected {
        if *floods {
            let gone = async || (endpoint.connections() == 0).then_some(());
            eventually(Duration::from_secs(3), &format!("{name}: the connection is closed"), gone).await;
        }
    }
}

/// The status of a delivery, or its error.
fn words(entry: &Value) -> String {
    entry["error"].as_str().map_or_else(|| entry["httpStatus"].to_string(), str::to_owned)
}

fn after_200(rest: &str) -> Act {
    send(format!("HTTP/1.1 200 OK\r\n{rest}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_never_end_or_are_too_many_are_network_errors() {
    let many = |count: usize| format!("{}\r\n", "a: b\r\n".repeat(count));
    let rows = vec![
        ("a header that drips", vec![after_200("long: "), drip("x")], TIMED_OUT),
        ("headers that drip", vec![after_200(""), drip("a: b\r\n")], TIMED_OUT),
        ("a status line that drips", vec![send("HTTP/1.1 200 "), drip("x")], TIMED_OUT),
        ("4 MiB in one header", vec![after_200(&format!("long: {}\r\n\r\n", "x".repeat(4 << 20)))], TOO_LARGE),
        ("4 MiB in small headers", vec![after_200(&many(4 << 20 >> 3))], TOO_LARGE),
        ("15 KiB in one header", vec![after_200(&format!("long: {}\r\n\r\n", "x".repeat(15 << 10)))], DELIVERED),
        ("17 KiB in one header", vec![after_200(&format!("long: {}\r\n\r\n", "x".repeat(17 << 10)))], TOO_LARGE),
        ("10,000 headers", vec![after_200(&many(10_000)), after_200("\r\n")], TOO_LARGE),
        ("101 headers", vec![after_200(&many(101))], TOO_LARGE),
        ("100 headers", vec![after_200(&many(100)), Act::Close], DELIVERED),
        ("a header without end", vec![after_200("long: "), flood("x")], TOO_LARGE),
        ("a status line without end", vec![send("HTTP/1.1 200 "), flood("x")], TOO_LARGE),
        ("empty lines without end", vec![flood("\r\n")], TOO_LARGE),
        ("100 without end", vec![flood("HTTP/1.1 100 Continue\r\n\r\n")], TOO_MUCH),
        ("102 without end", vec![flood("HTTP/1.1 102 Processing\r\n\r\n")], TOO_MUCH),
        ("103 without end", vec![flood("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n")], TOO_MUCH),
        ("103 that drips", vec![drip("HTTP/1.1 103 Early Hints\r\n\r\n")], TIMED_OUT),
        ("1xx, then a final status", vec![send("HTTP/1.1 103 X\r\n\r\n".repeat(1000)), after_200("\r\n")], DELIVERED),
        ("silence", vec![], TIMED_OUT),
    ];
    assert_outcomes(rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_body_does_the_status_before_it_counts() {
    // The beginning of a gigabyte of zeros in gzip; the rest consists of zeros as well.
    let bomb = [
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 1048576\r\n\r\n".as_slice(),
        b"\x1f\x8b\x08\0\0\0\0\0\x02\x03\xec\xc1\x01\x01\0\0\0\x80\x90\xfe\xaf\xee\x08\x0a\0",
    ]
    .concat();
    let chunked = "transfer-encoding: chunked\r\n\r\n";
    let length = "content-length: 1000\r\n\r\n";
    let rows = vec![
        ("drips", vec![after_200(length), drip("x")], DELIVERED),
        ("drips in chunks", vec![after_200(chunked), drip("1\r\nx\r\n")], DELIVERED),
        ("silent", vec![after_200(length)], DELIVERED),
        (
            "endless with a length",
            vec![after_200("content-length: 9223372036854775807\r\n\r\n"), flood("x")],
            DELIVERED,
        ),
        (
            "endless in chunks",
            vec![after_200(chunked), flood("1000\r\n".to_owned() + &"x".repeat(4096) + "\r\n")],
            DELIVERED,
        ),
        ("endless until the close", vec![after_200("connection: close\r\n\r\n"), flood("x")], DELIVERED),
        ("a compressed bomb", vec![send(bomb), flood("\0")], DELIVERED),
        (
            "a compressed bomb in chunks",
            vec![
                after_200("content-encoding: gzip\r\ntransfer-encoding: gzip, chunked\r\n\r\n"),
                flood("1000\r\n".to_owned() + &"\0".repeat(4096) + "\r\n"),
            ],
            DELIVERED,
        ),
        ("garbage for chunks", vec![after_200(chunked), send("no chunk\r\n\r\n")], DELIVERED),
        ("a chunk's size that overflows", vec![after_200(chunked), send("fffffffffffffffff\r\nx")], DELIVERED),
        ("a chunk's extension without end", vec![after_200(chunked), send("1;"), flood("x")], DELIVERED),
        ("trailers without end", vec![after_200(chunked), send("0\r\n"), flood("a: b\r\n")], DELIVERED),
        ("shorter than announced", vec![after_200(length), send("x"), Act::Close], DELIVERED),
        ("longer than announced", vec![after_200("content-length: 1\r\n\r\n"), flood("x")], DELIVERED),
        ("a reset", vec![after_200(length), send("x"), Act::Reset], DELIVERED),
        ("a close", vec![after_200(length), Act::Close], DELIVERED),
    ];
    assert_outcomes(rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_one_is_a_network_error_that_says_so() {
    let rows = vec![
        ("a close before the headers", vec![Act::Close], CLOSED),
        ("a reset before the headers", vec![Act::Reset], RESET),
        ("a close in the headers", vec![after_200("half-a-he"), Act::Close], CLOSED),
        ("a reset in the headers", vec![after_200("half-a-he"), Act::Reset], RESET),
        ("another protocol", vec![send("SSH-2.0-OpenSSH_9.2\r\n\r\n")], NOT_HTTP),
        ("HTTP/0.9", vec![send("<html>hello</html>"), Act::Close], NOT_HTTP),
        ("an unknown version", vec![send("HTTP/3.0 200 OK\r\n\r\n")], NOT_HTTP),
        ("HTTP/2 without being asked", vec![send(HTTP_2_SETTINGS)], NOT_HTTP),
        ("a status of four digits", vec![send("HTTP/1.1 2000 OK\r\n\r\n")], BAD_STATUS),
        ("a status below 100", vec![send("HTTP/1.1 099 OK\r\n\r\n")], BAD_STATUS),
        ("a NUL in a header", vec![after_200("a: b\0c\r\n\r\n")], BAD_HEADERS),
        ("a header without a name", vec![after_200(": b\r\n\r\n")], BAD_HEADERS),
        ("a folded header", vec![after_200("a: b\r\n c: d\r\n\r\n")], BAD_HEADERS),
        ("two lengths", vec![after_200("content-length: 1\r\ncontent-length: 2\r\n\r\n")], BAD_LENGTH),
        ("a negative length", vec![after_200("content-length: -1\r\n\r\n")], BAD_LENGTH),
        (
            "another protocol agreed to",
            vec![send("HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n")],
            "invalid HTTP response (status 101 as the final one)",
        ),
        ("HTTP/1.0", vec![send("HTTP/1.0 200 OK\r\n\r\nhello"), Act::Close], DELIVERED),
    ];
    assert_outcomes(rows).await;
}
