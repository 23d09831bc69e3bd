//! Visiting: a webhook is looked after when its visit is due, whatever somebody spoiled there, and as long as there is
//! something to look after.

use super::*;

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
    let oldest_log = timestamp(chrono::Utc::now() - LOG_RETENTION);
    let bytes = TRANSCRIPT.len();
    for (room, moved, places, left) in
        [((0, bytes), 0, 0, 5), ((3, bytes), 3, 3, 2), ((0, bytes), 0, 0, 2), ((1, bytes - 1), 1, 2, 1)]
    {
        bench.cli::<()>(&format!("ZADD {} 0 acme/{webhook}", bench.key("visits"))).await;
        let pace = Duration::from_secs(7);
        let room = (room.0, room.1, pace);
        let visited = bench.store.visit(&account_id("acme"), webhook, &oldest_log, room).await.unwrap();
        assert_eq!((visited.moved, visited.places), (moved, places));
        assert_eq!(visited.next_in, Some(pace));
        assert_eq!(bench.len(&format!("held:{webhook}")).await, left);
    }
}

/// What somebody did by hand to a webhook that holds one delivery; how many entries a visit moves all the same; and
/// whether anything is left to be visited for.
const SPOILS: [(&str, &str, usize, bool); 18] = [
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
