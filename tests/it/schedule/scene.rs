//! A worker, a healthy endpoint, and the endpoint under test; and the judgement of both.

use std::{
    future::Future,
    sync::Mutex,
    time::{Duration, Instant},
};

use lynkhook::domain::webhook::WebhookId;
use redis::AsyncCommands;

use crate::support::*;

/// The account of the healthy endpoint.
pub(super) const HEALTHY: &str = "healthy";
const HEALTHY_PER_SECOND: f64 = 10.0;

/// The promised times of attempts, in ms.
#[derive(Clone, Copy)]
#[allow(clippy::struct_field_names, reason = "the unit is at the end of each name")]
pub(super) struct Promise {
    /// The most that 99 of 100 first attempts may be late.
    pub(super) first_ms: i64,
    /// The most that 99 of 100 retries may be late.
    pub(super) retry_ms: i64,
    /// The shortest waits of the second and the third attempt.
    pub(super) delays_ms: [i64; 2],
}

/// The default schedule, with three times the lateness that a release build may have on an idle machine.
pub(super) const PROMISE: Promise = Promise { first_ms: 300, retry_ms: 450, delays_ms: [2000, 4000] };

/// A retry's score and a log's times are whole milliseconds.
const ROUNDING_MS: i64 = 2;

pub(super) struct Scene {
    pub(super) here: Installation,
    pub(super) receiver: Receiver,
    pub(super) worker: Process,
    pub(super) times: Timetable,
    webhooks: Mutex<Vec<WebhookId>>,
}

impl Scene {
    /// A worker with these settings that has delivered the healthy endpoint's first event, because the first connection
    /// takes longer than the later ones.
    pub(super) async fn start(settings: &[(&'static str, &str)]) -> Self {
        let receiver = Receiver::start().await;
        let mut here = Installation::new(&receiver).await;
        for (name, value) in TELLING.iter().chain(settings) {
            here = here.with(name, value).await;
        }
        let worker = here.program.worker([]);
        worker.wait_for_line("worker started").await;
        receiver.plan("/healthy", [Answer::Status(200)]);
        let webhook = here.add(HEALTHY, &receiver.url("/healthy")).await;
        here.push(HEALTHY, TRANSCRIPT).await;
        receiver.wait_for_ended("/healthy", 1, SOON).await;
        let times = Timetable::watch(&here);
        Self { here, receiver, worker, times, webhooks: Mutex::new(vec![webhook]) }
    }

    pub(super) async fn add(&self, account: &str, url: &str) {
        let webhook = self.here.add(account, url).await;
        self.webhooks.lock().unwrap().push(webhook);
    }

    /// Adds the account `path` with an endpoint that answers as `choose` says.
    pub(super) async fn add_path(&self, path: &str, choose: impl FnMut(&Received) -> Answer + Send + 'static) {
        self.receiver.plan_each(&format!("/{path}"), choose);
        self.add(path, &self.receiver.url(&format!("/{path}"))).await;
    }

    pub(super) async fn push(&self, account: &str, events: usize) {
        for _ in 0..events {
            self.times.push(&self.here, account).await;
        }
    }

    pub(super) async fn push_at_rate(&self, account: &str, per_second: f64, length: Duration) {
        let started = Instant::now();
        let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / per_second));
        while started.elapsed() < length {
            ticks.tick().await;
            self.times.push(&self.here, account).await;
        }
    }

    /// Gives the healthy endpoint its events until `busy` has ended.
    pub(super) async fn beside_the_healthy<T>(&self, busy: impl Future<Output = T>) -> T {
        let healthy = self.push_at_rate(HEALTHY, HEALTHY_PER_SECOND, Duration::from_secs(600));
        tokio::select! {
            done = busy => done,
            () = healthy => panic!("not within ten minutes"),
        }
    }

