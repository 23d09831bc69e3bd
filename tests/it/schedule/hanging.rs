//! Endpoints that do not answer use their share of the places and no more, and others keep their schedule.

use super::*;

/// A fifth of the default time limit, and a quarter of the places. Half of the places are for endpoints that are not
/// quick.
const SETTINGS: [(&str, &str); 3] = [
    ("LYNKHOOK_DELIVERY__TIMEOUT", "2s"),
    ("LYNKHOOK_DELIVERY__RETRY_DELAYS", "400ms,800ms"),
    ("LYNKHOOK_WORKER__CONCURRENCY", "64"),
];
const TIMEOUT_MS: i64 = 2000;
const HANGING: Promise = Promise { delays_ms: [400, 800], ..PROMISE };
/// The places that such an endpoint may have.
const SHARE: i64 = 32;
/// How long a place may stay empty between two attempts. With a time limit of 10 s and 128 places, 12 attempts a second
/// leave 0.67 s; this allows half as much more.
const EMPTY_MS: i64 = 1000;
/// After this time, an endpoint that never answers has its share.
const SHARE_AFTER_MS: i64 = TIMEOUT_MS * 3 / 2;
/// More events per second than the share can carry.
const TOO_MUCH: f64 = 25.0;

fn silence(_: &Received) -> Answer {
    Answer::Silence
}

/// Scaled from 3 events a second with a time limit of 10 s and 256 places: a third of the places is enough.
async fn hang_within_the_share(scene: Scene) -> Judgement {
    let mut judgement = Judgement::of("hangs");
    scene.add_path("silent", silence).await;
    let from_ms = now_ms();
    let push = async {
        scene.push_at_rate("silent", 3.75, Duration::from_secs(7)).await;
        scene.is_done_within("silent", Duration::from_secs(14)).await
    };
    let is_done = scene.beside_the_healthy(push).await;
    judgement.expect(is_done, || "not done".to_owned());
    let slow_machine_ms = judgement.expect_healthy(&scene);
    let all = scene.record("silent");
    let attempts = all.attempts().count();
    judgement.expect(attempts == 3 * all.events.len(), || format!("{attempts} attempts"));
    let first_ms = scene.late_ms(all.firsts(), 1.0);
    // At first the endpoint has few places; they become free when the time limit is over.
    let allowed_ms = TIMEOUT_MS + 3 * TIMEOUT_MS / 5 + slow_machine_ms;
    judgement.expect(first_ms <= allowed_ms, || format!("a first attempt was {first_ms} ms late"));
    judgement.expect_on_time(&scene, &all.since(from_ms + SHARE_AFTER_MS), HANGING, slow_machine_ms);
    judgement
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_for_an_endpoint_that_hangs_is_attempted_three_times_and_on_time_once_it_has_its_share() {
    judge_all(&SETTINGS, [hang_within_the_share]).await;
}

/// Scaled from 20 events a second with a time limit of 10 s and 256 places.
async fn hang_with_too_much(scene: Scene) -> Judgement {
    let mut judgement = Judgement::of("hangs and gets too much");
    scene.add_path("silent", silence).await;
    let from_ms = now_ms();
    scene.beside_the_healthy(scene.push_at_rate("silent", TOO_MUCH, Duration::from_secs(10))).await;
    let until_ms = now_ms();
    judgement.expect_healthy(&scene);
    // The log does not yet have attempts in flight, so the last seconds are left out.
    let (from_ms, until_ms) = (from_ms + SHARE_AFTER_MS, until_ms - TIMEOUT_MS - 200);
    let record = scene.record("silent");
    let attempts = record.attempts().filter(|attempt| (from_ms..until_ms).contains(&attempt.started_ms)).count();
    let least = SHARE * (until_ms - from_ms) / (TIMEOUT_MS + EMPTY_MS);
    println!("{attempts} attempts in {} ms, {least} at least", until_ms - from_ms);
    judgement.expect(i64::try_from(attempts).unwrap() >= least, || format!("{attempts} attempts, not {least}"));
    let overtaken = overtaken(&record, until_ms);
    judgement.expect(overtaken.is_empty(), || format!("held deliveries went before due retries: {overtaken:#?}"));
    judgement.expect_none_early(&record, HANGING.delays_ms);
    let held = scene.held().await;
    judgement.expect(held > 0, || "nothing is held".to_owned());
    judgement
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_endpoint_with_too_much_load_uses_its_share_and_due_retries_go_before_held_deliveries() {
    judge_all(&SETTINGS, [hang_with_too_much]).await;
}

/// The retries that had been due for a second, and were not yet attempted, when an attempt of a held delivery began.
fn overtaken(record: &Record, until_ms: i64) -> Vec<String> {
    const DUE_FOR_MS: i64 = 1000;
    let held = record.firsts().filter(|first| first.late_ms() > Some(DUE_FOR_MS) && first.started_ms < until_ms);
    let held: Vec<i64> = held.map(|first| first.started_ms).collect();
    let retries = record.retries().filter_map(|retry| Some((retry, retry.due_ms? + DUE_FOR_MS)));
    let overtaken = retries.filter_map(|(retry, from_ms)| {
        let by = held.iter().filter(|at_ms| (from_ms..retry.started_ms).contains(*at_ms)).count();
        (by > 0).then(|| format!("attempt {} of {}, by {by}", retry.number, retry.event))
    });
    overtaken.collect()
}

/// Scaled from 3 s with a time limit of 10 s.
async fn answer_slowly_beside_one_that_hangs(scene: Scene) -> Judgement {
    const TAKES: Duration = Duration::from_millis(600);
    let mut judgement = Judgement::of("slow beside one that hangs");
    scene.add_path("silent", silence).await;
    scene.add_path("slow", |_| Answer::Delay(TAKES, Box::new(Answer::Status(200)))).await;
    let load = async {
        tokio::join!(
            scene.push_at_rate("silent", TOO_MUCH, Duration::from_secs(8)),
            scene.push_at_rate("slow", 2.5, Duration::from_secs(8)),
        );
        scene.is_complete_within("slow", Duration::from_secs(6)).await
    };
    let is_complete = scene.beside_the_healthy(load).await;
    let slow_machine_ms = judgement.expect_healthy(&scene);
    let record = scene.record("slow");
    let incomplete: Vec<String> = record.incomplete().collect();
    judgement.expect(is_complete, || format!("not delivered: {incomplete:?}"));
    let failed = record.attempts().filter(|attempt| !attempt.is_good()).count();
    judgement.expect(failed == 0, || format!("{failed} attempts failed"));
    let first_ms = scene.late_ms(record.firsts(), 0.99);
    println!("slow beside one that hangs: {} events, first {first_ms} ms late", record.events.len());
    judgement.expect(first_ms <= 2000 + slow_machine_ms, || format!("first attempts were {first_ms} ms late"));
    judgement
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_an_endpoint_that_hangs_a_slow_one_gets_its_events_soon_and_none_fails() {
    judge_all(&SETTINGS, [answer_slowly_beside_one_that_hangs]).await;
}
