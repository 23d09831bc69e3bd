//! Several customers, one host, as at any automation platform: 41 webhooks of as many accounts have the same host and
//! port. 40 of them are slow, one is quick. Another quick webhook has a host of its own; it gets its events in the same
//! pipelines from the same worker. So the two quick ones differ only in the host, and any other delay affects both.
//!
//! The slow ones get about as many events as the worker can carry: they share half of its places
//! ([`lynkhook::domain::endpoint`]). Figures count from their first event on, because customers experience a start as
//! well.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::{
    arguments::Extent,
    children::log,
    figures::{Judged, median},
    producer::Producer,
    receiver::{Ask, Report as Received},
    report::Report,
    turn::{Contender, order, settled},
    world::{Names, PLAIN, Setup, Stage, World},
};

/// The name of this part for `--kind`.
pub const NAME: &str = "one-host";

/// The quick webhooks: one on the host of the slow ones, one on its own.
const SHARED: &str = "ok-shared";
const OWN: &str = "ok-own";
const SLOW: usize = 40;
const WEBHOOKS: usize = SLOW + 2;

/// Events per second for each quick webhook.
const QUICK_PER_SECOND: f64 = 7.0;
/// The time an attempt takes at a slow one: until its answer, or until `delivery.timeout`.
const ANSWER: Duration = Duration::from_secs(3);
const TIMEOUT: Duration = Duration::from_secs(10);
/// A turn's load lasts this long unless the command line says otherwise.
const SECONDS: u64 = 40;
/// The time during which only the quick ones get events, until connections are open.
const WARM: Duration = Duration::from_secs(2);
/// The time that the quick ones' waiting events have to arrive after the load ends.
const LATE: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(100);

/// The p99 on the shared host may be at most this many times the p99 on the own host, or this much more.
const RATIO: f64 = 1.2;
const MORE_MS: f64 = 5.0;
/// The share of its events that must arrive.
const ARRIVED: f64 = 0.999;
/// The slow ones get at least this share of the attempts that half of the places can carry, the turn's start included.
const CARRIED: f64 = 0.8;

/// The behaviour of the slow ones, and the places of the worker.
#[derive(Debug, Clone, Copy)]
struct Row {
    behaviour: &'static str,
    series: &'static [&'static str; WEBHOOKS],
    attempt: Duration,
    places: u32,
}

const ROWS: [Row; 6] = {
    let answer =
        Row { behaviour: "40 answer after 3 s", series: &shared_with("slow-3000"), attempt: ANSWER, places: 256 };
    let hang = Row { behaviour: "40 hang", series: &shared_with("hang"), attempt: TIMEOUT, places: 256 };
    [
        answer,
        Row { places: 64, ..answer },
        Row { places: 1024, ..answer },
        hang,
        Row { places: 64, ..hang },
        Row { places: 1024, ..hang },
    ]
};

/// The last webhook has a host of its own ([`Names::OneButLast`]).
const fn shared_with(slow: &'static str) -> [&'static str; WEBHOOKS] {
    let mut series = [slow; WEBHOOKS];
    series[0] = SHARED;
    series[WEBHOOKS - 1] = OWN;
    series
}

impl Row {
    fn name(&self) -> String {
        format!("{}, {} places", self.behaviour, self.places)
    }

    /// Events per second for all slow ones: as many as half of the places can carry if attempts are answered.
    fn slow_per_second(&self) -> f64 {
        f64::from(self.places) / 2.0 / ANSWER.as_secs_f64()
    }

    /// The attempts per second that half of the places can carry.
    fn carried_per_second(&self) -> f64 {
        f64::from(self.places) / 2.0 / self.attempt.as_secs_f64()
    }

    fn setup(&self) -> Setup {
        Setup {
            accounts: WEBHOOKS,
            names: Names::OneButLast,
            concurrency: usize::try_from(self.places).expect("64 bits"),
            series: self.series,
            ..PLAIN
        }
    }
}

