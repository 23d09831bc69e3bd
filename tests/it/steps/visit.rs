//! Visiting: a webhook is looked after when its visit is due, whatever somebody spoiled there, and as long as there is
//! something to look after.

use super::*;

const MIB: usize = 1 << 20;

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
    write_log(&bench, webhook, "junk").await;
    let in_a_minute = bench.store.now(0).await.unwrap().timestamp_millis() + 60_000;
    for planned in [false, true] {
        if planned {
            bench.cli::<()>(&format!("ZADD {} {in_a_minute} acme/{webhook}", bench.key("visits"))).await;
        }
        let before = bench.state().await;
        assert_eq!(bench.visit_if_due("acme", webhook).await, Visited::NotDue, "{planned}");
        assert_eq!(changed(&before, &bench.state().await), [""; 0], "{planned}");
    }
    assert_eq!(bench.visit("acme", webhook).await, Visited::Made);
    assert_eq!(bench.log(webhook).await.len(), 0, "and when it is due, it is made");
}

/// Gives a webhook a log, two held and three failed deliveries, and all that is kept for them.
async fn furnish(bench: &Bench, account: &str, webhook: WebhookId) {
    put_held(bench, webhook, 2).await;
    for number in 0..3 {
        bench.append(&format!("failed:{webhook}"), &[("delivery", &number.to_string())]).await;
    }
    write_log(bench, webhook, &young_log(webhook)).await;
    bench.cli::<()>(&format!("HSET {} {webhook} 1", bench.key("held_bytes"))).await;
    bench.cli::<()>(&format!("ZADD {} 9999999999999 {account}/{webhook}", bench.key("releases"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_webhook_whose_settings_were_deleted_by_hand_everything_goes_and_is_counted() {
    for whole_account in [true, false] {
        let bench = Bench::new().await;
        let [webhook, other] = [bench.webhook("acme", true).await, bench.webhook("acme", false).await];
        for webhook in [webhook, other] {
            furnish(&bench, "acme", webhook).await;
        }
        let settings = bench.key("webhooks:acme");
        let command = if whole_account { format!("DEL {settings}") } else { format!("HDEL {settings} {webhook}") };
        bench.cli::<()>(&command).await;
        assert_eq!(bench.visit("acme", webhook).await, Visited::Gone);
        assert_eq!(bench.keys_with(webhook).await, [""; 0]);
        for times in ["visits", "releases"] {
            assert_eq!(bench.due_in_ms(times, "acme", webhook).await, None, "{times}");
        }
        assert_eq!(bench.held_bytes(webhook).await, None);
        let counted = ["deliveries_of_deleted_webhook", "failed_of_deleted_webhook"];
        assert_eq!((bench.counted(counted[0]).await, bench.counted(counted[1]).await), (2, 3));
        let left = bench.visit("acme", other).await;
        assert_eq!(left, if whole_account { Visited::Gone } else { Visited::Made });
        let others = usize::from(!whole_account);
        assert_eq!(bench.len(&format!("held:{other}")).await, 2 * others);
        assert_eq!(bench.log(other).await.len(), others);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_webhook_whose_settings_are_of_a_wrong_type_or_cannot_be_read_nothing_goes_but_what_is_too_old() {
    let settings = ["junk", "null", "5", "[]", r#""x""#, "{}", r#"{"id":"wh_x","active":true}"#, r#"{"active":null}"#];
    let commands = settings.map(|settings| format!("HSET {{webhooks}} {{webhook}} {settings}"));
    for command in commands.into_iter().chain(["SET {webhooks} x".to_owned(), "RPUSH {webhooks} x".to_owned()]) {
        let bench = Bench::new().await;
        let webhook = bench.webhook("acme", true).await;
        furnish(&bench, "acme", webhook).await;
        let _: String = bench
            .redis
            .clone()
            .xadd(bench.key(&format!("held:{webhook}")), "1-1", &[("a", "b")])
            .await
            .unwrap_or_default();
        let spoil =
            command.replace("{webhooks}", &bench.key("webhooks:acme")).replace("{webhook}", &webhook.to_string());
        bench.cli::<()>(&format!("DEL {}", bench.key("webhooks:acme"))).await;
        bench.cli::<redis::Value>(&spoil).await;
        assert_eq!(bench.visit("acme", webhook).await, Visited::Made, "{command}");
        let left = (bench.len(&format!("held:{webhook}")).await, bench.len(&format!("failed:{webhook}")).await);
        assert_eq!((left, bench.log(webhook).await.len()), ((2, 3), 1), "{command}");
        let next = bench.visit_in_ms("acme", webhook).await.unwrap();
        assert!((HOUR_MS / 2..=HOUR_MS).contains(&next), "{command}: {next}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_webhook_holds_that_is_on_is_to_be_released_now() {
    let bench = Bench::new().await;
    for active in [true, false] {
        let webhook = bench.webhook("acme", active).await;
        put_held(&bench, webhook, 1).await;
        assert_eq!(bench.visit("acme", webhook).await, Visited::Made);
        let release = bench.release_in_ms("acme", webhook).await;
        assert_eq!(release.is_some_and(|due| due <= 0), active, "{release:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_that_were_visited_together_are_not_together_the_next_time_and_all_within_the_hour() {
    let bench = Bench::new().await;
    let mut minutes = std::collections::BTreeMap::<i64, usize>::new();
    for _ in 0..500 {
        let webhook = WebhookId::new(uuid::Uuid::now_v7());
        bench.cli::<()>(&format!("HSET {} {webhook} {{}}", bench.key("webhooks:acme"))).await;
        write_log(&bench, webhook, &young_log(webhook)).await;
        bench.visit("acme", webhook).await;
        let next = bench.visit_in_ms("acme", webhook).await.unwrap();
        assert!((HOUR_MS / 2 - 1000..HOUR_MS / 60 * 55).contains(&next), "{next}");
        *minutes.entry(next / 60_000).or_default() += 1;
        // Whatever plans it besides plans the same span, so that it does not creep up.
        bench.store.log(&account_id("acme"), webhook, &log_of(&first("acme", webhook, "e1"))).await.unwrap();
        assert!(bench.visit_in_ms("acme", webhook).await.unwrap() <= next);
    }
    assert!(minutes.len() >= 24 && minutes.values().all(|count| *count < 60), "{minutes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn as_long_as_anything_is_left_the_next_visit_is_within_the_hour_and_then_there_is_none() {
    let bench = Bench::new().await;
    for (left, active) in [("held", false), ("failed", true), ("log", true), ("nothing", true), ("nothing", false)] {
        let account = format!("{left}-{active}");
        let webhook = bench.webhook(&account, active).await;
        match left {
            "held" => put_held(&bench, webhook, 1).await,
            "failed" => drop(bench.append(&format!("failed:{webhook}"), &[("delivery", "x")]).await),
            "log" => write_log(&bench, webhook, &young_log(webhook)).await,
            _ => {}
        }
        assert_eq!(bench.visit(&account, webhook).await, Visited::Made, "{account}");
        let next = bench.visit_in_ms(&account, webhook).await;
        if left == "nothing" {
            assert_eq!(next, None, "{account}");
        } else {
            assert!((HOUR_MS / 2..=HOUR_MS).contains(&next.unwrap()), "{account}: {next:?}");
        }
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
        assert_eq!(bench.store.hold(0, "a", &waiting).await.unwrap(), vec![StepAnswer::Done; 4]);
        // Only those visits are made that holding planned.
        bench.visit_if_due("acme", webhook).await;
        most = most.max(bench.bytes(&key).await);
    }
    assert!(most <= (64 + 16) << 20, "{most}");
    let (left, bytes) = (bench.len(&key).await, bench.bytes(&key).await);
    assert!(bytes > 48 << 20, "no more goes than has to: {bytes}");
    assert_eq!(left as u64 + bench.counted("held_overflow").await, 200);
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
async fn a_sum_that_is_missing_or_far_too_high_is_weighed_and_another_is_believed() {
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
    // Nor does a sum outlive what is held.
    bench.cli::<()>(&format!("DEL {}", bench.key(&format!("held:{webhook}")))).await;
    bench.visit("acme", webhook).await;
    assert_eq!(bench.held_bytes(webhook).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_webhook_that_is_on_nothing_is_trimmed_and_of_one_that_is_off_the_oldest_go_beyond_the_limit() {
    for active in [true, false] {
        let bench = Bench::with(&[("LYNKHOOK_HELD__MAX_BYTES", "1MiB")]).await;
        let (webhook, max_bytes) = (bench.webhook("acme", active).await, 1_u64 << 20);
        let held = format!("held:{webhook}");
        for number in 0..30 {
            // Redis reserves memory in steps, one of which these nearly fill.
            put_held_counted(&bench, webhook, &large(webhook, 56_900 + number)).await;
        }
        let before = bench.entries(&held).await;
        bench.visit("acme", webhook).await;
        let (left, bytes) = (bench.entries(&held).await, bench.bytes(&held).await);
        let dropped = before.len() - left.len();
        assert_eq!(left, before[dropped..], "the oldest go");
        assert_eq!(bench.counted("held_overflow").await, dropped as u64);
        if active {
            assert_eq!(dropped, 0);
        } else {
            // A sixteenth below it, give or take one entry.
            let sixteenth_below = max_bytes - max_bytes / 16;
            assert!(sixteenth_below.abs_diff(bytes) < 70_000 && bytes < max_bytes, "{bytes}");
        }
        let next = bench.visit_in_ms("acme", webhook).await.unwrap();
        assert!((HOUR_MS / 2..=HOUR_MS).contains(&next), "{active}: {next}");
        let sum: u64 = bench.held_bytes(webhook).await.unwrap().parse().unwrap();
        assert!(sum.abs_diff(bytes) < bytes / 8, "{active}: {sum} for {bytes}");
        // One that is as large as all that may be held is kept: it is the newest.
        put_held_counted(&bench, webhook, &large(webhook, MIB)).await;
        bench.visit("acme", webhook).await;
        while bench.visit_in_ms("acme", webhook).await.unwrap() <= 0 {
            bench.visit_if_due("acme", webhook).await;
        }
        assert_eq!(bench.len(&held).await, if active { 31 } else { 1 });
    }
}

/// Fills what a webhook that is off holds with entries of these sizes; then visits it for as long as a visit is due at once.
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
async fn the_oldest_go_step_by_step_until_what_is_held_is_within_its_bytes_and_no_more_than_has_to_go() {
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
            "{} of {:?}…: {dropped:?} went, {left} with {bytes} bytes are left of {max_bytes}",
            sizes.len(),
            sizes[0]
        );
        assert!(bytes < max_bytes || left == 1, "{bytes} of {max_bytes}");
        // One entry more than a sixteenth below; a node of small ones counts as one.
        let most_bytes = sizes.iter().max().unwrap() * 5 / 4 + 8192;
        assert!(bytes + most_bytes > max_bytes * 15 / 16, "more than had to went: {bytes} of {max_bytes} are left");
        assert_eq!(bench.counted("held_overflow").await, (sizes.len() - left) as u64);
        assert!(dropped.iter().all(|dropped| *dropped <= 16 * 256) && dropped.len() < 40, "{dropped:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_entries_that_are_too_old_go_a_thousand_at_a_time_and_the_young_ones_stay() {
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

#[tokio::test(flavor = "multi_thread")]
async fn a_member_with_a_wrong_account_drops_nothing_of_a_webhook_that_another_account_has() {
    for kind in ["held", "failed"] {
        let bench = Bench::new().await;
        let webhook = bench.webhook("acme", false).await;
        let delivery = text(&first("acme", webhook, "e1"), TRANSCRIPT);
        bench.append(&format!("{kind}:{webhook}"), &[("delivery", &delivery)]).await;
        write_log(&bench, webhook, &young_log(webhook)).await;
        assert_eq!(bench.visit("Acme", webhook).await, Visited::Made);
        assert_eq!((bench.len(&format!("{kind}:{webhook}")).await, bench.log(webhook).await.len()), (1, 1), "{kind}");
        assert_eq!(bench.visit_in_ms("Acme", webhook).await, None, "the wrong member goes");
        assert_eq!(bench.counted("deliveries_of_deleted_webhook").await, 0);
    }
}

/// What somebody did by hand to a webhook that has nothing else.
const SPOILS: [(&str, &str); 12] = [
    ("a log entry that is no JSON", "LPUSH {logs} junk"),
    ("a log entry that is no object", "LPUSH {logs} 5"),
    ("a log entry that is null", "LPUSH {logs} null"),
    ("a log entry without a time", "LPUSH {logs} {}"),
    ("a log entry whose time is no text", r#"LPUSH {logs} {"time":5}"#),
    ("a log that is no list", "SET {logs} x"),
    ("a failed that is no stream", "SET {failed} x"),
    ("a held that is no stream", "SET {held} x"),
    ("counts that are no hash", "SET {counts} x"),
    ("sums that are no hash", "SET {sums} x"),
    ("a sum that is no number", "HSET {sums} {webhook} junk"),
    ("releases that are no sorted set", "SET {releases} x"),
];

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_spoiled_the_visit_is_made_and_the_next_one_planned_where_anything_is_left() {
    for (what, command) in SPOILS {
        for left in [false, true] {
            let bench = Bench::new().await;
            let webhook = bench.webhook("acme", true).await;
            let mut command = command.replace("{webhook}", &webhook.to_string());
            command = command.replace("{counts}", &bench.key("counts")).replace("{sums}", &bench.key("held_bytes"));
            command = command.replace("{releases}", &bench.key("releases"));
            for kind in ["logs", "failed", "held"] {
                command = command.replace(&format!("{{{kind}}}"), &bench.key(&format!("{kind}:{webhook}")));
            }
            bench.cli::<redis::Value>(&command).await;
            if left {
                let kind = if command.contains("failed:") { "held" } else { "failed" };
                bench.append(&format!("{kind}:{webhook}"), &[("delivery", "x")]).await;
            }
            assert_eq!(bench.visit("acme", webhook).await, Visited::Made, "{what}");
            let next = bench.visit_in_ms("acme", webhook).await;
            assert_eq!(next.is_some_and(|next| next > HOUR_MS / 2 && next <= HOUR_MS), left, "{what}: {next:?}");
            assert_eq!(next.is_some(), left, "{what}: {next:?}");
        }
    }
}

/// Both kinds of times.
const TIMES: [(Times, &str); 2] = [(Times::Releases, "releases"), (Times::Visits, "visits")];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_webhook_is_taken_out_of_the_times_and_the_others_are_due_oldest_first() {
    for (times, key) in TIMES {
        let bench = Bench::new().await;
        let [first, second] = [bench.webhook("acme", true).await, bench.webhook("a", true).await];
        let (key, store) = (bench.key(key), &bench.store);
        for junk in ["junk", "acme/wh_junk", &format!("a//{first}"), "/"] {
            bench.cli::<()>(&format!("ZADD {key} 0 {junk}")).await;
        }
        let _: usize = bench.redis.clone().zadd(&key, b"no \xff UTF-8", 0).await.unwrap();
        for (at, member) in [(2, format!("a/{second}")), (1, format!("acme/{first}")), (4, "acme/later".to_owned())] {
            bench.cli::<()>(&format!("ZADD {key} {at} {member}")).await;
        }
        let [first, second] = [(account_id("acme"), first), (account_id("a"), second)];
        let due = store.due(times, 0, 3, 64).await.unwrap();
        assert_eq!(due, (vec![first.clone(), second], Some(Duration::from_millis(1))));
        assert_eq!(bench.cli::<usize>(&format!("ZCARD {key}")).await, 3, "the junk that was due is gone");
        assert_eq!(store.due(times, 0, 3, 1).await.unwrap(), (vec![first], Some(Duration::ZERO)), "one more is due");
        assert_eq!(store.due(times, 0, 0, 64).await.unwrap(), (vec![], Some(Duration::from_millis(1))));
        bench.cli::<()>(&format!("DEL {key}")).await;
        assert_eq!(store.due(times, 0, 3, 64).await.unwrap(), (vec![], None));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_of_another_partition_is_taken_out_of_the_visits() {
    let bench = Bench::with(&[("LYNKHOOK_QUEUE__PARTITIONS", "2")]).await;
    let visit = (account_id("acme"), WebhookId::new(uuid::Uuid::now_v7()));
    for partition in [0, 1] {
        let visits = bench.store.keys().visits(partition);
        bench.cli::<()>(&format!("ZADD {visits} 0 acme/{}", visit.1)).await;
        let own = bench.store.keys().partition(&visit.0) == partition;
        let due = bench.store.due(Times::Visits, partition, 3, 64).await.unwrap().0;
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
    let due = async || bench.store.due(Times::Visits, 0, 3, 64).await.unwrap();
    assert_eq!(due().await, (expected, None));
    for (at, next) in [("inf", i64::MAX), ("1e18", 1_000_000_000_000_000_000)] {
        bench.cli::<()>(&format!("ZADD {visits} {at} acme/later")).await;
        assert_eq!(due().await.1, Some(Duration::from_millis(u64::try_from(next - 3).unwrap())), "{at}");
    }
    bench.cli::<()>(&format!("ZADD {} 1.5 delivery", bench.key("retries"))).await;
    assert!(bench.store.retry_late_by(0, &KnownClock::default()).await.unwrap() > Duration::from_hours(24));
}
