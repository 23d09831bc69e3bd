//! A visit keeps a webhook's held deliveries within its limits, and its sum of bytes correct.

use super::*;

const MIB: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn of_200_events_of_1_mib_a_webhook_that_is_off_holds_little_more_than_its_limit() {
    let bench = Bench::new().await;
    let webhook = bench.webhook("acme", false).await;
    let (delivery, envelope) = (first("acme", webhook, "e1"), envelope_of(MIB));
    let (key, mut most) = (format!("held:{webhook}"), 0);
    for _ in 0..50 {
        for _ in 0..4 {
            bench.append("queue", &[("delivery", &text(&delivery, &envelope))]).await;
        }
        let mut waiting = Vec::new();
        for held in bench.take("a").await {
            waiting.push(bench.waiting(&held, &delivery, Reason::Off).await);
        }
        assert_eq!(bench.store.hold(0, "a", &waiting).await.unwrap(), vec![StepAnswer::Done; 4]);
        // Only visits that holding planned are made.
        bench.visit_if_due("acme", webhook).await;
        most = most.max(bench.bytes(&key).await);
    }
    assert!(most <= (64 + 16) << 20, "{most}");
    let (left, bytes) = (bench.len(&key).await, bench.bytes(&key).await);
    assert!(bytes > 48 << 20, "no more is dropped than necessary: {bytes}");
    assert_eq!(left as u64 + bench.counted("held_overflow").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_or_far_too_high_sum_is_measured_and_any_other_is_trusted() {
    let bench = Bench::with(&[("LYNKHOOK_HELD__MAX_BYTES", "1MiB")]).await;
    let webhook = bench.webhook("acme", true).await;
    put_held(&bench, webhook, 20).await;
    let sums = bench.key("held_bytes");
    let weight = bench.bytes(&format!("held:{webhook}")).await.to_string();
    let full = (1 << 20).to_string();
    let almost = ((1 << 20) - 1).to_string();
    for (noted, left) in [(None, &weight), (Some(&full), &weight), (Some(&almost), &almost), (Some(&weight), &weight)] {
        bench.cli::<()>(&format!("DEL {sums}")).await;
        if let Some(noted) = noted {
            bench.cli::<()>(&format!("HSET {sums} {webhook} {noted}")).await;
        }
        bench.visit("acme", webhook).await;
        assert_eq!(bench.held_bytes(webhook).await.as_ref(), Some(left), "{noted:?}");
    }
    // The sum does not outlive the held deliveries either.
    bench.cli::<()>(&format!("DEL {}", bench.key(&format!("held:{webhook}")))).await;
    bench.visit("acme", webhook).await;
    assert_eq!(bench.held_bytes(webhook).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_on_drops_nothing_and_one_that_is_off_drops_the_oldest_beyond_the_limit() {
    for active in [true, false] {
        let bench = Bench::with(&[("LYNKHOOK_HELD__MAX_BYTES", "1MiB")]).await;
        let (webhook, max_bytes) = (bench.webhook("acme", active).await, 1_u64 << 20);
        let held = format!("held:{webhook}");
        for number in 0..30 {
            // Redis reserves memory in steps, and each delivery nearly fills one.
            put_held_counted(&bench, webhook, &large(webhook, 56_900 + number)).await;
        }
        let before = bench.entries(&held).await;
        bench.visit("acme", webhook).await;
        let (left, bytes) = (bench.entries(&held).await, bench.bytes(&held).await);
        let dropped = before.len() - left.len();
        assert_eq!(left, before[dropped..], "the oldest are dropped");
        assert_eq!(bench.counted("held_overflow").await, dropped as u64);
        if active {
            assert_eq!(dropped, 0);
        } else {
            // A sixteenth below the limit, within one entry.
            let sixteenth_below = max_bytes - max_bytes / 16;
            assert!(sixteenth_below.abs_diff(bytes) < 70_000 && bytes < max_bytes, "{bytes}");
        }
        let next = bench.visit_in_ms("acme", webhook).await.unwrap();
        assert!((HOUR_MS / 2..=HOUR_MS).contains(&next), "{active}: {next}");
        let sum: u64 = bench.held_bytes(webhook).await.unwrap().parse().unwrap();
        assert!(sum.abs_diff(bytes) < bytes / 8, "{active}: {sum} for {bytes}");
        // A delivery as large as the whole limit is kept, because it is the newest.
        put_held_counted(&bench, webhook, &large(webhook, MIB)).await;
        bench.visit("acme", webhook).await;
        while bench.visit_in_ms("acme", webhook).await.unwrap() <= 0 {
            bench.visit_if_due("acme", webhook).await;
        }
        assert_eq!(bench.len(&held).await, if active { 31 } else { 1 });
    }
}

/// Fills `held` of a webhook that is off with entries of these sizes, then visits it while a visit is due at once.
/// Answers how many entries each visit dropped.
async fn visits_until_within(bench: &Bench, webhook: WebhookId, sizes: &[usize]) -> Vec<usize> {
    let held = format!("held:{webhook}");
    for sizes in sizes.chunks(500) {
        let mut fill = redis::pipe();
        for size in sizes {
            fill.xadd(bench.key(&held), "*", &[("delivery", large(webhook, *size))]).ignore();
        }
        fill.exec_async(&mut bench.redis.clone()).await.unwrap();
    }
    let (mut left, mut dropped) = (sizes.len(), Vec::new());
    let mut visited = bench.visit("acme", webhook).await;
    loop {
        let now_left = bench.len(&held).await;
        dropped.push(left - now_left);
        left = now_left;
        let is_due = bench.visit_in_ms("acme", webhook).await.unwrap() <= 0;
        assert_eq!(visited, if is_due { Visited::Again } else { Visited::Made });
        if !is_due {
            return dropped;
        }
        assert!(*dropped.last().unwrap() > 0, "{left} are left, and a visit drops nothing");
        visited = bench.visit_if_due("acme", webhook).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_are_dropped_step_by_step_until_held_fits_its_bytes_and_no_more_than_necessary() {
    let small_then_large: Vec<usize> = [[100; 80].as_slice(), &[30_000; 60]].concat();
    let large_then_small: Vec<usize> = [[30_000; 60].as_slice(), &[100; 80]].concat();
    let mixed: Vec<usize> = (0..600).map(|number| [100, 1000, 6000, 2500][number % 4]).collect();
    let rows: [(&[usize], usize); 6] = [
        (&[6000; 300], 1 << 20),
        (&[100; 2000], 64 << 10),
        (&[MIB; 20], 64 << 10),
        (&small_then_large, 3 << 19),
        (&large_then_small, 3 << 19),
        (&mixed, 1 << 20),
    ];
    for (sizes, max_bytes) in rows {
        let bench = Bench::with(&[("LYNKHOOK_HELD__MAX_BYTES", &max_bytes.to_string())]).await;
        let webhook = bench.webhook("acme", false).await;
        let dropped = visits_until_within(&bench, webhook, sizes).await;
        let held = format!("held:{webhook}");
        let (left, bytes) = (bench.len(&held).await, usize::try_from(bench.bytes(&held).await).unwrap());
        println!(
            "{} of {:?}…: {dropped:?} dropped, {left} with {bytes} bytes left of {max_bytes}",
            sizes.len(),
            sizes[0]
        );
        assert!(bytes < max_bytes || left == 1, "{bytes} of {max_bytes}");
        // At most one entry below a sixteenth under the limit; a stream node of small entries counts as one entry.
        let most_bytes = sizes.iter().max().unwrap() * 5 / 4 + 8192;
        assert!(
            bytes + most_bytes > max_bytes * 15 / 16,
            "more than necessary was dropped: {bytes} of {max_bytes} are left"
        );
        assert_eq!(bench.counted("held_overflow").await, (sizes.len() - left) as u64);
        assert!(dropped.iter().all(|dropped| *dropped <= 16 * 256) && dropped.len() < 40, "{dropped:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_old_entries_are_deleted_a_thousand_at_a_time_and_the_young_ones_stay() {
    let bench = Bench::new().await;
    let webhook = bench.webhook("acme", false).await;
    for (key, old) in [(format!("held:{webhook}"), 2500), (format!("failed:{webhook}"), 1500)] {
        let mut fill = redis::pipe();
        for number in 0..old {
            fill.xadd(bench.key(&key), format!("{}-0", number + 1), &[("delivery", envelope_of(300))]).ignore();
        }
        fill.xadd(bench.key(&key), "*", &[("delivery", "young")]).ignore();
        fill.exec_async(&mut bench.redis.clone()).await.unwrap();
    }
    bench.visit("acme", webhook).await;
    let mut visits = 1;
    while bench.visit_in_ms("acme", webhook).await.unwrap() <= 0 {
        let before = bench.len(&format!("held:{webhook}")).await;
        bench.visit_if_due("acme", webhook).await;
        visits += 1;
        assert!(before - bench.len(&format!("held:{webhook}")).await <= 1100 && visits < 10);
    }
    assert!(visits >= 3, "{visits}");
    for (kind, old) in [("held", 2500), ("failed", 1500)] {
        assert_eq!(bench.len(&format!("{kind}:{webhook}")).await, 1, "the young one stays");
        assert_eq!(bench.counted(&format!("{kind}_expired")).await, old);
    }
}
