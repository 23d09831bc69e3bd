//! The time from `XADD` to arrival while events come at a steady rate: at light load, at half of the bare loop's
//! capacity, and over a curve of loads up to that capacity.
//!
//! The producer is an open loop: it pushes an event when it is due, whether or not earlier events have arrived. So a
//! contender that cannot keep up shows it in its latency.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use crate::{
    arguments::Extent,
    figures::{Judged, median, median_ratio, with_ratio},
    plot::{self, Chart, Line, Scale},
    receiver::{Ask, Report as Received},
    report::{Report, folder},
    turn::{Contender, Mark, Sample, arrived, drain, order, settled},
    world::{PLAIN, Stage, World},
};

/// Events per second at light load.
const LIGHT: f64 = 200.0;
/// The other loads, as shares of the bare loop's capacity.
const SHARES: [f64; 6] = [0.1, 0.25, 0.5, 0.75, 0.9, 1.0];
/// The share that is judged in addition to the light load.
const HALF: f64 = 0.5;

const CONTENDERS: [Contender; 3] = [Contender::BARE, Contender::Worker, Contender::BARE_REQWEST];

/// The figures of one turn at one load.
#[derive(Debug, Clone, Serialize)]
struct Met {
    p50_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    max_ms: f64,
    /// The share of the events that arrived within a second of the producer's stop.
    arrived: f64,
    used: Sample,
}

/// One load.
#[derive(Serialize)]
struct Load {
    name: String,
    /// The share of the bare loop's capacity in the same round; `None` is the light load.
    share: Option<f64>,
    rounds: Vec<Round>,
}

/// The rate of events, and the figures of each contender.
#[derive(Serialize)]
struct Round {
    per_second: f64,
    met: BTreeMap<String, Met>,
}

pub async fn run(extent: Extent) -> Report {
    let mut stage = Stage::new().await;
    let mut loads = vec![Load { name: "light".to_owned(), share: None, rounds: Vec::new() }];
    loads.extend(SHARES.map(|share| Load {
        name: format!("{:.0} % of capacity", share * 100.0),
        share: Some(share),
        rounds: Vec::new(),
    }));
    for number in 1..=extent.rounds {
        let capacity = drain(Contender::BARE, 1, PLAIN, &mut stage, extent.events(200_000)).await.per_second;
        extent.progress(&format!("latency, round {number}: the bare loop's capacity is {capacity:.0}/s"));
        for load in &mut loads {
            let per_second = load.share.map_or(LIGHT, |share| share * capacity);
            let mut round = Round { per_second, met: BTreeMap::new() };
            for contender in order(CONTENDERS, number) {
                let met = turn(contender, per_second, &mut stage, extent).await;
                extent.progress(&format!(
                    "latency, {}, round {number}: {} p50 {:.2} ms, p99 {:.2} ms",
                    load.name,
                    contender.name(),
                    met.p50_ms,
                    met.p99_ms
                ));
                round.met.insert(contender.name(), met);
            }
            load.rounds.push(round);
        }
    }
    stage.receiver.end().await;
    tell(&loads)
}

async fn turn(contender: Contender, per_second: f64, stage: &mut Stage, extent: Extent) -> Met {
    let mut world = World::new(stage, PLAIN).await;
    stage.receiver.ask::<()>(&Ask::Reset).await;
    let children = vec![contender.start(&world, stage).await];
    // Opens connections and warms up code and pools.
    world.producer.push_steadily(per_second, Duration::from_secs(1)).await;
    settled(&mut world, Duration::from_secs(2)).await;
    stage.receiver.ask::<()>(&Ask::Reset).await;
    let from = Mark::take(&children, &mut world, stage).await;
    let seconds = if per_second > LIGHT { extent.seconds(5) } else { extent.seconds(10) };
    let pushed = world.producer.push_steadily(per_second, seconds).await;
    let to = Mark::take(&children, &mut world, stage).await;
    arrived(stage, u64::try_from(pushed).expect("64 bits"), Duration::from_secs(1)).await;
    let received: Received = stage.receiver.ask(&Ask::Report).await;
    for child in children {
        child.end().await;
    }
    let counts = &received.series[PLAIN.series[0]];
    #[allow(clippy::cast_precision_loss, reason = "numbers of events")]
    let arrived = counts.count as f64 / pushed as f64;
    let used = Sample::between(&from, &to, &[]);
    Met { p50_ms: counts.p50_ms, p99_ms: counts.p99_ms, p999_ms: counts.p999_ms, max_ms: counts.max_ms, arrived, used }
}

