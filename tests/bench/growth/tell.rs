//! The report on growth: the cost of a delivery at each size, as ratio to the smallest, and how quickly it grows.

use super::{ADDRESSED_MAX, Grown, Series};
use crate::{
    figures::{Judged, median},
    plot::{self, Chart, Line, Scale},
    report::{Report, folder},
    turn::Sample,
};

/// A cost that does not grow stays within this share of its cost at the smallest size.
const FLAT: f64 = 0.25;
/// A noisy machine moves an exponent between neighbouring sizes by up to this much.
const EXPONENT_TOLERANCE: f64 = 0.25;

/// A figure of a sample, in µs per delivery.
type Cost = (&'static str, fn(&Sample) -> f64);

const TIME: Cost = ("time", |sample| 1e6 / sample.per_second);
const WORKER: Cost = ("worker CPU", |sample| sample.cpu_per_1000 * 1000.0);
const REDIS: Cost = ("Redis CPU", |sample| sample.redis_cpu_per_1000 * 1000.0);
/// The cost that is judged. Time is not, because it depends on the machine's other work.
const BOTH: Cost = ("worker and Redis CPU", |sample| (WORKER.1)(sample) + (REDIS.1)(sample));
const COSTS: [Cost; 3] = [TIME, WORKER, REDIS];

impl Series {
    /// A cost at each size: the median of the rounds.
    fn medians(&self, (_, of): Cost) -> Vec<f64> {
        self.samples.iter().map(|rounds| median(rounds.iter().map(of))).collect()
    }

    /// A cost at each size as ratio to the first size of the same round: the median of the rounds.
    fn ratios(&self, (_, of): Cost) -> Vec<f64> {
        let first = &self.samples[0];
        let ratio = |rounds: &Vec<Sample>| median(rounds.iter().zip(first).map(|(one, first)| of(one) / of(first)));
        self.samples.iter().map(ratio).collect()
    }

    #[allow(clippy::cast_precision_loss, reason = "a size")]
    fn sizes(&self) -> Vec<f64> {
        self.sizes.iter().map(|size| *size as f64).collect()
    }

    /// The power of the size with which a delivery's cost grows, from each size to the next: 0 means not at all, 1
    /// means linearly.
    fn exponents(&self) -> Vec<f64> {
        let (sizes, ratios) = (self.sizes(), self.ratios(BOTH));
        let pairs = sizes.windows(2).zip(ratios.windows(2));
        pairs.map(|(size, ratio)| (ratio[1] / ratio[0]).ln() / (size[1] / size[0]).ln()).collect()
    }

    /// The steepest of those exponents.
    fn steepest(&self) -> f64 {
        self.exponents().into_iter().fold(f64::NEG_INFINITY, f64::max)
    }

    fn chart(&self) -> Chart {
        let line = |cost: Cost| Line {
            name: cost.0.to_owned(),
            points: self.sizes().into_iter().zip(self.medians(cost)).collect(),
        };
        // Within one decade, a logarithmic axis has almost no labels.
        let few = matches!(self.grown, Grown::Partitions | Grown::Workers);
        let scale = if few { Scale::Linear } else { Scale::Logarithmic };
        Chart {
            title: format!("A delivery's cost, by {}", self.grown.name()),
            x: (self.grown.name().to_owned(), Scale::Logarithmic),
            y: ("µs per delivery".to_owned(), scale),
            lines: COSTS.map(line).into(),
        }
    }
}

pub(super) fn report(all: &[Series]) -> Report {
    let mut report = Report::new("growth", &all);
    for series in all {
        let exponents = series.exponents();
        let of = COSTS.map(|cost| (series.medians(cost), series.ratios(cost)));
        let rows = series.sizes.iter().enumerate().map(|(at, size)| {
            let [time, worker, redis] = of.each_ref().map(|(us, ratio)| (us[at], ratio[at]));
            [
                size.to_string(),
                format!("{:.1}", time.0),
                format!("{:.2}", time.1),
                format!("{:.1}", worker.0),
                format!("{:.2}", worker.1),
                format!("{:.1}", redis.0),
                format!("{:.2}", redis.1),
                if at == 0 { String::new() } else { format!("{:.2}", exponents[at - 1]) },
            ]
        });
        let header = [
            series.grown.name(),
            "µs per delivery",
            "to the first",
            "worker CPU µs",
            "to the first",
            "Redis CPU µs",
            "to the first",
            "exponent of CPU",
        ];
        report.table(header, rows);
        judge(&mut report, series);
    }
    report.note(format!(
        "The exponent is the power of the size with which a delivery's CPU (worker and Redis) grows from the previous \
         size. 0 means not at all: the cost of all deliveries is in proportion to their number. For payload, 1 means in \
         proportion to the bytes. Events go to at most {ADDRESSED_MAX} hosts; up to there, connections grow with \
         webhooks."
    ));
    plot::draw(&folder().join("growth.svg"), &all.iter().map(Series::chart).collect::<Vec<_>>());
    report
}

/// No cost grows faster than linearly. The work per delivery does not grow with the amount of other work, and grows
/// with the delivery's own bytes at most as fast as they do.
fn judge(report: &mut Report, series: &Series) {
    let name = series.grown.name();
    let linear = if series.grown == Grown::PayloadBytes { 1.0 } else { 0.0 };
    let figure = format!("{name}: steepest exponent of a delivery's CPU");
    report.judge(Judged::at_most(figure, series.steepest(), linear + EXPONENT_TOLERANCE));
    let from = match series.grown {
        Grown::PayloadBytes => return,
        // Up to this size the number of hosts grows, and with it the number of connections.
        Grown::Webhooks => series.sizes.iter().position(|size| *size >= ADDRESSED_MAX).expect("there are more"),
        _ => 0,
    };
    let ratios = &series.ratios(BOTH)[from..];
    let most = ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max) / ratios[0];
    let figure = format!("{name}: a delivery's highest CPU, to its CPU at {}", series.sizes[from]);
    report.judge(Judged::at_most(figure, most, 1.0 + FLAT));
}
