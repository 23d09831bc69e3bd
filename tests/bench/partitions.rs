//! Partitions do not slow a worker down. With four threads, 256 slots and an endpoint that answers after 200 ms, a
//! worker delivers as much with many partitions as with one, whether all of them are busy or all but one are idle. The
//! first event of an idle partition arrives at once.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use crate::{
    arguments::Extent,
    children::{self, Child},
    figures::{Judged, median, median_ratio},
    receiver::{Ask, Report as Received},
    report::Report,
    turn::{BESIDE, Contender, arrived},
    world::{PLAIN, Setup, Stage, World},
};

const THREADS: usize = 4;
const SLOW: &str = "slow-200";
const QUICK: &str = "ok";
/// Partitions, and accounts that get events: 64 spread over all partitions, 1 uses one.
const ROWS: [(u16, usize); 7] = [(1, 64), (16, 64), (64, 64), (512, 64), (1, 1), (64, 1), (512, 1)];
/// Events per second: the most that 256 slots can deliver.
const PER_SECOND: f64 = 1280.0;
/// The load lasts this long before it is measured, because new endpoints get few attempts at first.
const WARM: Duration = Duration::from_secs(5);
/// Events for idle partitions, one after another.
const FIRST: usize = 20;
/// The time that each of these events has to arrive.
const LATE: Duration = Duration::from_secs(10);
/// The least share of the rate with one partition; and the most that an idle partition's event may be late.
const RATIO: f64 = 0.9;
const FIRST_MS: f64 = 50.0;

#[derive(Debug, Clone, Serialize)]
struct Met {
    per_second: f64,
    /// From `XADD` to arrival, while the worker is otherwise idle.
    first_ms: f64,
}

type Round = BTreeMap<String, Met>;

fn key((partitions, accounts): (u16, usize), contender: Contender) -> String {
    let busy = if accounts == 1 { "one busy" } else { "all busy" };
    format!("{partitions} partitions, {busy}; {}", contender.name())
}

pub async fn run(extent: Extent) -> Report {
    let mut stage = Stage::new().await;
    let mut rounds = Vec::new();
    for number in 1..=extent.rounds {
        let mut round = Round::new();
        for row in ROWS {
            for contender in Contender::builds() {
                let met = turn(row, contender, &mut stage, extent).await;
                extent.progress(&format!("partitions, round {number}: {}: {met:.1?}", key(row, contender)));
                round.insert(key(row, contender), met);
            }
        }
        rounds.push(round);
    }
    stage.receiver.end().await;
    tell(&rounds)
}

async fn turn(row: (u16, usize), contender: Contender, stage: &mut Stage, extent: Extent) -> Met {
    Met { per_second: per_second(row, contender, stage, extent).await, first_ms: first_ms(row, contender, stage).await }
}

async fn start(
    (partitions, accounts): (u16, usize),
    series: &'static [&'static str],
    contender: Contender,
    stage: &Stage,
) -> (World, Child) {
    let mut world = World::new(stage, Setup { accounts, partitions, series, ..PLAIN }).await;
    let threads = ("LYNKHOOK_WORKER__THREADS", THREADS.to_string());
    let child = contender.work(&world, &[threads], children::log()).await;
    world.is_read().await;
    (world, child)
}

#[allow(clippy::cast_precision_loss, reason = "numbers of deliveries")]
async fn per_second(row: (u16, usize), contender: Contender, stage: &mut Stage, extent: Extent) -> f64 {
    let (mut world, child) = start(row, &[SLOW], contender, stage).await;
    stage.receiver.ask::<()>(&Ask::Reset).await;
    world.producer.push_steadily(PER_SECOND, WARM).await;
    let (from, before): (_, u64) = (std::time::Instant::now(), stage.receiver.ask(&Ask::Count).await);
    world.producer.push_steadily(PER_SECOND, extent.seconds(10)).await;
    let after: u64 = stage.receiver.ask(&Ask::Count).await;
    let per_second = (after - before) as f64 / from.elapsed().as_secs_f64();
    assert!(child.runs(), "{} died; see children.log", contender.name());
    child.end().await;
    per_second
}

async fn first_ms(row: (u16, usize), contender: Contender, stage: &mut Stage) -> f64 {
    let (mut world, child) = start(row, &[QUICK], contender, stage).await;
    stage.receiver.ask::<()>(&Ask::Reset).await;
    for count in 1..=FIRST {
        world.producer.push(1).await;
        arrived(stage, u64::try_from(count).expect("64 bits"), LATE).await;
    }
    let received: Received = stage.receiver.ask(&Ask::Report).await;
    child.end().await;
    received.series.get(QUICK).map_or(f64::INFINITY, |counts| counts.p50_ms)
}

fn tell(rounds: &[Round]) -> Report {
    let mut report = Report::new("partitions", &rounds);
    let ratio = |row: (u16, usize), contender| {
        let of = |round: &Round, partitions| round[&key((partitions, row.1), contender)].per_second;
        median_ratio(rounds, |round| of(round, row.0), |round| of(round, 1))
    };
    let of = |row, contender, figure: fn(&Met) -> f64| {
        median(rounds.iter().map(|round| figure(&round[&key(row, contender)])))
    };
    let rows = ROWS.into_iter().flat_map(|row| Contender::builds().into_iter().map(move |contender| (row, contender)));
    let rows: Vec<_> = rows
        .map(|(row, contender)| {
            [
                key(row, contender),
                format!("{:.0}", of(row, contender, |met| met.per_second)),
                format!("{:.2}", ratio(row, contender)),
                format!("{:.1}", of(row, contender, |met| met.first_ms)),
            ]
        })
        .collect();
    report.table(
        [
            "4 threads, 256 slots, endpoints that take 200 ms",
            "deliveries/s",
            "to one partition",
            "first event of an idle partition, ms",
        ],
        rows,
    );
    for row in ROWS.into_iter().filter(|(partitions, _)| *partitions > 1) {
        let name = key(row, Contender::Worker);
        report.judge(Judged::at_least(format!("{name}; to one partition"), ratio(row, Contender::Worker), RATIO));
        let first = of(row, Contender::Worker, |met| met.first_ms);
        report.judge(Judged::at_most(format!("{name}; first event, ms"), first, FIRST_MS));
    }
    if let Some(program) = BESIDE.get() {
        report.note(format!("The other build: {program}."));
    }
    report
}
