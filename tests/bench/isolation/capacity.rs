//! What the worker is capable of beside a producer: the rate at which events may come without its falling behind. Draining
//! what waits already says too much, for then nobody else needs the machine.

use std::time::{Duration, Instant};

use super::kind::HEALTHY;
use crate::{
    arguments::Extent,
    turn::{Contender, LIMIT, drain},
    world::{Stage, World},
};

/// Events that are drained first: the most that it could be.
const EVENTS: usize = 100_000;
/// Halvings of what it may be: to 3 % of the most.
const STEPS: usize = 5;
/// It keeps up if, in the end, no more waits, is held or is in flight than came within so many seconds.
const BEHIND: f64 = 0.1;
/// Until connections are made, and endpoints known.
const WARM: Duration = Duration::from_secs(2);

pub async fn measure(stage: &mut Stage, extent: Extent) -> f64 {
    let most = drain(Contender::Worker, 1, HEALTHY, stage, extent.events(EVENTS)).await.per_second;
    let mut world = World::new(stage, HEALTHY).await;
    let worker = Contender::Worker.start(&world, stage).await;
    let (mut kept_up, mut fell_behind) = (0.0, most);
    world.producer.push_steadily(most / 4.0, WARM).await;
    none_left(&mut world).await;
    for _ in 0..STEPS {
        let rate = f64::midpoint(kept_up, fell_behind);
        let (started, seconds) = (Instant::now(), extent.seconds(5));
        world.producer.push_steadily(rate, seconds).await;
        // A Redis that is busy takes events later than they came.
        let late = started.elapsed().saturating_sub(seconds).as_secs_f64();
        #[allow(clippy::cast_precision_loss, reason = "a number of events")]
        let behind = late + left(&mut world).await as f64 / rate;
        let bound = if behind <= BEHIND { &mut kept_up } else { &mut fell_behind };
        *bound = rate;
        extent.progress(&format!("isolation, capacity: at {rate:.0}/s {behind:.2} s behind"));
        none_left(&mut world).await;
    }
    worker.end().await;
    assert!(kept_up > 0.0, "the worker keeps up with nothing");
    kept_up
}

/// How much is not delivered.
async fn left(world: &mut World) -> usize {
    let (held, failed) = world.held_and_failed(None).await;
    assert_eq!(failed, 0, "all endpoints are well");
    world.waiting().await + usize::try_from(held).expect("a number of events")
}

async fn none_left(world: &mut World) {
    let started = Instant::now();
    while left(world).await > 0 {
        assert!(started.elapsed() < LIMIT, "the worker does not deliver what came");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
