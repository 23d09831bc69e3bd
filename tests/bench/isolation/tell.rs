//! What is told of it: a table with what was to be reached, and the plot.

use super::{Measured, OVERLOADED, Round, alone::Alone, turn::Met};
use crate::{
    figures::{Judged, median, median_ratio},
    plot::{self, Chart, Line, Scale},
    report::{Report, folder},
    world::PLAIN,
};

/// Of the healthy ones' p99 without the bad ones, and of their throughput.
const P99_RATIO: f64 = 1.2;
const THROUGHPUT_WITHIN: f64 = 0.05;
/// Of Redis's work, what a backlog may cost that lies held.
const UPKEEP: f64 = 0.05;
/// The worker's memory at the end of a turn, to that after a quarter of it.
const MEMORY_RATIO: f64 = 1.1;
/// One endpoint that fell silent or is not known may have so much of the places: half of them is never its.
const STAMPEDE: f64 = 0.5;
/// One endpoint alone, to a hundred.
const ALONE_RATIO: f64 = 0.9;

pub fn tell(capacity: f64, measured: &[Measured], alone: &Alone) -> Report {
    let data = serde_json::json!({ "capacity": capacity, "kinds": measured, "alone": alone });
    let mut report = Report::new("isolation", &data);
    latencies(&mut report, measured);
    costs(&mut report, measured);
    recoveries(&mut report, measured);
    for one in measured {
        judge(&mut report, one);
    }
    #[allow(clippy::cast_precision_loss, reason = "small numbers")]
    let (most, places) = (alone.most_in_flight as f64, alone.places as f64);
    report.judge(Judged::at_least("alone: deliveries/s, to 100 endpoints'", alone.ratio(), ALONE_RATIO));
    report.judge(Judged::at_least("alone, answers after 200 ms: most in flight", most, places));
    report.note(
        "A usual second is the median of a turn's: what else this machine did for a moment does not count.".to_owned(),
    );
    report.note(
        "To well: the same events, where the ten are well; or, where one floods, as many from all alike. Then each of theirs costs \
         a delivery, as the others' do."
            .to_owned(),
    );
    report.note(format!("Capacity, of which the healthy load is a share: {capacity:.0}/s."));
    if measured.iter().any(|one| one.kind == OVERLOADED) {
        report.note(format!("{OVERLOADED} leaves the worker nothing; it is told and not judged."));
    }
    draw(measured);
    report
}

impl Measured {
    fn median(&self, of: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(of))
    }

    /// Of the turns with the bad ones, to those without.
    fn ratio(&self, of: fn(&Met) -> f64) -> f64 {
        median_ratio(&self.rounds, |round| of(&round.with), |round| of(&round.without))
    }

    fn pair(&self, of: fn(&Met) -> f64, decimals: usize) -> String {
        arrows([self.median(|round| of(&round.without)), self.median(|round| of(&round.with))], decimals)
    }

    /// With the well ones between the two, where there are such.
    fn each(&self, of: fn(&Met) -> f64, decimals: usize) -> String {
        let well = median(self.rounds.iter().filter_map(|round| round.well.as_ref()).map(of));
        arrows([self.median(|round| of(&round.without)), well, self.median(|round| of(&round.with))], decimals)
    }

    /// The same to those in which they are well; empty where there are none such.
    fn ratio_to_well(&self, of: fn(&Met) -> f64) -> String {
        let ratio = median(self.rounds.iter().filter_map(|round| Some(of(&round.with) / of(round.well.as_ref()?))));
        if ratio.is_nan() { String::new() } else { format!("{ratio:.2}") }
    }

    fn memory_ratio(&self) -> f64 {
        self.median(|round| round.with.last_mib / round.with.quarter_mib)
    }
}

/// From one to the next, without what was not measured.
fn arrows(values: impl IntoIterator<Item = f64>, decimals: usize) -> String {
    let measured = values.into_iter().filter(|value| !value.is_nan());
    measured.map(|value| format!("{value:.decimals$}")).collect::<Vec<_>>().join(" -> ")
}

