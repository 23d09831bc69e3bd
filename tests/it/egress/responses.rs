//! Answers that are wrong, endless or meant to do harm: each ends as the table of outcomes says, and is told in the log.

use std::time::Duration;

use serde_json::Value;

use super::hostile::*;
use crate::support::*;

const TIMED_OUT: &str = "timed out after 1 s while waiting for the response";
const CLOSED: &str = "connection closed while waiting for the response";
const RESET: &str = "connection reset while waiting for the response";
const TOO_LARGE: &str = "invalid HTTP response (its headers are too large)";
const TOO_MUCH: &str = "invalid HTTP response (more was sent than a response may hold)";
const NOT_HTTP: &str = "invalid HTTP response (not HTTP)";
const BAD_STATUS: &str = "invalid HTTP response (its status line is malformed)";
const DELIVERED: &str = "200";
const PROTOCOL_ERROR: &str = "invalid HTTP response (it breaks a rule or a limit of HTTP/2: PROTOCOL_ERROR)";

type Row = (&'static str, Vec<Act>, &'static str);

/// Delivers an event to each row's endpoint, all at once, one attempt each, and compares what the log says.
async fn assert_outcomes(rows: Vec<Row>, http2: bool) {
    let authority = Receiver::start().await;
    let here = Installation::new(&authority).await;
    let mut expected = Vec::new();
    for (number, (name, script, met)) in rows.into_iter().enumerate() {
        let floods = script.iter().any(|act| matches!(act, Act::Flood(_)));
        let endpoint = if http2 { Hostile::http2(script).await } else { Hostile::http1(script).await };
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
        // A client that is just writing when the reset comes meets a closed connection instead.
        let same = words(&log[0]) == *met || (*met == RESET && words(&log[0]) == CLOSED);
        if !same {
            wrong.push(format!("{name}: {} instead of {met}", words(&log[0])));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    here.drained().await;
    // A flood ends by itself, and not when a ping was not answered for long.
    for (name, .., endpoint, floods) in &expected {
        if *floods {
            let gone = async || (endpoint.connections() == 0).then_some(());
            eventually(Duration::from_secs(3), &format!("{name}: the connection is closed"), gone).await;
        }
    }
}

/// The status of a delivery, or the error.
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
    assert_outcomes(rows, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_body_does_the_status_before_it_counts() {
    // How gzip begins a gigabyte of zeros; the rest is zeros too.
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
    assert_outcomes(rows, false).await;
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
        ("HTTP/2 without being asked", vec![send(frame(SETTINGS, 0, 0, []))], NOT_HTTP),
        ("a status of four digits", vec![send("HTTP/1.1 2000 OK\r\n\r\n")], BAD_STATUS),
        ("a status below 100", vec![send("HTTP/1.1 099 OK\r\n\r\n")], BAD_STATUS),
        ("a NUL in a header", vec![after_200("a: b\0c\r\n\r\n")], NOT_HTTP),
        ("a header without a name", vec![after_200(": b\r\n\r\n")], NOT_HTTP),
        ("a folded header", vec![after_200("a: b\r\n c: d\r\n\r\n")], NOT_HTTP),
        ("two lengths", vec![after_200("content-length: 1\r\ncontent-length: 2\r\n\r\n")], NOT_HTTP),
        ("a negative length", vec![after_200("content-length: -1\r\n\r\n")], NOT_HTTP),
        (
            "another protocol agreed to",
            vec![send("HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n")],
            "invalid HTTP response (status 101 as the final one)",
        ),
        ("HTTP/1.0", vec![send("HTTP/1.0 200 OK\r\n\r\nhello"), Act::Close], DELIVERED),
    ];
    assert_outcomes(rows, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_2_stream_or_connection_that_the_endpoint_ends_is_told_with_its_reason() {
    let reset = |code: u32| vec![send(frame(RST_STREAM, 0, 1, code.to_be_bytes()))];
    let go_away = |code: u32| vec![send(frame(GOAWAY, 0, 0, [0_u32.to_be_bytes(), code.to_be_bytes()].concat()))];
    let ok = || send(frame(HEADERS, END_HEADERS, 1, STATUS_200));
    let rows = vec![
        ("no error", reset(0), "connection reset by the endpoint (HTTP/2 stream reset: NO_ERROR)"),
        ("internal error", reset(2), "connection reset by the endpoint (HTTP/2 stream reset: INTERNAL_ERROR)"),
        ("refused", reset(7), "connection reset by the endpoint (HTTP/2 stream reset: REFUSED_STREAM)"),
        ("cancelled", reset(8), "connection reset by the endpoint (HTTP/2 stream reset: CANCEL)"),
        ("calm", reset(11), "connection reset by the endpoint (HTTP/2 stream reset: ENHANCE_YOUR_CALM)"),
        ("HTTP/1.1", reset(13), "connection reset by the endpoint (HTTP/2 stream reset: HTTP_1_1_REQUIRED)"),
        ("unnamed", reset(4242), "connection reset by the endpoint (HTTP/2 stream reset: code 4242)"),
        ("goes away", go_away(0), "HTTP/2 connection ended by the endpoint (GOAWAY: NO_ERROR)"),
        ("goes away calmly", go_away(11), "HTTP/2 connection ended by the endpoint (GOAWAY: ENHANCE_YOUR_CALM)"),
        ("goes away in error", go_away(1), "HTTP/2 connection ended by the endpoint (GOAWAY: PROTOCOL_ERROR)"),
        ("reset after the headers", [vec![ok()], reset(2)].concat(), DELIVERED),
        ("goes away after the headers", [vec![ok()], go_away(11)].concat(), DELIVERED),
        ("closes", vec![Act::Close], CLOSED),
        ("resets the connection", vec![Act::Reset], RESET),
        ("closes after the headers", vec![ok(), Act::Close], DELIVERED),
        ("says nothing", vec![], TIMED_OUT),
    ];
    assert_outcomes(rows, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_over_http_2_end_with_the_attempt_or_before_and_so_do_their_connections() {
    let headers = |flags: u8, block: &[u8]| frame(HEADERS, flags, 1, block);
    let ok = || send(headers(END_HEADERS, STATUS_200));
    let many = |count: usize| literal("a", &"b".repeat(100)).repeat(count);
    // One header of 4,000 bytes is put into the table once and then named 10,000 times, a byte each.
    let bomb = [STATUS_200, b"\x40\x01a\x7f\xa1\x1e", &[b'b'; 4000], &[0xbe; 10_000]].concat();
    let enough = [STATUS_200, &many(100)].concat();
    let too_many = [STATUS_200, &many(155)].concat();
    let part = many(155);
    let calm = "invalid HTTP response (it breaks a rule or a limit of HTTP/2: ENHANCE_YOUR_CALM)";
    let frame_size = "invalid HTTP response (it breaks a rule or a limit of HTTP/2: FRAME_SIZE_ERROR)";
    let flow_control = "invalid HTTP response (it breaks a rule or a limit of HTTP/2: FLOW_CONTROL_ERROR)";
    let rows = vec![
        ("103 without end", vec![flood(headers(END_HEADERS, STATUS_103))], TOO_MUCH),
        ("103 that drips", vec![drip(headers(END_HEADERS, STATUS_103))], TIMED_OUT),
        ("headers within the limit", vec![send(headers(END_HEADERS | END_STREAM, &enough))], DELIVERED),
        ("headers beyond the limit", vec![send(headers(END_HEADERS | END_STREAM, &too_many))], PROTOCOL_ERROR),
        ("a bomb in HPACK", vec![send(headers(END_HEADERS | END_STREAM, &bomb))], calm),
        (
            "4 MiB of headers",
            vec![send(headers(0, STATUS_200)), send(frame(CONTINUATION, 0, 1, &part).repeat(256))],
            calm,
        ),
        (
            "continuations without end",
            vec![send(headers(0, STATUS_200)), flood(frame(CONTINUATION, 0, 1, "\0\x01a\x01b"))],
            calm,
        ),
        ("empty continuations", vec![send(headers(0, STATUS_200)), flood(frame(CONTINUATION, 0, 1, ""))], calm),
        ("continuations that drip", vec![send(headers(0, STATUS_200)), drip(frame(CONTINUATION, 0, 1, ""))], calm),
        ("settings without end", vec![flood(frame(SETTINGS, 0, 0, [0, 4, 0, 0, 0xff, 0xff]))], TOO_MUCH),
        ("pings without end", vec![flood(frame(PING, 0, 0, [0; 8]))], TOO_MUCH),
        ("window updates without end", vec![flood(frame(WINDOW_UPDATE, 0, 1, 1_u32.to_be_bytes()))], TOO_MUCH),
        ("unknown frames without end", vec![flood(frame(0xfa, 0, 0, [0; 1000]))], TOO_MUCH),
        ("data without end", vec![ok(), flood(frame(DATA, 0, 1, [0; 16_384]))], DELIVERED),
        ("empty data without end", vec![ok(), flood(frame(DATA, 0, 1, []))], DELIVERED),
        ("data that drips", vec![ok(), drip(frame(DATA, 0, 1, "x"))], DELIVERED),
        (
            "trailers without end",
            vec![ok(), send(headers(0, b"\0\x01a\x01b")), flood(frame(CONTINUATION, 0, 1, &part))],
            DELIVERED,
        ),
        ("a stream nobody opened", vec![send(frame(HEADERS, END_HEADERS, 3, STATUS_200))], PROTOCOL_ERROR),
        ("a pushed stream", vec![send(frame(PUSH_PROMISE, END_HEADERS, 1, [0, 0, 0, 2, 0x88]))], PROTOCOL_ERROR),
        ("data before the headers", vec![send(frame(DATA, 0, 1, "x"))], PROTOCOL_ERROR),
        ("headers without a status", vec![send(headers(END_HEADERS, &literal("a", "b")))], PROTOCOL_ERROR),
        ("a frame beyond the limit", vec![send(frame(DATA, 0, 1, [0; 70_000]))], frame_size),
        ("HTTP/1.1", vec![send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")], frame_size),
        (
            "a window that overflows",
            vec![send(frame(WINDOW_UPDATE, 0, 0, 0x7fff_ffff_u32.to_be_bytes()).repeat(2))],
            flow_control,
        ),
    ];
    assert_outcomes(rows, true).await;
}