impl Load {
    fn per_second(&self) -> f64 {
        median(self.rounds.iter().map(|round| round.per_second))
    }

    fn median(&self, contender: Contender, of: fn(&Met) -> f64) -> f64 {
        median(self.rounds.iter().map(|round| of(&round.met[&contender.name()])))
    }

    fn ratio_to_bare(&self, contender: Contender, of: fn(&Met) -> f64) -> f64 {
        let [bare, name] = [Contender::BARE.name(), contender.name()];
        median_ratio(&self.rounds, |round| of(&round.met[&name]), |round| of(&round.met[&bare]))
    }

    /// The difference between the worker and the bare loop, in the median of the rounds.
    fn beyond_bare(&self, of: fn(&Met) -> f64) -> f64 {
        let [bare, worker] = [Contender::BARE.name(), Contender::Worker.name()];
        median(self.rounds.iter().map(|round| of(&round.met[&worker]) - of(&round.met[&bare])))
    }
}

fn tell(loads: &[Load]) -> Report {
    let mut report = Report::new("latency", &loads);
    let header = [
        "(of bare)",
        "events/s",
        "delivered/s",
        "arrived in time",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "most ms",
        "CPU s/1,000",
        "Redis CPU s/1,000",
    ];
    let rows = loads.iter().flat_map(|load| CONTENDERS.map(|contender| (load, contender))).map(|(load, contender)| {
        let of = |figure| load.median(contender, figure);
        let to_bare = |figure, decimals| with_ratio(of(figure), load.ratio_to_bare(contender, figure), decimals);
        [
            format!("{}: {}", load.name, contender.name()),
            format!("{:.0}", load.per_second()),
            format!("{:.0}", of(|met| met.used.per_second)),
            format!("{:.0} %", of(|met| met.arrived) * 100.0),
            to_bare(|met| met.p50_ms, 2),
            to_bare(|met| met.p99_ms, 2),
            to_bare(|met| met.p999_ms, 2),
            format!("{:.1}", of(|met| met.max_ms)),
            to_bare(|met| met.used.cpu_per_1000, 4),
            to_bare(|met| met.used.redis_cpu_per_1000, 4),
        ]
    });
    report.table(header, rows);
    let light = &loads[0];
    report.judge(Judged::at_most("light load: p50 above bare, ms", light.beyond_bare(|met| met.p50_ms), 0.3));
    report.judge(Judged::at_most("light load: p99 above bare, ms", light.beyond_bare(|met| met.p99_ms), 2.0));
    let half = loads.iter().find(|load| load.share == Some(HALF)).expect("it is one");
    report.note(format!(
        "At half of the bare loop's capacity the worker's p50 is {:.2} ms above bare, its p99 {:.2} ms.",
        half.beyond_bare(|met| met.p50_ms),
        half.beyond_bare(|met| met.p99_ms)
    ));
    draw(loads);
    report
}

fn draw(loads: &[Load]) {
    let line = |name: String, contender: Contender, of: fn(&Met) -> f64| Line {
        name,
        points: loads.iter().map(|load| (load.per_second(), load.median(contender, of))).collect(),
    };
    let x = || ("events pushed each second".to_owned(), Scale::Linear);
    let delivered = CONTENDERS.map(|contender| line(contender.name(), contender, |met| met.used.per_second));
    let mut latencies = Vec::new();
    for contender in CONTENDERS {
        latencies.push(line(format!("{}, p50", contender.name()), contender, |met| met.p50_ms));
        latencies.push(line(format!("{}, p99", contender.name()), contender, |met| met.p99_ms));
    }
    let charts = [
        Chart {
            title: "Deliveries each second over load, one endpoint".to_owned(),
            x: x(),
            y: ("delivered each second".to_owned(), Scale::Linear),
            lines: delivered.into(),
        },
        Chart {
            title: "From XADD to arrival over load".to_owned(),
            x: x(),
            y: ("ms".to_owned(), Scale::Logarithmic),
            lines: latencies,
        },
    ];
    plot::draw(&folder().join("latency.svg"), &charts);
}
