//! The report: the table, and each row's figures compared with its promise.

use super::{
    Measured,
    met::Met,
    recovery::{Recovered, Recovery},
    row::{Promise, Row},
};
use crate::{
    figures::{Judged, median, median_ratio},
    report::Report,
    turn::{BESIDE, Contender},
};

/// The limits for first attempts and retries that are on time, in ms.
const FIRST_LATE: f64 = 100.0;
const RETRY_LATE: f64 = 150.0;
/// The limit for a burst.
const BURST_LATE: f64 = 1000.0;
/// The limit for first attempts before an endpoint is known to hang.
const BEFORE_LATE: f64 = 12_000.0;
/// The limit for first attempts beside an endpoint that hangs.
const BESIDE_LATE: f64 = 2000.0;
/// Attempts per second at an endpoint that hangs.
const HUNG_PER_SECOND: f64 = 12.0;
/// The most events of a server with few threads that may need a second attempt.
const AGAIN: f64 = 3.0;
/// The share of the endpoint's rate when it is well.
const RECOVERY_RATE: f64 = 0.5;

pub fn tell(rows: &[Measured<Row, Met>], recoveries: &[Measured<Recovery, Recovered>]) -> Report {
    let mut report = Report::new("schedule", &serde_json::json!({ "rows": rows, "recoveries": recoveries }));
    if !rows.is_empty() {
        table(&mut report, rows);
    }
    if !recoveries.is_empty() {
        recovery_table(&mut report, recoveries);
    }
    for judged in rows.iter().flat_map(judge) {
        report.judge(judged);
    }
    for one in recoveries {
        judge_recovery(&mut report, one);
    }
    report.note(
        "Lateness in ms: of a first attempt from XADD, of a retry from its score in `retries`. The lateness of an attempt \
         that did not start is its wait until the end."
            .to_owned(),
    );
    if let Some(program) = BESIDE.get() {
        report.note(format!("In brackets: the figure of {program}, and this build's ratio to it."));
    }
    report
}

impl<W, M> Measured<W, M> {
    /// The median of this build's rounds.
    fn of(&self, figure: impl Fn(&M) -> f64) -> f64 {
        self.of_build(Contender::Worker, figure)
    }

    fn of_build(&self, build: Contender, figure: impl Fn(&M) -> f64) -> f64 {
        median(self.rounds.iter().map(|round| figure(&round[&build.name()])))
    }

    /// A table cell: this build's figure, and in brackets the other build's and the ratio.
    fn cell(&self, decimals: usize, figure: impl Fn(&M) -> f64) -> String {
        let this = self.of(&figure);
        if this.is_nan() {
            return String::new();
        }
        if BESIDE.get().is_none() {
            return format!("{this:.decimals$}");
        }
        let [of, to] = [Contender::Worker.name(), Contender::Beside.name()];
        let ratio = median_ratio(&self.rounds, |round| figure(&round[&of]), |round| figure(&round[&to]));
        let beside = self.of_build(Contender::Beside, figure);
        // If both are 0, there is no ratio.
        let ratio = if ratio.is_finite() { format!("; {ratio:.2}") } else { String::new() };
        format!("{this:.decimals$} ({beside:.decimals$}{ratio})")
    }
}

fn table(report: &mut Report, rows: &[Measured<Row, Met>]) {
    let header = [
        "",
        "events",
        "attempts",
        "off schedule",
        "first late p50",
        "p99",
        "max",
        "retry late p50",
        "p99",
        "max",
        "early",
        "not seen",
        "failed unattempted",
        "held at the end",
        "attempts/s",
        "healthy p99 ms",
        "missed",
    ];
    let rows = rows.iter().map(|row| {
        let missed: Vec<_> = judge(row).into_iter().filter(|judged| !judged.reached).collect();
        [
            row.name.clone(),
            row.cell(0, |met| met.events),
            row.cell(0, |met| met.attempts),
            row.cell(0, |met| met.off_schedule),
            row.cell(1, |met| met.firsts.p50),
            row.cell(1, |met| met.firsts.p99),
            row.cell(1, |met| met.firsts.max),
            row.cell(1, |met| met.retries.p50),
            row.cell(1, |met| met.retries.p99),
            row.cell(1, |met| met.retries.max),
            row.cell(0, |met| met.early),
            row.cell(0, |met| met.not_seen),
            row.cell(0, |met| met.unattempted),
            row.cell(0, |met| met.held),
            row.cell(1, |met| met.attempts_per_second),
            row.cell(1, |met| met.others_p99_ms),
            if missed.is_empty() { String::new() } else { missed.len().to_string() },
        ]
    });
    report.table(header, rows);
}

