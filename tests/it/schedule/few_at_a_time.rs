//! A server that serves few requests at a time is not flooded; otherwise its requests would wait there until they time
//! out.

use std::time::{Duration, Instant};

use super::*;

const EVENTS: usize = 150;
const SETTINGS: [(&str, &str); 1] = [("LYNKHOOK_DELIVERY__TIMEOUT", "800ms")];

/// A server with this many threads, each of which takes this long to answer. It serves requests in order, even if the
/// client has left.
fn server(threads: usize, takes: Duration) -> impl FnMut(&Received) -> Answer + Send + 'static {
    let mut free_at = vec![Instant::now(); threads];
    move |_| {
        let now = Instant::now();
        let next = free_at.iter_mut().min().expect("at least one thread");
        *next = now.max(*next) + takes;
        Answer::Delay(*next - now, Box::new(Answer::Status(200)))
    }
}

async fn serve_few_at_a_time(scene: Scene, threads: usize, takes: Duration) -> Judgement {
    let mut judgement = Judgement::of(format!("{threads} threads of {takes:?}"));
    scene.add_path("small", server(threads, takes)).await;
    scene.push("small", EVENTS).await;
    let is_done = scene.is_done_within("small", Duration::from_secs(24)).await;
    judgement.expect(is_done, || "not done".to_owned());
    let record = scene.record("small");
    let incomplete = record.incomplete().count();
    judgement.expect(incomplete == 0, || format!("{incomplete} of {EVENTS} events are incomplete"));
    let delivered = record.attempts().filter(|attempt| attempt.is_good()).count();
    judgement.expect(delivered == EVENTS, || format!("{delivered} of {EVENTS} events are delivered"));
    let again = record.attempts().filter(|attempt| attempt.number == 2).count();
    judgement.expect(again <= 3, || format!("{again} second attempts"));
    println!("{}: {delivered} delivered, {again} second attempts", judgement.row);
    judgement
}

/// Scaled from 1.5 s and 0.8 s with a time limit of 10 s.
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_serves_few_at_a_time_gets_many_events_at_its_own_pace_and_none_fails() {
    let rows = [(1, Duration::from_millis(120)), (4, Duration::from_millis(64))];
    let rows = rows.map(|(threads, takes)| move |scene| serve_few_at_a_time(scene, threads, takes));
    judge_all(&SETTINGS, rows).await;
}