/// The deliveries of a quick webhook.
#[derive(Debug, Clone, Serialize)]
struct Quick {
    pushed: u64,
    arrived: f64,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

#[derive(Debug, Clone, Serialize)]
struct Met {
    shared: Quick,
    own: Quick,
    /// Mean events for all slow ones, and mean attempts that they got.
    slow_events_per_second: f64,
    slow_attempts_per_second: f64,
    /// Those attempts, to the attempts that half of the places can carry.
    slow_carried: f64,
}

/// One row's rounds with one build.
#[derive(Serialize)]
pub struct Measured {
    row: String,
    build: String,
    rounds: Vec<Met>,
}

fn seconds(extent: Extent, asked: Option<u64>) -> u64 {
    asked.unwrap_or_else(|| extent.seconds(SECONDS).as_secs())
}

/// How long one round of all rows takes with one build.
pub fn lasts(extent: Extent, asked: Option<u64>) -> Duration {
    let turn = WARM + Duration::from_secs(seconds(extent, asked) + 3);
    turn * u32::try_from(ROWS.len()).expect("a few")
}

pub async fn measure(extent: Extent, asked: Option<u64>, stage: &mut Stage) -> Vec<Measured> {
    let mut measured = Vec::new();
    for row in ROWS {
        let new = |build: &Contender| Measured { row: row.name(), build: build.name(), rounds: Vec::new() };
        let mut of_row: Vec<Measured> = Contender::builds().iter().map(new).collect();
        for number in 1..=extent.rounds {
            for build in order(Contender::builds(), number) {
                let met = turn(&row, build, seconds(extent, asked), stage).await;
                extent.progress(&format!(
                    "isolation, {}, {}: p99 {:.2} ms on the shared host, {:.2} ms on its own; slow ones {:.1}/s",
                    row.name(),
                    build.name(),
                    met.shared.p99_ms,
                    met.own.p99_ms,
                    met.slow_attempts_per_second
                ));
                let of_build = of_row.iter_mut().find(|one| one.build == build.name());
                of_build.expect("each build has its own").rounds.push(met);
            }
        }
        measured.append(&mut of_row);
    }
    measured
}

async fn turn(row: &Row, build: Contender, seconds: u64, stage: &mut Stage) -> Met {
    let mut world = World::new(stage, row.setup()).await;
    let worker = build.work(&world, &[], log()).await;
    world.is_read().await;
    let (shared, own) = (0, WEBHOOKS - 1);
    // Each quick webhook is first in every other pair.
    let mut quick = world.producer_for([shared, own, own, shared].into_iter());
    let mut slow = world.producer_for(1..=SLOW);
    push_pairs(&mut quick, WARM).await;
    assert!(settled(&mut world, LATE).await, "the worker does not deliver all events");
    stage.receiver.ask::<()>(&Ask::Reset).await;

    let duration = Duration::from_secs(seconds);
    let (pairs, to_slow) =
        tokio::join!(push_pairs(&mut quick, duration), slow.push_steadily(row.slow_per_second(), duration));
    let received = received(pairs, stage).await;
    assert!(worker.runs(), "the worker died; see children.log");
    worker.end().await;
    #[allow(clippy::cast_precision_loss, reason = "numbers of events")]
    let per_second = |count: u64| count as f64 / duration.as_secs_f64();
    let slow_counts = received.series.get(row.series[1]);
    let attempts =
        slow_counts.into_iter().flat_map(|counts| &counts.per_second).take(usize::try_from(seconds).expect("64 bits"));
    let slow_attempts_per_second = per_second(attempts.sum());
    Met {
        shared: Quick::of(SHARED, pairs, &received),
        own: Quick::of(OWN, pairs, &received),
        slow_events_per_second: per_second(to_slow as u64),
        slow_attempts_per_second,
        slow_carried: slow_attempts_per_second / row.carried_per_second(),
    }
}

/// Pushes pairs of events, one for each quick webhook, in one pipeline. Answers the number of pairs.
async fn push_pairs(quick: &mut Producer, duration: Duration) -> u64 {
    let (started, mut pairs) = (Instant::now(), 0);
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / QUICK_PER_SECOND));
    while started.elapsed() < duration {
        ticks.tick().await;
        quick.push(2).await;
        pairs += 1;
    }
    pairs
}

