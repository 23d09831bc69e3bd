//! What a worker costs that has nothing to do. There is no bare loop to compare with: it would not even look for the dead.

use std::time::Duration;

use serde::Serialize;

use crate::{
    arguments::Extent,
    figures::{Judged, median},
    report::Report,
    turn::{Contender, Mark},
    world::{PLAIN, Setup, Stage, World},
};

/// Partitions that are tried.
const PARTITIONS: [u16; 2] = [1, 4];

#[derive(Debug, Clone, Serialize)]
struct Idled {
    partitions: u16,
    /// Per cent of one core.
    worker_cpu_percent: f64,
    redis_cpu_percent: f64,
    /// A second and partition.
    round_trips: f64,
    commands: f64,
}

pub async fn run(extent: Extent) -> Report {
    let mut stage = Stage::new().await;
    let mut measured = Vec::new();
    for number in 1..=extent.rounds {
        for partitions in PARTITIONS {
            let idled = turn(partitions, &mut stage, extent).await;
            extent.progress(&format!(
                "idle, {partitions} partitions, round {number}: {:.2} % of a core",
                idled.worker_cpu_percent
            ));
            measured.push(idled);
        }
    }
    stage.receiver.end().await;
    tell(&measured)
}

async fn turn(partitions: u16, stage: &mut Stage, extent: Extent) -> Idled {
    let mut world = World::new(stage, Setup { partitions, ..PLAIN }).await;
    let children = vec![Contender::Worker.start(&world, stage).await];
    // Its start is not what is measured.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let from = Mark::take(&children, &mut world, stage).await;
    tokio::time::sleep(extent.seconds(20)).await;
    let to = Mark::take(&children, &mut world, stage).await;
    for child in children {
        child.end().await;
    }
    let seconds = (to.at - from.at).as_secs_f64();
    let percent = |process: usize| (to.cpu[process] - from.cpu[process]) / seconds * 100.0;
    let each = |count: f64| count / seconds / f64::from(partitions);
    Idled {
        partitions,
        worker_cpu_percent: percent(0),
        redis_cpu_percent: percent(1),
        // One of each is the look at the figures itself.
        round_trips: each(to.redis.reads - from.redis.reads - 1.0),
        commands: each(to.redis.commands - from.redis.commands - 1.0),
    }
}

fn tell(measured: &[Idled]) -> Report {
    let mut report = Report::new("idle", &measured);
    let of = |partitions: u16, figure: fn(&Idled) -> f64| {
        median(measured.iter().filter(|idled| idled.partitions == partitions).map(figure))
    };
    let rows = PARTITIONS.map(|partitions| {
        [
            partitions.to_string(),
            format!("{:.2}", of(partitions, |idled| idled.worker_cpu_percent)),
            format!("{:.2}", of(partitions, |idled| idled.redis_cpu_percent)),
            format!("{:.2}", of(partitions, |idled| idled.round_trips)),
            format!("{:.2}", of(partitions, |idled| idled.commands)),
        ]
    });
    report.table(
        [
            "partitions",
            "worker, % of a core",
            "Redis, % of a core",
            "round trips/s and partition",
            "commands/s and partition",
        ],
        rows,
    );
    for partitions in PARTITIONS {
        let [cpu, trips] =
            [of(partitions, |idled| idled.worker_cpu_percent), of(partitions, |idled| idled.round_trips)];
        report.judge(Judged::at_most(format!("partitions: {partitions}; worker, % of a core"), cpu, 0.5));
        report.judge(Judged::at_most(format!("partitions: {partitions}; round trips/s and partition"), trips, 2.0));
    }
    report
}
