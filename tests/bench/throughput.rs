//! How fast, and at what cost: as many events as there are, waiting already, for one endpoint and for 1,000.

use serde::Serialize;

use crate::{
    arguments::Extent,
    figures::Judged,
    report::Report,
    rounds::{self, Round},
    turn::{BESIDE, Contender, Sample},
    world::{PLAIN, Setup, Stage},
};

/// An endpoint's shape, and what of it is measured.
pub struct Shape {
    pub name: &'static str,
    accounts: usize,
}

pub const SHAPES: [Shape; 2] = [
    Shape { name: "1 endpoint, HTTP/1.1", accounts: 1 },
    Shape { name: "1,000 endpoints, HTTP/1.1", accounts: 1000 },
];

impl Shape {
    pub fn setup(&self) -> Setup {
        Setup { accounts: self.accounts, ..PLAIN }
    }
}

/// This build delivers at least this share of what the build beside does.
const BESIDE_SHARE: f64 = 0.97;

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

#[derive(Serialize)]
struct Shaped {
    shape: &'static str,
    rounds: Vec<Round>,
}

/// With the build beside, if there is one.
fn contenders() -> Vec<Contender> {
    let beside = BESIDE.get().map(|_| Contender::Beside);
    CONTENDERS.into_iter().chain(beside).collect()
}

pub async fn run(extent: Extent) -> Report {
    let mut measured = Vec::new();
    for shape in &SHAPES {
        let mut stage = Stage::new().await;
        let what = format!("throughput, {}", shape.name);
        let rounds = rounds::run(&what, &contenders(), shape.setup(), &mut stage, (100_000, extent)).await;
        stage.receiver.end().await;
        measured.push(Shaped { shape: shape.name, rounds });
    }
    tell(&measured)
}

fn tell(measured: &[Shaped]) -> Report {
    let mut report = Report::new("throughput", &measured);
    for Shaped { shape, rounds } in measured {
        rounds::tell(&mut report, shape, &contenders(), rounds);
        let of_bare = |figure: fn(&Sample) -> f64| rounds::ratio(rounds, Contender::Worker, Contender::BARE, figure);
        report.judge(Judged::at_least(format!("{shape}: deliveries/s, of bare"), of_bare(|s| s.per_second), 0.85));
        report.judge(Judged::at_most(format!("{shape}: worker CPU, of bare"), of_bare(|s| s.cpu_per_1000), 1.25));
    }
    if let Some(program) = BESIDE.get() {
        report.note(format!("The build beside: {program}."));
    }
    for Shaped { shape, rounds } in measured.iter().filter(|_| BESIDE.get().is_some()) {
        let ratio = rounds::ratio(rounds, Contender::Worker, Contender::Beside, |s| s.per_second);
        let figure = format!("{shape}: deliveries/s, of the build beside");
        report.judge(Judged::at_least(figure, ratio, BESIDE_SHARE));
    }
    // A bare loop that is slow is easily beaten.
    let rounds = &measured[0].rounds;
    for (contender, known) in KNOWN_CPU_PER_1000 {
        let cpu = rounds::median_of(rounds, contender, |s| s.cpu_per_1000 + s.redis_cpu_per_1000);
        let name = contender.name();
        report.judge(Judged::at_most(format!("{name}: CPU with Redis's, of {known} s/1,000"), cpu / known, 1.2));
    }
    let apalis = rounds::ratio(rounds, Contender::Worker, Contender::BARE, |s| s.per_second) / APALIS;
    report.note(format!(
        "apalis-redis without its locks does half of what such a loop does (17,000/s beside 34,000/s, measured apart): \
         the worker is {apalis:.2} times as fast."
    ));
    report
}
