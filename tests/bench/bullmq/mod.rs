//! `BullMQ`, a well-known queue over Redis, doing the same deliveries to the same receiver: `make bench-bullmq`, which
//! installs it. One process of Node, one endpoint.

use std::{path::PathBuf, process::Stdio};

use crate::{
    arguments::Extent,
    children::{self, Child},
    figures::Judged,
    producer::envelope,
    report::Report,
    rounds::{self, Round},
    turn::Contender,
    world::{PLAIN, Stage, World, url_of},
};

const CONTENDERS: [Contender; 3] = [Contender::BARE, Contender::Worker, Contender::BullMq];

pub async fn run(extent: Extent) -> Report {
    assert!(folder().join("node_modules").exists(), "BullMQ is not installed: run `make bench-bullmq`");
    let mut stage = Stage::new().await;
    let rounds = rounds::run("bullmq", &CONTENDERS, PLAIN, &mut stage, (50_000, extent)).await;
    stage.receiver.end().await;
    tell(&rounds)
}

fn tell(rounds: &[Round]) -> Report {
    let mut report = Report::new("bullmq", &rounds);
    rounds::tell(&mut report, "1 endpoint", &CONTENDERS, rounds);
    let ratio = rounds::ratio(rounds, Contender::Worker, Contender::BullMq, |s| s.per_second);
    report.judge(Judged::at_least("worker's deliveries/s, to BullMQ's", ratio, 3.5));
    report
}

/// Starts a process that delivers.
pub async fn work(world: &World, stage: &Stage) -> Child {
    Child::of_program("node", &[&script(), "work"], &environment(world, stage, 0), children::log()).await
}

/// Pushes jobs, and returns when they are in the queue.
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
