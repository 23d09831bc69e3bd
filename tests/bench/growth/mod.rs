//! The cost of a delivery as work grows: with the number of webhooks, waiting events, payload, partitions and workers.
//!
//! The worker's cost at one size is compared with its own cost at another size, so no bare loop takes part; the sizes
//! take turns over rounds. At every point a warm worker delivers the same number of events (fewer if they are large),
//! and some more wait behind the measured ones, so that the worker is never idle. Each webhook has an account of its
//! own and a visit that is due later. The events go to at most [`ADDRESSED_MAX`] of the hosts, so that from there on
//! the number of connections no longer grows.

mod tell;

use serde::Serialize;

use crate::{
    arguments::Extent,
    report::Report,
    turn::{Contender, Sample, between_arrivals, ready},
    world::{ADDRESSED_MAX, PLAIN, Setup, Stage, World},
};

/// Events of a point, if they are small: those that warm up, those that are measured, and a few behind them.
const EVENTS: usize = 30_000;
/// The most bytes that the events of a point have together.
const EVENTS_BYTES: usize = 450 << 20;
/// Enough accounts to spread over eight partitions.
const SPREAD: usize = 64;
/// Partitions that several workers share.
const SHARED: u16 = 8;
/// The largest event has one MiB, its identifiers included.
const LARGEST: usize = (1 << 20) - 1024;

/// The quantity that grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Grown {
    Webhooks,
    Waiting,
    PayloadBytes,
    Partitions,
    Workers,
}

/// One size of that quantity.
#[derive(Debug, Clone, Copy)]
struct Point {
    size: usize,
    setup: Setup,
    events: usize,
    /// Events that wait behind, in addition to those few.
    waiting: usize,
    workers: usize,
}

impl Grown {
    const ALL: [Self; 5] = [Self::Webhooks, Self::Waiting, Self::PayloadBytes, Self::Partitions, Self::Workers];

    fn name(self) -> &'static str {
        match self {
            Self::Webhooks => "webhooks",
            Self::Waiting => "events waiting",
            Self::PayloadBytes => "bytes of payload",
            Self::Partitions => "partitions",
            Self::Workers => "workers on 8 partitions",
        }
    }

    fn points(self, extent: Extent) -> Vec<Point> {
        let sizes: &[usize] = match self {
            Self::Webhooks => &[10, 100, 1000, 10_000, 100_000],
            Self::Waiting => &[1000, 10_000, 100_000, 1_000_000],
            Self::PayloadBytes => &[200, 600, 4 << 10, 64 << 10, LARGEST],
            Self::Partitions => &[1, 2, 4, 8],
            Self::Workers => &[1, 2, 4],
        };
        sizes.iter().map(|size| self.point(*size, extent)).collect()
    }

    fn point(self, size: usize, extent: Extent) -> Point {
        let plain = Point { size, setup: PLAIN, events: extent.events(EVENTS), waiting: 0, workers: 1 };
        match self {
            Self::Webhooks => Point { setup: Setup { accounts: size, ..PLAIN }, ..plain },
            Self::Waiting => {
                let waiting = extent.events(size);
                Point { size: waiting, waiting, ..plain }
            }
            Self::PayloadBytes => Point {
                setup: Setup { envelope_bytes: size, ..PLAIN },
                events: extent.events(EVENTS.min(EVENTS_BYTES / size)),
                ..plain
            },
            Self::Partitions => {
                let partitions = u16::try_from(size).expect("a few");
                Point { setup: Setup { accounts: SPREAD, partitions, ..PLAIN }, ..plain }
            }
            Self::Workers => {
                Point { setup: Setup { accounts: SPREAD, partitions: SHARED, ..PLAIN }, workers: size, ..plain }
            }
        }
    }
}

/// The measurements as one quantity grew: for each size, a sample of each round.
#[derive(Debug, Serialize)]
struct Series {
    grown: Grown,
    sizes: Vec<usize>,
    samples: Vec<Vec<Sample>>,
}

pub async fn run(extent: Extent) -> Report {
    let mut stage = Stage::new().await;
    let new = |grown: Grown| {
        let points = grown.points(extent);
        let series =
            Series { grown, sizes: points.iter().map(|p| p.size).collect(), samples: vec![vec![]; points.len()] };
        (points, series)
    };
    let mut all: Vec<_> = Grown::ALL.into_iter().map(new).collect();
    for number in 1..=extent.rounds {
        for (points, series) in &mut all {
            let count = points.len();
            for at in (0..count).map(|at| (at + usize::try_from(number).expect("a small number")) % count) {
                let sample = turn(&points[at], &mut stage).await;
                extent.progress(&format!(
                    "growth, round {number}: {} {} {:.1} µs of CPU, Redis {:.1} µs",
                    points[at].size,
                    series.grown.name(),
                    sample.cpu_per_1000 * 1000.0,
                    sample.redis_cpu_per_1000 * 1000.0,
                ));
                series.samples[at].push(sample);
            }
        }
    }
    stage.receiver.end().await;
    tell::report(&all.into_iter().map(|(_, series)| series).collect::<Vec<_>>())
}

async fn turn(point: &Point, stage: &mut Stage) -> Sample {
    let mut world = World::new(stage, point.setup).await;
    let workers = ready(Contender::Worker, point.workers, &mut world, stage).await;
    world.producer.push(point.events + point.waiting).await;
    let events = u64::try_from(point.events).expect("64 bits");
    let measured = events / 4..events - events / 20;
    let sample = between_arrivals(&workers, &mut world, stage, measured).await;
    for worker in workers {
        worker.end().await;
    }
    sample
}
