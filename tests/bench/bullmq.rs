//! `BullMQ`, a queue over Redis that many know, doing the same deliveries to the same receiver: `make bench-bullmq`, which
//! installs it. One process of Node, one endpoint over HTTP/1.1.

use std::{collections::BTreeMap, path::PathBuf, process::Stdio};

use crate::{
    arguments::Extent,
    children::Child,
    figures::{Judged, median, median_ratio, with_ratio},
    producer::envelope,
    report::Report,
    turn::{Contender, Sample, drain, order},
    world::{PLAIN, Stage, World, url_of},
};

const CONTENDERS: [Contender; 3] = [Contender::BARE, Contender::Worker, Contender::BullMq];

type Round = BTreeMap<String, Sample>;

pub async fn run(extent: Extent) -> Report {
    assert!(folder().join("node_modules").exists(), "BullMQ is not installed: run `make bench-bullmq`");
    let mut stage = Stage::new("http/1.1").await;
    let mut rounds = Vec::new();
    for number in 1..=extent.rounds {
        let mut round = Round::new();
        for contender in order(CONTENDERS, number) {
            let sample = drain(contender, 1, PLAIN, &mut stage, extent.events(50_000)).await;
            extent.progress(&format!("bullmq, round {number}: {} {:.0}/s", contender.name(), sample.per_second));
            round.insert(contender.name(), sample);
        }
        rounds.push(round);
    }
    stage.receiver.end().await;
    tell(&rounds)
}

fn tell(rounds: &[Round]) -> Report {
    let mut report = Report::new("bullmq", &rounds);
    let bare = Contender::BARE.name();
    let rows = CONTENDERS.map(|contender| {
        let name = contender.name();
        let of = |figure: fn(&Sample) -> f64| median(rounds.iter().map(|round| figure(&round[&name])));
        let to_bare = |figure: fn(&Sample) -> f64, decimals| {
            let ratio = median_ratio(rounds, |round| figure(&round[&name]), |round| figure(&round[&bare]));
            with_ratio(of(figure), ratio, decimals)
        };
        [
            name.clone(),
            to_bare(|s| s.per_second, 0),
            to_bare(|s| s.cpu_per_1000, 4),
            to_bare(|s| s.redis_cpu_per_1000, 4),
            to_bare(|s| s.peak_mib, 0),
            to_bare(|s| s.commands, 3),
            to_bare(|s| s.reads, 3),
        ]
    });
    let header = [
        "(of bare)",
        "deliveries/s",
        "CPU s/1,000",
        "Redis CPU s/1,000",
        "peak MiB",
        "Redis commands each",
        "round trips each",
    ];
    report.table(header, rows);
    let [worker, bullmq] = [Contender::Worker.name(), Contender::BullMq.name()];
    let ratio = median_ratio(rounds, |round| round[&worker].per_second, |round| round[&bullmq].per_second);
    report.judge(Judged::at_least("worker's deliveries/s, to BullMQ's", ratio, 3.5));
    report
}

/// Starts a process that delivers.
pub async fn work(world: &World, stage: &Stage) -> Child {
    Child::of_program("node", &[&script(), "work"], &environment(world, stage, 0)).await
}

/// Pushes jobs, and returns when they are there.
pub async fn fill(world: &World, stage: &Stage, events: usize) {
    let mut fill = tokio::process::Command::new("node");
    fill.args([&script(), "fill"]).envs(environment(world, stage, events)).stdin(Stdio::null()).kill_on_drop(true);
    assert!(fill.status().await.expect("Node is installed").success(), "BullMQ takes no jobs");
}

fn environment(world: &World, stage: &Stage, events: usize) -> Vec<(&'static str, String)> {
    vec![
        ("PORT", world.redis_port().to_string()),
        ("EVENTS", events.to_string()),
        ("CONCURRENCY", world.setup.concurrency.to_string()),
        ("URL", url_of(&stage.urls(&world.setup), 0)),
        ("CA", stage.ca().display().to_string()),
        ("AGENT", crate::client::AGENT.to_owned()),
        ("ENVELOPE", String::from_utf8(envelope(world.setup.envelope_bytes)).expect("it is JSON")),
    ]
}

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "bench", "bullmq"].iter().collect()
}

fn script() -> String {
    folder().join("deliver.mjs").display().to_string()
}
