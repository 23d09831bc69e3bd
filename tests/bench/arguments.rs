//! The command line of the benchmark.

use std::{process::ExitCode, time::Duration};

use clap::{Parser, ValueEnum};
use serde::Serialize;

use crate::{
    backlog, bullmq, connections, growth, hosts, idle, isolation, latency, memory, partitions, profile, recording,
    scale, schedule, throughput, turn,
};

/// Measures Lynkhook against bare loops, in turns. Results are also written to target/bench.
#[derive(Parser)]
#[command(name = "make bench")]
struct Arguments {
    /// The scenarios to measure.
    #[arg(required = true)]
    scenarios: Vec<Scenario>,
    /// The number of rounds; the medians are printed. Default: 5, but 1 for hosts, isolation and schedule.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Checks that the benchmark works: one round, a tenth of the events. Its figures mean nothing.
    #[arg(long)]
    quick: bool,
    /// Print one JSON document per scenario, each on one line, instead of tables.
    #[arg(long)]
    json: bool,
    /// connections, hosts, isolation, memory, partitions, schedule, throughput: also measure this other build of the
    /// lynkhook program, in turns with this one.
    #[arg(long, value_name = "PATH", value_parser = program)]
    beside: Option<String>,
    /// Measure this build of the lynkhook program, and not the one that was built with the benchmark.
    #[arg(long, value_name = "PATH", value_parser = program, requires = "beside")]
    program: Option<String>,
    #[command(flatten)]
    isolation: isolation::Options,
    #[command(flatten)]
    schedule: schedule::Options,
    /// Cargo adds this flag.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// Speed and cost, for one endpoint and for many.
    Throughput,
    /// From XADD to arrival, at light load and over a curve of loads.
    Latency,
    /// The worker's memory with 1,000 attempts in flight.
    Memory,
    /// Connections opened compared with attempts in flight, to an endpoint that answers after 100 ms.
    Connections,
    /// Two events for each of 20,000 hosts, with at most 1,024 open files.
    Hosts,
    /// The cost of an idle worker.
    Idle,
    /// Deliveries a second with 1 to 512 partitions, and how soon an idle partition's event arrives.
    Partitions,
    /// Whether a long queue costs more per delivery than a short one, and how much memory a waiting event takes.
    Drain,
    /// 1, 2, 4 and 8 workers, each with one partition.
    Scale,
    /// Whether bad endpoints hurt the good ones: make bench-isolation.
    Isolation,
    /// Whether every event gets its attempts on time, however its endpoint behaves: make bench-schedule.
    Schedule,
    /// The cost of a delivery as webhooks, waiting events, payload, partitions and workers grow: make bench-growth.
    Growth,
    /// The time of a delivery by area: make bench-profile.
    Profile,
    /// The part of a worker's CPU time that recording metrics takes.
    Recording,
    /// `BullMQ` compared with the worker: make bench-bullmq.
    Bullmq,
}

impl Scenario {
    /// The default. A scenario that is judged by absolute figures, or takes long, runs once.
    fn rounds(self) -> u32 {
        if matches!(self, Self::Hosts | Self::Isolation | Self::Schedule) { 1 } else { 5 }
    }
}

/// How much is measured.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Extent {
    pub rounds: u32,
    pub quick: bool,
}

impl Extent {
    /// `count` events, or a tenth of them with `--quick`.
    pub fn events(self, count: usize) -> usize {
        if self.quick { count / 10 } else { count }
    }

    /// This many seconds, or a fifth of them with `--quick`.
    pub fn seconds(self, seconds: u64) -> Duration {
        Duration::from_secs(if self.quick { seconds.div_ceil(5) } else { seconds })
    }

    /// Reports progress.
    pub fn progress(self, what: &str) {
        eprintln!("{what}{}", if self.quick { " (quick: no figure to rely on)" } else { "" });
    }
}

/// A program that any working directory can start.
fn program(path: &str) -> Result<String, String> {
    let path = std::path::absolute(path).map_err(|error| error.to_string())?;
    if path.is_file() { Ok(path.display().to_string()) } else { Err("there is no such file".to_owned()) }
}

pub fn main() -> ExitCode {
    // A wrong command line ends here, with 2.
    let arguments = Arguments::parse();
    if let Some(program) = arguments.beside {
        turn::BESIDE.set(program).expect("it is set once");
    }
    if let Some(program) = arguments.program {
        turn::PROGRAM.set(program).expect("it is set once");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be started");
    runtime.block_on(async {
        for scenario in arguments.scenarios {
            let rounds = if arguments.quick { 1 } else { arguments.rounds.unwrap_or_else(|| scenario.rounds()) };
            let extent = Extent { rounds, quick: arguments.quick };
            let report = match scenario {
                Scenario::Throughput => throughput::run(extent).await,
                Scenario::Latency => latency::run(extent).await,
                Scenario::Memory => memory::run(extent).await,
                Scenario::Connections => connections::run(extent).await,
                Scenario::Hosts => hosts::run(extent).await,
                Scenario::Idle => idle::run(extent).await,
                Scenario::Partitions => partitions::run(extent).await,
                Scenario::Drain => backlog::run(extent).await,
                Scenario::Scale => scale::run(extent).await,
                Scenario::Isolation => isolation::run(extent, &arguments.isolation).await,
                Scenario::Schedule => schedule::run(extent, &arguments.schedule).await,
                Scenario::Growth => growth::run(extent).await,
                Scenario::Profile => profile::run(extent).await,
                Scenario::Recording => recording::run(extent).await,
                Scenario::Bullmq => bullmq::run(extent).await,
            };
            report.publish(extent, arguments.json);
        }
    });
    ExitCode::SUCCESS
}
