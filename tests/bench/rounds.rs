//! Rounds in which contenders drain the same queue in turn, and a table that compares them with the bare loop.

use std::collections::BTreeMap;

use crate::{
    arguments::Extent,
    figures::{median, median_ratio, with_ratio},
    report::Report,
    turn::{Contender, Sample, drain, order},
    world::{Setup, Stage},
};

/// One round: a sample of each contender, by its name.
pub type Round = BTreeMap<String, Sample>;

/// Runs all rounds with `events` events. `what` names the measurement in the progress output.
pub async fn run(
    what: &str,
    contenders: &[Contender],
    setup: Setup,
    stage: &mut Stage,
    (events, extent): (usize, Extent),
) -> Vec<Round> {
    let mut rounds = Vec::new();
    for number in 1..=extent.rounds {
        let mut round = Round::new();
        for contender in order(contenders, number) {
            let sample = drain(contender, 1, setup, stage, extent.events(events)).await;
            extent.progress(&format!("{what}, round {number}: {} {:.0}/s", contender.name(), sample.per_second));
            round.insert(contender.name(), sample);
        }
        rounds.push(round);
    }
    rounds
}

/// A contender's figure: the median of the rounds.
pub fn median_of(rounds: &[Round], contender: Contender, figure: impl Fn(&Sample) -> f64) -> f64 {
    median(rounds.iter().map(|round| figure(&round[&contender.name()])))
}

/// A contender's figure, to another's of the same round: the median of the rounds.
pub fn ratio(rounds: &[Round], of: Contender, to: Contender, figure: impl Fn(&Sample) -> f64) -> f64 {
    median_ratio(rounds, |round| figure(&round[&of.name()]), |round| figure(&round[&to.name()]))
}

/// A row for each contender.
pub fn tell(report: &mut Report, what: &str, contenders: &[Contender], rounds: &[Round]) {
    let rows = contenders.iter().map(|contender| {
        let of = |figure: fn(&Sample) -> f64| median_of(rounds, *contender, figure);
        let to_bare = |figure: fn(&Sample) -> f64, decimals| {
            with_ratio(of(figure), ratio(rounds, *contender, Contender::BARE, figure), decimals)
        };
        [
            contender.name(),
            to_bare(|s| s.per_second, 0),
            to_bare(|s| s.cpu_per_1000, 4),
            to_bare(|s| s.redis_cpu_per_1000, 4),
            to_bare(|s| s.receiver_cpu_per_1000, 4),
            to_bare(|s| s.peak_mib, 0),
            to_bare(|s| s.commands, 3),
            to_bare(|s| s.reads, 3),
            format!("{:.2}", of(|s| s.cores)),
            format!("{:.2}", of(|s| s.elsewhere)),
        ]
    });
    let header = [
        &format!("{what} (to bare)"),
        "deliveries/s",
        "CPU s/1,000",
        "Redis CPU s/1,000",
        "receiver CPU s/1,000",
        "peak MiB",
        "Redis commands per delivery",
        "round trips per delivery",
        "cores in total",
        "cores elsewhere",
    ];
    report.table(header, rows);
}
