//! Mending times: times further ahead than any rule plans are brought back, and no others are changed.

use lynkhook::store::{Longest, Mended};

use super::*;

const LONGEST: Longest = Longest {
    retry: Duration::from_secs(5),
    besides: Duration::from_secs(3),
    release: Duration::from_secs(61),
    visit: Duration::from_hours(1),
    stepped: false,
};
/// A member just within its limit comes nearer during the test; one just beyond it must not come within it.
const SLACK_MS: i64 = 2000;

async fn mend(bench: &Bench, from: &str) -> Mended {
    bench.store.mend_times(0, &LONGEST, from).await.unwrap()
}

async fn put(bench: &Bench, times: &str, member: &str, in_ms: i64) {
    let at_ms = bench.store.now(0).await.unwrap().timestamp_millis() + in_ms;
    let _: () = bench.redis.clone().zadd(bench.key(times), member, at_ms).await.unwrap();
}

async fn in_ms(bench: &Bench, times: &str, member: &str) -> i64 {
    let at_ms: i64 = bench.redis.clone().zscore(bench.key(times), member).await.unwrap();
    at_ms - bench.store.now(0).await.unwrap().timestamp_millis()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_times_beyond_the_longest_wait_are_brought_back_and_each_is_counted() {
    let bench = Bench::new().await;
    let limits = [("retries", LONGEST.retry), ("releases", LONGEST.release), ("visits", LONGEST.visit)];
    for (times, limit) in limits {
        let limit_ms = i64::try_from(limit.as_millis()).unwrap();
        for (member, in_ms) in [("due", -5), ("near", limit_ms), ("far", limit_ms + SLACK_MS), ("day", 24 * HOUR_MS)] {
            put(&bench, times, member, in_ms).await;
        }
    }
    let before = bench.state().await;
    assert_eq!(mend(&bench, "-").await, Mended { times: 6, leases: 0, from: None, more_times: false });
    assert_eq!(bench.counted("times_brought_back").await, 6);
    for member in ["far", "day"] {
        let retry_ms = in_ms(&bench, "retries", member).await;
        assert!((5000 - SLACK_MS..=5000).contains(&retry_ms), "it waits as long as the longest retry: {retry_ms}");
        let release_ms = in_ms(&bench, "releases", member).await;
        assert!((-SLACK_MS..=0).contains(&release_ms), "{release_ms}");
        let visit_ms = in_ms(&bench, "visits", member).await;
        assert!((HOUR_MS / 2 - SLACK_MS..HOUR_MS).contains(&visit_ms), "{visit_ms}");
    }
    for (times, limit) in limits {
        assert!(in_ms(&bench, times, "due").await < 0);
        let near_ms = in_ms(&bench, times, "near").await;
        assert!(near_ms > i64::try_from(limit.as_millis()).unwrap() - SLACK_MS, "{times}: {near_ms}");
    }
    let mended = bench.state().await;
    assert_eq!(changed(&before, &mended).len(), 5, "the three, the counts, and the longest wait");
    assert_eq!(mend(&bench, "-").await.times, 0);
    assert_eq!(changed(&mended, &bench.state().await), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_wait_of_any_worker_counts_until_five_minutes_after_it_last_asked() {
    let bench = Bench::new().await;
    let mend_within = async |longest: Longest| bench.store.mend_times(0, &longest, "+").await.unwrap().times;
    let patient = Longest { retry: Duration::from_hours(1), ..LONGEST };
    put(&bench, "retries", "d", HOUR_MS / 2).await;
    assert_eq!((mend_within(patient).await, mend_within(LONGEST).await), (0, 0), "whichever worker asks");
    let asked_at = bench.store.now(0).await.unwrap().timestamp_millis() - 301_000;
    bench.cli::<()>(&format!("HSET {} longest_wait_at {asked_at}", bench.key("audit"))).await;
    let stepped = Longest { stepped: true, ..LONGEST };
    assert_eq!(mend_within(stepped).await, 0, "the recorded time may be wrong");
    assert_eq!(
        (mend_within(LONGEST).await, mend_within(LONGEST).await),
        (1, 0),
        "no time beyond the longest wait is left"
    );
    put(&bench, "retries", "d", HOUR_MS / 2).await;
    let unnamed = Longest { besides: Duration::from_hours(1), ..LONGEST };
    assert_eq!(
        (mend_within(unnamed).await, mend_within(LONGEST).await),
        (0, 1),
        "`besides` counts only for the worker that asks"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_of_the_future_whose_entry_was_taken_out_of_the_queue_ends_and_is_counted() {
    let redis = RedisServer::start_with_a_clock();
    let receiver = Receiver::start().await;
    let bench = Bench::of(Installation::on(&redis, &receiver).await).await;
    let start = bench.store.now(0).await.unwrap();
    let is_ahead = async || bench.store.now(0).await.unwrap() > start + chrono::Duration::hours(12);
    redis.step_clock("+1d");
    eventually(SOON, "the clock ahead", async || is_ahead().await.then_some(())).await;
    let entry = bench.append("queue", &[("account", "acme"), ("envelope", TRANSCRIPT)]).await;
    bench.append("queue", &[("account", "acme"), ("envelope", TRANSCRIPT)]).await;
    assert_eq!(bench.take("a").await.len(), 2);
    let queue = bench.key("queue");
    redis.step_clock("+0");
    eventually(SOON, "the clock right", async || (!is_ahead().await).then_some(())).await;
    bench.cli::<u64>(&format!("XDEL {queue} {entry}")).await;
    let mended = mend(&bench, "-").await;
    assert_eq!((mended.leases, bench.pending().await, bench.counted("entries_trimmed").await), (1, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_times_are_mended_in_bounded_steps_and_a_spoiled_key_blocks_no_other() {
    let bench = Bench::new().await;
    let far_ms = bench.store.now(0).await.unwrap().timestamp_millis() + 24 * HOUR_MS;
    let mut fill = redis::pipe();
    for number in 0..250 {
        fill.zadd(bench.key("retries"), format!("r{number}"), far_ms).ignore();
    }
    for _ in 0..1100 {
        fill.xadd(bench.key("queue"), "*", &[("account", "acme"), ("envelope", TRANSCRIPT)]).ignore();
    }
    let _: () = fill.query_async(&mut bench.redis.clone()).await.unwrap();
    bench.cli::<()>(&format!("SET {} spoiled", bench.key("visits"))).await;
    for _ in 0..2 {
        bench.take("a").await;
    }
    let (mut from, mut steps) = (Some("-".to_owned()), Vec::new());
    while let Some(at) = from {
        let mended = mend(&bench, &at).await;
        steps.push((mended.times, mended.more_times));
        from = mended.from;
    }
    assert_eq!(steps, [(100, true), (100, true), (50, false)], "and each step looks at 500 entries");
    assert_eq!(bench.counted("times_brought_back").await, 250);

    bench.cli::<()>(&format!("DEL {}", bench.key("retries"))).await;
    let large = " ".repeat(1_500_000);
    for number in 0..5 {
        put(&bench, "retries", &format!("{number}{large}"), 24 * HOUR_MS).await;
    }
    let mended = mend(&bench, "+").await;
    assert_eq!((mended.times, mended.more_times), (3, true), "the third exceeds 4 MiB");
    assert_eq!((mend(&bench, "+").await.times, mend(&bench, "+").await.times), (2, 0));
}
