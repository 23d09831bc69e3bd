//! The command line of the benchmark.

use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use crate::throughput;

/// Measures Lynkhook against bare loops, in turns. Results also go to target/bench.
#[derive(Parser)]
#[command(name = "make bench")]
struct Arguments {
    /// What to measure.
    #[arg(required = true)]
    scenarios: Vec<Scenario>,
    /// How many rounds, of which the medians are told.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Tries whether it works: one round, a tenth of the events. Its figures mean nothing.
    #[arg(long)]
    quick: bool,
    /// Print JSON documents instead of tables.
    #[arg(long)]
    json: bool,
    /// Cargo adds it.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenario {
    Throughput,
}

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    pub rounds: u32,
    /// Events of a turn.
    pub events: usize,
    pub quick: bool,
}

impl Extent {
    /// Says how far it has come.
    pub fn progress(&self, what: &str) {
        eprintln!("{what}{}", if self.quick { " (quick: no figure to rely on)" } else { "" });
    }
}

pub fn main() -> ExitCode {
    // A wrong command line ends here, with 2.
    let arguments = Arguments::parse();
    let (rounds, events) = if arguments.quick { (1, 10_000) } else { (arguments.rounds, 100_000) };
    let extent = Extent { rounds, events, quick: arguments.quick };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be started");
    runtime.block_on(async {
        for scenario in arguments.scenarios {
            let report = match scenario {
                Scenario::Throughput => throughput::run(&extent).await,
            };
            report.publish(arguments.json);
        }
    });
    ExitCode::SUCCESS
}
