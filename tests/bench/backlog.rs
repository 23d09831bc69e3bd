//! Whether a delivery costs more when a million events wait than when ten thousand do, and how much of Redis's memory a
//! waiting event takes.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    accounting::RedisFigures,
    arguments::Extent,
    figures::{Judged, median, median_ratio},
    producer::ENVELOPE_BYTES,
    report::Report,
    turn::{Contender, Sample, drain_world, order, ready},
    world::{PLAIN, Stage, World},
};

const CONTENDERS: [Contender; 2] = [Contender::BARE, Contender::Worker];
const SHORT: usize = 10_000;
const LONG: usize = 1_000_000;
/// A short queue is drained within a second, which the kernel's clock ticks measure coarsely; so it is drained several
/// times.
const SHORT_TURNS: usize = 5;

#[derive(Debug, Clone, Serialize)]
struct Drained {
    per_second: f64,
    cpu_per_1000: f64,
    redis_cpu_per_1000: f64,
    peak_mib: f64,
    /// Redis's memory per waiting event.
    waiting_event_bytes: f64,
}

/// One round, by contender and number of waiting events.
type Round = BTreeMap<String, Drained>;

fn key(contender: Contender, events: usize) -> String {
    format!("{}, {events} waiting", contender.name())
}

pub async fn run(extent: Extent) -> Report {
    let mut stage = Stage::new().await;
    let lengths = [SHORT, extent.events(LONG)];
    let mut rounds = Vec::new();
    for number in 1..=extent.rounds {
        let mut round = Round::new();
        for contender in order(CONTENDERS, number) {
            for events in lengths {
                let times = if events == SHORT { SHORT_TURNS } else { 1 };
                let mut turns = Vec::new();
                for _ in 0..times {
                    turns.push(turn(contender, events, &mut stage).await);
                }
                let drained = mean(&turns);
                extent.progress(&format!(
                    "drain, round {number}: {} {:.4} s/1,000",
                    key(contender, events),
                    drained.cpu_per_1000
                ));
                round.insert(key(contender, events), drained);
            }
        }
        rounds.push(round);
    }
    stage.receiver.end().await;
    tell(&rounds, lengths)
}

async fn turn(contender: Contender, events: usize, stage: &mut Stage) -> Drained {
    let mut world = World::new(stage, PLAIN).await;
    let children = ready(contender, 1, &mut world, stage).await;
    let before = RedisFigures::read(&mut world.redis).await.used_memory_bytes;
    world.producer.push(events).await;
    let after = RedisFigures::read(&mut world.redis).await.used_memory_bytes;
    let Sample { per_second, cpu_per_1000, redis_cpu_per_1000, peak_mib, .. } =
        drain_world(contender, children, &mut world, stage, events).await;
    #[allow(clippy::cast_precision_loss, reason = "a number of events")]
    let waiting_event_bytes = (after - before) / events as f64;
    Drained { per_second, cpu_per_1000, redis_cpu_per_1000, peak_mib, waiting_event_bytes }
}

fn mean(turns: &[Drained]) -> Drained {
    #[allow(clippy::cast_precision_loss, reason = "a few turns")]
    let of = |figure: fn(&Drained) -> f64| turns.iter().map(figure).sum::<f64>() / turns.len() as f64;
    Drained {
        per_second: of(|turn| turn.per_second),
        cpu_per_1000: of(|turn| turn.cpu_per_1000),
        redis_cpu_per_1000: of(|turn| turn.redis_cpu_per_1000),
        peak_mib: of(|turn| turn.peak_mib),
        waiting_event_bytes: of(|turn| turn.waiting_event_bytes),
    }
}

fn tell(rounds: &[Round], lengths: [usize; 2]) -> Report {
    let mut report = Report::new("drain", &rounds);
    let [short, long] = lengths;
    let long_to_short = |contender, of: fn(&Drained) -> f64| {
        median_ratio(rounds, |round| of(&round[&key(contender, long)]), |round| of(&round[&key(contender, short)]))
    };
    #[allow(clippy::cast_precision_loss, reason = "a small number")]
    let payload_bytes = ENVELOPE_BYTES as f64;
    let rows: Vec<_> = CONTENDERS
        .into_iter()
        .flat_map(|contender| lengths.map(|events| (contender, events)))
        .map(|(contender, events)| {
            let of = |figure: fn(&Drained) -> f64| {
                median(rounds.iter().map(|round| figure(&round[&key(contender, events)])))
            };
            [
                key(contender, events),
                format!("{:.0}", of(|drained| drained.per_second)),
                format!("{:.4}", of(|drained| drained.cpu_per_1000)),
                format!("{:.4}", of(|drained| drained.redis_cpu_per_1000)),
                format!("{:.0}", of(|drained| drained.peak_mib)),
                format!("{:.0}", of(|drained| drained.waiting_event_bytes)),
                format!("{:.2}", of(|drained| drained.waiting_event_bytes) / payload_bytes),
            ]
        })
        .collect();
    report.table(
        ["", "deliveries/s", "CPU s/1,000", "Redis CPU s/1,000", "peak MiB", "Redis bytes per event", "to its payload"],
        rows,
    );
    let worker = Contender::Worker;
    let figure = |what: &str| format!("{what} per delivery with {long} waiting, to {short}");
    report.judge(Judged::near_one(figure("worker CPU"), long_to_short(worker, |drained| drained.cpu_per_1000), 0.1));
    report.judge(Judged::near_one(
        figure("Redis CPU"),
        long_to_short(worker, |drained| drained.redis_cpu_per_1000),
        0.1,
    ));
    let bytes = median(rounds.iter().map(|round| round[&key(worker, long)].waiting_event_bytes)) / payload_bytes;
    report.judge(Judged::at_most("Redis memory of a waiting event, to its payload of 600 bytes", bytes, 1.5));
    report
}
