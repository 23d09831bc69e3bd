//! The rows: how the watched endpoint behaves, its load, what runs beside it, and what is promised.

use std::{iter, time::Duration};

use crate::{
    arguments::Extent,
    producer::Producer,
    world::{PLAIN, Setup},
};

/// The series of healthy endpoints.
pub const OK: &str = "ok";

/// The endpoints that fail fast: series and name.
const FAST: [(&str, &str); 4] =
    [("status-500", "5xx"), ("refused", "refused"), ("reset", "reset"), ("no-tls", "TLS refused")];
/// Events per second for such an endpoint.
const RATES: [u32; 3] = [1, 5, 30];
/// Events sent at once.
const BURSTS: [usize; 2] = [30, 300];
/// The number of healthy endpoints beside the watched one, and their load together.
const HEALTHY: usize = 90;
const HEALTHY_PER_SECOND: f64 = 4000.0;
/// The load of a hanging endpoint that uses all the places it may have.
const HANGING_PER_SECOND: f64 = 20.0;
/// By this time, an endpoint that hangs is known to hang.
const KNOWN_BY: Duration = Duration::from_secs(15);

pub struct Row {
    pub name: String,
    /// One for each account; the first is the watched endpoint's.
    pub series: &'static [&'static str],
    pub load: Load,
    /// Events per second for all other endpoints together.
    pub others_per_second: f64,
    /// The time from which the promise counts, if not from the start.
    pub from: Duration,
    /// The longest time that the turn waits after the load.
    pub tail: Duration,
    pub promise: Promise,
}

/// The load of the watched endpoint.
#[derive(Debug, Clone, Copy)]
pub enum Load {
    Steady { per_second: f64, duration: Duration },
    AtOnce(usize),
}

/// The promise of a row; `tell` has the figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// Every attempt is on time, whatever the rate.
    OnTime,
    /// All attempts start within a second, and nothing stays held.
    Burst,
    /// Attempts are on time once the endpoint is known to hang.
    Hanging,
    /// All places that an endpoint may have are used.
    Hung,
    /// Attempts are on time beside an endpoint that hangs.
    BesideHung,
    /// All events are delivered, at the endpoint's pace.
    Few,
}

impl Row {
    pub fn setup(&self) -> Setup {
        Setup { accounts: self.series.len(), series: self.series, ..PLAIN }
    }

    fn new(name: String, series: &'static [&'static str], load: Load, promise: Promise) -> Self {
        let tail = Duration::from_secs(12);
        Self { name, series, load, others_per_second: 0.0, from: Duration::ZERO, tail, promise }
    }
}

impl Load {
    pub async fn push(self, producer: &mut Producer) {
        match self {
            Self::Steady { per_second, duration } => drop(producer.push_steadily(per_second, duration).await),
            Self::AtOnce(events) => producer.push(events).await,
        }
    }

    pub fn duration(self) -> Duration {
        if let Self::Steady { duration, .. } = self { duration } else { Duration::ZERO }
    }
}

/// All rows. A turn with hanging endpoints is never shortened, because their time limit makes it long.
pub fn all(extent: Extent) -> Vec<Row> {
    let seconds = Duration::from_secs(if extent.quick { 10 } else { 60 });
    fast(seconds).chain(bursts()).chain(mixed(seconds)).chain(hanging()).chain(few(extent)).collect()
}

fn steady(per_second: impl Into<f64>, duration: Duration) -> Load {
    Load::Steady { per_second: per_second.into(), duration }
}

fn fast(duration: Duration) -> impl Iterator<Item = Row> {
    let each = FAST.into_iter().flat_map(|kind| RATES.map(|rate| (kind, rate)));
    each.flat_map(move |((series, kind), rate)| {
        let row = |beside: &str, healthy: usize| {
            let series: Vec<&str> = iter::once(series).chain(iter::repeat_n(OK, healthy)).collect();
            let load = steady(rate, duration);
            Row::new(format!("{kind}, {rate}/s, {beside}"), series.leak(), load, Promise::OnTime)
        };
        [row("alone", 0), Row { others_per_second: HEALTHY_PER_SECOND, ..row("beside 90", HEALTHY) }]
    })
}

fn bursts() -> impl Iterator<Item = Row> {
    let each = FAST.iter().flat_map(|kind| BURSTS.map(|events| (kind, events)));
    each.map(|((series, kind), events)| {
        let name = format!("{kind}, {events} at once");
        let row = Row::new(name, std::slice::from_ref(series), Load::AtOnce(events), Promise::Burst);
        Row { tail: Duration::from_secs(20), ..row }
    })
}

fn mixed(duration: Duration) -> impl Iterator<Item = Row> {
    let rows: [(&str, &'static [&str]); 2] = [("30 %", &["flaky-30"]), ("90 %", &["flaky-90"])];
    rows.into_iter().map(move |(share, series)| {
        Row::new(format!("{share} answer 500, 200/s"), series, steady(200, duration), Promise::OnTime)
    })
}

fn hanging() -> impl Iterator<Item = Row> {
    let minute = Duration::from_secs(60);
    let hanging = |per_second: f64, promise, tail| {
        let name = format!("hanging, {per_second}/s");
        let row = Row::new(name, &["hang"], steady(per_second, minute), promise);
        Row { from: KNOWN_BY, tail: Duration::from_secs(tail), ..row }
    };
    let name = "3 s, 2/s, beside one that hangs".to_owned();
    let beside = Row::new(name, &["slow-3000", "hang"], steady(2, minute), Promise::BesideHung);
    [
        // Three attempts of 10 s, 6.3 s between them, and some lateness.
        hanging(3.0, Promise::Hanging, 50),
        // Until the last attempts have ended.
        hanging(HANGING_PER_SECOND, Promise::Hung, 11),
        Row { others_per_second: HANGING_PER_SECOND, ..beside },
    ]
    .into_iter()
}

fn few(extent: Extent) -> impl Iterator<Item = Row> {
    let rows: [(&str, &'static [&str]); 2] =
        [("one thread of 1.5 s", &["few-1-1500"]), ("four threads of 0.8 s", &["few-4-800"])];
    let events = if extent.quick { 50 } else { 150 };
    rows.into_iter().map(move |(server, series)| {
        let row = Row::new(format!("{server}, {events} at once"), series, Load::AtOnce(events), Promise::Few);
        Row { tail: Duration::from_secs(300), ..row }
    })
}
