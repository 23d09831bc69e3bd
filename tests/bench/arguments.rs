//! The command line of the benchmark.

use std::{process::ExitCode, time::Duration};

use clap::{Parser, ValueEnum};
use serde::Serialize;

use crate::{
    backlog, bullmq, connections, growth, hosts, idle, isolation, latency, memory, partitions, profile, scale,
    schedule, throughput, turn,
};

/// Measures Lynkhook against bare loops, in turns. Results also go to target/bench.
#[derive(Parser)]
#[command(name = "make bench")]
struct Arguments {
    /// What to measure.
    #[arg(required = true)]
    scenarios: Vec<Scenario>,
    /// How many rounds, of which the medians are told: 5, of hosts, isolation and schedule 1.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Tries whether it works: one round, a tenth of the events. Its figures mean nothing.
    #[arg(long)]
    quick: bool,
    /// Print a JSON document a scenario, each on one line, instead of tables.
    #[arg(long)]
    json: bool,
    /// connections, hosts, isolation, memory, partitions, schedule, throughput: another build of the lynkhook program, which takes
    /// turns with this one.
    #[arg(long, value_name = "PATH", value_parser = program)]
    beside: Option<String>,
    #[command(flatten)]
    isolation: isolation::Options,
    #[command(flatten)]
    schedule: schedule::Options,
    /// Cargo adds it.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// How fast and at what cost, for one endpoint and for many.
    Throughput,
    /// From XADD to arrival, at light load and over a curve of loads.
    Latency,
    /// The worker's memory with 1,000 attempts in flight.
    Memory,
    /// Connections opened beside attempts in flight, to an endpoint that takes 100 ms.
    Connections,
    /// Two events for each of 20,000 hosts, with 1,024 files.
    Hosts,
    /// What a worker costs that has nothing to do.
    Idle,
    /// Deliveries a second with 1 to 512 partitions, and how soon an idle partition's event arrives.
    Partitions,
    /// Whether a long queue costs more for each delivery than a short one, and what a waiting event takes.
    Drain,
    /// 1, 2, 4 and 8 workers on as many partitions.
    Scale,
    /// Whether bad endpoints hurt the good ones: make bench-isolation.
    Isolation,
    /// Whether every event gets its attempts on time, whatever its endpoint does: make bench-schedule.
    Schedule,
    /// What a delivery costs as webhooks, waiting events, payload, partitions and workers grow: make bench-growth.
    Growth,
    /// Where the time of a delivery goes, by area: make bench-profile.
    Profile,
    /// `BullMQ` beside the worker: make bench-bullmq.
    Bullmq,
}

impl Scenario {
    /// Where nothing else is said. What is judged by absolute figures, or takes long, is measured once.
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
    /// So many events; a tenth, if it is only tried.
    pub fn events(self, count: usize) -> usize {
        if self.quick { count / 10 } else { count }
    }

    /// So many seconds; a fifth, if it is only tried.
    pub fn seconds(self, seconds: u64) -> Duration {
        Duration::from_secs(if self.quick { seconds.div_ceil(5) } else { seconds })
    }

    /// Says how far it has come.
    pub fn progress(self, what: &str) {
        eprintln!("{what}{}", if self.quick { " (quick: no figure to rely on)" } else { "" });
    }
}

/// A program that can be started from anywhere.
fn program(path: &str) -> Result<String, String> {
    let path = std::path::absolute(path).map_err(|error| error.to_string())?;
    if path.is_file() { Ok(path.display().to_string()) } else { Err("there is no such file".to_owned()) }
}

pub fn main() -> ExitCode {
    // A wrong command line ends here, with 2.
    let arguments = Arguments::parse();
    if let Some(program) = arguments.beside {
        turn::BESIDE.set(program).expect("it is said once");
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
                Scenario::Bullmq => bullmq::run(extent).await,
            };
            report.publish(extent, arguments.json);
        }
    });
    ExitCode::SUCCESS
}
