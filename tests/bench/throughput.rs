//! How fast, and at what cost: as many events as there are, waiting already, for one endpoint and for 1,000.
//!
//! With another build beside, only the bare loop and the two builds take turns: they follow one another more closely,
//! and the ratios of the builds are what is asked for.

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

pub const SHAPES: [Shape; 2] =
    [Shape { name: "1 endpoint, HTTP/1.1", accounts: 1 }, Shape { name: "1,000 endpoints, HTTP/1.1", accounts: 1000 }];

impl Shape {
    pub fn setup(&self) -> Setup {
        Setup { accounts: self.accounts, ..PLAIN }
    }
}

/// Of the build beside: this build delivers at least this share, and its worker takes at most this share of CPU.
const BESIDE_DELIVERIES: f64 = 0.97;
const BESIDE_CPU: f64 = 1.03;

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

fn contenders() -> Vec<Contender> {
    if BESIDE.get().is_some() { vec![Contender::BARE, Contender::Worker, Contender::Beside] } else { CONTENDERS.into() }
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
        compare(&mut report, measured);
        report.note(format!("The build beside: {program}."));
    }
    // A bare loop that is slow is easily beaten.
    let rounds = &measured[0].rounds;
    for (contender, known) in KNOWN_CPU_PER_1000.into_iter().filter(|(one, _)| contenders().contains(one)) {
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

/// This build's figures to those of the build beside.
fn compare(report: &mut Report, measured: &[Shaped]) {
    const FIGURES: [fn(&Sample) -> f64; 5] =
        [|s| s.per_second, |s| s.cpu_per_1000, |s| s.redis_cpu_per_1000, |s| s.peak_mib, |s| s.reads];
    let header = ["this build, of the build beside", "deliveries/s", "CPU", "Redis CPU", "peak MiB", "round trips"];
    let ratios =
        |rounds: &[Round]| FIGURES.map(|figure| rounds::ratio(rounds, Contender::Worker, Contender::Beside, figure));
    report.table(
        header,
        measured.iter().map(|Shaped { shape, rounds }| {
            let [deliveries, cpu, redis_cpu, memory, reads] = ratios(rounds).map(|ratio| format!("{ratio:.3}"));
            [(*shape).to_owned(), deliveries, cpu, redis_cpu, memory, reads]
        }),
    );
    for Shaped { shape, rounds } in measured {
        let [deliveries, cpu, ..] = ratios(rounds);
        let figure = |what: &str| format!("{shape}: {what}, of the build beside");
        report.judge(Judged::at_least(figure("deliveries/s"), deliveries, BESIDE_DELIVERIES));
        report.judge(Judged::at_most(figure("worker CPU"), cpu, BESIDE_CPU));
    }
}
