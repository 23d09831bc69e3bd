//! The worker's capacity while a producer runs: the rate of events that it can keep up with. The rate at which it
//! drains a backlog would be too high, because then nothing else needs the machine.

use std::time::{Duration, Instant};

use super::kind::HEALTHY;
use crate::{
    arguments::Extent,
    turn::{Contender, LIMIT, drain},
    world::{Stage, World},
};

/// Events that are drained first; the drain rate is the upper limit of the capacity.
const EVENTS: usize = 100_000;
/// The number of halvings of the remaining interval, to 3 % of the upper limit.
const STEPS: usize = 5;
/// The worker keeps up if, in the end, the events that wait, are held or are in flight are at most those of this many
/// seconds.
const BEHIND: f64 = 0.1;
/// The time to open connections and to learn the endpoints' speed.
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
        // A busy Redis takes events later than they were due.
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

/// The number of events that are not delivered.
async fn left(world: &mut World) -> usize {
    let (held, failed) = world.held_and_failed(None).await;
    assert_eq!(failed, 0, "all endpoints are well");
    world.waiting().await + usize::try_from(held).expect("a number of events")
}

async fn none_left(world: &mut World) {
    let started = Instant::now();
    while left(world).await > 0 {
        assert!(started.elapsed() < LIMIT, "the worker does not deliver all events");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
