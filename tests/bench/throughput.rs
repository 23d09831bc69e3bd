//! How fast, and at what cost: as many events as there are, waiting already, for one endpoint over HTTP/1.1 and over
//! HTTP/2, and for 1,000 endpoints.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    arguments::Extent,
    figures::{Judged, median, median_ratio, with_ratio},
    report::Report,
    turn::{Contender, Sample, drain, order},
    world::{PLAIN, Setup, Stage},
};

/// An endpoint's shape, and what of it is measured.
pub struct Shape {
    pub name: &'static str,
    pub alpn: &'static str,
    accounts: usize,
}

pub const SHAPES: [Shape; 3] = [
    Shape { name: "1 endpoint, HTTP/1.1", alpn: "http/1.1", accounts: 1 },
    Shape { name: "1,000 endpoints, HTTP/1.1", alpn: "http/1.1", accounts: 1000 },
    Shape { name: "1 endpoint, HTTP/2", alpn: "h2", accounts: 1 },
];

impl Shape {
    pub fn setup(&self) -> Setup {
        Setup { accounts: self.accounts, ..PLAIN }
    }
}

const CONTENDERS: [Contender; 6] = [
    Contender::BARE,
    Contender::WorkerOnAllCores,
    Contender::Worker,
    Contender::BARE_REQWEST,
    Contender::BARE_ONE_THREAD,
    Contender::POST_ONLY,
];

/// What bare loops are known to take on 2 cores, Redis included: they may not take a fifth more here.
const KNOWN_CPU_PER_1000: [(Contender, f64); 2] = [(Contender::BARE, 0.036), (Contender::BARE_REQWEST, 0.048)];

/// What apalis-redis does of a bare loop at its best.
const APALIS: f64 = 0.5;

/// One round: a sample of each contender.
type Round = BTreeMap<String, Sample>;

#[derive(Serialize)]
struct Shaped {
    shape: &'static str,
    rounds: Vec<Round>,
}

pub async fn run(extent: Extent) -> Report {
    let mut measured = Vec::new();
    for shape in &SHAPES {
        let mut stage = Stage::new(shape.alpn).await;
        let setup = shape.setup();
        let mut rounds = Vec::new();
        for number in 1..=extent.rounds {
            let mut round = Round::new();
            for contender in order(CONTENDERS, number) {
                let sample = drain(contender, 1, setup, &mut stage, extent.events(100_000)).await;
                extent.progress(&format!(
                    "throughput, {}, round {number}: {} {:.0}/s",
                    shape.name,
                    contender.name(),
                    sample.per_second
                ));
                round.insert(contender.name(), sample);
            }
            rounds.push(round);
        }
        stage.receiver.end().await;
        measured.push(Shaped { shape: shape.name, rounds });
    }
    tell(&measured)
}

fn tell(measured: &[Shaped]) -> Report {
    let mut report = Report::new("throughput", &measured);
    let (bare, worker) = (Contender::BARE.name(), Contender::Worker.name());
    for Shaped { shape, rounds } in measured {
        let rows = CONTENDERS.iter().map(|contender| {
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
                to_bare(|s| s.receiver_cpu_per_1000, 4),
                to_bare(|s| s.peak_mib, 0),
                to_bare(|s| s.commands, 3),
                to_bare(|s| s.reads, 3),
                format!("{:.2}", of(|s| s.cores)),
                format!("{:.2}", of(|s| s.elsewhere)),
            ]
        });
        let header = [
            &format!("{shape} (of bare)"),
            "deliveries/s",
            "CPU s/1,000",
            "Redis CPU s/1,000",
            "receiver CPU s/1,000",
            "peak MiB",
            "Redis commands each",
            "round trips each",
            "cores in all",
            "cores elsewhere",
        ];
        report.table(header, rows);
        let of_bare = |figure: fn(&Sample) -> f64| {
            median_ratio(rounds, |round| figure(&round[&worker]), |round| figure(&round[&bare]))
        };
        report.judge(Judged::at_least(format!("{shape}: deliveries/s, of bare"), of_bare(|s| s.per_second), 0.85));
        report.judge(Judged::at_most(format!("{shape}: worker CPU, of bare"), of_bare(|s| s.cpu_per_1000), 1.25));
    }
    // A bare loop that is slow is easily beaten.
    let rounds = &measured[0].rounds;
    for (contender, known) in KNOWN_CPU_PER_1000 {
        let name = contender.name();
        let cpu = |round: &Round| round[&name].cpu_per_1000 + round[&name].redis_cpu_per_1000;
        let ratio = median(rounds.iter().map(cpu)) / known;
        report.judge(Judged::at_most(format!("{name}: CPU with Redis's, of {known} s/1,000"), ratio, 1.2));
    }
    let apalis = median_ratio(rounds, |round| round[&worker].per_second, |round| round[&bare].per_second) / APALIS;
    report.note(format!(
        "apalis-redis without its locks does half of what such a loop does (17,000/s beside 34,000/s, measured apart): \
         the worker is {apalis:.2} times as fast."
    ));
    report
}
