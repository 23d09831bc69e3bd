//! Releasing: a webhook's held deliveries go back to the queue when the release is due or places became free, even if
//! its keys were damaged by hand.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_is_not_due_or_not_planned_changes_nothing() {
    let bench = Bench::new().await;
    let webhook = bench.webhook("acme", true).await;
    put_held(&bench, webhook, 1).await;
    let in_a_minute = bench.store.now(0).await.unwrap().timestamp_millis() + 60_000;
    for planned in [false, true] {
        if planned {
            bench.cli::<()>(&format!("ZADD {} {in_a_minute} acme/{webhook}", bench.key("releases"))).await;
        }
        let before = bench.state().await;
        let released = bench.release_now("acme", webhook, (50, usize::MAX, PACE), false).await;
        assert_eq!(
            (released.moved, released.more_held),
            (0, None),
            "{planned}: another worker may have made the release"
        );
        assert_eq!(changed(&before, &bench.state().await), [""; 0], "{planned}");
    }
    let released = bench.release_with("acme", webhook, (50, usize::MAX)).await;
    assert_eq!((released.moved, released.more_held), (1, Some(false)), "and when it is due, the held delivery moves");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_off_unreadable_or_gone_releases_nothing_and_drops_nothing() {
    let unreadable =
        ["junk", "null", "5", "[]", r#""x""#, "{}", r#"{"id":"wh_x","active":true}"#, r#"{"active":null}"#];
    let cases = unreadable.map(|settings| (settings, format!("HSET {{webhooks}} {{webhook}} {settings}")));
    let others = [("off", ""), ("no hash", "SET {webhooks} x"), ("gone", "DEL {webhooks}")];
    for (what, spoil) in cases.into_iter().chain(others.map(|(what, spoil)| (what, spoil.to_owned()))) {
        let bench = Bench::new().await;
        let webhook = bench.webhook("acme", what != "off").await;
        put_held(&bench, webhook, 1).await;
        let spoil = spoil.replace("{webhooks}", &bench.key("webhooks:acme")).replace("{webhook}", &webhook.to_string());
        if !spoil.is_empty() {
            bench.cli::<()>(&format!("DEL {}", bench.key("webhooks:acme"))).await;
            bench.cli::<redis::Value>(&spoil).await;
        }
        let released = bench.release_with("acme", webhook, (50, usize::MAX)).await;
        assert_eq!((released.moved, released.next_in, released.more_held), (0, None, Some(false)), "{what}");
        assert_eq!((bench.len("queue").await, bench.len(&format!("held:{webhook}")).await), (0, 1), "{what}");
        assert_eq!(bench.release_in_ms("acme", webhook).await, None, "{what}");
        assert_eq!(bench.visit_in_ms("acme", webhook).await, None, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn further_held_deliveries_come_back_at_once_and_the_last_leaves_no_key() {
    let bench = Bench::new().await;
    let webhook = bench.webhook("acme", true).await;
    put_held(&bench, webhook, 60).await;
    assert_eq!(bench.release("acme", webhook).await, 50);
    let next = bench.release_in_ms("acme", webhook).await.unwrap();
    assert!(next <= 50, "{next}");
    assert_eq!(bench.release("acme", webhook).await, 10);
    assert_eq!(bench.release_in_ms("acme", webhook).await, None);
    assert!(!bench.cli::<bool>(&format!("EXISTS {}", bench.key(&format!("held:{webhook}")))).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_without_room_gets_nothing_back_and_is_asked_again_at_its_pace() {
    let bench = Bench::new().await;
    let webhook = bench.webhook("acme", true).await;
    put_held(&bench, webhook, 5).await;
    let bytes = TRANSCRIPT.len();
    for (room, moved, places, left) in
        [((0, bytes), 0, 0, 5), ((3, bytes), 3, 3, 2), ((0, bytes), 0, 0, 2), ((1, bytes - 1), 1, 2, 1)]
    {
        bench.cli::<()>(&format!("ZADD {} 0 acme/{webhook}", bench.key("releases"))).await;
        let pace = Duration::from_secs(7);
        let released = bench.release_now("acme", webhook, (room.0, room.1, pace), false).await;
        assert_eq!((released.moved, released.places), (moved, places));
        assert_eq!(released.next_in, Some(pace));
        assert_eq!(bench.len(&format!("held:{webhook}")).await, left);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planned_release_is_made_early_if_places_became_free() {
    let bench = Bench::new().await;
    let webhook = bench.webhook("acme", true).await;
    put_held(&bench, webhook, 3).await;
    let room = (2, usize::MAX, Duration::from_secs(7));
    let before = bench.state().await;
    let released = bench.release_now("acme", webhook, room, true).await;
    assert_eq!((released.moved, released.next_in, released.more_held), (0, None, None), "none is planned");
    assert_eq!(changed(&before, &bench.state().await), [""; 0]);

    let in_a_minute = bench.store.now(0).await.unwrap().timestamp_millis() + 60_000;
    bench.cli::<()>(&format!("ZADD {} {in_a_minute} acme/{webhook}", bench.key("releases"))).await;
    assert_eq!(bench.release_now("acme", webhook, room, false).await.moved, 0, "it is not due");
    let released = bench.release_now("acme", webhook, room, true).await;
    assert_eq!((released.moved, released.next_in, released.more_held), (2, Some(room.2), Some(true)));
    let due = bench.release_in_ms("acme", webhook).await.unwrap();
    assert!((0..=7000).contains(&due), "{due}");
    assert_eq!(bench.release_now("acme", webhook, room, true).await.moved, 1);
    assert_eq!(bench.release_in_ms("acme", webhook).await, None, "nothing is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn released_deliveries_leave_the_sum_and_the_last_one_removes_it() {
    let bench = Bench::new().await;
    let webhook = bench.webhook("acme", true).await;
    let sizes = [1000, 2000, 3000].map(|bytes| large(webhook, bytes));
    for delivery in &sizes {
        put_held_counted(&bench, webhook, delivery).await;
    }
    assert_eq!(bench.release_with("acme", webhook, (1, usize::MAX)).await.moved, 1);
    assert_eq!(bench.held_bytes(webhook).await, Some((sizes[1].len() + sizes[2].len()).to_string()));
    assert_eq!(bench.release_with("acme", webhook, (0, usize::MAX)).await.moved, 0);
    assert_eq!(bench.held_bytes(webhook).await, Some((sizes[1].len() + sizes[2].len()).to_string()));
    assert_eq!(bench.release("acme", webhook).await, 2);
    assert_eq!(bench.held_bytes(webhook).await, None);

    // The sum also goes when the held deliveries were deleted by hand, or are discarded.
    put_held_counted(&bench, webhook, &sizes[0]).await;
    bench.cli::<()>(&format!("DEL {}", bench.key(&format!("held:{webhook}")))).await;
    bench.cli::<()>(&format!("HSET {} {webhook} 1000000000000", bench.key("held_bytes"))).await;
    assert_eq!(bench.release("acme", webhook).await, 0);
    assert_eq!(bench.held_bytes(webhook).await, None);
    put_held_counted(&bench, webhook, &sizes[0]).await;
    let acme = account_id("acme");
    let mut edited = bench.store.webhook(&acme, webhook).await.unwrap().unwrap();
    edited.revision += 1;
    let put = bench.store.put_webhook_discarding_held(&acme, &edited, edited.revision - 1).await.unwrap();
    assert_eq!(put, (lynkhook::store::Put::Done, 1));
    assert_eq!(bench.held_bytes(webhook).await, None);
    put_held_counted(&bench, webhook, &sizes[0]).await;
    bench.store.delete_webhook(&account_id("acme"), webhook).await.unwrap();
    assert_eq!(bench.held_bytes(webhook).await, None);
}
/// The damage to a webhook that holds one delivery, and how many entries are released despite it.
const SPOILS: [(&str, &str, usize); 6] = [
    ("a held that is no stream", "SET {held} x", 0),
    ("a foreign entry before it", "XADD {held} * foreign entry", 2),
    ("sums that are no hash", "SET {sums} x", 1),
    ("a sum that is no number", "HSET {sums} {webhook} junk", 1),
    ("a sum without end", "HSET {sums} {webhook} inf", 1),
    ("visits that are no sorted set", "SET {visits} x", 1),
];

#[tokio::test(flavor = "multi_thread")]
async fn spoiled_keys_do_not_prevent_a_release() {
    for (what, command, expected) in SPOILS {
        let bench = Bench::new().await;
        let webhook = bench.webhook("acme", true).await;
        let mut command = command.replace("{webhook}", &webhook.to_string());
        for (name, rest) in
            [("held", format!("held:{webhook}")), ("sums", "held_bytes".to_owned()), ("visits", "visits".to_owned())]
        {
            command = command.replace(&format!("{{{name}}}"), &bench.key(&rest));
        }
        bench.cli::<redis::Value>(&command).await;
        put_held(&bench, webhook, usize::from(what != "a held that is no stream")).await;
        assert_eq!(bench.release("acme", webhook).await, expected, "{what}");
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
        assert_eq!(bench.release_in_ms("acme", webhook).await, None, "{what}");
    }
}
