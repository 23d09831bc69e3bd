//! One turn of a row: a worker on an empty queue, the load, and the wait until all has ended.

use std::{
    iter,
    time::{Duration, Instant},
};

use super::{
    met::{Met, Seen},
    row::{OK, Row},
    watch::{self, Scores, TELLING},
};
use crate::{
    receiver::{Ask, Report as Received, now_micros},
    turn::Contender,
    world::{Stage, World},
};

/// The endpoints beside the watched one get events this long before it, so that they are known.
const WARM: Duration = Duration::from_secs(2);
/// They get events this long after it, while the last retries are made.
const AFTER: Duration = Duration::from_secs(7);
/// How often the turn checks whether all has ended.
const LOOK: Duration = Duration::from_millis(100);

pub async fn take(row: &Row, build: Contender, stage: &mut Stage) -> Met {
    let mut world = World::new(stage, row.setup()).await;
    let log = tempfile::tempfile().expect("a file");
    let telling = TELLING.map(|(name, value)| (name, value.to_owned()));
    let worker = build.work(&world, &telling, log.try_clone().expect("a file can be shared")).await;
    world.is_read().await;
    let (mut watched, mut others) = (world.producer_for(iter::once(0)), world.producer_for(1..row.series.len()));
    let has_others = row.others_per_second > 0.0;
    if has_others {
        others.push_steadily(row.others_per_second, WARM).await;
    }
    stage.receiver.ask::<()>(&Ask::Reset).await;
    let scores = Scores::of(0, &world);
    let (started, started_us) = (Instant::now(), now_micros());
    tokio::join!(row.load.push(&mut watched), async {
        if has_others {
            others.push_steadily(row.others_per_second, row.load.duration() + AFTER).await;
        }
    });
    let until = started + row.load.duration() + row.tail;
    while !world.has_ended().await && Instant::now() < until {
        tokio::time::sleep(LOOK).await;
    }
    let (held, failed) = world.held_and_failed(Some(0)).await;
    let received: Received = stage.receiver.ask(&Ask::Report).await;
    let (ended_us, due) = (now_micros(), scores.seen());
    assert!(worker.runs(), "the worker died; see children.log");
    worker.end().await;
    let seen = Seen {
        sent_us: watched.sent_us(),
        attempts: watch::attempts(log, 0),
        due,
        started_us,
        ended_us,
        held,
        failed,
        others_p99_ms: received.series.get(OK).map_or(f64::NAN, |counts| counts.p99_ms),
    };
    seen.met(row)
}
