//! How fast, and at what cost: as many events as there are, waiting already, for one endpoint over HTTP/1.1 and over
//! HTTP/2, and for 1,000 endpoints.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    arguments::Extent,
    figures::{Judged, median, median_ratio},
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
            let ratio = |figure: fn(&Sample) -> f64| {
                median_ratio(rounds, |round| figure(&round[&name]), |round| figure(&round[&bare]))
            };
            [
                name.clone(),
                format!("{:.0}", of(|s| s.per_second)),
                format!("{:.2}", ratio(|s| s.per_second)),
                format!("{:.4}", of(|s| s.cpu_per_1000)),
                format!("{:.2}", ratio(|s| s.cpu_per_1000)),
                format!("{:.4}", of(|s| s.redis_cpu_per_1000)),
                format!("{:.2}", ratio(|s| s.redis_cpu_per_1000)),
                format!("{:.4}", of(|s| s.receiver_cpu_per_1000)),
                format!("{:.2}", of(|s| s.cores)),
                format!("{:.2}", of(|s| s.elsewhere)),
                format!("{:.0}", of(|s| s.peak_mib)),
                format!("{:.2}", of(|s| s.commands)),
                format!("{:.3}", of(|s| s.reads)),
            ]
        });
        let header = [
            shape,
            "deliveries/s",
            "of bare",
            "CPU s/1,000",
            "of bare",
            "Redis CPU s/1,000",
            "of bare",
            "receiver CPU s/1,000",
            "cores in all",
            "cores elsewhere",
            "peak MiB",
            "Redis commands each",
            "round trips each",
        ];
        report.table(header, rows);
        let of_bare = |figure: fn(&Sample) -> f64| {
            median_ratio(rounds, |round| figure(&round[&worker]), |round| figure(&round[&bare]))
        };
        report.judge(Judged::at_least(format!("{shape}: deliveries/s, of bare"), of_bare(|s| s.per_second), 0.85));
        report.judge(Judged::at_most(format!("{shape}: worker CPU, of bare"), of_bare(|s| s.cpu_per_1000), 1.25));
    }
    report
}