/// The receiver's report, once both quick webhooks have got all of their events, or after [`LATE`].
async fn received(pairs: u64, stage: &mut Stage) -> Received {
    let started = Instant::now();
    loop {
        let received: Received = stage.receiver.ask(&Ask::Report).await;
        let has_all = |series| received.series.get(series).is_some_and(|counts| counts.count >= pairs);
        if [SHARED, OWN].into_iter().all(has_all) || started.elapsed() > LATE {
            return received;
        }
        tokio::time::sleep(LOOK).await;
    }
}

impl Quick {
    #[allow(clippy::cast_precision_loss, reason = "hundreds of events")]
    fn of(series: &str, pushed: u64, received: &Received) -> Self {
        let (count, p50_ms, p99_ms, max_ms) = match received.series.get(series) {
            Some(counts) => (counts.count, counts.p50_ms, counts.p99_ms, counts.max_ms),
            None => (0, f64::NAN, f64::NAN, f64::NAN),
        };
        Self { pushed, arrived: count as f64 / pushed as f64, p50_ms, p99_ms, max_ms }
    }
}

impl Measured {
    fn name(&self) -> String {
        if self.is_beside() { format!("{}, other build", self.row) } else { self.row.clone() }
    }

    fn is_beside(&self) -> bool {
        self.build == Contender::Beside.name()
    }

    fn median(&self, of: impl Fn(&Met) -> f64) -> f64 {
        median(self.rounds.iter().map(of))
    }
}

pub fn tell(report: &mut Report, measured: &[Measured]) {
    let header = [
        "several customers, one host: the quick one",
        "p50 ms, shared host",
        "own host",
        "p99 ms, shared host",
        "own host",
        "ratio",
        "more ms",
        "max ms, shared host",
        "own host",
        "arrived, shared host",
        "own host",
        "slow ones' events/s",
        "attempts/s",
        "to what half of the places carry",
    ];
    let rows = measured.iter().map(|one| {
        let of = |figure: fn(&Met) -> f64, decimals: usize| format!("{:.decimals$}", one.median(figure));
        [
            one.name(),
            of(|met| met.shared.p50_ms, 2),
            of(|met| met.own.p50_ms, 2),
            of(|met| met.shared.p99_ms, 2),
            of(|met| met.own.p99_ms, 2),
            of(|met| met.shared.p99_ms / met.own.p99_ms, 2),
            of(|met| met.shared.p99_ms - met.own.p99_ms, 2),
            of(|met| met.shared.max_ms, 2),
            of(|met| met.own.max_ms, 2),
            of(|met| met.shared.arrived, 3),
            of(|met| met.own.arrived, 3),
            of(|met| met.slow_events_per_second, 1),
            of(|met| met.slow_attempts_per_second, 1),
            of(|met| met.slow_carried, 2),
        ]
    });
    report.table(header, rows);
    for one in measured.iter().filter(|one| !one.is_beside()) {
        let ratio = one.median(|met| met.shared.p99_ms / met.own.p99_ms);
        let more_ms = one.median(|met| met.shared.p99_ms - met.own.p99_ms);
        report.judge(Judged {
            figure: format!("one host, {}: p99 of the quick one, to its own host", one.row),
            measured: ratio,
            target: format!("<= {RATIO}, or {MORE_MS} ms more"),
            reached: ratio <= RATIO || more_ms <= MORE_MS,
        });
        let arrived = one.median(|met| met.shared.arrived);
        report.judge(Judged::at_least(format!("one host, {}: share that arrived", one.row), arrived, ARRIVED));
        let carried = one.median(|met| met.slow_carried);
        let figure = format!("one host, {}: slow ones' attempts, to what half of the places carry", one.row);
        report.judge(Judged::at_least(figure, carried, CARRIED));
    }
}
