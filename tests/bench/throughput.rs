//! Speed and cost of delivering a backlog as fast as possible, to one endpoint and to 1,000.
//!
//! The worker is judged by the minimum, which keeps the same delivery log, with the same number of threads: one, as the
//! worker ships. The bare loop shows how much the log costs the minimum.
//!
//! With another build (`--beside`), only the bare loop and the two builds take turns. They then follow each other more
//! closely, and only the ratios of the builds matter.

use serde::Serialize;

use crate::{
    arguments::Extent,
    figures::Judged,
    report::Report,
    rounds::{self, Round},
    turn::{BESIDE, Contender, Sample},
    world::{PLAIN, Setup, Stage},
};

/// The number of endpoints, and the measurements with it.
pub struct Shape {
    pub name: &'static str,
    accounts: usize,
}

pub const SHAPES: [Shape; 2] =
    [Shape { name: "1 endpoint", accounts: 1 }, Shape { name: "1,000 endpoints", accounts: 1000 }];

impl Shape {
    pub fn setup(&self) -> Setup {
        Setup { accounts: self.accounts, ..PLAIN }
    }
}

/// Limits for this build, to the other build: at least this share of its deliveries, at most this share of its CPU.
const BESIDE_DELIVERIES: f64 = 0.97;
const BESIDE_CPU: f64 = 1.03;

const CONTENDERS: [Contender; 6] = [
    Contender::BARE,
    Contender::MINIMUM,
    Contender::WorkerOnAllCores,
    Contender::MINIMUM_ONE_THREAD,
    Contender::Worker,
    Contender::BARE_REQWEST,
];

/// The worker, and the minimum on as many threads. The first pair is judged.
const PAIRS: [(Contender, Contender); 2] =
    [(Contender::Worker, Contender::MINIMUM_ONE_THREAD), (Contender::WorkerOnAllCores, Contender::MINIMUM)];

/// Limits for the worker, to the minimum: at least this share of its deliveries, at most these shares of its CPU and
/// Redis's.
const DELIVERIES: f64 = 0.9;
const CPU: f64 = 1.15;
const REDIS_CPU: f64 = 1.25;

/// A minimum that delivers less than this share of the bare loop's rate to one endpoint is badly written.
const MINIMUM_DELIVERIES: f64 = 0.8;

/// The known cost of bare loops on 2 cores, Redis included. They may cost at most a fifth more here.
const KNOWN_CPU_PER_1000: [(Contender, f64); 2] = [(Contender::BARE, 0.036), (Contender::BARE_REQWEST, 0.048)];

/// The rate of apalis-redis, to that of a bare loop at its best.
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
    }
    if let Some(program) = BESIDE.get() {
        compare_builds(&mut report, measured);
        report.note(format!("The other build: {program}."));
    } else {
        compare(&mut report, measured);
    }
    // Check that the bare loop is fast: a slow one would be easy to beat.
    let rounds = &measured[0].rounds;
    for (contender, known) in KNOWN_CPU_PER_1000.into_iter().filter(|(one, _)| contenders().contains(one)) {
        let cpu = rounds::median_of(rounds, contender, |s| s.cpu_per_1000 + s.redis_cpu_per_1000);
        let name = contender.name();
        report.judge(Judged::at_most(format!("{name}: CPU with Redis's, to {known} s/1,000"), cpu / known, 1.2));
    }
    let apalis = rounds::ratio(rounds, Contender::Worker, Contender::BARE, |s| s.per_second) / APALIS;
    report.note(format!(
        "apalis-redis without its locks delivers half as much as such a loop (17,000/s to 34,000/s, measured \
         separately): the worker is {apalis:.2} times as fast as apalis-redis."
    ));
    report
}

/// Tables of the worker's figures to those of the minimum on as many threads, and of the minimum's to those of the bare
/// loop.
fn compare(report: &mut Report, measured: &[Shaped]) {
    const FIGURES: [fn(&Sample) -> f64; 4] =
        [|s| s.per_second, |s| s.cpu_per_1000, |s| s.redis_cpu_per_1000, |s| s.receiver_cpu_per_1000];
    let header = ["to the minimum on as many threads", "deliveries/s", "CPU", "Redis CPU", "receiver CPU"];
    let ratios =
        |rounds: &[Round], (worker, minimum)| FIGURES.map(|figure| rounds::ratio(rounds, worker, minimum, figure));
    let rows = measured.iter().flat_map(|Shaped { shape, rounds }| {
        PAIRS.map(|pair| {
            let [deliveries, cpu, redis_cpu, receiver_cpu] = ratios(rounds, pair).map(|ratio| format!("{ratio:.2}"));
            [format!("{shape}: {}", pair.0.name()), deliveries, cpu, redis_cpu, receiver_cpu]
        })
    });
    report.table(header, rows);
    for Shaped { shape, rounds } in measured {
        let [deliveries, cpu, redis_cpu, _] = ratios(rounds, PAIRS[0]);
        let figure = |what: &str| format!("{shape}: {what}, to the minimum");
        report.judge(Judged::at_least(figure("deliveries/s"), deliveries, DELIVERIES));
        report.judge(Judged::at_most(figure("worker CPU"), cpu, CPU));
        report.judge(Judged::at_most(figure("Redis CPU"), redis_cpu, REDIS_CPU));
    }
    let Shaped { shape, rounds } = &measured[0];
    let minimum = rounds::ratio(rounds, Contender::MINIMUM, Contender::BARE, |s| s.per_second);
    let figure = format!("{shape}: the minimum's deliveries/s, to bare");
    report.judge(Judged::at_least(figure, minimum, MINIMUM_DELIVERIES));
}

/// A table of this build's figures to those of the other build.
fn compare_builds(report: &mut Report, measured: &[Shaped]) {
    const FIGURES: [fn(&Sample) -> f64; 5] =
        [|s| s.per_second, |s| s.cpu_per_1000, |s| s.redis_cpu_per_1000, |s| s.peak_mib, |s| s.reads];
    let header = ["this build, to the other build", "deliveries/s", "CPU", "Redis CPU", "peak MiB", "round trips"];
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
        let figure = |what: &str| format!("{shape}: {what}, to the other build");
        report.judge(Judged::at_least(figure("deliveries/s"), deliveries, BESIDE_DELIVERIES));
        report.judge(Judged::at_most(figure("worker CPU"), cpu, BESIDE_CPU));
    }
}
