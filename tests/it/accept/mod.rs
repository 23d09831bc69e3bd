//! Requests of several events, and with idempotency keys: enqueued whole or not at all, and once however often they
//! come.

mod taken;

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use lynkhook::{
    config::Settings,
    domain::{
        event::{EnvelopeFault, EventId},
        idempotency::IdempotencyKey,
    },
    producer::{AcceptError, Accepted, Keyed, NewEvent, Producer},
    store::{Store, StoreError},
};
use redis::AsyncCommands;
use serde_json::Value;
use tokio::{io::AsyncReadExt, io::AsyncWriteExt, net::TcpListener, net::TcpStream, task::JoinSet};

use crate::support::*;

const DAY_MS: i64 = 86_400_000;

/// A producer with a key prefix of its own.
struct Here {
    prefix: String,
    settings: Settings,
    producer: Producer,
    redis: redis::aio::MultiplexedConnection,
}

impl Here {
    async fn on(server: &RedisServer, more: &[(&str, &str)]) -> Self {
        let prefix = server.unique_prefix();
        let mut overrides = vec![("redis.url", server.url()), ("redis.prefix", prefix.clone())];
        overrides.extend(more.iter().map(|(key, value)| (*key, (*value).to_owned())));
        let settings = Settings::load_with(None, std::iter::empty::<(String, String)>(), &overrides).unwrap();
        let producer = Producer::connect(&settings).await.unwrap();
        Self { prefix, settings, producer, redis: server.connection().await }
    }

    async fn new() -> Self {
        Self::on(RedisServer::shared(), &[]).await
    }

    /// A request of one event.
    async fn send(&self, key: &str, envelope: &str) -> Result<Accepted, AcceptError> {
        let event = NewEvent::from_envelope(envelope.to_owned());
        self.send_one(key, event, envelope).await
    }

    async fn send_one(&self, key: &str, event: NewEvent, body: &str) -> Result<Accepted, AcceptError> {
        let key: IdempotencyKey = key.parse().unwrap();
        let keyed = Keyed { key: &key, body: body.as_bytes(), places: None };
        self.producer.accept(&account_id("acme"), &[event], Some(keyed)).await
    }

    /// A batch of which all events are taken.
    async fn send_all(&self, key: &str, events: &[NewEvent], body: &str) -> Result<Accepted, AcceptError> {
        let places: Vec<usize> = (0..events.len()).collect();
        self.send_taken(key, events, &places, body).await
    }

    /// A batch of which the events at these places are taken.
    async fn send_taken(
        &self,
        key: &str,
        events: &[NewEvent],
        places: &[usize],
        body: &str,
    ) -> Result<Accepted, AcceptError> {
        let key: IdempotencyKey = key.parse().unwrap();
        let keyed = Keyed { key: &key, body: body.as_bytes(), places: Some(places) };
        self.producer.accept(&account_id("acme"), events, Some(keyed)).await
    }

    /// The fields of each entry in the queue.
    async fn queue(&self) -> Vec<(String, Vec<(String, String)>)> {
        let mut read = redis::cmd("XRANGE");
        read.arg(format!("{}:{{0}}:queue", self.prefix)).arg("-").arg("+");
        read.query_async(&mut self.redis.clone()).await.unwrap()
    }

    /// The field `id` of each entry in the queue.
    async fn ids(&self) -> Vec<String> {
        let of = |fields: Vec<(String, String)>| fields.into_iter().find(|(name, _)| name == "id").map(|(_, id)| id);
        self.queue().await.into_iter().filter_map(|(_, fields)| of(fields)).collect()
    }

    async fn command<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::Cmd::new();
        command.arg(words).query_async(&mut self.redis.clone()).await.unwrap()
    }

    /// Every key of the installation with its content.
    async fn dump(&self) -> Vec<(String, Option<Vec<u8>>)> {
        let mut keys: Vec<String> = self.command(&["KEYS", &format!("{}:*", self.prefix)]).await;
        keys.sort();
        let mut dump = Vec::new();
        for key in keys {
            dump.push((key.clone(), self.command(&["DUMP", &key]).await));
        }
        dump
    }

    /// The bytes that a key takes of Redis's memory.
    async fn bytes(&self, rest: &str) -> u64 {
        let key = format!("{}:{{0}}:{rest}", self.prefix);
        let bytes: Option<u64> = self.command(&["MEMORY", "USAGE", &key, "SAMPLES", "0"]).await;
        bytes.unwrap_or_default()
    }

    async fn status(&self) -> Value {
        let store = Store::open(&self.settings).await.unwrap();
        serde_json::to_value(store.status().await.unwrap()).unwrap()
    }
}

