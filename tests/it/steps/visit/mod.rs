//! Visiting: a webhook is visited when its visit is due, even if its keys were damaged by hand, until it has nothing
//! left that can become too old.

mod due;
mod held;

use super::*;

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
    assert_eq!(bench.log(webhook).await.len(), 0, "and when the visit is due, it is made");
}

/// Gives a webhook a log, two held and three failed deliveries, and all related keys.
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
async fn all_data_of_a_webhook_whose_settings_were_deleted_by_hand_is_removed_and_counted() {
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
async fn a_webhook_with_unreadable_settings_or_a_wrong_type_loses_only_old_entries() {
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
async fn held_deliveries_of_a_webhook_that_is_on_are_released_now() {
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
async fn webhooks_visited_together_are_next_visited_at_different_times_within_the_hour() {
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
        // Any other step that plans this visit chooses the same interval, so the visit does not move later.
        bench.store.log(&account_id("acme"), webhook, &log_of(&first("acme", webhook, "e1"))).await.unwrap();
        assert!(bench.visit_in_ms("acme", webhook).await.unwrap() <= next);
    }
    assert!(minutes.len() >= 24 && minutes.values().all(|count| *count < 60), "{minutes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_visit_is_within_the_hour_until_nothing_is_left() {
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
async fn an_invalid_log_entry_is_removed_and_the_young_ones_before_it_stay() {
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

/// The damage to a webhook that has nothing else.
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
async fn spoiled_keys_do_not_prevent_a_visit_and_the_next_one_is_planned_if_anything_is_left() {
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
