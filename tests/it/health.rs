//! Health checks prove work: the test wedges each loop in turn, and the probes report it.

use std::time::{Duration, Instant};

use redis::AsyncCommands;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::*;

/// Timings with which a wedged loop shows within seconds.
pub(crate) const QUICK: [(&str, &str); 5] = [
    ("LYNKHOOK_WORKER__HEALTH_BIND", "127.0.0.1:0"),
    ("LYNKHOOK_WORKER__CLAIM_EVERY", "300ms"),
    ("LYNKHOOK_WORKER__RENEW_EVERY", "300ms"),
    ("LYNKHOOK_REDIS__RESPONSE_TIMEOUT", "500ms"),
    ("LYNKHOOK_REDIS__CONNECT_TIMEOUT", "500ms"),
];

/// A worker that answers probes.
pub(crate) struct Probed {
    pub(crate) worker: Process,
    address: String,
}

impl Probed {
    pub(crate) async fn start(program: &Program, extra: Option<(&str, &str)>) -> Self {
        Self::on(
            &QUICK.into_iter().chain(extra).fold(program.clone(), |program, (name, value)| program.env(name, value)),
        )
        .await
    }

    /// The same with no timings but those of the program's environment, which gives it a port.
    pub(crate) async fn on(program: &Program) -> Self {
        let worker = program.worker([]);
        let line: Value = serde_json::from_str(&worker.wait_for_line("probes are answered at /healthz").await).unwrap();
        Self { worker, address: line["address"].as_str().unwrap().to_owned() }
    }

    /// Status and body of a probe.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: worker\r\n\r\n").as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// The loops that are watched.
    pub(crate) async fn loops(&self) -> Vec<String> {
        let body: Value = serde_json::from_str(&self.get("/healthz").await.1).unwrap();
        let names = body["checks"].as_array().unwrap().iter().map(|check| check["name"].as_str().unwrap().to_owned());
        names.filter(|name| name != "retries").collect()
    }

    /// The status, and the failing checks.
    async fn failing(&self, path: &str) -> (u16, Vec<String>) {
        let (status, body) = self.get(path).await;
        let body: Value = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{body}"));
        let checks = body["checks"].as_array().unwrap().iter();
        let failing = checks.filter(|check| check["ok"] == false).map(|check| {
            assert!(check["error"].is_string(), "{check} does not say why");
            check["name"].as_str().unwrap().to_owned()
        });
        (status, failing.collect())
    }