fn latencies(report: &mut Report, measured: &[Measured]) {
    let header = [
        "without (-> well) -> with",
        "load/s",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "p99 ratio",
        "to well",
        "usual second's p99 ms",
        "ratio",
        "to well",
        "delivered/s",
        "ratio",
        "arrived",
        "cores elsewhere",
    ];
    let rows = measured.iter().map(|one| {
        [
            one.kind.to_owned(),
            format!("{:.0}", one.per_second),
            one.pair(|met| met.p50_ms, 2),
            one.each(|met| met.p99_ms, 2),
            one.pair(|met| met.p999_ms, 2),
            format!("{:.2}", one.ratio(|met| met.p99_ms)),
            one.ratio_to_well(|met| met.p99_ms),
            one.each(Met::usual_p99_ms, 2),
            format!("{:.2}", one.ratio(Met::usual_p99_ms)),
            one.ratio_to_well(Met::usual_p99_ms),
            one.pair(|met| met.per_second, 0),
            format!("{:.3}", one.ratio(|met| met.per_second)),
            one.pair(|met| met.arrived, 3),
            one.pair(|met| met.elsewhere, 2),
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
        "at the end",
        "Redis CPU s/1,000",
        "ratio",
        "while held",
        "ratio",
        "commands each",
        "held",
        "failed",
    ];
    let rows = measured.iter().map(|one| {
        #[allow(clippy::cast_precision_loss, reason = "numbers of deliveries")]
        let [held, failed]: [fn(&Met) -> f64; 2] = [|met| met.held as f64, |met| met.failed as f64];
        [
            one.kind.to_owned(),
            one.pair(|met| met.cpu_per_1000, 4),
            one.pair(|met| met.peak_mib, 1),
            format!("{:.1}", one.median(|round| round.with.quarter_mib)),
            format!("{:.1}", one.median(|round| round.with.last_mib)),
            one.pair(|met| met.redis_cpu_per_1000, 4),
            format!("{:.2}", one.ratio(|met| met.redis_cpu_per_1000)),
            one.pair(|met| met.upkeep_cpu_per_1000, 4),
            format!("{:.2}", one.ratio(|met| met.upkeep_cpu_per_1000)),
            one.pair(|met| met.upkeep_commands, 2),
            format!("{:.0}", one.median(|round| held(&round.with))),
            format!("{:.0}", one.median(|round| failed(&round.with))),
        ]
    });
    report.table(header, rows);
}

fn recoveries(report: &mut Report, measured: &[Measured]) {
    let recoveries = measured.iter().flat_map(|one| &one.rounds).filter_map(|round| round.with.recovery.as_ref());
    let rows: Vec<_> = recoveries
        .map(|recovery| {
            [
                recovery.held_before.to_string(),
                recovery.held_after.to_string(),
                recovery.most_in_flight.to_string(),
                recovery.most_per_second.to_string(),
                format!("{:.2}", recovery.p99_ms),
            ]
        })
        .collect();
    let header = [
        "held when they recover",
        "a turn later",
        "most in flight at one",
        "most/s at one",
        "good ones' p99 ms meanwhile",
    ];
    if !rows.is_empty() {
        report.table(header, rows);
    }
}

fn judge(report: &mut Report, one: &Measured) {
    if one.kind == OVERLOADED {
        return;
    }
    let figure = |what: &str| format!("{}: {what}", one.kind);
    report.judge(Judged::at_most(figure("healthy p99, to without"), one.ratio(|met| met.p99_ms), P99_RATIO));
    let throughput = one.ratio(|met| met.per_second);
    report.judge(Judged::near_one(figure("healthy deliveries/s, to without"), throughput, THROUGHPUT_WITHIN));
    let upkeep = one.ratio(|met| met.upkeep_cpu_per_1000) - 1.0;
    report.judge(Judged::at_most(figure("Redis CPU of what is held, of its work"), upkeep, UPKEEP));
    report.judge(Judged::at_most(figure("worker memory, end to 1/4 of the turn"), one.memory_ratio(), MEMORY_RATIO));
    if one.rounds.iter().all(|round| round.with.recovery.is_none()) {
        return;
    }
    let of = |round: &Round, what: fn(&super::turn::Recovery) -> f64| round.with.recovery.as_ref().map_or(0.0, what);
    #[allow(clippy::cast_precision_loss, reason = "small numbers")]
    let (most, bound) =
        (one.median(|round| of(round, |recovery| recovery.most_in_flight as f64)), PLAIN.concurrency as f64 * STAMPEDE);
    report.judge(Judged::at_most(figure("most in flight at one that recovers"), most, bound));
    let p99 = one.median(|round| of(round, |recovery| recovery.p99_ms) / round.without.p99_ms);
    report.judge(Judged::at_most(figure("healthy p99 meanwhile, to without"), p99, P99_RATIO));
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
        let Some(Round { without, with, .. }) = one.rounds.last() else { continue };
        charts.push(Chart {
            title: format!("{}: the good ones' p99 in each second, {:.0}/s", one.kind, one.per_second),
            x: seconds(),
            y: ("ms".to_owned(), Scale::Logarithmic),
            lines: vec![
                line("without bad ones", &mut without.p99_ms_per_second.iter().copied()),
                line("with bad ones", &mut with.p99_ms_per_second.iter().copied()),
            ],
        });
        let Some(recovery) = &with.recovery else { continue };
        #[allow(clippy::cast_precision_loss, reason = "small numbers")]
        let as_lines = |name: &str, values: &[u64]| line(name, &mut values.iter().map(|value| *value as f64));
        charts.push(Chart {
            title: format!("{}: what the ten get from then on", one.kind),
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