/// A row's figures, each compared with its promise.
fn judge(row: &Measured<Row, Met>) -> Vec<Judged> {
    let at_most = |what: &str, figure: fn(&Met) -> f64, target: f64| {
        Judged::at_most(format!("{}: {what}", row.name), row.of(figure), target)
    };
    let first_late = |target| at_most("first attempts late, p99 ms", |met| met.firsts.p99, target);
    let off_schedule = at_most("events off schedule", |met| met.off_schedule, 0.0);
    let unattempted = at_most("failed unattempted", |met| met.unattempted, 0.0);
    let early = at_most("retries early", |met| met.early, 0.0);
    let on_time = |unattempted| {
        vec![
            at_most("events off schedule", |met| met.off_schedule, 0.0),
            first_late(FIRST_LATE),
            early,
            at_most("retries late, p99 ms", |met| met.retries.p99, RETRY_LATE),
            unattempted,
        ]
    };
    match row.of.promise {
        Promise::OnTime => on_time(unattempted),
        Promise::Hanging => {
            let before = at_most("first attempts late before 15 s, max ms", |met| met.before.max, BEFORE_LATE);
            [on_time(unattempted), vec![before]].concat()
        }
        Promise::Burst => vec![
            off_schedule,
            at_most("first attempts late, max ms", |met| met.firsts.max, BURST_LATE),
            at_most("retries late, max ms", |met| met.retries.max, BURST_LATE),
            at_most("held at the end", |met| met.held, 0.0),
            unattempted,
        ],
        Promise::Hung => {
            let name = format!("{}: attempts/s from 15 s on", row.name);
            vec![Judged::at_least(name, row.of(|met| met.attempts_per_second), HUNG_PER_SECOND), unattempted]
        }
        Promise::BesideHung => vec![first_late(BESIDE_LATE), at_most("failed", |met| met.failed, 0.0)],
        Promise::Few => vec![
            at_most("events not delivered", |met| met.events - met.delivered, 0.0),
            at_most("failed", |met| met.failed, 0.0),
            at_most("events attempted again", |met| met.attempted_again, AGAIN),
        ],
    }
}

fn recovery_table(report: &mut Report, recoveries: &[Measured<Recovery, Recovered>]) {
    let header = [
        "",
        "held",
        "ms to the first answer",
        "held 5 s after it",
        "left held/s from then on",
        "served/s when well",
        "ratio",
    ];
    let rows = recoveries.iter().map(|one| {
        [
            one.name.clone(),
            one.cell(0, |met| met.held_before),
            one.cell(0, |met| met.first_ms),
            one.cell(0, |met| met.held_after),
            one.cell(0, |met| met.left_per_second),
            one.cell(0, |met| met.well_per_second),
            one.cell(2, |met| met.left_per_second / met.well_per_second),
        ]
    });
    report.table(header, rows);
}

fn judge_recovery(report: &mut Report, one: &Measured<Recovery, Recovered>) {
    let recovered = one.rounds.iter().map(|round| &round[&Contender::Worker.name()]);
    if recovered.clone().all(Recovered::is_seen) {
        let ratio = one.of(|met| met.left_per_second / met.well_per_second);
        let name = format!("{}: rate of leaving held from 5 s on, to the rate when well", one.name);
        report.judge(Judged::at_least(name, ratio, RECOVERY_RATE));
    } else {
        let held: Vec<_> = recovered.map(|met| format!("{:.0} -> {:.0}", met.held_before, met.held_after)).collect();
        report.note(format!(
            "{}: too few deliveries were held 5 s after the first answer to measure a rate ({}).",
            one.name,
            held.join(", ")
        ));
    }
}
