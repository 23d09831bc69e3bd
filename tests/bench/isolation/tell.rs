//! The report: tables, targets and the plot.

use super::{
    Beside, Measured, Round,
    alone::Alone,
    one_host,
    turn::{Met, Recovery},
};
use crate::{
    figures::{Judged, median, median_ratio},
    plot::{self, Chart, Line, Scale},
    report::{Report, folder},
    turn::{BESIDE, Contender},
    world::PLAIN,
};

/// The healthy endpoints' p99, to the turn with ten well ones; and their throughput.
const P99_RATIO: f64 = 1.2;
const THROUGHPUT_WITHIN: f64 = 0.02;
/// A row's own p99 ratio, to that of the other build.
const BESIDE_RATIO: f64 = 1.1;
/// The most that held deliveries may add to Redis's CPU, as a share of it.
const UPKEEP: f64 = 0.05;
/// The worker's memory at the end of a turn, to its memory after a quarter of it.
const MEMORY_RATIO: f64 = 1.1;
/// The share of the places that one endpoint may have if it fell silent or is not known; the other half is never its.
const STAMPEDE: f64 = 0.5;
/// The rate to one endpoint alone, to the rate to a hundred.
const ALONE_RATIO: f64 = 0.9;

pub fn tell(beside: Option<&Beside>, one_host: &[one_host::Measured]) -> Report {
    let mut report = Report::new("isolation", &serde_json::json!({ "beside": beside, "one_host": one_host }));
    if let Some(beside) = beside {
        kinds(&mut report, beside);
    }
    if !one_host.is_empty() {
        one_host::tell(&mut report, one_host);
    }
    if let Some(program) = BESIDE.get() {
        report.note(format!("The other build: {program}."));
    }
    report
}

fn kinds(report: &mut Report, Beside { capacity, kinds: measured, alone }: &Beside) {
    latencies(report, measured);
    costs(report, measured);
    recoveries(report, measured);
    for one in measured.iter().filter(|one| !one.is_beside()) {
        judge(report, one);
        if let Some(beside) = measured.iter().find(|other| other.is_beside() && other.kind == one.kind) {
            compare(report, one, beside);
        }
    }
    #[allow(clippy::cast_precision_loss, reason = "small numbers")]
    let (most, places) = (alone.most_in_flight as f64, alone.places as f64);
    report.judge(Judged::at_least("alone: deliveries/s, to 100 endpoints'", alone.ratio(), ALONE_RATIO));
    report.judge(Judged::at_least("alone, answers after 200 ms: most in flight", most, places));
    report.note(
        "A usual second is the median second of a turn, so the machine's other work for a moment does not count."
            .to_owned(),
    );
    report.note(
        "Well: ten healthy endpoints instead of the bad ones, with as many requests as the bad ones got attempts. Each \
         request costs a delivery, like the good ones' requests."
            .to_owned(),
    );
    report.note(format!("Capacity: {capacity:.0}/s. The healthy load is a share of it."));
    draw(measured);
}

impl Measured {
    fn median(&self, of: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(of))
    }

    fn is_beside(&self) -> bool {
        self.build == Contender::Beside.name()
    }

    fn name(&self) -> String {
        if self.is_beside() { format!("{}, other build", self.kind) } else { self.kind.to_owned() }
    }

    /// The turns with the bad ones, to those without.
    fn to_without(&self, of: fn(&Met) -> f64) -> f64 {
        median_ratio(&self.rounds, |round| of(&round.with), |round| of(&round.without))
    }

    /// The turns with the bad ones, to those with ten well ones.
    fn to_well(&self, of: fn(&Met) -> f64) -> f64 {
        median_ratio(&self.rounds, |round| of(&round.with), |round| of(&round.well))
    }

    fn pair(&self, of: fn(&Met) -> f64, decimals: usize) -> String {
        arrows([self.median(|round| of(&round.without)), self.median(|round| of(&round.with))], decimals)
    }

    /// The same, with the turn of the well ones between the two.
    fn each(&self, of: fn(&Met) -> f64, decimals: usize) -> String {
        let turns: [fn(&Round) -> &Met; 3] = [|round| &round.without, |round| &round.well, |round| &round.with];
        arrows(turns.map(|turn| self.median(|round| of(turn(round)))), decimals)
    }

    fn memory_ratio(&self) -> f64 {
        self.median(|round| round.with.last_mib / round.with.quarter_mib)
    }
}