    /// Waits until each event of an account has had its attempts, and no delivery waits for a retry or is held. Answers
    /// `false` if that takes longer than `limit`.
    pub(super) async fn is_done_within(&self, account: &str, limit: Duration) -> bool {
        let started = Instant::now();
        while started.elapsed() < limit {
            // One of the healthy endpoint's events may be in flight. The record is long, so it is read last.
            let may_be_done = self.queued().await <= 1 && self.waiting().await + self.held().await == 0;
            if may_be_done && self.record(account).incomplete().count() == 0 {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        false
    }

    /// Waits until each event of an account has had its attempts.
    pub(super) async fn is_complete_within(&self, account: &str, limit: Duration) -> bool {
        let started = Instant::now();
        while started.elapsed() < limit {
            if self.record(account).incomplete().count() == 0 {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        false
    }

    /// Waits until this many of an account's attempts have failed, or until `limit` is over.
    pub(super) async fn gives_up(&self, account: &str, failures: usize, limit: Duration) {
        let started = Instant::now();
        let failed = || self.record(account).attempts().filter(|attempt| !attempt.is_good()).count();
        while failed() < failures && started.elapsed() < limit {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(super) async fn held(&self) -> usize {
        let webhooks = self.webhooks.lock().unwrap().clone();
        let mut held = 0;
        for webhook in webhooks {
            held += self.here.redis.clone().xlen::<_, usize>(self.here.key(&format!("held:{webhook}"))).await.unwrap();
        }
        held
    }

    async fn queued(&self) -> usize {
        self.here.redis.clone().xlen(self.here.key("queue")).await.unwrap()
    }

    async fn waiting(&self) -> usize {
        self.here.redis.clone().zcard(self.here.key("retries")).await.unwrap()
    }

    /// The lateness that this share of the attempts does not exceed.
    pub(super) fn late_ms<'a>(&self, attempts: impl Iterator<Item = &'a Timed>, share: f64) -> i64 {
        quantile(attempts.filter_map(|attempt| self.times.late_ms(attempt)), share)
    }

    pub(super) fn record(&self, account: &str) -> Record {
        self.times.of(account, &[self.worker.stderr()])
    }
}

/// A row of a table: its name, and everything in it that breaks a promise.
pub(super) struct Judgement {
    pub(super) row: String,
    pub(super) wrong: Vec<String>,
}

impl Judgement {
    pub(super) fn of(row: impl Into<String>) -> Self {
        Self { row: row.into(), wrong: Vec::new() }
    }

    pub(super) fn expect(&mut self, is_so: bool, otherwise: impl FnOnce() -> String) {
        if !is_so {
            self.wrong.push(otherwise());
        }
    }

    /// Checks that the healthy endpoint's events came on time. Answers how late they were: another endpoint's attempts
    /// may be later by as much, because the machine is slow.
    pub(super) fn expect_healthy(&mut self, scene: &Scene) -> i64 {
        let record = scene.record(HEALTHY);
        let late_ms = scene.late_ms(record.firsts(), 0.99);
        self.expect(late_ms <= PROMISE.first_ms, || {
            format!("the healthy endpoint's first attempts were {late_ms} ms late")
        });
        late_ms
    }

    /// Checks that every event got its attempts, and on time.
    pub(super) fn expect_on_time(&mut self, scene: &Scene, record: &Record, promise: Promise, slow_machine_ms: i64) {
        let incomplete: Vec<String> = record.incomplete().collect();
        let events = record.events.len();
        self.expect(incomplete.is_empty(), || {
            format!("{} of {events} events are incomplete, such as {:?}", incomplete.len(), &incomplete[..1])
        });
        let first_ms = scene.late_ms(record.firsts(), 0.99);
        let retry_ms = scene.late_ms(record.retries(), 0.99);
        let retries = record.retries().count();
        println!("{}: {events} events {first_ms} ms late, {retries} retries {retry_ms} ms late", self.row);
        let allowed = (promise.first_ms + slow_machine_ms, promise.retry_ms + slow_machine_ms);
        self.expect(first_ms <= allowed.0, || format!("first attempts were {first_ms} ms late, not {}", allowed.0));
        self.expect(retry_ms <= allowed.1, || format!("retries were {retry_ms} ms late, not {}", allowed.1));
        self.expect_none_early(record, promise.delays_ms);
    }

    /// Checks that no retry began before its score or too soon after the failure before it, and that almost all scores
    /// were seen.
    pub(super) fn expect_none_early(&mut self, record: &Record, delays_ms: [i64; 2]) {
        let by_score = record.retries().filter_map(Timed::late_ms).min().unwrap_or(0);
        self.expect(by_score >= -ROUNDING_MS, || format!("a retry came {} ms before its score", -by_score));
        for (_, attempts) in record.events.values() {
            for (attempts, delay_ms) in attempts.windows(2).zip(delays_ms) {
                let waited_ms = attempts[1].started_ms - attempts[0].ended_ms;
                self.expect(waited_ms >= delay_ms - ROUNDING_MS, || format!("{waited_ms} ms before {:?}", attempts[1]));
            }
        }
        let unseen = record.retries().filter(|retry| retry.due_ms.is_none()).count();
        self.expect(unseen * 20 <= record.retries().count(), || format!("{unseen} retries were never due"));
    }
}

/// Fails with all faults of all rows.
pub(super) fn assert_all(judgements: impl IntoIterator<Item = Judgement>) {
    let wrong: Vec<String> = judgements
        .into_iter()
        .flat_map(|Judgement { row, wrong }| wrong.into_iter().map(move |wrong| format!("{row}: {wrong}")))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
