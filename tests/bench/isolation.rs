//! Whether bad endpoints hurt the good ones: 100 accounts with an endpoint each, of which ten hang, are slow, answer 503,
//! reset, fail TLS, or recover, or one sends far more than all others.
//!
//! Each round of a [`kind`] has three [`turn`]s, at a share of what the worker is capable of ([`capacity`]): *with* the bad
//! ones; with ten that are *well* and receive as many requests as the bad ones got attempts; and *without* events for
//! either. What the good ones meet is judged beside the well ones ([`tell`]): what is worse there is badness, and not load.
//! The turn with the bad ones comes first, because its attempts say what the well ones receive; the other two take turns at
//! being second. Builds that are compared take turns at being first. Last, whether one endpoint that is [`alone`] reaches
//! the whole worker.

mod alone;
mod capacity;
mod kind;
mod tell;
mod turn;

use std::time::Duration;

use serde::Serialize;

use self::{
    kind::{KINDS, Kind},
    turn::{Met, Plan},
};
use crate::{
    arguments::Extent,
    report::Report,
    turn::{Contender, order},
    world::Stage,
};

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

/// One kind's rounds with one build.
#[derive(Serialize)]
struct Measured {
    kind: &'static str,
    build: String,
    per_second: f64,
    seconds: u64,
    rounds: Vec<Round>,
}

/// The turns of a round.
#[derive(Serialize)]
struct Round {
    without: Met,
    well: Met,
    with: Met,
}

pub async fn run(extent: Extent, options: &Options) -> Report {
    let kinds: Vec<&Kind> = KINDS
        .iter()
        .filter(|kind| options.kinds.is_empty() || options.kinds.iter().any(|name| name == kind.name))
        .collect();
    let builds = Contender::builds();
    let rounds = extent.rounds * u32::try_from(builds.len()).expect("two at most");
    let turns: Duration = kinds.iter().map(|kind| 3 * turn::lasts(kind, options.seconds(kind, extent))).sum();
    let minutes = (turns * rounds + Duration::from_secs(30)).as_secs().div_ceil(60);
    extent.progress(&format!("isolation: {} kinds, rounds: {}; about {minutes} min", kinds.len(), extent.rounds));
    let mut stage = Stage::new().await;
    let capacity = match options.rate {
        Some(rate) => f64::from(rate) / SHARE,
        None => capacity::measure(&mut stage, extent).await,
    };
    extent.progress(&format!("isolation: the worker is taken to be capable of {capacity:.0}/s"));
    let mut measured = Vec::new();
    for kind in kinds {
        let plan = Plan {
            per_second: capacity * SHARE * kind.load,
            bad_per_second: 0.0,
            recovered_per_second: 0.0,
            seconds: options.seconds(kind, extent),
        };
        let first = measured.len();
        measured.extend(builds.iter().map(|build| Measured {
            kind: kind.name,
            build: build.name(),
            per_second: plan.per_second,
            seconds: plan.seconds,
            rounds: Vec::new(),
        }));
        for number in 1..=extent.rounds {
            for build in order(builds.clone(), number) {
                let round = round(kind, plan, number, build, &mut stage, extent).await;
                let of_build = measured[first..].iter_mut().find(|one| one.build == build.name());
                of_build.expect("each build has its own").rounds.push(round);
            }
        }
    }
    stage.receiver.end().await;
    let alone = alone::measure(extent).await;
    tell::tell(capacity, &measured, &alone)
}

async fn round(kind: &Kind, plan: Plan, number: u32, build: Contender, stage: &mut Stage, extent: Extent) -> Round {
    let bad_per_second = plan.per_second * kind.bad_share();
    let bad = Plan { bad_per_second, recovered_per_second: bad_per_second, ..plan };
    let with = one("with", kind, bad, build, stage, extent).await;
    let as_many = Plan {
        bad_per_second: with.bad_per_second,
        recovered_per_second: with.recovery.as_ref().map_or(0.0, |recovery| recovery.mean_per_second),
        ..plan
    };
    let first_well = number.is_multiple_of(2);
    let (mut well, mut without) = (None, None);
    for is_well in [first_well, !first_well] {
        if is_well {
            well = Some(one("with well instead of", &kind.well(), as_many, build, stage, extent).await);
        } else {
            without = Some(one("without", kind, plan, build, stage, extent).await);
        }
    }
    let (Some(well), Some(without)) = (well, without) else { unreachable!("each had its turn") };
    Round { without, well, with }
}

async fn one(what: &str, kind: &Kind, plan: Plan, build: Contender, stage: &mut Stage, extent: Extent) -> Met {
    let met = turn::take(kind, plan, build, stage).await;
    let Met { p50_ms, p99_ms, per_second, bad_per_second, held, .. } = &met;
    extent.progress(&format!(
        "isolation, {}, {what} {}: p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms, {per_second:.0}/s; bad ones {bad_per_second:.0}/s, held \
         {held}",
        build.name(),
        kind.name,
    ));
    met
}
