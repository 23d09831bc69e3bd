//! One, two, four and eight workers with one partition each: how much more they deliver together, and what limits them.

use std::collections::BTreeMap;

use crate::{
    arguments::Extent,
    figures::{median, median_ratio},
    plot::{self, Chart, Line, Scale},
    report::{Report, folder},
    turn::{Contender, Sample, drain, order},
    world::{PLAIN, Setup, Stage},
};

const CONTENDERS: [Contender; 2] = [Contender::BARE, Contender::Worker];
const COUNTS: [u16; 4] = [1, 2, 4, 8];
/// Enough accounts to spread over eight partitions.
const ACCOUNTS: usize = 64;
/// A process that uses this share of its capacity is limited by it.
const FULL: f64 = 0.9;

type Round = BTreeMap<String, Sample>;

fn key(contender: Contender, count: u16) -> String {
    format!("{count} × {}", contender.name())
}

pub async fn run(extent: Extent) -> Report {
    let mut stage = Stage::new().await;
    let mut rounds = Vec::new();
    for number in 1..=extent.rounds {
        let mut round = Round::new();
        for count in COUNTS {
            for contender in order(CONTENDERS, number) {
                let setup = Setup { accounts: ACCOUNTS, partitions: count, ..PLAIN };
                let sample = drain(contender, count.into(), setup, &mut stage, extent.events(200_000)).await;
                extent.progress(&format!(
                    "scale, round {number}: {} {:.0}/s",
                    key(contender, count),
                    sample.per_second
                ));
                round.insert(key(contender, count), sample);
            }
        }
        rounds.push(round);
    }
    stage.receiver.end().await;
    tell(&rounds)
}

fn tell(rounds: &[Round]) -> Report {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut report = Report::new("scale", &serde_json::json!({ "cores": cores, "rounds": rounds }));
    let of = |contender, count, figure: fn(&Sample) -> f64| {
        median(rounds.iter().map(|round| figure(&round[&key(contender, count)])))
    };
    let to_one = |contender, count| {
        let per_second = |round: &Round, count| round[&key(contender, count)].per_second;
        median_ratio(rounds, |round| per_second(round, count), |round| per_second(round, 1))
    };
    #[allow(clippy::cast_precision_loss, reason = "a number of cores")]
    let limit = |contender, count| match () {
        () if of(contender, count, |s| s.cores + s.elsewhere) >= FULL * cores as f64 => "all cores of this machine",
        () if of(contender, count, Sample::redis_cores) >= FULL => "Redis, which has one thread",
        () => "waiting",
    };
    let rows = COUNTS.into_iter().flat_map(|count| CONTENDERS.map(|contender| (contender, count)));
    let rows: Vec<_> = rows
        .map(|(contender, count)| {
            [
                key(contender, count),
                format!("{:.0}", of(contender, count, |s| s.per_second)),
                format!("{:.2}", to_one(contender, count)),
                format!("{:.2}", of(contender, count, Sample::contender_cores)),
                format!("{:.2}", of(contender, count, Sample::redis_cores)),
                format!("{:.2}", of(contender, count, Sample::receiver_cores)),
                format!("{:.2} of {cores}", of(contender, count, |s| s.cores)),
                format!("{:.0}", of(contender, count, |s| s.peak_mib)),
                limit(contender, count).to_owned(),
            ]
        })
        .collect();
    report.table(
        [
            "",
            "deliveries/s",
            "to one",
            "cores",
            "Redis cores",
            "receiver cores",
            "cores in total",
            "peak MiB in total",
            "limited by",
        ],
        rows,
    );
    let line = |contender: Contender| Line {
        name: contender.name(),
        points: COUNTS.map(|count| (f64::from(count), of(contender, count, |s| s.per_second))).into(),
    };
    let chart = Chart {
        title: format!("Deliveries per second, {cores} cores for all processes together"),
        x: ("processes, and partitions".to_owned(), Scale::Linear),
        y: ("deliveries per second".to_owned(), Scale::Linear),
        lines: CONTENDERS.map(line).into(),
    };
    plot::draw(&folder().join("scale.svg"), &[chart]);
    report
}