/// The values, joined by arrows.
fn arrows(values: impl IntoIterator<Item = f64>, decimals: usize) -> String {
    values.into_iter().map(|value| format!("{value:.decimals$}")).collect::<Vec<_>>().join(" -> ")
}

fn latencies(report: &mut Report, measured: &[Measured]) {
    let header = [
        "without (-> well) -> with",
        "load/s",
        "bad ones' attempts/s",
        "p50 ms",
        "p99 ms",
        "to well",
        "to without",
        "p99.9 ms",
        "usual second's p99 ms",
        "to well",
        "to without",
        "delivered/s",
        "to well",
        "arrived",
        "cores elsewhere",
    ];
    let rows = measured.iter().map(|one| {
        [
            one.name(),
            format!("{:.0}", one.per_second),
            format!("{:.0}", one.median(|round| round.with.bad_per_second)),
            one.each(|met| met.p50_ms, 2),
            one.each(|met| met.p99_ms, 2),
            format!("{:.2}", one.to_well(|met| met.p99_ms)),
            format!("{:.2}", one.to_without(|met| met.p99_ms)),
            one.each(|met| met.p999_ms, 2),
            one.each(Met::usual_p99_ms, 2),
            format!("{:.2}", one.to_well(Met::usual_p99_ms)),
            format!("{:.2}", one.to_without(Met::usual_p99_ms)),
            one.each(|met| met.per_second, 0),
            format!("{:.3}", one.to_well(|met| met.per_second)),
            one.pair(|met| met.arrived, 3),
            one.each(|met| met.elsewhere, 2),
        ]
    });
    report.table(header, rows);
}

fn costs(report: &mut Report, measured: &[Measured]) {
    let header = [
        "without -> with",
        "worker CPU s/1,000",
        "peak MiB",
        "MiB at 1/4, with",
        "MiB at the end",
        "Redis CPU s/1,000",
        "ratio",
        "while held",
        "ratio",
        "commands per delivery",
        "held",
        "failed",
    ];
    let rows = measured.iter().map(|one| {
        #[allow(clippy::cast_precision_loss, reason = "numbers of deliveries")]
        let [held, failed]: [fn(&Met) -> f64; 2] = [|met| met.held as f64, |met| met.failed as f64];
        [
            one.name(),
            one.pair(|met| met.cpu_per_1000, 4),
            one.pair(|met| met.peak_mib, 1),
            format!("{:.1}", one.median(|round| round.with.quarter_mib)),
            format!("{:.1}", one.median(|round| round.with.last_mib)),
            one.pair(|met| met.redis_cpu_per_1000, 4),
            format!("{:.2}", one.to_without(|met| met.redis_cpu_per_1000)),
            one.pair(|met| met.upkeep_cpu_per_1000, 4),
            format!("{:.2}", one.to_without(|met| met.upkeep_cpu_per_1000)),
            one.pair(|met| met.upkeep_commands, 2),
            format!("{:.0}", one.median(|round| held(&round.with))),
            format!("{:.0}", one.median(|round| failed(&round.with))),
        ]
    });
    report.table(header, rows);
}

fn recoveries(report: &mut Report, measured: &[Measured]) {
    let rounds = measured.iter().flat_map(|one| one.rounds.iter().map(move |round| (one, round)));
    let recoveries = rounds.filter_map(|(one, round)| Some((one, Recovery::of(round)?)));
    let rows: Vec<_> = recoveries
        .map(|(one, (with, well))| {
            [
                one.name(),
                with.held_before.to_string(),
                with.held_after.to_string(),
                with.most_in_flight.to_string(),
                with.most_per_second.to_string(),
                format!("{:.0}", with.mean_per_second),
                arrows([well.p99_ms, with.p99_ms], 2),
            ]
        })
        .collect();
    let header = [
        "well -> with",
        "held at recovery",
        "held a turn later",
        "most in flight at one",
        "max/s at one",
        "all ten/s",
        "good ones' p99 ms meanwhile",
    ];
    if !rows.is_empty() {
        report.table(header, rows);
    }
}

impl Recovery {
    /// The recovery in the turn with the bad ones, and in the turn with well ones.
    fn of(round: &Round) -> Option<(&Self, &Self)> {
        round.with.recovery.as_ref().zip(round.well.recovery.as_ref())
    }