/// A batch with this many events, and its body.
fn batch(events: usize) -> (Vec<NewEvent>, String) {
    let body = format!(r#"{{"events":[{}]}}"#, vec![format!(r#"{{"envelope":{TRANSCRIPT}}}"#); events].join(","));
    (vec![NewEvent::from_envelope(TRANSCRIPT); events], body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_repetitions_at_once_add_one_entry_and_have_the_same_answer() {
    let here = std::sync::Arc::new(Here::new().await);
    let mut sending = JoinSet::new();
    for _ in 0..100 {
        let here = here.clone();
        sending.spawn(async move { here.send("k", TRANSCRIPT).await.unwrap() });
    }
    let answers = sending.join_all().await;
    let ids: HashSet<_> = answers.iter().map(|answer| answer.ids.clone()).collect();
    assert_eq!((ids.len(), answers.iter().filter(|answer| !answer.repeated).count()), (1, 1));
    let [(_, fields)] = &here.queue().await[..] else { panic!("not one entry") };
    let expected = [("account", "acme"), ("envelope", TRANSCRIPT), ("id", answers[0].ids[0].as_str())];
    assert_eq!(*fields, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_request_under_a_used_key_is_told_and_adds_nothing() {
    let here = Here::new().await;
    let event = NewEvent::from_envelope(TRANSCRIPT);
    let own = |id: &str| event.clone().with_id(id.parse().unwrap());
    let first = here.send_one("k", own("e1"), TRANSCRIPT).await.unwrap();
    assert_eq!(first, Accepted { ids: vec!["e1".parse().unwrap()], repeated: false });
    let before = here.dump().await;
    for (events, body) in [
        (vec![own("e2")], TRANSCRIPT.to_owned()),
        (vec![event.clone()], TRANSCRIPT.to_owned()),
        (vec![own("e1")], format!("{TRANSCRIPT} ")),
        batch(2),
    ] {
        let answer = here.send_all("k", &events, &body).await;
        assert!(matches!(answer, Err(AcceptError::KeyReused)), "{answer:?}");
    }
    assert_eq!(here.dump().await, before);
    let again = here.send_one("\"k\"", own("e1"), TRANSCRIPT).await.unwrap();
    assert_eq!(again, Accepted { repeated: true, ..first });
    // Another account's keys are its own.
    let key = "k".parse().unwrap();
    let keyed = Keyed { key: &key, body: TRANSCRIPT.as_bytes(), places: None };
    let other = here.producer.accept(&account_id("other"), &[own("e9")], Some(keyed)).await.unwrap();
    assert!(!other.repeated);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_keeps_its_bytes_id_and_trace_and_its_receivers_get_the_id_that_was_answered() {
    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let receiver = Receiver::start().await;
    receiver.plan_each("/hook", |_| Answer::Status(200));
    let here = Installation::new(&receiver).await;
    here.add("acme", &receiver.url("/hook")).await;
    let settings = Settings::load(None, here.variables.clone()).unwrap();
    let producer = Producer::connect(&settings).await.unwrap();
    let spaced = NewEvent::from_envelope(format!(" {TRANSCRIPT}\n"));
    let own = spaced.clone().with_id("own-1".parse().unwrap()).with_traceparent(TRACE);
    let (key, acme) = ("k".parse().unwrap(), account_id("acme"));
    let keyed = Some(Keyed { key: &key, body: b"any", places: Some(&[0, 1]) });
    let mut ids: Vec<EventId> = Vec::new();
    for (events, keyed) in [
        (vec![spaced.clone()], None),
        (vec![own.clone(), spaced.clone(), spaced.clone()], None),
        (vec![spaced.clone().with_traceparent(TRACE), own.clone().with_id("own-2".parse().unwrap())], keyed),
    ] {
        let accepted = producer.accept(&acme, &events, keyed).await.unwrap();
        assert_eq!(accepted.ids.len(), events.len());
        ids.extend(accepted.ids);
    }
    let empty = producer.accept(&acme, &[], None).await.unwrap();
    assert_eq!(empty.ids, []);
    let entries: Vec<(String, Vec<(String, String)>)> = here.cli(&format!("XRANGE {} - +", here.key("queue"))).await;
    let traced = entries.iter().filter(|(_, fields)| fields.iter().any(|field| field.1 == TRACE)).count();
    assert_eq!((entries.len(), traced), (6, 3));

    let _worker = here.program.worker([]);
    let requests = receiver.wait_for("/hook", 6, SOON).await;
    let sent: HashSet<&str> = requests.iter().filter_map(|request| request.header("webhook-id")).collect();
    assert_eq!(sent, ids.iter().map(EventId::as_str).collect());
    assert!(requests.iter().all(|request| request.body == spaced.envelope));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_with_an_invalid_event_is_refused_whole_with_all_faults_of_each() {
    let here = Here::new().await;
    let before = here.dump().await;
    let (mut events, body) = batch(500);
    events[3] = NewEvent::from_envelope(r#"{"event":"transcript.create","timestamp":"now","data":{}}"#);
    events[499] = NewEvent::from_envelope("[]");
    for keyed in [true, false] {
        let (key, acme) = ("k".parse().unwrap(), account_id("acme"));
        let keyed = keyed.then_some(Keyed { key: &key, body: body.as_bytes(), places: None });
        let answer = here.producer.accept(&acme, &events, keyed).await;
        let Err(AcceptError::Refused(faulty)) = answer else { panic!("{answer:?}") };
        let places = |of: usize| faulty[of].faults.iter().map(EnvelopeFault::pointer).collect::<Vec<_>>();
        assert_eq!(faulty.iter().map(|faulty| faulty.index).collect::<Vec<_>>(), [3, 499]);
        assert_eq!((places(0), places(1)), (vec!["/event", "/timestamp"], vec![""]));
    }
    assert_eq!(here.dump().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_500_is_enqueued_in_order_and_one_more_or_too_many_bytes_are_refused() {
    let here = Here::new().await;
    let (events, body) = batch(500);
    let accepted = here.send_all("k", &events, &body).await.unwrap();
    assert_eq!(here.ids().await, accepted.ids.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(here.send_all("k", &events, &body).await.unwrap(), Accepted { repeated: true, ..accepted });
    let without = here.producer.accept(&account_id("acme"), &events, None).await.unwrap();
    assert_eq!((here.queue().await.len(), without.ids.iter().collect::<HashSet<_>>().len()), (1000, 500));

    let large = |last: usize| [1_048_576, 1_048_576, 1_048_576, last].map(|n| NewEvent::from_envelope(envelope_of(n)));
    let accepted = here.producer.accept(&account_id("acme"), &large(1_048_576), None).await;
    assert!(accepted.is_ok(), "just 4 MiB: {accepted:?}");
    let five = [large(1_048_575).to_vec(), vec![NewEvent::from_envelope(TRANSCRIPT)]].concat();
    for too_much in [batch(501).0, five] {
        let answer = here.producer.accept(&account_id("acme"), &too_much, None).await;
        assert!(matches!(answer, Err(AcceptError::TooMuch { .. })), "{answer:?}");
    }
    assert_eq!(here.queue().await.len(), 1004);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_redis_takes_nothing_of_a_request_and_still_answers_a_repetition() {
    let server = RedisServer::start(AppendFsync::No);
    let here = Here::on(&server, &[]).await;
    let first = here.send("first", TRANSCRIPT).await.unwrap();
    let before = here.dump().await;
    here.command::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let (events, body) = batch(500);
    for answer in [
        here.send("second", TRANSCRIPT).await,
        here.send_all("second", &events, &body).await,
        here.producer.accept(&account_id("acme"), &events, None).await,
    ] {
        assert!(matches!(answer, Err(AcceptError::NotAccepted(StoreError::Full))), "{answer:?}");
    }
    assert_eq!(here.send("first", TRANSCRIPT).await.unwrap(), Accepted { repeated: true, ..first });
    assert_eq!(here.dump().await, before);
    here.command::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await;
    assert!(!here.send_all("second", &events, &body).await.unwrap().repeated, "the refused key was not noted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_has_room_for_a_part_of_a_batch_takes_nothing_of_it() {
    let here = Here::new().await;
    let queue = format!("{}:{{0}}:queue", here.prefix);
    let largest = u64::MAX;
    here.command::<String>(&["XADD", &queue, &format!("{largest}-{}", largest - 2), "no", "event"]).await;
    let (events, body) = batch(3);
    let answer = here.send_all("k", &events, &body).await;
    assert!(matches!(answer, Err(AcceptError::NotAccepted(StoreError::Refused(_)))), "{answer:?}");
    assert_eq!(here.queue().await.len(), 1);
    let known: u64 = here.redis.clone().hlen(format!("{}:{{0}}:idempotency", here.prefix)).await.unwrap();
    assert_eq!(known, 0);
}

/// Sends a key, and answers the times by which it came back as a repetition.
async fn known_at(here: &Here, server: &RedisServer, key: &str, at: &[&str]) -> Vec<bool> {
    let mut known = Vec::new();
    for clock in at {
        server.step_clock(clock);
        known.push(here.send(key, TRANSCRIPT).await.unwrap().repeated);
    }
    known
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_known_for_24_hours_and_for_48_at_most_and_its_ids_stay_the_same_afterwards() {
    let server = RedisServer::start_with_a_clock();
    let here = Here::on(&server, &[]).await;
    // The hash begins, and takes its last key just before it has to rotate.
    let first = here.send("first", TRANSCRIPT).await.unwrap();
    server.step_clock("+86300");
    here.send("last", TRANSCRIPT).await.unwrap();
    server.step_clock("+86410");
    here.send("rotates", TRANSCRIPT).await.unwrap();
    assert_eq!(here.status().await["idempotency"]["keys"], 3);
    // Both are in the older hash now, which counts until it is 48 hours old.
    assert_eq!(known_at(&here, &server, "last", &["+100000", "+172700"]).await, [true, true]);
    assert_eq!(known_at(&here, &server, "first", &["+172700"]).await, [true]);
    assert_eq!(known_at(&here, &server, "first", &["+172810"]).await, [false]);
    // The same bytes under the same key: receivers see one `webhook-id`.
    assert_eq!(here.send("first", TRANSCRIPT).await.unwrap(), Accepted { repeated: true, ..first.clone() });
    assert_eq!(here.ids().await.iter().filter(|id| **id == first.ids[0].to_string()).count(), 2);
    let status = here.status().await;
    assert_eq!((&status["idempotency"]["shortenedToMs"], &status["counts"]), (&Value::Null, &serde_json::json!({})));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_no_other_followed_is_forgotten_after_48_hours() {
    let server = RedisServer::start_with_a_clock();
    let here = Here::on(&server, &[]).await;
    here.send("k", TRANSCRIPT).await.unwrap();
    assert_eq!(known_at(&here, &server, "k", &["+172700"]).await, [true]);
    server.step_clock("+172810");
    assert_eq!(here.status().await["idempotency"]["keys"], 0);
    assert_eq!(known_at(&here, &server, "k", &["+172810", "+172820"]).await, [false, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_stay_within_their_bytes_and_the_status_says_to_which_time_their_window_was_shortened() {
    const MAX_BYTES: u64 = 64 << 10;
    let server = RedisServer::start(AppendFsync::No);
    let here = Here::on(&server, &[("idempotency.max_bytes", "64KiB")]).await;
    let events = [NewEvent::from_envelope(TRANSCRIPT)];
    let send = async |number: usize| {
        // Keys of all lengths, up to the longest.
        let key = format!("{number:06}{}", "k".repeat(number * 37 % 250));
        here.send_all(&key, &events, TRANSCRIPT).await.unwrap()
    };
    let mut most = 0;
    for number in 0..1000 {
        assert!(!send(number).await.repeated, "{number}");
        most = most.max(here.bytes("idempotency").await + here.bytes("idempotency:before").await);
    }
    assert!((MAX_BYTES / 2..=MAX_BYTES).contains(&most), "{most} bytes at most");
    assert!(send(999).await.repeated && send(950).await.repeated, "the newest are known");
    assert!(!send(0).await.repeated, "the oldest are not");

    let status = here.status().await;
    let known = &status["idempotency"];
    let keys = known["keys"].as_u64().unwrap();
    assert_eq!(status["counts"]["idempotency_keys_forgotten"], 1001 - keys);
    assert!(known["shortenedToMs"].as_i64().is_some_and(|ms| ms < DAY_MS), "{status:#}");
    assert_eq!((&known["maxBytes"], &status["limitsReached"]), (&MAX_BYTES.into(), &["idempotency.max_bytes"].into()));
    assert!(known["bytes"].as_u64().is_some_and(|bytes| bytes <= MAX_BYTES), "{status:#}");
    let program = Program::new(&server, &here.prefix).env("LYNKHOOK_IDEMPOTENCY__MAX_BYTES", "64KiB");
    let shown = program.run(["queue", "status"]).await.stdout;
    for part in [&format!("{keys} since "), "WINDOW SHORTENED to ", "idempotency.max_bytes = 64.0 KiB"] {
        assert!(shown.contains(part), "{part} in\n{shown}");
    }
}

/// A proxy to Redis that passes everything on, but takes this many answers to commands with this text for itself and
/// closes their connections. Answers its port.
pub(crate) async fn losing_answers(redis_port: u16, losses: usize, text: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let left = Arc::new(AtomicUsize::new(losses));
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            tokio::spawn(pass_on(client, redis_port, text, Arc::clone(&left)));
        }
    });
    port
}

async fn pass_on(mut client: TcpStream, redis_port: u16, text: &'static str, left: Arc<AtomicUsize>) {
    let mut server = TcpStream::connect(("127.0.0.1", redis_port)).await.unwrap();
    let (mut asked, mut answered) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut is_meant = false;
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(length @ 1..) = read else { return };
                is_meant = asked[..length].windows(text.len()).any(|part| part == text.as_bytes());
                server.write_all(&asked[..length]).await.unwrap();
            }
            read = server.read(&mut answered) => {
                let Ok(length @ 1..) = read else { return };
                let may_be_lost = is_meant && !answered.starts_with(b"-NOSCRIPT");
                if may_be_lost && left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
                    return;
                }
                client.write_all(&answered[..length]).await.unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_answer_was_lost_is_enqueued_once_and_without_a_key_its_outcome_is_unknown() {
    let server = RedisServer::shared();
    for (losses, keyed) in [(1, true), (2, true), (1, false)] {
        let here = Here::new().await;
        let port = losing_answers(server.port(), losses, "EVALSHA").await;
        let mut settings = here.settings.clone();
        settings.redis.servers = vec![format!("redis://127.0.0.1:{port}/").into()];
        let producer = Producer::connect(&settings).await.unwrap();
        let (events, body) = batch(2);
        let key = "k".parse().unwrap();
        let keyed = keyed.then_some(Keyed { key: &key, body: body.as_bytes(), places: Some(&[0, 1]) });
        let answer = producer.accept(&account_id("acme"), &events, keyed).await;
        match losses {
            1 if keyed.is_some() => assert!(answer.as_ref().unwrap().repeated, "{answer:?}"),
            _ => assert!(matches!(answer, Err(AcceptError::Unknown(_))), "{answer:?}"),
        }
        assert_eq!(here.queue().await.len(), 2, "{losses} lost");
        if keyed.is_some() {
            let again = producer.accept(&account_id("acme"), &events, keyed).await.unwrap();
            assert!(again.repeated && here.queue().await.len() == 2);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_cannot_be_reached_or_may_not_run_the_script_certainly_took_nothing() {
    let server = RedisServer::start(AppendFsync::No);
    let here = Here::on(&server, &[]).await;
    let before = here.dump().await;
    for right in ["-rename", "-hset", "-xadd", "-hmget"] {
        here.send("old", TRANSCRIPT).await.unwrap();
        here.command::<u64>(&["DEL", &format!("{}:{{0}}:queue", here.prefix)]).await;
        here.command::<u64>(&["HSET", &format!("{}:{{0}}:idempotency", here.prefix), "", "1774535520000 500"]).await;
        here.command::<()>(&["ACL", "SETUSER", "default", right]).await;
        let answer = here.send(right, TRANSCRIPT).await;
        assert!(matches!(answer, Err(AcceptError::NotAccepted(StoreError::Forbidden(_)))), "{right}: {answer:?}");
        assert_eq!(here.queue().await, [], "{right}");
        here.command::<()>(&["ACL", "SETUSER", "default", &right.replace('-', "+")]).await;
        for rest in ["queue", "idempotency", "idempotency:before"] {
            here.command::<u64>(&["DEL", &format!("{}:{{0}}:{rest}", here.prefix)]).await;
        }
    }
    assert_eq!(here.dump().await, before);
    drop(server);
    // A connection that had an answer just now is trusted, so the first request may have been sent.
    assert!(here.send("k", TRANSCRIPT).await.is_err());
    let answer = here.send("k", TRANSCRIPT).await;
    assert!(matches!(answer, Err(AcceptError::NotAccepted(StoreError::Unreachable(_)))), "{answer:?}");
}
