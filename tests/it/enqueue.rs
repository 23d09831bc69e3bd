//! The producer and `lynkhook enqueue`, with a Redis of each test's own that is full, silent, refuses, or closes
//! connections.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use lynkhook::{
    config::Settings,
    domain::{account::AccountId, event::EnvelopeFault},
    producer::{EnqueueError, NewEvent, Producer},
    store::StoreError,
};

use crate::support::RedisServer;

/// The socket of a Redis, in its directory.
const SOCKET: &str = "s";
const ENVELOPE: &str = r#"{"event":"transcript.created","timestamp":"2026-03-26T14:32:00Z","data":{"messageId":"m1"}}"#;

/// A Redis of the test's own, with the default prefix, which the tests reach over a Unix socket.
struct Redis(RedisServer);

impl Redis {
    fn start() -> Self {
        Self(RedisServer::start_with_arguments(&["--unixsocket", SOCKET]))
    }

    fn url(&self) -> String {
        format!("redis+unix://{}", self.0.directory().join(SOCKET).display())
    }

    async fn producer(&self) -> Producer {
        let url = [("redis.url", self.url())];
        let settings = Settings::load_with(None, std::iter::empty::<(String, String)>(), &url).unwrap();
        Producer::connect(&settings).await.unwrap()
    }

    fn command<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::Cmd::new();
        command.arg(words);
        command.query(&mut redis::Client::open(self.url()).unwrap().get_connection().unwrap()).unwrap()
    }

    /// Closes the connections of all other clients.
    fn close_connections(&self) {
        self.command::<()>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    }

    /// The queue's entries: id, and fields with values.
    fn queue(&self) -> Vec<(String, Vec<String>)> {
        self.command(&["XRANGE", "lynkhook:{0}:queue", "-", "+"])
    }

    fn cli(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut run = self.run(arguments);
        let mut stdin = run.stdin.take().unwrap();
        let input = input.to_owned();
        // The program may end before it has read the whole input.
        let writing = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = run.wait_with_output().unwrap();
        writing.join().unwrap();
        output
    }

    fn run(&self, arguments: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_lynkhook"))
            .args(["enqueue", "--account", "acme"])
            .args(arguments)
            .env_clear()
            .env("LYNKHOOK_REDIS__URL", self.url())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }
}

