//! The cost of recording metrics: the part of a worker's CPU time that counting a delivery takes.
//!
//! A worker cannot be told not to count, and one per cent is less than two builds differ by chance. So what a worker records
//! for a delivery is recorded here by itself, in turns with a worker that delivers, and compared with its CPU time.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use lynkhook::{
    config::Settings,
    domain::{outcome::Outcome, retry::Next},
    telemetry::metrics::OfWorker,
};
use serde::Serialize;

use crate::{
    arguments::Extent,
    figures::{Judged, median, median_ratio},
    report::Report,
    rounds::{self, Round},
    turn::Contender,
    world::{PLAIN, Stage},
};

/// Recording may take this part of a worker's CPU time.
const MOST: f64 = 0.01;
/// Deliveries that are recorded in one batch; the quickest batch of a round counts, because others were interrupted.
const BATCH: u32 = 10_000;
const BATCHES: usize = 100;
const EVENT: &str = "transcript.created";

#[derive(Serialize)]
struct Measured {
    /// CPU seconds for 1,000 deliveries: of a worker, and of recording alone.
    worker: f64,
    recording: f64,
}

pub async fn run(extent: Extent) -> Report {
    let mut stage = Stage::new().await;
    let mut measured = Vec::new();
    for number in 1..=extent.rounds {
        let one = Extent { rounds: 1, ..extent };
        let what = format!("recording, turn {number}");
        let rounds: Vec<Round> = rounds::run(&what, &[Contender::Worker], PLAIN, &mut stage, (100_000, one)).await;
        let worker = rounds::median_of(&rounds, Contender::Worker, |sample| sample.cpu_per_1000);
        measured.push(Measured { worker, recording: record() });
    }
    stage.receiver.end().await;
    let mut report = Report::new("recording", &measured);
    let of = |figure: fn(&Measured) -> f64| median(measured.iter().map(figure));
    let [worker, recording] = [of(|it| it.worker), of(|it| it.recording)];
    report.table(
        ["for 1,000 deliveries", "CPU ms"],
        [
            ["worker".to_owned(), format!("{:.3}", worker * 1e3)],
            ["recording alone".to_owned(), format!("{:.3}", recording * 1e3)],
        ],
    );
    let part = median_ratio(&measured, |it| it.recording, |it| it.worker);
    report.judge(Judged::at_most("recording, to the worker's CPU".to_owned(), part, MOST));
    report
}

/// Records deliveries as a worker does, each attempted once. Answers the seconds for 1,000.
fn record() -> f64 {
    let catalogue = Settings::load(None, [] as [(&str, &str); 0]).expect("the defaults are valid").catalogue();
    let (_, metrics) = OfWorker::new(&catalogue);
    let batches = (0..BATCHES).map(|_| {
        let began = Instant::now();
        for number in 0..BATCH {
            let took = Duration::from_micros(u64::from(number));
            metrics.attempted(black_box(EVENT), black_box(&Outcome::Response { status: 200 }), took);
            metrics.waited(took);
            metrics.settled(black_box(Next::Delivered));
        }
        began.elapsed()
    });
    batches.min().expect("some").as_secs_f64() / f64::from(BATCH) * 1000.0
}
