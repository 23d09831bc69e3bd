//! An endpoint that answers again gets its held deliveries at the pace that it can serve.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use super::*;

const SETTINGS: [(&str, &str); 3] = [
    ("LYNKHOOK_DELIVERY__TIMEOUT", "1s"),
    ("LYNKHOOK_DELIVERY__RETRY_DELAYS", "400ms,800ms"),
    ("LYNKHOOK_WORKER__CONCURRENCY", "32"),
];
const TAKES: Duration = Duration::from_millis(200);
/// From this time after its first success, an endpoint gets at least half of the rate that it can serve.
const RECOVERED_AFTER_MS: i64 = 2000;

/// Attempts a second between two times.
fn rate(started: &[i64]) -> f64 {
    let (Some(first), Some(last)) = (started.first(), started.last()) else { return 0.0 };
    #[allow(clippy::cast_precision_loss, reason = "small")]
    let rate = (started.len() - 1) as f64 * 1000.0 / (last - first) as f64;
    rate
}

async fn recover(scene: Scene) -> Judgement {
    let mut judgement = Judgement::of("recovers");
    let is_well = Arc::new(AtomicBool::new(true));
    let well = Arc::clone(&is_well);
    let answer = move |_: &Received| {
        if well.load(SeqCst) { Answer::Delay(TAKES, Box::new(Answer::Status(200))) } else { Answer::Silence }
    };
    scene.add_path("mending", answer).await;
    let course = async {
        scene.push("mending", 250).await;
        let was_quick = scene.is_done_within("mending", Duration::from_secs(9)).await;
        is_well.store(false, SeqCst);
        let broke_ms = now_ms();
        scene.push("mending", 450).await;
        let gave_up = scene.record("mending").attempts().filter(|attempt| !attempt.is_good()).count();
        scene.gives_up("mending", gave_up + 3, Duration::from_secs(5)).await;
        is_well.store(true, SeqCst);
        (was_quick, broke_ms, scene.is_done_within("mending", Duration::from_secs(13)).await)
    };
    let (was_quick, broke_ms, is_done) = scene.beside_the_healthy(course).await;
    judgement.expect(was_quick && is_done, || format!("done before: {was_quick}, done after: {is_done}"));
    judgement.expect_healthy(&scene);
    let record = scene.record("mending");
    let incomplete = record.incomplete().count();
    judgement.expect(incomplete == 0, || format!("{incomplete} events are incomplete"));
    judge_rates(&mut judgement, &record, broke_ms);
    judgement
}

#[tokio::test(flavor = "multi_thread")]
async fn held_deliveries_for_a_recovered_endpoint_leave_at_half_its_full_rate_or_faster() {
    judge_all(&SETTINGS, [recover]).await;
}

/// The full rate is that of the second half of the attempts before the endpoint broke.
fn judge_rates(judgement: &mut Judgement, record: &Record, broke_ms: i64) {
    let mut before: Vec<i64> = record.firsts().map(|first| first.started_ms).filter(|at| *at < broke_ms).collect();
    before.sort_unstable();
    let full = rate(&before[before.len() / 2..]);
    let good = record.attempts().filter(|attempt| attempt.is_good() && attempt.started_ms >= broke_ms);
    let recovered_ms = good.map(|attempt| attempt.ended_ms).min().expect("it recovered") + RECOVERED_AFTER_MS;
    let mut after: Vec<i64> = record.firsts().map(|first| first.started_ms).filter(|at| *at >= recovered_ms).collect();
    after.sort_unstable();
    let now = rate(&after);
    println!("{full:.0} a second before, {now:.0} a second of {} that were left after", after.len());
    // If few are left, the others left quickly.
    judgement
        .expect(after.len() < 30 || now * 2.0 >= full, || format!("{now:.0} a second, and it can serve {full:.0}"));
}