    /// Asks again and again for this time whether the worker is alive, and expects that it is.
    async fn stays_alive_for(&self, time: Duration) {
        let since = Instant::now();
        while since.elapsed() < time {
            assert_eq!(self.failing("/healthz").await, (200, Vec::new()), "after {:?}", since.elapsed());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Waits until this probe has this status and these failing checks.
    async fn until(&self, path: &str, status: u16, failing: &[&str]) {
        let what = format!("{path} to answer {status} {failing:?}");
        eventually(SOON, &what, async || {
            let found = self.failing(path).await;
            (found.0 == status && found.1 == failing).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_that_is_wedged_fails_the_probes_by_its_name_and_no_other_does() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let sound = Probed::start(&here.program, None).await;
    let mut workers = Vec::new();
    let loops =
        eventually(SOON, "the loops", async || Some(sound.loops().await).filter(|loops| !loops.is_empty())).await;
    assert!(loops.len() > 10, "{loops:?}");
    for wedged in &loops {
        workers.push((wedged, Probed::start(&here.program, Some(("LYNKHOOK_WEDGE", wedged))).await));
    }
    for (wedged, probed) in &workers {
        probed.until("/healthz", 503, &[wedged]).await;
        probed.until("/readyz", 503, &[wedged]).await;
    }
    assert_eq!(
        sound.failing("/healthz").await,
        (200, Vec::new()),
        "as old as the others, and none of its loops is wedged"
    );
    assert_eq!(sound.failing("/readyz").await, (200, Vec::new()));
    assert_eq!((sound.get("/").await.0, sound.get("/metrics/").await.0), (404, 404));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_nobody_promotes_fails_the_probes_when_it_is_late() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let probed = Probed::start(&here.program, Some(("LYNKHOOK_WEDGE", "promote"))).await;
    let now_ms = here.store.now(0).await.unwrap().timestamp_millis();
    let mut redis = here.redis.clone();
    let _: () = redis.zadd(here.key("retries"), "retry", now_ms - 3_600_000).await.unwrap();
    probed.until("/healthz", 503, &["promote"]).await;
    // While the worker may have promoted a retry just now, the lateness is not reported.
    eventually(Duration::from_secs(45), "the retry to be missed", async || {
        probed.failing("/healthz").await.1.contains(&"retries".to_owned()).then_some(())
    })
    .await;
    assert!(probed.failing("/readyz").await.1.contains(&"retries".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_redis_is_away_a_worker_is_not_ready_and_not_to_be_restarted() {
    let receiver = Receiver::start().await;
    let mut redis = RedisServer::start(AppendFsync::Always);
    let here = Installation::on(&redis, &receiver).await;
    let probed = Probed::start(&here.program, None).await;
    probed.until("/readyz", 200, &[]).await;
    redis.kill9();
    probed.until("/readyz", 503, &["redis"]).await;
    assert_eq!(probed.failing("/healthz").await, (200, Vec::new()));
    redis.restart();
    probed.until("/readyz", 200, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_redis_hangs_a_worker_answers_at_once_that_it_is_alive_and_not_ready() {
    let receiver = Receiver::start().await;
    let mut redis = RedisServer::start(AppendFsync::No);
    let here = Installation::on(&redis, &receiver).await.with("LYNKHOOK_QUEUE__PARTITIONS", "8").await;
    let probed = Probed::start(&here.program, Some(("LYNKHOOK_REDIS__CONNECT_TIMEOUT", "500ms"))).await;
    probed.until("/readyz", 200, &[]).await;
    redis.pause();
    probed.until("/readyz", 503, &["redis"]).await;
    let hanging = Instant::now();
    while hanging.elapsed() < Duration::from_secs(10) {
        let asked = Instant::now();
        assert_eq!(probed.failing("/healthz").await, (200, Vec::new()), "after {:?}", hanging.elapsed());
        assert!(asked.elapsed() < Duration::from_millis(500), "a probe waits no longer than that");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    redis.resume();
    probed.until("/readyz", 200, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_finishes_its_attempts_is_alive_and_not_ready() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    receiver.plan("/hook", [Answer::Silence]);
    here.add("acme", &receiver.url("/hook")).await;
    let probed = Probed::start(&here.program, None).await;
    here.push("acme", TRANSCRIPT).await;
    receiver.wait_for("/hook", 1, SOON).await;
    probed.worker.sigterm();
    probed.until("/readyz", 503, &["running"]).await;
    // Longer than any loop that takes entries may be silent otherwise.
    probed.stays_alive_for(Duration::from_secs(9)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_waits_long_for_a_free_slot_is_alive() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    receiver.plan("/hook", [Answer::Silence]);
    here.add("acme", &receiver.url("/hook")).await;
    let program = here.program.clone().env("LYNKHOOK_WORKER__CONCURRENCY", "1");
    let probed = Probed::start(&program, None).await;
    for _ in 0..3 {
        here.push("acme", TRANSCRIPT).await;
    }
    receiver.wait_for("/hook", 1, SOON).await;
    // Longer than any loop may be silent.
    probed.stays_alive_for(Duration::from_secs(8)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_cannot_be_listened_on_ends_the_worker_with_2() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for (address, says) in
        [(taken.local_addr().unwrap().to_string(), "cannot listen on"), ("here".to_owned(), "0.0.0.0:8081")]
    {
        let output = here.program.clone().env("LYNKHOOK_WORKER__HEALTH_BIND", &address).run(["worker"]).await;
        assert_eq!(output.code, Some(2), "{output:#?}");
        assert!(output.stderr.contains("worker.health_bind") && output.stderr.contains(says), "{output:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_of_two_threads_is_two_workers_that_share_its_limits_and_its_probes() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(200)]);
    let here = Installation::new(&receiver).await;
    here.add("acme", &receiver.url("/hook")).await;
    let program = here.program.clone().env("LYNKHOOK_WORKER__THREADS", "2").env("LYNKHOOK_WORKER__CONCURRENCY", "9");
    let mut probed = Probed::start(&program, None).await;
    probed.until("/readyz", 200, &[]).await;
    let concurrencies = eventually(SOON, "the figures of two workers", async || {
        let status = here.program.json(["queue", "status"]).await;
        let workers = status["workers"].as_array().unwrap().iter();
        let mut found: Vec<_> = workers.map(|worker| worker["concurrency"].as_u64().unwrap()).collect();
        found.sort_unstable();
        (found.len() == 2).then_some(found)
    })
    .await;
    assert_eq!(concurrencies, [4, 5]);
    let body: Value = serde_json::from_str(&probed.get("/readyz").await.1).unwrap();
    let mut names: Vec<_> = body["checks"].as_array().unwrap().iter().map(|check| check["name"].to_string()).collect();
    let checks = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), checks, "{body}");
    let consumers = async || {
        let mut ask = redis::cmd("XINFO");
        ask.arg("CONSUMERS").arg(here.key("queue")).arg("workers");
        let found: Vec<redis::Value> = ask.query_async(&mut here.redis.clone()).await.unwrap();
        found.len()
    };
    for _ in 0..20 {
        here.push("acme", TRANSCRIPT).await;
    }
    receiver.wait_for_ended("/hook", 20, SOON).await;
    here.drained().await;
    assert_eq!(receiver.requests("/hook").len(), 20);
    probed.worker.sigterm();
    assert_eq!(probed.worker.wait().await, Some(0));
    assert_eq!(consumers().await, 0, "both have left");
}
