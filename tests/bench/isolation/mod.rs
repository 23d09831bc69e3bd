//! Whether bad endpoints hurt the good ones: 100 accounts with an endpoint each, of which ten hang, are slow, answer
//! 503, reset, fail TLS, or recover, or one gets far more events than all others.
//!
//! Each round of a [`kind`] has three [`turn`]s, at a share of the worker's capacity ([`capacity`]): *with* the bad
//! endpoints; with ten *well* ones that receive as many requests as the bad ones got attempts; and *without* events for
//! either. The figures of the good endpoints are compared with those of the turn with well ones ([`tell`]), so that a
//! difference is due to the bad behaviour and not to the load. The turn with the bad endpoints comes first, because the
//! number of their attempts sets the load of the well ones; the other two turns take turns at being second. Builds that
//! are compared take turns at being first. After the kinds, the scenario measures whether one endpoint that is
//! [`alone`] gets the whole worker, and whether slow customers delay a quick one that shares their host ([`one_host`]).

mod alone;
mod capacity;
mod kind;
mod one_host;
mod tell;
mod turn;

use std::time::Duration;

use serde::Serialize;

use self::{
    alone::Alone,
    kind::{KINDS, Kind},
    turn::{Met, Plan},
};
use crate::{
    arguments::Extent,
    report::Report,
    turn::{Contender, order},
    world::Stage,
};

/// The healthy load, as a share of the worker's capacity.
const SHARE: f64 = 0.5;

/// The options of this scenario.
#[derive(clap::Args)]
#[group(id = "isolation")]
pub struct Options {
    /// isolation: how long a turn's load lasts (300 s if endpoints hang or are slow, otherwise 60 s).
    #[arg(long, value_parser = clap::value_parser!(u64).range(5..=86_400))]
    seconds: Option<u64>,
    /// isolation: the healthy load, in events per second (default: half of the worker's measured capacity).
    #[arg(long, value_parser = clap::value_parser!(u32).range(100..))]
    rate: Option<u32>,
    /// isolation: only these kinds of badness.
    #[arg(long = "kind", value_parser = clap::builder::PossibleValuesParser::new(names()))]
    kinds: Vec<String>,
}

fn names() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|kind| kind.name).chain([one_host::NAME])
}

impl Options {
    fn has(&self, name: &str) -> bool {
        self.kinds.is_empty() || self.kinds.iter().any(|one| one == name)
    }

    fn seconds(&self, kind: &Kind, extent: Extent) -> u64 {
        match self.seconds {
            Some(seconds) => seconds,
            None if extent.quick => 5,
            None => kind.seconds,
        }
    }
}

/// The rounds of one kind with one build.
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

/// All kinds of bad endpoints, and an endpoint that is alone.
#[derive(Serialize)]
struct Beside {
    /// Deliveries per second.
    capacity: f64,
    kinds: Vec<Measured>,
    alone: Alone,
}

pub async fn run(extent: Extent, options: &Options) -> Report {
    let kinds: Vec<&Kind> = KINDS.iter().filter(|kind| options.has(kind.name)).collect();
    let has_one_host = options.has(one_host::NAME);
    let rounds = extent.rounds * u32::try_from(Contender::builds().len()).expect("two at most");
    let turns: Duration = kinds.iter().map(|kind| 3 * turn::lasts(kind, options.seconds(kind, extent))).sum();
    let one_host = if has_one_host { one_host::lasts(extent, options.seconds) } else { Duration::ZERO };
    let minutes = ((turns + one_host) * rounds + Duration::from_secs(30)).as_secs().div_ceil(60);
    let count = kinds.len() + usize::from(has_one_host);
    extent.progress(&format!("isolation: {count} kinds, rounds: {}; about {minutes} min", extent.rounds));
    let mut stage = Stage::new().await;
    let beside = if kinds.is_empty() { None } else { Some(beside(&kinds, extent, options, &mut stage).await) };
    let one_host = if has_one_host { one_host::measure(extent, options.seconds, &mut stage).await } else { Vec::new() };
    stage.receiver.end().await;
    tell::tell(beside.as_ref(), &one_host)
}

/// Measures good endpoints beside bad ones.
async fn beside(kinds: &[&Kind], extent: Extent, options: &Options, stage: &mut Stage) -> Beside {
    let builds = Contender::builds();
    let capacity = match options.rate {
        Some(rate) => f64::from(rate) / SHARE,
        None => capacity::measure(stage, extent).await,
    };
    extent.progress(&format!("isolation: the worker's capacity is {capacity:.0}/s"));
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
                let round = round(kind, plan, number, build, stage, extent).await;
                let of_build = measured[first..].iter_mut().find(|one| one.build == build.name());
                of_build.expect("each build has its own").rounds.push(round);
            }
        }
    }
    Beside { capacity, kinds: measured, alone: alone::measure(extent).await }
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
        "isolation, {}, {what} {}: p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms, {per_second:.0}/s; \
         bad ones {bad_per_second:.0}/s, held {held}",
        build.name(),
        kind.name,
    ));
    met
}
