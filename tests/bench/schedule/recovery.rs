//! How fast held deliveries leave once their endpoint answers again, compared with its rate when it has all its places.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::{
    arguments::Extent,
    receiver::Ask,
    turn::{Contender, drain},
    world::{PLAIN, Setup, Stage, World},
};

/// Events come at this rate until this many deliveries are held, or for at most this time.
const PER_SECOND: f64 = 600.0;
const HELD: u64 = 8000;
const FILL: Duration = Duration::from_secs(20);
/// The time that an endpoint has before the rate counts.
const SETTLE: Duration = Duration::from_secs(5);
/// The longest time that the rate is then measured.
const MEASURE: Duration = Duration::from_secs(10);
/// The endpoint answers within this time; otherwise the row says so.
const FIRST: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(50);

/// How the endpoint fails, how it answers once it is well, and the number of waiting events that show its full rate.
#[derive(Debug, Clone, Copy)]
pub struct Recovery {
    fails: &'static [&'static str],
    well: &'static [&'static str],
    events: usize,
}

pub const RECOVERIES: [Recovery; 4] = [
    Recovery { fails: &["hang"], well: &["slow-20"], events: 30_000 },
    Recovery { fails: &["hang"], well: &["slow-200"], events: 8000 },
    Recovery { fails: &["close"], well: &["slow-20"], events: 30_000 },
    Recovery { fails: &["close"], well: &["slow-200"], events: 8000 },
];

/// The figures of a recovery.
#[derive(Debug, Clone, Serialize)]
pub struct Recovered {
    /// Held when the endpoint recovered, and [`SETTLE`] after its first success.
    pub held_before: f64,
    pub held_after: f64,
    /// From the recovery to the first answered request, in ms.
    pub first_ms: f64,
    /// Deliveries that left `held` per second after that.
    pub left_per_second: f64,
    /// Requests that the endpoint serves per second while it is well and events wait.
    pub well_per_second: f64,
}

impl Recovery {
    pub fn name(&self) -> String {
        format!("recovery, {} then {} ms", self.fails[0], &self.well[0]["slow-".len()..])
    }
}

impl Recovered {
    /// Whether enough deliveries were held to measure the rate.
    pub fn is_seen(&self) -> bool {
        self.held_after >= self.well_per_second / 2.0
    }
}

#[allow(clippy::cast_precision_loss, reason = "numbers of deliveries")]
pub async fn take(recovery: Recovery, build: Contender, stage: &mut Stage, extent: Extent) -> Recovered {
    let well = Setup { series: recovery.well, ..PLAIN };
    let well_per_second = drain(build, 1, well, stage, extent.events(recovery.events).max(5000)).await.per_second;

    let mut world = World::new(stage, Setup { series: recovery.fails, ..PLAIN }).await;
    let worker = build.start(&world, stage).await;
    world.is_read().await;
    let started = Instant::now();
    while held(&mut world).await < HELD && started.elapsed() < FILL {
        world.producer.push_steadily(PER_SECOND, Duration::from_millis(500)).await;
    }
    let held_before = held(&mut world).await;
    answer(recovery.fails[0], recovery.well[0], stage).await;
    stage.receiver.ask::<()>(&Ask::Reset).await;
    let recovered = Instant::now();
    while stage.receiver.ask::<u64>(&Ask::Count).await == 0 && recovered.elapsed() < FIRST {
        tokio::time::sleep(LOOK).await;
    }
    let first = recovered.elapsed();
    tokio::time::sleep(SETTLE).await;
    let (settled, held_after) = (Instant::now(), held(&mut world).await);
    let mut still = held_after;
    while still > 0 && settled.elapsed() < MEASURE {
        tokio::time::sleep(LOOK).await;
        still = held(&mut world).await;
    }
    let left_per_second = held_after.saturating_sub(still) as f64 / settled.elapsed().as_secs_f64();
    answer(recovery.fails[0], recovery.fails[0], stage).await;
    worker.end().await;
    Recovered {
        held_before: held_before as f64,
        held_after: held_after as f64,
        first_ms: first.as_secs_f64() * 1000.0,
        left_per_second,
        well_per_second,
    }
}

async fn held(world: &mut World) -> u64 {
    world.held_and_failed(None).await.0
}

async fn answer(series: &str, like: &str, stage: &mut Stage) {
    stage.receiver.ask::<()>(&Ask::Answer { series: series.to_owned(), like: like.to_owned() }).await;
}
