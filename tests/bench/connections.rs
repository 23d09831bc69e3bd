//! The number of connections that an endpoint sees. It answers after 100 ms and gets 1,000 events a second, so about
//! 100 attempts are in flight at once, each on a connection of its own. A client that opens spare connections shows it
//! here.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use crate::{
    arguments::Extent,
    figures::{Judged, median},
    receiver::{Ask, Report as Received},
    report::Report,
    turn::{BESIDE, Contender, arrived, order},
    world::{PLAIN, Setup, Stage, World},
};

const SERIES: &str = "slow-100";
const SETUP: Setup = Setup { series: &[SERIES], ..PLAIN };
const PER_SECOND: f64 = 1000.0;
/// The load grows in steps. A worker sends a new endpoint few attempts at first. Under the whole load at once,
/// deliveries would wait and then leave together, on more connections than the load needs.
const STEPS: u32 = 10;
const STEP: Duration = Duration::from_millis(500);
/// Connections opened, to the most attempts in flight at once.
const RATIO: f64 = 1.3;
/// Deliveries that still wait when the last event is pushed have this long to arrive.
const LATE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Serialize)]
struct Met {
    /// Opened since the worker's start, and open at once.
    connections: u64,
    most_open: u64,
    most_in_flight: u64,
    /// The share of the events that arrived.
    arrived: f64,
    p50_ms: f64,
    p99_ms: f64,
}

impl Met {
    #[allow(clippy::cast_precision_loss, reason = "hundreds of connections")]
    fn ratio(&self) -> f64 {
        self.connections as f64 / self.most_in_flight as f64
    }
}

type Round = BTreeMap<String, Met>;

fn contenders() -> Vec<Contender> {
    [vec![Contender::BARE], Contender::builds()].concat()
}

pub async fn run(extent: Extent) -> Report {
    let mut stage = Stage::new().await;
    let mut rounds = Vec::new();
    for number in 1..=extent.rounds {
        let mut round = Round::new();
        for contender in order(contenders(), number) {
            let met = turn(contender, &mut stage, extent).await;
            extent.progress(&format!(
                "connections, round {number}: {} {} opened for {} in flight at once: {:.2}",
                contender.name(),
                met.connections,
                met.most_in_flight,
                met.ratio()
            ));
            round.insert(contender.name(), met);
        }
        rounds.push(round);
    }
    stage.receiver.end().await;
    tell(&rounds)
}

async fn turn(contender: Contender, stage: &mut Stage, extent: Extent) -> Met {
    let mut world = World::new(stage, SETUP).await;
    stage.receiver.ask::<()>(&Ask::Reset).await;
    let child = contender.start(&world, stage).await;
    world.is_read().await;
    let mut pushed = 0;
    for step in 1..STEPS {
        pushed += world.producer.push_steadily(PER_SECOND * f64::from(step) / f64::from(STEPS), STEP).await;
    }
    pushed += world.producer.push_steadily(PER_SECOND, extent.seconds(20)).await;
    arrived(stage, u64::try_from(pushed).expect("64 bits"), LATE).await;
    let received: Received = stage.receiver.ask(&Ask::Report).await;
    assert!(child.runs(), "{} died; see children.log", contender.name());
    child.end().await;
    let Received { connections, most_open, most_in_flight, series } = received;
    let counts = &series[SERIES];
    #[allow(clippy::cast_precision_loss, reason = "numbers of events")]
    let arrived = counts.count as f64 / pushed as f64;
    Met { connections, most_open, most_in_flight, arrived, p50_ms: counts.p50_ms, p99_ms: counts.p99_ms }
}

fn tell(rounds: &[Round]) -> Report {
    let mut report = Report::new("connections", &rounds);
    let median_of = |contender: Contender, of: &dyn Fn(&Met) -> f64| {
        median(rounds.iter().map(|round| of(&round[&contender.name()])))
    };
    let rows = contenders().into_iter().map(|contender| {
        #[allow(clippy::cast_precision_loss, reason = "hundreds of connections")]
        let count = |of: fn(&Met) -> u64| format!("{:.0}", median_of(contender, &|met| of(met) as f64));
        [
            contender.name(),
            count(|met| met.connections),
            count(|met| met.most_open),
            count(|met| met.most_in_flight),
            format!("{:.2}", median_of(contender, &Met::ratio)),
            format!("{:.3}", median_of(contender, &|met| met.arrived)),
            format!("{:.2}", median_of(contender, &|met| met.p50_ms)),
            format!("{:.2}", median_of(contender, &|met| met.p99_ms)),
        ]
    });
    report.table(
        [
            "1,000 events/s, each answered after 100 ms",
            "connections opened",
            "open at once",
            "in flight at once",
            "opened, to in flight",
            "arrived",
            "p50 ms",
            "p99 ms",
        ],
        rows,
    );
    let ratio = median_of(Contender::Worker, &Met::ratio);
    report.judge(Judged::at_most("connections opened, to the most attempts in flight at once", ratio, RATIO));
    if let Some(program) = BESIDE.get() {
        report.note(format!("The other build: {program}."));
    }
    report
}
