//! The schedule is the promise: while the worker has room, every event gets its first attempt at once and its retries
//! on time. The tables list the endpoints' behaviours; the promise is the same for all.
//!
//! Lateness counts from the event's time in the queue, and for a retry from its score. The tests allow three times the
//! lateness of a release build, plus the lateness of a healthy endpoint's events in the same run, which is due to the
//! machine. The endpoints' time limits are scaled down with `delivery.timeout`.

mod few_at_a_time;
mod hanging;
mod held_bytes;
mod recovery;
mod scene;

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::task::JoinSet;

use self::scene::{Judgement, PROMISE, Promise, Scene, assert_all};
use crate::support::*;

/// Three attempts of the default schedule, with some time to spare.
const THREE_ATTEMPTS: Duration = Duration::from_secs(10);

/// A way to fail at once.
#[derive(Clone, Copy, Debug)]
enum Fast {
    Status,
    Reset,
    Refused,
    RefusedTls,
}

const ALL: [Fast; 4] = [Fast::Status, Fast::Reset, Fast::Refused, Fast::RefusedTls];

/// The timing of the events.
#[derive(Clone, Copy, Debug)]
enum Load {
    PerSecond(f64, Duration),
    AtOnce(usize),
}

/// Lets an endpoint fail at once, beside a healthy one, and judges the attempts of both.
async fn fail_at_once(scene: Scene, kind: Fast, load: Load, promise: Promise) -> Judgement {
    let mut judgement = Judgement::of(format!("{kind:?}, {load:?}"));
    // The receiver stays open until the end.
    let distrusted = Receiver::with_certificate(Identity::SelfSigned).await;
    match kind {
        Fast::Status => scene.add_path("bad", |_| Answer::Status(500)).await,
        Fast::Reset => scene.add_path("bad", |_| Answer::ResetBeforeHeaders).await,
        Fast::Refused => scene.add("bad", &format!("https://localhost:{}/", refused_port())).await,
        Fast::RefusedTls => scene.add("bad", &distrusted.url("/")).await,
    }
    let push = async {
        match load {
            Load::PerSecond(rate, length) => scene.push_at_rate("bad", rate, length).await,
            Load::AtOnce(events) => scene.push("bad", events).await,
        }
        scene.is_done_within("bad", THREE_ATTEMPTS).await
    };
    let is_done = scene.beside_the_healthy(push).await;
    let held = scene.held().await;
    judgement.expect(is_done, || format!("not done, and {held} are held"));
    let record = scene.record("bad");
    let slow_machine_ms = judgement.expect_healthy(&scene);
    judgement.expect_on_time(&scene, &record, promise, slow_machine_ms);
    let (attempts, events) = (record.attempts().count(), record.events.len());
    judgement.expect(attempts == 3 * events, || format!("{attempts} attempts at {events} events"));
    let requests = scene.receiver.requests("/bad").len();
    let seen = if matches!(kind, Fast::Status | Fast::Reset) { attempts } else { 0 };
    judgement.expect(requests == seen, || format!("{requests} requests for {attempts} attempts"));
    judgement
}

/// Runs all rows of a table at the same time, each with a worker of its own that has these settings.
async fn judge_all<Row, Judging>(settings: &[(&'static str, &str)], rows: impl IntoIterator<Item = Row>)
where
    Row: FnOnce(Scene) -> Judging,
    Judging: Future<Output = Judgement> + Send + 'static,
{
    let (mut scenes, mut judging) = (Vec::new(), JoinSet::new());
    // Starting the workers costs the machine more than the rows do.
    for row in rows {
        scenes.push((Scene::start(settings).await, row));
    }
    for (scene, row) in scenes {
        judging.spawn(row(scene));
    }
    assert_all(judging.join_all().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_for_an_endpoint_that_fails_at_once_is_attempted_three_times_on_time() {
    let length = Duration::from_secs(4);
    let rates = [5.0, 30.0].map(|rate| Load::PerSecond(rate, length));
    let rows = ALL.into_iter().flat_map(|kind| rates.map(|load| (kind, load)));
    judge_all(&[], rows.map(|(kind, load)| move |scene| fail_at_once(scene, kind, load, PROMISE))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_event_of_a_burst_for_an_endpoint_that_fails_at_once_waits_long() {
    let promise = Promise { first_ms: 3000, retry_ms: 3000, ..PROMISE };
    let rows = [(Fast::Status, 30), (Fast::Refused, 30), (Fast::Status, 300), (Fast::Reset, 300)];
    judge_all(&[], rows.map(|(kind, events)| move |scene| fail_at_once(scene, kind, Load::AtOnce(events), promise)))
        .await;
}

/// Lets an endpoint fail at random, beside a healthy one, and judges the attempts of both.
async fn fail_at_random(scene: Scene, percent: f64) -> Judgement {
    let mut judgement = Judgement::of(format!("{percent} % of answers are 500"));
    let mut dice = StdRng::seed_from_u64(18);
    let answer = move |_: &Received| Answer::Status(if dice.random_bool(percent / 100.0) { 500 } else { 200 });
    scene.add_path("flaky", answer).await;
    let push = async {
        scene.push_at_rate("flaky", 50.0, Duration::from_secs(4)).await;
        scene.is_done_within("flaky", THREE_ATTEMPTS).await
    };
    let is_done = scene.beside_the_healthy(push).await;
    judgement.expect(is_done, || "not done".to_owned());
    let slow_machine_ms = judgement.expect_healthy(&scene);
    judgement.expect_on_time(&scene, &scene.record("flaky"), PROMISE, slow_machine_ms);
    judgement
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_fails_at_random_gets_its_attempts_on_time() {
    judge_all(&[], [30.0, 90.0].map(|percent| move |scene| fail_at_random(scene, percent))).await;
}