fn acme() -> AccountId {
    "acme".parse().unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_has_its_answer_and_the_queue_has_the_bytes_as_they_were() {
    let redis = Redis::start();
    let producer = redis.producer().await;
    let spaced = format!(" {ENVELOPE}\n");
    let good = NewEvent::from_envelope(spaced.clone()).with_id("e-1".parse().unwrap());
    let events: Vec<_> = [good, NewEvent::from_envelope("[]"), NewEvent::from_envelope(ENVELOPE)]
        .into_iter()
        .map(|event| (acme(), event))
        .collect();
    let answers = producer.enqueue_all(&events).await;
    assert!(matches!(&answers[1], Err(EnqueueError::Refused(EnvelopeFault::NotAnObject))), "{answers:?}");
    let entries = [&answers[0], &answers[2]].map(|answer| answer.as_ref().unwrap().stream_id.clone());
    let expected = [
        (entries[0].clone(), ["account", "acme", "envelope", &spaced, "id", "e-1"].map(str::to_owned).to_vec()),
        (entries[1].clone(), ["account", "acme", "envelope", ENVELOPE].map(str::to_owned).to_vec()),
    ];
    assert_eq!(redis.queue(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_redis_lets_a_producer_connect_and_says_which_events_it_did_not_take() {
    let redis = Redis::start();
    drop(redis.producer().await);
    redis.command::<()>(&["CONFIG", "SET", "maxmemory", "8mb"]);
    let producer = redis.producer().await;
    let large = format!("{ENVELOPE}{}", " ".repeat(100_000));
    let events: Vec<_> = (0..500).map(|_| (acme(), NewEvent::from_envelope(large.clone()))).collect();
    let answers = producer.enqueue_all(&events).await;
    let accepted: Vec<_> = answers.iter().filter_map(|a| Some(a.as_ref().ok()?.stream_id.clone())).collect();
    let full = answers.iter().filter(|a| matches!(a, Err(EnqueueError::NotAccepted(StoreError::Full)))).count();
    assert!(!accepted.is_empty() && full > 0, "{} accepted, {full} not", accepted.len());
    assert_eq!(accepted.len() + full, 500);
    assert_eq!(accepted, redis.queue().into_iter().map(|(id, _)| id).collect::<Vec<_>>());
    // Connecting to a full Redis still works: a worker must be able to drain it.
    let again = redis.producer().await.enqueue(&acme(), &events[0].1).await;
    assert!(matches!(again, Err(EnqueueError::NotAccepted(StoreError::Full))), "{again:?}");
    let output = redis.cli(&[], large.as_bytes());
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_falls_silent_leaves_the_outcome_unknown_and_the_rest_unsent() {
    let redis = Redis::start();
    let url = [("redis.url", redis.url()), ("redis.response_timeout", "200ms".to_owned())];
    let settings = Settings::load_with(None, std::iter::empty::<(String, String)>(), &url).unwrap();
    let producer = Producer::connect(&settings).await.unwrap();
    redis.command::<()>(&["CLIENT", "PAUSE", "60000", "WRITE"]);
    let events: Vec<_> = (0..501).map(|_| (acme(), NewEvent::from_envelope(ENVELOPE))).collect();
    let answers = producer.enqueue_all(&events).await;
    assert!(answers[..500].iter().all(|a| matches!(a, Err(EnqueueError::Unknown(_)))), "{:?}", answers[0]);
    assert!(matches!(answers[500], Err(EnqueueError::NotAccepted(StoreError::Unreachable(_)))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_replaces_a_connection_that_was_closed_while_idle_and_enqueues_once() {
    let redis = Redis::start();
    let producer = redis.producer().await;
    for round in 1..=5 {
        let answer = producer.enqueue(&acme(), &NewEvent::from_envelope(ENVELOPE)).await;
        assert!(answer.is_ok(), "round {round}: {answer:?}");
        assert_eq!(redis.queue().len(), round);
        redis.close_connections();
        // Longer than the time for which a connection is trusted without a check.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_may_not_ping_replaces_a_closed_connection_as_well() {
    let redis = Redis::start();
    drop(redis.producer().await);
    redis.command::<()>(&["ACL", "SETUSER", "default", "-ping"]);
    let producer = redis.producer().await;
    for round in 1..=2 {
        let answer = producer.enqueue(&acme(), &NewEvent::from_envelope(ENVELOPE)).await;
        assert!(answer.is_ok(), "round {round}: {answer:?}");
        redis.close_connections();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(redis.queue().len(), 2);
}

#[test]
fn a_user_who_may_not_enqueue_is_told_which_right_to_ask_for_with_one_envelope_and_with_lines() {
    let redis = Redis::start();
    redis.command::<()>(&["ACL", "SETUSER", "default", "-xadd"]);
    for (input, end) in [
        (format!("{ENVELOPE}\n"), ""),
        (format!("{ENVELOPE}\n{ENVELOPE}\n"), "; 0 enqueued, 0 refused; continue from line 1"),
    ] {
        let output = redis.cli(&[], input.as_bytes());
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(5), "{said}");
        let advice = "; use a Redis user with this permission (to change something: that of a server), or grant it to \
                      this one (ACL SETUSER); `lynkhook doctor --role` lists all missing permissions";
        assert!(said.contains("'xadd'") && said.ends_with(&format!("{advice}{end}\n")), "{said}");
    }
}

#[test]
fn a_line_is_enqueued_within_100_ms_while_its_producer_is_silent_and_after_its_connection_was_closed() {
    let redis = Redis::start();
    for json in [false, true] {
        let mut command = redis.run(&["-", "--json"][..=usize::from(json)]);
        let mut stdin = command.stdin.take().unwrap();
        let mut out = BufReader::new(command.stdout.take().unwrap());
        // The program has started when it answers its first line, so the time counts from the second line.
        let mut line = String::new();
        for round in 0..4 {
            writeln!(stdin, "{ENVELOPE}").unwrap();
            let sent = Instant::now();
            line.clear();
            while !line.contains('-') {
                line.clear();
                assert_ne!(out.read_line(&mut line).unwrap(), 0, "round {round}");
            }
            assert!(round == 0 || sent.elapsed() < Duration::from_millis(300), "{:?}", sent.elapsed());
            redis.close_connections();
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(stdin);
        assert!(command.wait().unwrap().success());
    }
    assert_eq!(redis.queue().len(), 8);
}

#[test]
fn a_first_line_does_not_wait_for_a_second_one() {
    let redis = Redis::start();
    let mut command = redis.run(&["-"]);
    let mut stdin = command.stdin.take().unwrap();
    let mut out = BufReader::new(command.stdout.take().unwrap());
    writeln!(stdin, "{ENVELOPE}").unwrap();
    let (sender, first) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut id = String::new();
        out.read_line(&mut id).unwrap();
        sender.send(id).unwrap();
    });
    let id = first.recv_timeout(Duration::from_secs(10)).expect("an answer while standard input is open");
    assert_eq!(redis.queue()[0].0, id.trim_end());
    assert_eq!(redis.queue()[0].1[3], ENVELOPE);
    drop(stdin);
    assert!(command.wait().unwrap().success());
}

#[test]
fn the_shape_of_the_json_answer_depends_on_arguments_and_input_and_not_on_timing() {
    let redis = Redis::start();
    let (line, pretty) = (format!("{ENVELOPE}\n"), ENVELOPE.replace(',', ",\n  "));
    let lines = line.repeat(2);
    for (arguments, input, entries) in [
        (&["--json"][..], &*line, None),
        (&["--json"], ENVELOPE, None),
        (&["--json"], &pretty, None),
        (&["--json"], &lines, Some(2)),
        (&["--json", "-", "--id", "e"], &line, None),
        (&["--json", "-"], &line, Some(1)),
        (&["--json", "-"], ENVELOPE, Some(1)),
        (&["--json", "--file", "-"], &line, Some(1)),
        (&["--json", "-"], &pretty, Some(1)),
        (&["--json", "-"], &lines, Some(2)),
        (&["--json", "-"], "{\n}\n", Some(0)),
        (&["--json", "-"], "{}\n", Some(0)),
    ] {
        for pause in [0, 300] {
            let mut command = redis.run(arguments);
            let mut stdin = command.stdin.take().unwrap();
            stdin.write_all(input.as_bytes()).unwrap();
            std::thread::sleep(Duration::from_millis(pause));
            drop(stdin);
            let output = command.wait_with_output().unwrap();
            let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(answer.as_array().map(Vec::len), entries, "{arguments:?} {input:?} {pause}: {answer}");
            let first = if entries.is_none() { &answer } else { &answer[0] };
            assert!(entries == Some(0) || (first["entry"].is_string() && first["id"].is_string()), "{answer}");
        }
    }
}

#[test]
fn one_envelope_goes_as_it_is_and_lines_are_named_when_refused() {
    let redis = Redis::start();
    let pretty = ENVELOPE.replace(',', ",\n  ") + "\n";
    let one = redis.cli(&["-", "--id", "my-id", "--json"], pretty.as_bytes());
    assert_eq!(one.status.code(), Some(0), "{}", stderr(&one));
    let answer: serde_json::Value = serde_json::from_slice(&one.stdout).unwrap();
    let (entry, fields) = redis.queue().remove(0);
    assert_eq!(
        (answer["entry"].as_str().unwrap(), fields[3].as_str(), fields[5].as_str()),
        (&*entry, &*pretty, "my-id")
    );
    assert_eq!(answer["id"], "my-id");

    let lines = format!("{ENVELOPE}\n\nnonsense\n{ENVELOPE}\n");
    let some = redis.cli(&["--json"], lines.as_bytes());
    assert_eq!(some.status.code(), Some(4));
    assert_eq!(stderr(&some), "line 3: the envelope is not JSON (line 1, column 2)\n2 enqueued, 1 refused\n");
    let ids: Vec<serde_json::Value> = serde_json::from_slice(&some.stdout).unwrap();
    assert_eq!((&ids[0]["line"], &ids[1]["line"], ids.len()), (&1.into(), &4.into(), 2));

    let first = redis.cli(&["--stop-at-first-error"], lines.as_bytes());
    assert_eq!((first.status.code(), stdout(&first).lines().count()), (Some(4), 1));
    assert!(stderr(&first).ends_with("stopped at the first error: 1 enqueued, 1 refused; continue from line 4\n"));
    assert_eq!(redis.queue().len(), 4);
}

#[test]
fn a_byte_order_mark_before_the_input_is_no_part_of_the_envelope_and_utf_16_is_named() {
    let redis = Redis::start();
    let pretty = ENVELOPE.replace(',', ",\n  ") + "\n";
    let marked = redis.cli(&[], format!("\u{feff}{pretty}").as_bytes());
    assert_eq!(marked.status.code(), Some(0), "{}", stderr(&marked));
    assert_eq!(redis.queue()[0].1[3], pretty);
    let utf16: Vec<u8> = pretty.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let refused = redis.cli(&[], &utf16);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("it is UTF-16; save it as UTF-8"), "{}", stderr(&refused));
    let second = redis.cli(&[], format!("{ENVELOPE}\n\u{feff}{ENVELOPE}\n").as_bytes());
    assert_eq!(second.status.code(), Some(4));
    assert!(stderr(&second).starts_with("line 2: the envelope begins with a byte order mark (U+FEFF)"));
    assert_eq!(redis.queue().len(), 2);
}

#[test]
fn each_mistake_has_its_exit_code() {
    let redis = Redis::start();
    let two = format!("{ENVELOPE}\n{ENVELOPE}\n");
    for (arguments, input, code) in [
        (&["--id", "a b"][..], ENVELOPE, 2),
        (&["--id", "ab"], &two, 2),
        (&["--file", "/no/such/file"], "", 2),
        (&["--file", "/", "-"], "", 2),
        (&[], "{}", 4),
        (&["--redis-url", "redis://127.0.0.1:1/"], ENVELOPE, 5),
        (&[], "", 0),
    ] {
        let output = redis.cli(arguments, input.as_bytes());
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", stderr(&output));
        assert_eq!(stdout(&output), "", "{arguments:?}");
    }
    assert_eq!(redis.queue(), []);
}
