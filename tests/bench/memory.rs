//! The memory of a worker with 1,000 attempts in flight: each endpoint answers after two seconds, and more events wait.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    accounting::peak_mib,
    arguments::Extent,
    figures::{Judged, median, median_ratio},
    receiver::{Ask, Report as Received},
    report::Report,
    turn::{BESIDE, Contender, LIMIT, arrived, order},
    world::{PLAIN, Setup, Stage, World},
};

const IN_FLIGHT: usize = 1000;
/// The worker's memory in MiB, at most.
const MIB: f64 = 64.0;

#[derive(Debug, Clone, Serialize)]
struct Met {
    peak_mib: f64,
    most_in_flight: u64,
    /// Opened since the start, and open at once.
    connections: u64,
    most_open: u64,
}

type Round = BTreeMap<String, Met>;

#[derive(Serialize)]
struct Shaped {
    shape: &'static str,
    rounds: Vec<Round>,
}

fn contenders() -> Vec<Contender> {
    [vec![Contender::BARE], Contender::builds()].concat()
}

pub async fn run(extent: Extent) -> Report {
    let mut measured = Vec::new();
    for (shape, accounts) in [("1 endpoint", 1), ("1,000 endpoints", 1000)] {
        let mut stage = Stage::new().await;
        let setup = Setup { accounts, concurrency: IN_FLIGHT, series: &["slow-2000"], ..PLAIN };
        let mut rounds = Vec::new();
        for number in 1..=extent.rounds {
            let mut round = Round::new();
            for contender in order(contenders(), number) {
                // If many endpoints are slow, they share five eighths of a worker's places.
                let shared = accounts > 1 && contender != Contender::BARE;
                let concurrency = if shared { IN_FLIGHT * 8 / 5 } else { IN_FLIGHT };
                let met = turn(contender, Setup { concurrency, ..setup }, &mut stage).await;
                extent.progress(&format!(
                    "memory, {shape}, round {number}: {} {:.1} MiB with {} in flight, {} connections open",
                    contender.name(),
                    met.peak_mib,
                    met.most_in_flight,
                    met.most_open
                ));
                round.insert(contender.name(), met);
            }
            rounds.push(round);
        }
        stage.receiver.end().await;
        measured.push(Shaped { shape, rounds });
    }
    tell(&measured)
}

/// Waits until five times as many attempts have arrived as are in flight at once. By then connections are reused, and
/// the limit of a new endpoint, which begins with three, has grown to all places. More events wait behind, so that the
/// queue is not empty.
async fn turn(contender: Contender, setup: Setup, stage: &mut Stage) -> Met {
    let mut world = World::new(stage, setup).await;
    world.producer.push(6 * IN_FLIGHT).await;
    stage.receiver.ask::<()>(&Ask::Reset).await;
    let child = contender.start(&world, stage).await;
    assert!(arrived(stage, 5 * IN_FLIGHT as u64, LIMIT).await, "{} does not deliver", contender.name());
    let peak_mib = peak_mib(child.id);
    let Received { connections, most_open, most_in_flight, .. } = stage.receiver.ask(&Ask::Report).await;
    child.end().await;
    Met { peak_mib, most_in_flight, connections, most_open }
}

fn tell(measured: &[Shaped]) -> Report {
    let mut report = Report::new("memory", &measured);
    let median_of = |rounds: &[Round], contender: Contender, of: fn(&Met) -> f64| {
        median(rounds.iter().map(|round| of(&round[&contender.name()])))
    };
    let rows: Vec<_> = measured
        .iter()
        .flat_map(|shaped| contenders().into_iter().map(move |contender| (shaped, contender)))
        .map(|(Shaped { shape, rounds }, contender)| {
            [
                format!("{shape}: {}", contender.name()),
                format!("{:.0}", median_of(rounds, contender, |met| count(met.most_in_flight))),
                format!("{:.0}", median_of(rounds, contender, |met| count(met.connections))),
                format!("{:.0}", median_of(rounds, contender, |met| count(met.most_open))),
                format!("{:.1}", median_of(rounds, contender, |met| met.peak_mib)),
            ]
        })
        .collect();
    report.table(["", "in flight at once", "connections opened", "open at once", "peak MiB"], rows);
    for Shaped { shape, rounds } in measured {
        let peak = median_of(rounds, Contender::Worker, |met| met.peak_mib);
        let in_flight = median_of(rounds, Contender::Worker, |met| count(met.most_in_flight));
        report.judge(Judged::at_most(format!("{shape}, {in_flight:.0} in flight: worker's peak MiB"), peak, MIB));
    }
    if let Some(program) = BESIDE.get() {
        for Shaped { shape, rounds } in measured {
            let peak_mib = |of: Contender| move |round: &Round| round[&of.name()].peak_mib;
            let ratio = median_ratio(rounds, peak_mib(Contender::Worker), peak_mib(Contender::Beside));
            report.note(format!("{shape}: peak MiB is {ratio:.3} of that of the other build, {program}."));
        }
    }
    report
}

fn count(number: u64) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}
