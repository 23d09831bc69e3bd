//! A worker stays small, and starts and stops as fast, however much work waits.

use std::time::{Duration, Instant};

use redis::AsyncCommands;

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn large_events_are_taken_only_as_far_as_their_bytes_fit() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await.with("LYNKHOOK_WORKER__MAX_BYTES", "8MiB").await;
    let gate = Gate::new();
    receiver.plan("/hook", [Answer::Status(200), gate.before(Answer::Status(200))]);
    here.add("acme", &receiver.url("/hook")).await;
    let large = envelope_of((1 << 20) - 100);
    let _worker = here.program.worker([]);
    here.push("acme", &large).await;
    here.drained().await;
    push_many(&here, "acme", &large, 30).await;
    receiver.wait_for("/hook", 1 + 3, SOON).await;
    let taken: redis::streams::StreamPendingReply =
        here.redis.clone().xpending(here.key("queue"), "workers").await.unwrap();
    // One more than fits, because the remaining room is known only after an event has arrived.
    assert!(taken.count() <= 9, "{} are taken", taken.count());
    gate.open();
    here.drained().await;
    assert_eq!(receiver.requests("/hook").len(), 1 + 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_runs_out_of_files_waits_and_blames_no_endpoint() {
    const ENDPOINTS: usize = 30;
    const EVENTS: usize = 2 * ENDPOINTS;
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let slow = Answer::Delay(Duration::from_millis(300), Box::new(Answer::Status(200)));
    receiver.plan("/hook", [slow]);
    // Each attempt has a connection of its own, and only a few find a file.
    let worker = here.program.worker([]);
    worker.wait_for_line("worker started").await;
    worker.limit_files(Some(worker.open_files() + 10));
    let mut webhooks = Vec::new();
    for number in 0..ENDPOINTS {
        webhooks.push(here.add(&format!("a{number}"), &receiver.url("/hook")).await);
        here.push(&format!("a{number}"), TRANSCRIPT).await;
        here.push(&format!("a{number}"), TRANSCRIPT).await;
    }
    here.drained().await;
    for webhook in webhooks {
        let log = here.log(webhook).await;
        assert!(log.iter().all(|entry| entry["attempt"] == 1 && entry["status"] == "success"), "{log:#?}");
    }
    assert_eq!(receiver.requests("/hook").len(), EVENTS);
    assert!(worker.stderr().contains("no file descriptor is left"), "the limit was reached");
}

/// The resources of a worker.
struct Measured {
    first_delivery: Duration,
    stop: Duration,
    peak_kib: u64,
}

/// Starts a worker, lets it deliver for a while, and stops it.
async fn measure(here: &Installation, receiver: &Receiver, path: &str) -> Measured {
    let before = receiver.requests(path).len();
    let started = Instant::now();
    let worker = here.program.worker([("LYNKHOOK_WORKER__CONCURRENCY", "1000")]);
    receiver.wait_for(path, before + 1, Duration::from_secs(60)).await;
    let first_delivery = started.elapsed();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let peak_kib = worker.memory_kib("VmHWM");
    let stopping = Instant::now();
    worker.sigterm();
    assert_eq!(worker.output(SOON).await.code, Some(0));
    Measured { first_delivery, stop: stopping.elapsed(), peak_kib }
}

async fn push_many(here: &Installation, account: &str, envelope: &str, count: usize) {
    const PAGE: usize = 5000;
    let mut redis = here.redis.clone();
    for start in (0..count).step_by(PAGE) {
        let mut page = redis::pipe();
        for _ in start..count.min(start + PAGE) {
            page.xadd(here.key("queue"), "*", &[("account", account), ("envelope", envelope)]).ignore();
        }
        let _: () = page.query_async(&mut redis).await.unwrap();
    }
}

/// Adds `count` webhooks, one per account, each with a visit planned, and pushes an event for the last.
async fn crowd(here: &Installation, url: &str, count: usize) {
    let first = here.add("account-0", url).await.to_string();
    let mut redis = here.redis.clone();
    let settings: String = redis.hget(here.key("webhooks:account-0"), &first).await.unwrap();
    let now_ms = here.store.now(0).await.unwrap().timestamp_millis();
    for page in (1..count).collect::<Vec<_>>().chunks(5000) {
        let mut put = redis::pipe();
        for number in page {
            let id = format!("wh_{}", uuid::Uuid::now_v7());
            put.hset(here.key(&format!("webhooks:account-{number}")), &id, settings.replace(&first, &id)).ignore();
            put.zadd(here.key("visits"), format!("account-{number}/{id}"), now_ms).ignore();
        }
        let _: () = put.query_async(&mut redis).await.unwrap();
    }
    here.push(&format!("account-{}", count - 1), TRANSCRIPT).await;
}

/// `make bounds` runs it: it takes minutes, and over 1 GB of memory for Redis.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make bounds"]
async fn long_a_worker_stays_small_however_much_waits() {
    let receiver = Receiver::start().await;
    let redis = RedisServer::start(AppendFsync::No);
    let mut rows = Vec::new();
    for case in ["nothing else", "1,000,000 events of 600 bytes", "1,000 events of 1 MiB", "100,000 webhooks"] {
        let here = Installation::on(&redis, &receiver).await;
        let path = format!("/{}", rows.len());
        let slow = Answer::Delay(Duration::from_millis(200), Box::new(Answer::Status(200)));
        receiver.plan(&path, [if case.contains("MiB") { slow } else { Answer::Status(200) }]);
        let url = receiver.url(&path);
        match case {
            "100,000 webhooks" => crowd(&here, &url, 100_000).await,
            case => {
                here.add("acme", &url).await;
                let (size, count) = match case {
                    "nothing else" => (600, 1),
                    "1,000,000 events of 600 bytes" => (600, 1_000_000),
                    _ => ((1 << 20) - 100, 1000),
                };
                push_many(&here, "acme", &envelope_of(size), count).await;
            }
        }
        let measured = measure(&here, &receiver, &path).await;
        rows.push((case, measured));
        let _: () = redis::cmd("FLUSHALL").query_async(&mut here.redis.clone()).await.unwrap();
    }
    println!("| waiting | first delivery after | stopped within | peak memory |\n|---|---|---|---|");
    for (case, Measured { first_delivery, stop, peak_kib }) in &rows {
        println!("| {case} | {first_delivery:.2?} | {stop:.2?} | {} MiB |", peak_kib / 1024);
    }
    let (_, empty) = &rows[0];
    for (case, measured) in &rows[1..] {
        assert!(measured.peak_kib < 256 << 10, "{case}: {} KiB", measured.peak_kib);
        assert!(measured.first_delivery < empty.first_delivery + Duration::from_secs(2), "{case}: starts late");
        assert!(measured.stop < empty.stop + Duration::from_secs(2), "{case}: stops late");
    }
}
