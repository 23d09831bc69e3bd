//! Whether bad endpoints hurt the good ones: 100 accounts with an endpoint each, of which ten hang, are slow, reset,
//! fail TLS, answer 503, or recover, or one sends far more than all others.
//!
//! For each [`kind`] turns alternate in which the bad ones get no events, in which they do, and in which they do and are
//! well, or all get as many alike ([`turn`]), at a share of what the worker is capable of ([`capacity`]); what the good ones
//! meet is compared ([`tell`]). Last, whether one endpoint that is [`alone`] reaches the whole worker.

mod alone;
mod capacity;
mod kind;
mod tell;
mod turn;

use std::time::Duration;

use serde::Serialize;

use self::{
    kind::{KINDS, Kind, OVERLOADED},
    turn::{Met, Plan},
};
use crate::{arguments::Extent, report::Report, world::Stage};

/// Of the worker's capacity, this is the healthy load.
const SHARE: f64 = 0.5;

/// What can be said of this scenario alone.
#[derive(clap::Args)]
#[group(id = "isolation")]
pub struct Options {
    /// isolation: how long a turn's load lasts (300 s where endpoints hang or are slow, 60 s else).
    #[arg(long, value_parser = clap::value_parser!(u64).range(5..=86_400))]
    seconds: Option<u64>,
    /// isolation: the healthy load, in events a second (half of the worker's capacity, which is measured).
    #[arg(long, value_parser = clap::value_parser!(u32).range(100..))]
    rate: Option<u32>,
    /// isolation: only these kinds of badness.
    #[arg(long = "kind", value_parser = clap::builder::PossibleValuesParser::new(KINDS.map(|kind| kind.name)))]
    kinds: Vec<String>,
}

impl Options {
    fn seconds(&self, kind: &Kind, extent: Extent) -> u64 {
        match self.seconds {
            Some(seconds) => seconds,
            None if extent.quick => 5,
            None => kind.seconds,
        }
    }
}

/// One kind's rounds.
#[derive(Serialize)]
struct Measured {
    kind: &'static str,
    per_second: f64,
    seconds: u64,
    rounds: Vec<Round>,
}

/// The turns of a round.
#[derive(Serialize)]
struct Round {
    without: Met,
    /// The bad ones get their events, and are well; or all get as many, alike.
    well: Option<Met>,
    with: Met,
}

pub async fn run(extent: Extent, options: &Options) -> Report {
    let kinds: Vec<&Kind> = KINDS
        .iter()
        .filter(|kind| options.kinds.is_empty() || options.kinds.iter().any(|name| name == kind.name))
        .collect();
    let turns_of = |kind: &Kind| 2 + u32::from(kind.well().is_some());
    let turns: Duration =
        kinds.iter().map(|kind| turns_of(kind) * turn::lasts(kind, options.seconds(kind, extent))).sum();
    let minutes = (turns * extent.rounds + Duration::from_secs(30)).as_secs().div_ceil(60);
    extent.progress(&format!("isolation: {} kinds, rounds: {}; about {minutes} min", kinds.len(), extent.rounds));
    let mut stage = Stage::new("http/1.1").await;
    let capacity = match options.rate {
        Some(rate) => f64::from(rate) / SHARE,
        None => capacity::measure(&mut stage, extent).await,
    };
    extent.progress(&format!("isolation: the worker is taken to be capable of {capacity:.0}/s"));
    let mut measured = Vec::new();
    for kind in kinds {
        let per_second = |kind: &Kind| capacity * SHARE * kind.load;
        let seconds = options.seconds(kind, extent);
        let well = kind.well();
        let mut rounds = Vec::new();
        for number in 1..=extent.rounds {
            let mut met = [None, None, None];
            // Each is first in its turn, so that what drifts on this machine favours none.
            for turn in 0..met.len() {
                let which = (turn + number as usize - 1) % met.len();
                let (what, kind, bad) = match (which, &well) {
                    (0, _) => ("without", kind, false),
                    (1, Some(well)) => ("with well", well, true),
                    (1, None) => continue,
                    _ => ("with", kind, true),
                };
                met[which] = Some(
                    one(what, kind, Plan { per_second: per_second(kind), seconds, bad }, &mut stage, extent).await,
                );
            }
            let [Some(without), well, Some(with)] = met else { unreachable!("each had its turn") };
            rounds.push(Round { without, well, with });
        }
        measured.push(Measured { kind: kind.name, per_second: per_second(kind), seconds, rounds });
    }
    stage.receiver.end().await;
    let alone = alone::measure(extent).await;
    tell::tell(capacity, &measured, &alone)
}

async fn one(what: &str, kind: &Kind, plan: Plan, stage: &mut Stage, extent: Extent) -> Met {
    let met = turn::take(kind, plan, stage).await;
    let Met { p50_ms, p99_ms, per_second, held, .. } = &met;
    extent.progress(&format!(
        "isolation, {what} {}: p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms, {per_second:.0}/s, held {held}",
        kind.name,
    ));
    met
}
