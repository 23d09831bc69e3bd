//! Promoting. Invariant 4: a retry is never in the queue before it is due, nor twice.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_stays_until_it_is_due_and_then_moves_once() {
    let bench = Bench::new().await;
    let due = bench.store.now(0).await.unwrap().timestamp_millis() + 50;
    bench.cli::<()>(&format!("ZADD {} {due} the-delivery", bench.key("retries"))).await;
    // Each answer includes its time, so it can be judged however slow this test is.
    eventually(SOON, "the retry to be due", async || {
        let promoted = bench.store.promote(0, &KnownClock::default()).await.unwrap();
        let is_due = promoted.now_ms >= due;
        assert_eq!(promoted.moved, usize::from(is_due), "{promoted:?}");
        let wait = (due - promoted.now_ms).try_into().map(Duration::from_millis).ok();
        assert_eq!(promoted.next_in, wait.filter(|_| !is_due), "{promoted:?}");
        is_due.then_some(())
    })
    .await;
    assert_eq!(bench.store.promote(0, &KnownClock::default()).await.unwrap().moved, 0);
    let queued: Vec<_> = bench.entries("queue").await.into_iter().map(|(_, fields)| fields).collect();
    let marked =
        [("delivery", "the-delivery"), ("waited", "1")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(queued, [marked]);
    assert_eq!(bench.cli::<usize>(&format!("ZCARD {}", bench.key("retries"))).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn times_planned_before_a_clock_step_are_due_by_the_old_clock_and_later_ones_by_the_new() {
    let bench = Bench::new().await;
    let (now, hour_ms) = (bench.store.now(0).await.unwrap(), 3_600_000);
    let now_ms = now.timestamp_millis();
    // The clock stepped an hour forward ten minutes ago.
    let leap = Leap { to: now - chrono::Duration::minutes(10), by: Duration::from_hours(1) };
    let clock = KnownClock { latest: Some(now + chrono::Duration::minutes(1)), leaps: vec![leap] };
    let planned = [
        ("before-and-due", now_ms - hour_ms - 1),
        ("before-and-due-in-30-minutes", now_ms - hour_ms / 2),
        ("since-and-due", now_ms - 1),
        ("since-and-due-in-an-hour", now_ms + hour_ms),
    ];
    for (delivery, due) in planned {
        bench.cli::<()>(&format!("ZADD {} {due} {delivery}", bench.key("retries"))).await;
    }
    let early = KnownClock { latest: Some(now - chrono::Duration::milliseconds(1)), leaps: Vec::new() };
    let promoted = bench.store.promote(0, &early).await.unwrap();
    assert_eq!((promoted.moved, promoted.next_in), (0, Some(Duration::ZERO)), "the clock steps forward just now");

    let promoted = bench.store.promote(0, &clock).await.unwrap();
    let queued: Vec<_> = bench.entries("queue").await.into_iter().map(|(_, mut fields)| fields.remove(0).1).collect();
    assert_eq!(queued, ["before-and-due", "since-and-due"]);
    let left = |due: i64| Some(Duration::from_millis((due - promoted.now_ms).try_into().unwrap()));
    assert_eq!(promoted.next_in, left(now_ms + hour_ms / 2));
    bench.cli::<()>(&format!("ZADD {} {} soon", bench.key("retries"), now_ms + 60_000)).await;
    let promoted = bench.store.promote(0, &clock).await.unwrap();
    let left = |due: i64| Some(Duration::from_millis((due - promoted.now_ms).try_into().unwrap()));
    assert_eq!((promoted.moved, promoted.next_in), (0, left(now_ms + 60_000)), "the next by either time");

    // It also stepped two hours forward, two hours before that.
    let before = Leap { to: leap.to - chrono::Duration::hours(2), by: Duration::from_hours(2) };
    let clock = KnownClock { leaps: vec![before, leap], ..clock };
    bench.cli::<()>(&format!("DEL {}", bench.key("retries"))).await;
    for (delivery, due) in
        [("both-and-due", now_ms - 3 * hour_ms - 1), ("both-and-due-in-a-second", now_ms - 3 * hour_ms)]
    {
        let due = due + if delivery.ends_with("second") { 1000 } else { 0 };
        bench.cli::<()>(&format!("ZADD {} {due} {delivery}", bench.key("retries"))).await;
    }
    let promoted = bench.store.promote(0, &clock).await.unwrap();
    assert_eq!(promoted.moved, 1, "times planned before both steps are moved by both");
    assert_eq!(promoted.next_in, Some(Duration::from_millis((now_ms + 1000 - promoted.now_ms).max(0).cast_unsigned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn promoting_says_when_the_next_retry_release_and_visit_are_due() {
    let bench = Bench::new().await;
    let promoted = bench.store.promote(0, &KnownClock::default()).await.unwrap();
    assert_eq!((promoted.moved, promoted.next_in, promoted.release_in, promoted.visit_in), (0, None, None, None));
    let later = promoted.now_ms + 600_000;
    let planned =
        [("retries", later, "d2"), ("retries", 0, "d1"), ("releases", later + 1, "r"), ("visits", later + 2, "v")];
    for (key, at, member) in planned {
        bench.cli::<()>(&format!("ZADD {} {at} {member}", bench.key(key))).await;
    }
    let promoted = bench.store.promote(0, &KnownClock::default()).await.unwrap();
    let left = Duration::from_millis((later - promoted.now_ms).try_into().unwrap());
    assert_eq!(promoted.moved, 1);
    let then = |ms| Some(left + Duration::from_millis(ms));
    assert_eq!((promoted.next_in, promoted.release_in, promoted.visit_in), (then(0), then(1), then(2)));
    for (key, member) in [("releases", "r"), ("visits", "v")] {
        bench.cli::<()>(&format!("ZADD {} 0 {member}", bench.key(key))).await;
    }
    let promoted = bench.store.promote(0, &KnownClock::default()).await.unwrap();
    assert_eq!((promoted.release_in, promoted.visit_in), (Some(Duration::ZERO), Some(Duration::ZERO)));
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_are_promoted_although_the_keys_of_releases_and_visits_are_spoiled() {
    let bench = Bench::new().await;
    for key in ["releases", "visits"] {
        bench.cli::<()>(&format!("SET {} x", bench.key(key))).await;
    }
    bench.cli::<()>(&format!("ZADD {} 0 the-delivery", bench.key("retries"))).await;
    let promoted = bench.store.promote(0, &KnownClock::default()).await.unwrap();
    assert_eq!((promoted.moved, promoted.next_in, promoted.release_in, promoted.visit_in), (1, None, None, None));
}
