//! Visiting: a webhook is looked after when its visit is due, whatever somebody spoiled there, and as long as there is
//! something to look after.

use super::*;

const MIB: usize = 1 << 20;

async fn hold(bench: &Bench, webhook: WebhookId, count: usize) {
    for number in 0..count {
        let delivery = text(&first("acme", webhook, &format!("e{number}")), TRANSCRIPT);
        bench.append(&format!("held:{webhook}"), &[("delivery", &delivery)]).await;
    }
}

async fn write_log(bench: &Bench, webhook: WebhookId, json: &str) {
    let _: () = bench.redis.clone().lpush(bench.key(&format!("logs:{webhook}")), json).await.unwrap();
}

fn young_log(webhook: WebhookId) -> String {
    log_of(&first("acme", webhook, "e1")).to_json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visit_that_is_not_due_or_not_planned_changes_nothing() {
    let bench = Bench::new().await;
    let webhook = bench.webhook("acme", true).await;
    hold(&bench, webhook, 1).await;
    let in_a_minute = bench.store.now().await.unwrap().timestamp_millis() + 60_000;
    for planned in [false, true] {
        if planned {
            bench.cli::<()>(&format!("ZADD {} {in_a_minute} acme/{webhook}", bench.key("visits"))).await;
        }
        let before = bench.state().await;
        let visited = bench.visit_if_due("acme", webhook).await;
        assert_eq!((visited.moved, visited.more_held), (0, None), "{planned}: another worker may have made it");
        assert_eq!(changed(&before, &bench.state().await), [""; 0], "{planned}");
    }
    bench.cli::<()>(&format!("ZADD {} 0 acme/{webhook}", bench.key("visits"))).await;
    let visited = bench.visit_if_due("acme", webhook).await;
    assert_eq!((visited.moved, visited.more_held), (1, Some(false)), "and when it is due, what is held moves");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_webhook_is_visited_no_more() {
    let bench = Bench::new().await;
    let webhook = WebhookId::new(uuid::Uuid::now_v7());
    assert_eq!(bench.visit("acme", webhook).await, 0);
    assert_eq!(bench.visit_in_ms("acme", webhook).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn as_long_as_anything_is_left_the_next_visit_is_within_the_hour_and_then_there_is_none() {
    let bench = Bench::new().await;
    for (left, active) in [("held", false), ("failed", true), ("log", true), ("nothing", true), ("nothing", false)] {
        let account = format!("{left}-{active}");
        let webhook = bench.webhook(&account, active).await;
        match left {
            "held" => hold(&bench, webhook, 1).await,
            "failed" => drop(bench.append(&format!("failed:{webhook}"), &[("delivery", "x")]).await),
            "log" => write_log(&bench, webhook, &young_log(webhook)).await,
            _ => {}
        }
        assert_eq!(bench.visit(&account, webhook).await, 0, "{account}");
        let next = bench.visit_in_ms(&account, webhook).await;
        if left == "nothing" {
            assert_eq!(next, None, "{account}");
        } else {
            assert!((HOUR_MS / 2..=HOUR_MS).contains(&next.unwrap()), "{account}: {next:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_more_is_held_comes_back_at_once_and_the_last_of_it_leaves_no_key() {
    let bench = Bench::new().await;
    let webhook = bench.webhook("acme", true).await;
    hold(&bench, webhook, 60).await;
    assert_eq!(bench.visit("acme", webhook).await, 50);
    let next = bench.visit_in_ms("acme", webhook).await.unwrap();
    assert!(next <= 50, "{next}");
    assert_eq!(bench.visit("acme", webhook).await, 10);
    assert_eq!(bench.visit_in_ms("acme", webhook).await, None);
    assert!(!bench.cli::<bool>(&format!("EXISTS {}", bench.key(&format!("held:{webhook}")))).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_without_room_gets_nothing_back_and_is_visited_again_at_its_pace() {
    let bench = Bench::new().await;
    let webhook = bench.webhook("acme", true).await;
    hold(&bench, webhook, 5).await;
    let bytes = TRANSCRIPT.len();
    for (room, moved, places, left) in
        [((0, bytes), 0, 0, 5), ((3, bytes), 3, 3, 2), ((0, bytes), 0, 0, 2), ((1, bytes - 1), 1, 2, 1)]
    {
        bench.cli::<()>(&format!("ZADD {} 0 acme/{webhook}", bench.key("visits"))).await;
        let pace = Duration::from_secs(7);
        let visited = bench.visit_now("acme", webhook, (room.0, room.1, pace), false).await;
        assert_eq!((visited.moved, visited.places), (moved, places));
        assert_eq!(visited.next_in, Some(pace));
        assert_eq!(bench.len(&format!("held:{webhook}")).await, left);
    }
}

/// One delivery of acme's as it lies in `held`, with an envelope of so many bytes.
fn large(webhook: WebhookId, bytes: usize) -> String {
    text(&first("acme", webhook, "e1"), &envelope_of(bytes))
}

/// Appends a delivery to what is held, and to the sum, as `hold` does.
async fn hold_counted(bench: &Bench, webhook: WebhookId, delivery: &str) {
    bench.append(&format!("held:{webhook}"), &[("delivery", delivery)]).await;
    bench.cli::<i64>(&format!("HINCRBY {} {webhook} {}", bench.key("held_bytes"), delivery.len())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_places_became_free_a_planned_visit_is_made_before_it_is_due() {
    let bench = Bench::new().await;
    let webhook = bench.webhook("acme", true).await;
    hold(&bench, webhook, 3).await;
    let room = (2, usize::MAX, Duration::from_secs(7));
    let before = bench.state().await;
    let visited = bench.visit_now("acme", webhook, room, true).await;
    assert_eq!((visited.moved, visited.next_in, visited.more_held), (0, None, None), "no visit is planned");
    assert_eq!(changed(&before, &bench.state().await), [""; 0]);

    let in_a_minute = bench.store.now().await.unwrap().timestamp_millis() + 60_000;
    bench.cli::<()>(&format!("ZADD {} {in_a_minute} acme/{webhook}", bench.key("visits"))).await;
    assert_eq!(bench.visit_now("acme", webhook, room, false).await.moved, 0, "it is not due");
    let visited = bench.visit_now("acme", webhook, room, true).await;
    assert_eq!((visited.moved, visited.next_in, visited.more_held), (2, Some(room.2), Some(true)));
    let due = bench.visit_in_ms("acme", webhook).await.unwrap();
    assert!((0..=7000).contains(&due), "{due}");
    assert_eq!(bench.visit_now("acme", webhook, room, true).await.moved, 1);
    assert_eq!(bench.visit_in_ms("acme", webhook).await, None, "nothing is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_visit_moves_leaves_the_sum_which_goes_with_the_last_of_it() {
    let bench = Bench::new().await;
    let webhook = bench.webhook("acme", true).await;
    let sizes = [1000, 2000, 3000].map(|bytes| large(webhook, bytes));
    for delivery in &sizes {
        hold_counted(&bench, webhook, delivery).await;
    }
    assert_eq!(bench.visit_with("acme", webhook, (1, usize::MAX)).await.moved, 1);
    assert_eq!(bench.held_bytes(webhook).await, Some((sizes[1].len() + sizes[2].len()).to_string()));
    assert_eq!(bench.visit_with("acme", webhook, (0, usize::MAX)).await.moved, 0);
    assert_eq!(bench.held_bytes(webhook).await, Some((sizes[1].len() + sizes[2].len()).to_string()));
    assert_eq!(bench.visit("acme", webhook).await, 2);
    assert_eq!(bench.held_bytes(webhook).await, None);

    // Nor does a sum outlive what is held where somebody deleted that, or where it is discarded.
    hold_counted(&bench, webhook, &sizes[0]).await;
    bench.cli::<()>(&format!("DEL {}", bench.key(&format!("held:{webhook}")))).await;
    bench.cli::<()>(&format!("HSET {} {webhook} 1000000000000", bench.key("held_bytes"))).await;
    assert_eq!(bench.visit("acme", webhook).await, 0);
    assert_eq!(bench.held_bytes(webhook).await, None);
    hold_counted(&bench, webhook, &sizes[0]).await;
    assert_eq!(bench.store.discard_held(&account_id("acme"), webhook).await.unwrap(), Some(1));
    assert_eq!(bench.held_bytes(webhook).await, None);
    hold_counted(&bench, webhook, &sizes[0]).await;
    bench.store.delete_webhook(&account_id("acme"), webhook).await.unwrap();
    assert_eq!(bench.held_bytes(webhook).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sum_that_is_missing_or_far_too_high_is_weighed_and_another_is_believed() {
    let bench = Bench::with(&[("LYNKHOOK_HELD__MAX_BYTES", "1MiB")]).await;
    let webhook = bench.webhook("acme", true).await;
    hold(&bench, webhook, 20).await;
    let sums = bench.key("held_bytes");
    let weight = bench.bytes(&format!("held:{webhook}")).await.to_string();
    let full = (1 << 20).to_string();
    let almost = ((1 << 20) - 1).to_string();
    for (noted, left) in [(None, &weight), (Some(&full), &weight), (Some(&almost), &almost), (Some(&weight), &weight)] {
        bench.cli::<()>(&format!("DEL {sums}")).await;
        if let Some(noted) = noted {
            bench.cli::<()>(&format!("HSET {sums} {webhook} {noted}")).await;
        }
        bench.visit_with("acme", webhook, (0, usize::MAX)).await;
        assert_eq!(bench.held_bytes(webhook).await.as_ref(), Some(left), "{noted:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_webhook_that_is_on_nothing_is_trimmed_and_of_one_that_is_off_the_oldest_go_beyond_the_limit() {
    for active in [true, false] {
        let bench = Bench::with(&[("LYNKHOOK_HELD__MAX_BYTES", "1MiB")]).await;
        let (webhook, max_bytes) = (bench.webhook("acme", active).await, 1_u64 << 20);
        let held = format!("held:{webhook}");
        for number in 0..30 {
            // Redis reserves memory in steps, one of which these nearly fill.
            hold_counted(&bench, webhook, &large(webhook, 56_900 + number)).await;
        }
        let before = bench.entries(&held).await;
        bench.visit_with("acme", webhook, (0, usize::MAX)).await;
        let (left, bytes) = (bench.entries(&held).await, bench.bytes(&held).await);
        let dropped = before.len() - left.len();
        assert_eq!(left, before[dropped..], "the oldest go");
        assert_eq!(bench.counted("held_overflow").await, dropped as u64);
        if active {
            assert_eq!(dropped, 0);
        } else {
            // A sixteenth below it, and no more than one entry below that.
            let sixteenth_below = max_bytes - max_bytes / 16;
            assert!((sixteenth_below - 70_000..=sixteenth_below).contains(&bytes), "{bytes}");
            let next = bench.visit_in_ms("acme", webhook).await.unwrap();
            assert!((HOUR_MS / 2..=HOUR_MS).contains(&next), "{next}");
        }
        let sum: u64 = bench.held_bytes(webhook).await.unwrap().parse().unwrap();
        assert!(sum.abs_diff(bytes) < bytes / 8, "{active}: {sum} for {bytes}");
        // One that is as large as all that may be held is kept: it is the newest.
        hold_counted(&bench, webhook, &large(webhook, MIB)).await;
        bench.visit_with("acme", webhook, (0, usize::MAX)).await;
        assert_eq!(bench.len(&held).await, if active { 31 } else { 1 });
        bench.visit_with("acme", webhook, (0, usize::MAX)).await;
        let next = bench.visit_in_ms("acme", webhook).await.unwrap();
        assert_eq!(next > 1000, !active, "there is no more to do at once: {next}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_visit_drops_at_most_1023_entries_and_is_due_again_at_once_where_more_has_to_go() {
    for (count, size, rounds_expected) in [(3500, 100, 4), (60, MIB, 1)] {
        let bench = Bench::with(&[("LYNKHOOK_HELD__MAX_BYTES", "64KiB")]).await;
        let webhook = bench.webhook("acme", false).await;
        let (held, delivery) = (format!("held:{webhook}"), large(webhook, size));
        let mut fill = redis::pipe();
        for _ in 0..count {
            fill.xadd(bench.key(&held), "*", &[("delivery", &delivery)]).ignore();
        }
        fill.exec_async(&mut bench.redis.clone()).await.unwrap();
        let (mut left, mut rounds) = (count, 0);
        bench.visit_with("acme", webhook, (0, usize::MAX)).await;
        loop {
            let dropped = left - bench.len(&held).await;
            assert!(dropped <= 1023, "{size}: {dropped}");
            (left, rounds) = (left - dropped, rounds + 1);
            if bench.visit_in_ms("acme", webhook).await.unwrap() > 0 {
                break;
            }
            assert!(dropped > 0, "{size}: {left} are left");
            bench.visit_if_due("acme", webhook).await;
        }
        assert_eq!(rounds, rounds_expected, "{size}");
        assert!(left == 1 || bench.bytes(&held).await <= 64 << 10, "{size}: {left}");
        assert_eq!(bench.counted("held_overflow").await, (count - left) as u64);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_off_never_holds_much_more_than_it_may_of_200_events_of_1_mib() {
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
        assert_eq!(bench.store.hold(0, "a", &waiting).await.unwrap(), vec![Settled::Done; 4]);
        // Only those visits are made that holding planned.
        bench.visit_if_due("acme", webhook).await;
        most = most.max(bench.bytes(&key).await);
    }
    assert!(most <= (64 + 16) << 20, "{most}");
    let (left, bytes) = (bench.len(&key).await, bench.bytes(&key).await);
    assert!(bytes > 48 << 20, "no more goes than has to: {bytes}");
    assert_eq!(left as u64 + bench.counted("held_overflow").await, 200);
}

/// What somebody did by hand to a webhook that holds one delivery; how many entries a visit moves all the same; and
/// whether anything is left to be visited for.
const SPOILS: [(&str, &str, usize, bool); 21] = [
    ("a log entry that is no JSON", "LPUSH {logs} junk", 1, false),
    ("a log entry that is no object", "LPUSH {logs} 5", 1, false),
    ("a log entry that is null", "LPUSH {logs} null", 1, false),
    ("a log entry without a time", "LPUSH {logs} {}", 1, false),
    ("a log entry whose time is no text", r#"LPUSH {logs} {"time":5}"#, 1, false),
    ("a log that is no list", "SET {logs} x", 1, false),
    ("a failed that is no stream", "SET {failed} x", 1, false),
    ("a held that is no stream", "SET {held} x", 0, false),
    ("a foreign entry before it", "XADD {held} * foreign entry", 2, false),
    ("counts that are no hash", "SET {counts} x", 1, false),
    ("sums that are no hash", "SET {sums} x", 1, false),
    ("a sum that is no number", "HSET {sums} {webhook} junk", 1, false),
    ("a sum without end", "HSET {sums} {webhook} inf", 1, false),
    ("settings that are no JSON", "HSET {webhooks} {webhook} junk", 0, true),
    ("settings that are null", "HSET {webhooks} {webhook} null", 0, true),
    ("settings that are a number", "HSET {webhooks} {webhook} 5", 0, true),
    ("settings that are a list", "HSET {webhooks} {webhook} []", 0, true),
    ("settings that are a text", r#"HSET {webhooks} {webhook} "x""#, 0, true),
    ("settings that say nothing of it", "HSET {webhooks} {webhook} {}", 0, true),
    ("settings of another", r#"HSET {webhooks} {webhook} {"id":"wh_x","active":true}"#, 0, true),
    ("settings in which it is neither", r#"HSET {webhooks} {webhook} {"active":null}"#, 0, true),
];

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_spoiled_the_visit_is_made_and_the_next_one_planned_where_anything_is_left() {
    for (what, command, expected, left) in SPOILS {
        let bench = Bench::new().await;
        let webhook = bench.webhook("acme", true).await;
        let mut command = command.replace("{webhook}", &webhook.to_string());
        command = command.replace("{counts}", &bench.key("counts")).replace("{webhooks}", &bench.key("webhooks:acme"));
        command = command.replace("{sums}", &bench.key("held_bytes"));
        for kind in ["logs", "failed", "held"] {
            command = command.replace(&format!("{{{kind}}}"), &bench.key(&format!("{kind}:{webhook}")));
        }
        bench.cli::<redis::Value>(&command).await;
        hold(&bench, webhook, usize::from(what != "a held that is no stream")).await;
        assert_eq!(bench.visit("acme", webhook).await, expected, "{what}");
        let queued = bench.entries("queue").await;
        assert_eq!(queued.len(), expected, "{what}");
        if expected == 2 {
            let (names, texts): (Vec<_>, Vec<_>) = queued[0].1.iter().cloned().unzip();
            assert_eq!(
                (names, &*texts[0]),
                (vec!["foreign".to_owned(), "held".to_owned()], "entry"),
                "under its own name"
            );
        }
        let next = bench.visit_in_ms("acme", webhook).await;
        assert_eq!(next.is_some_and(|next| next > HOUR_MS / 2 && next <= HOUR_MS), left, "{what}: {next:?}");
        assert_eq!(next.is_some(), left, "{what}: {next:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_log_entry_goes_and_the_young_ones_before_it_stay() {
    let bench = Bench::new().await;
    let webhook = bench.webhook("acme", true).await;
    let old = young_log(webhook).replace(&timestamp(chrono::Utc::now())[..4], "1999");
    for entry in ["junk", &old, "{}", &young_log(webhook)] {
        write_log(&bench, webhook, entry).await;
    }
    bench.visit("acme", webhook).await;
    assert_eq!(bench.log(webhook).await.len(), 1);
    let next = bench.visit_in_ms("acme", webhook).await.unwrap();
    assert!((HOUR_MS / 2..=HOUR_MS).contains(&next), "{next}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_webhook_is_taken_out_of_the_visits_and_the_others_are_due_oldest_first() {
    let bench = Bench::new().await;
    let [first, second] = [bench.webhook("acme", true).await, bench.webhook("a", true).await];
    let visits = bench.key("visits");
    for junk in ["junk", "acme/wh_junk", &format!("a//{first}"), "/"] {
        bench.cli::<()>(&format!("ZADD {visits} 0 {junk}")).await;
    }
    let _: usize = bench.redis.clone().zadd(&visits, b"no \xff UTF-8", 0).await.unwrap();
    for (at, member) in [(2, format!("a/{second}")), (1, format!("acme/{first}")), (4, "acme/later".to_owned())] {
        bench.cli::<()>(&format!("ZADD {visits} {at} {member}")).await;
    }
    let [first, second] = [(account_id("acme"), first), (account_id("a"), second)];
    let due = bench.store.due_visits(0, 3, 64).await.unwrap();
    assert_eq!(due, (vec![first.clone(), second], Some(Duration::from_millis(1))));
    assert_eq!(bench.cli::<usize>(&format!("ZCARD {visits}")).await, 3, "the junk that was due is gone");
    assert_eq!(bench.store.due_visits(0, 3, 1).await.unwrap(), (vec![first], Some(Duration::ZERO)), "one more is due");
    assert_eq!(bench.store.due_visits(0, 0, 64).await.unwrap(), (vec![], Some(Duration::from_millis(1))));
    bench.cli::<()>(&format!("DEL {visits}")).await;
    assert_eq!(bench.store.due_visits(0, 3, 64).await.unwrap(), (vec![], None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_of_another_partition_is_taken_out_of_the_visits() {
    let bench = Bench::with(&[("LYNKHOOK_QUEUE__PARTITIONS", "2")]).await;
    let visit = (account_id("acme"), WebhookId::new(uuid::Uuid::now_v7()));
    for partition in [0, 1] {
        let visits = bench.store.keys().visits(partition);
        bench.cli::<()>(&format!("ZADD {visits} 0 acme/{}", visit.1)).await;
        let own = bench.store.keys().partition(&visit.0) == partition;
        let due = bench.store.due_visits(partition, 3, 64).await.unwrap().0;
        assert_eq!(due, if own { vec![visit.clone()] } else { vec![] }, "{partition}");
        assert_eq!(bench.cli::<usize>(&format!("ZCARD {visits}")).await, usize::from(own), "{partition}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn times_that_somebody_wrote_by_hand_are_times_too() {
    let bench = Bench::new().await;
    let visits = bench.key("visits");
    let mut expected = Vec::new();
    for at in ["-inf", "-1e18", "1.5", "2"] {
        let webhook = WebhookId::new(uuid::Uuid::now_v7());
        bench.cli::<()>(&format!("ZADD {visits} {at} acme/{webhook}")).await;
        expected.push((account_id("acme"), webhook));
    }
    assert_eq!(bench.store.due_visits(0, 3, 64).await.unwrap(), (expected, None));
    for (at, due) in [("inf", i64::MAX), ("1e18", 1_000_000_000_000_000_000)] {
        bench.cli::<()>(&format!("ZADD {visits} {at} acme/later")).await;
        let next_in = bench.store.due_visits(0, 3, 64).await.unwrap().1;
        assert_eq!(next_in, Some(Duration::from_millis(u64::try_from(due - 3).unwrap())), "{at}");
    }
    bench.cli::<()>(&format!("ZADD {} 1.5 delivery", bench.key("retries"))).await;
    assert!(bench.store.retry_late_by(0).await.unwrap() > Duration::from_hours(24));
}
