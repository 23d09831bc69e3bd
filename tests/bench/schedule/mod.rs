//! Whether every event gets its attempts on time: the first at once, the second 2 s after the first failure, the third
//! 4 s after the second. One worker with default settings; one endpoint is watched.
//!
//! A [`row`] defines how the endpoint behaves, how many events it gets, and what runs beside it. A [`turn`] starts a
//! worker on an empty queue, sends the events and waits until all of them have ended, or until the row's time is over.
//! The figures ([`met`]) are lateness:
//!
//! - the lateness of a first attempt is the time from its `XADD` (the event's id carries that moment) to its start;
//! - the lateness of a retry is the time from its score in `retries` to its start. The score includes the delay and the
//!   jitter. A start before the score is early; 1 ms is allowed, because the log rounds to milliseconds;
//! - the lateness of an attempt that has not started when the turn ends is the time that it has waited.
//!
//! The start of an attempt is known for every kind of failure, even if no request arrives: at level `debug`, the
//! worker's log has a line for each attempt, written at its end, with its duration ([`watch`]). Each score is read
//! once, in the second before it falls due. The lines of healthy endpoints beside the watched one cost the worker a few
//! percent of a core, for every build that is compared.
//!
//! [`recovery`] measures how fast held deliveries leave once their endpoint answers again.

mod met;
mod recovery;
mod row;
mod tell;
mod turn;
mod watch;

use std::collections::BTreeMap;

use serde::Serialize;

use self::{
    met::Met,
    recovery::{RECOVERIES, Recovered, Recovery},
    row::Row,
};
use crate::{
    arguments::Extent,
    report::Report,
    turn::{Contender, order},
    world::Stage,
};

/// The options of this scenario.
#[derive(clap::Args)]
#[group(id = "schedule")]
pub struct Options {
    /// schedule: only rows whose names contain one of these.
    #[arg(long = "row")]
    rows: Vec<String>,
}

impl Options {
    fn has(&self, name: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|part| name.contains(part))
    }
}

/// One row, or one recovery: the figures of each build in each round, by the build's name.
#[derive(Serialize)]
struct Measured<W, M> {
    #[serde(skip)]
    of: W,
    name: String,
    rounds: Vec<BTreeMap<String, M>>,
}

pub async fn run(extent: Extent, options: &Options) -> Report {
    let mut stage = Stage::new().await;
    let mut rows: Vec<Measured<Row, Met>> = Vec::new();
    for row in row::all(extent).into_iter().filter(|row| options.has(&row.name)) {
        let mut rounds = Vec::new();
        for number in 1..=extent.rounds {
            let mut round = BTreeMap::new();
            for build in order(Contender::builds(), number) {
                let met = turn::take(&row, build, &mut stage).await;
                extent.progress(&format!("schedule, {}: {} {}", row.name, build.name(), met.in_short()));
                round.insert(build.name(), met);
            }
            rounds.push(round);
        }
        rows.push(Measured { name: row.name.clone(), of: row, rounds });
    }
    let mut recoveries: Vec<Measured<Recovery, Recovered>> = Vec::new();
    for recovery in RECOVERIES.into_iter().filter(|recovery| options.has(&recovery.name())) {
        let mut rounds = Vec::new();
        for number in 1..=extent.rounds {
            let mut round = BTreeMap::new();
            for build in order(Contender::builds(), number) {
                let recovered = recovery::take(recovery, build, &mut stage, extent).await;
                extent.progress(&format!(
                    "schedule, {}: {} held {}, {} after 5 s, then {:.0}/s left; well {:.0}/s",
                    recovery.name(),
                    build.name(),
                    recovered.held_before,
                    recovered.held_after,
                    recovered.left_per_second,
                    recovered.well_per_second
                ));
                round.insert(build.name(), recovered);
            }
            rounds.push(round);
        }
        recoveries.push(Measured { name: recovery.name(), of: recovery, rounds });
    }
    stage.receiver.end().await;
    tell::tell(&rows, &recoveries)
}
