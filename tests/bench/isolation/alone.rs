//! Whether one healthy endpoint alone reaches the whole worker.

use serde::Serialize;

use super::kind::HEALTHY;
use crate::{
    arguments::Extent,
    receiver::{Ask, Report as Received},
    turn::{Contender, drain},
    world::{PLAIN, Setup, Stage},
};

/// Answers after 200 ms.
const SLOW: &[&str] = &["slow-200"];

#[derive(Debug, Clone, Serialize)]
pub struct Alone {
    /// Deliveries per second to one endpoint that answers at once, and to 100 of them.
    pub one_per_second: f64,
    pub all_per_second: f64,
    /// The most attempts in flight at one slow endpoint, and the number of places.
    pub most_in_flight: u64,
    pub places: usize,
}

pub async fn measure(extent: Extent) -> Alone {
    let mut stage = Stage::new().await;
    let events = extent.events(50_000);
    let one_per_second = drain(Contender::Worker, 1, PLAIN, &mut stage, events).await.per_second;
    let all_per_second = drain(Contender::Worker, 1, HEALTHY, &mut stage, events).await.per_second;
    let slow = Setup { series: SLOW, ..PLAIN };
    drain(Contender::Worker, 1, slow, &mut stage, 20 * slow.concurrency).await;
    let received: Received = stage.receiver.ask(&Ask::Report).await;
    stage.receiver.end().await;
    let most_in_flight = received.most_in_flight;
    extent.progress(&format!(
        "isolation, alone: one endpoint {one_per_second:.0}/s, 100 {all_per_second:.0}/s; most in flight {most_in_flight}"
    ));
    Alone { one_per_second, all_per_second, most_in_flight, places: slow.concurrency }
}