    /// The good ones' p99 meanwhile, to the turn with well ones.
    fn to_well(round: &Round) -> f64 {
        Self::of(round).map_or(f64::NAN, |(with, well)| with.p99_ms / well.p99_ms)
    }
}

fn judge(report: &mut Report, one: &Measured) {
    let figure = |what: &str| format!("{}: {what}", one.kind);
    report.judge(Judged::at_most(figure("healthy p99, to well"), one.to_well(|met| met.p99_ms), P99_RATIO));
    let throughput = one.to_well(|met| met.per_second);
    report.judge(Judged::near_one(figure("healthy deliveries/s, to well"), throughput, THROUGHPUT_WITHIN));
    // These kinds leave deliveries held. In the others, held deliveries are being attempted while the upkeep is
    // measured.
    if ["hang", "slow"].contains(&one.kind) {
        let upkeep = one.to_without(|met| met.upkeep_cpu_per_1000) - 1.0;
        report.judge(Judged::at_most(figure("Redis CPU added by held deliveries, to the CPU without"), upkeep, UPKEEP));
    }
    report.judge(Judged::at_most(figure("worker memory, end to 1/4 of the turn"), one.memory_ratio(), MEMORY_RATIO));
    let meanwhile = one.median(Recovery::to_well);
    if meanwhile.is_nan() {
        return;
    }
    #[allow(clippy::cast_precision_loss, reason = "small numbers")]
    let most = one.median(|round| Recovery::of(round).map_or(f64::NAN, |(with, _)| with.most_in_flight as f64));
    #[allow(clippy::cast_precision_loss, reason = "small numbers")]
    let bound = PLAIN.concurrency as f64 * STAMPEDE;
    report.judge(Judged::at_most(figure("most in flight at one that recovers"), most, bound));
    report.judge(Judged::at_most(figure("healthy p99 meanwhile, to well"), meanwhile, P99_RATIO));
}

/// This build's own ratios, to those of the other build in the same round.
fn compare(report: &mut Report, one: &Measured, beside: &Measured) {
    let mut compare = |what: &str, of: fn(&Round) -> f64| {
        let pairs = one.rounds.iter().zip(&beside.rounds);
        let ratio = median(pairs.map(|(this, other)| of(this) / of(other)));
        if !ratio.is_nan() {
            report.judge(Judged::at_most(format!("{}: {what}, to the other build's", one.kind), ratio, BESIDE_RATIO));
        }
    };
    compare("healthy p99 to well", |round| round.with.p99_ms / round.well.p99_ms);
    compare("healthy p99 meanwhile to well", Recovery::to_well);
}

impl Alone {
    fn ratio(&self) -> f64 {
        self.one_per_second / self.all_per_second
    }
}

fn draw(measured: &[Measured]) {
    let line = |name: &str, values: &mut dyn Iterator<Item = f64>| Line {
        name: name.to_owned(),
        points: (0_u32..).map(f64::from).zip(values).filter(|(_, value)| *value > 0.0).collect(),
    };
    let seconds = || ("s".to_owned(), Scale::Linear);
    let mut charts = Vec::new();
    for one in measured {
        let Some(Round { without, well, with }) = one.rounds.last() else { continue };
        charts.push(Chart {
            title: format!("{}: the good ones' p99 in each second, {:.0}/s", one.name(), one.per_second),
            x: seconds(),
            y: ("ms".to_owned(), Scale::Logarithmic),
            lines: vec![
                line("without bad ones", &mut without.p99_ms_per_second.iter().copied()),
                line("with ten well ones", &mut well.p99_ms_per_second.iter().copied()),
                line("with bad ones", &mut with.p99_ms_per_second.iter().copied()),
            ],
        });
        let Some(recovery) = &with.recovery else { continue };
        #[allow(clippy::cast_precision_loss, reason = "small numbers")]
        let as_lines = |name: &str, values: &[u64]| line(name, &mut values.iter().map(|value| *value as f64));
        charts.push(Chart {
            title: format!("{}: the ten endpoints after they recover", one.name()),
            x: seconds(),
            y: ("each second".to_owned(), Scale::Logarithmic),
            lines: vec![
                as_lines("deliveries, all ten", &recovery.per_second),
                as_lines("most in flight at one", &recovery.in_flight_per_second),
            ],
        });
    }
    plot::draw(&folder().join("isolation.svg"), &charts);
}
