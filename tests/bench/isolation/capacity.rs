//! What the worker is capable of beside a producer: the rate at which events may come without its falling behind. Draining
//! what waits already says too much, for then nobody else needs the machine.

use super::kind::HEALTHY;
use crate::{
    arguments::Extent,
    turn::{Contender, LIMIT, drain, settled},
    world::{Stage, World},
};

/// Events that are drained first: the most that it could be.
const EVENTS: usize = 100_000;
/// Halvings of what it may be: to 3 % of the most.
const STEPS: usize = 5;
/// It keeps up if, in the end, no more waits or is in flight than came within so many seconds.
const BEHIND: f64 = 0.1;

pub async fn measure(stage: &mut Stage, extent: Extent) -> f64 {
    let most = drain(Contender::Worker, 1, HEALTHY, stage, extent.events(EVENTS)).await.per_second;
    let mut world = World::new(stage, HEALTHY).await;
    let worker = Contender::Worker.start(&world, stage).await;
    let (mut kept_up, mut fell_behind) = (0.0, most);
    for _ in 0..STEPS {
        let rate = f64::midpoint(kept_up, fell_behind);
        world.producer.push_steadily(rate, extent.seconds(5)).await;
        #[allow(clippy::cast_precision_loss, reason = "a number of events")]
        let behind = world.waiting().await as f64 / rate;
        let bound = if behind <= BEHIND { &mut kept_up } else { &mut fell_behind };
        *bound = rate;
        extent.progress(&format!("isolation, capacity: at {rate:.0}/s {behind:.2} s behind"));
        assert!(settled(&mut world, LIMIT).await, "the worker does not deliver what came");
    }
    worker.end().await;
    kept_up
}
