//! Holding: a delivery whose webhook is off waits beside the queue, and a webhook that is on holds nothing.

use super::*;

async fn taken(active: bool) -> (Bench, WebhookId, Held, Delivery) {
    let bench = Bench::new().await;
    let webhook = bench.webhook("acme", active).await;
    let delivery = first("acme", webhook, "e1").next_attempt();
    bench.queue(&delivery).await;
    let held = bench.take("a").await.remove(0);
    (bench, webhook, held, delivery)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_on_after_all_says_so_and_nothing_changes() {
    let (bench, _, held, delivery) = taken(true).await;
    let before = bench.state().await;
    assert_eq!(bench.store.hold("a", &held, &delivery).await.unwrap(), Settled::Active);
    assert_eq!(changed(&before, &bench.state().await), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_is_whole_and_visited_within_the_hour() {
    let (bench, webhook, held, delivery) = taken(false).await;
    assert_eq!(bench.store.hold("a", &held, &delivery).await.unwrap(), Settled::Done);
    let entries = bench.entries(&format!("held:{webhook}")).await;
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].1, [("delivery".to_owned(), text(&delivery, TRANSCRIPT))]);
    let due = bench.visit_in_ms("acme", webhook).await.unwrap();
    assert!((HOUR_MS / 2..=HOUR_MS).contains(&due), "{due}");
    assert_eq!((bench.len("queue").await, bench.pending().await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn under_settings_that_cannot_be_read_it_is_held_too() {
    for settings in ["junk", "null", "5", "[]", "{}", r#"{"active":null}"#] {
        let (bench, webhook, held, delivery) = taken(true).await;
        bench.cli::<()>(&format!("HSET {} {webhook} {settings}", bench.key("webhooks:acme"))).await;
        assert_eq!(bench.store.hold("a", &held, &delivery).await.unwrap(), Settled::Done, "{settings}");
        assert_eq!((bench.len("queue").await, bench.pending().await), (0, 0), "{settings}");
        assert_eq!(bench.len(&format!("held:{webhook}")).await, 1, "{settings}");
        assert!(bench.visit_in_ms("acme", webhook).await.is_some(), "{settings}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn holding_does_not_put_off_a_visit_that_comes_sooner() {
    let (bench, webhook, held, delivery) = taken(false).await;
    bench.cli::<()>(&format!("ZADD {} 5 acme/{webhook}", bench.key("visits"))).await;
    assert_eq!(bench.store.hold("a", &held, &delivery).await.unwrap(), Settled::Done);
    assert_eq!(bench.cli::<i64>(&format!("ZSCORE {} acme/{webhook}", bench.key("visits"))).await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_of_a_deleted_webhook_is_dropped_and_counted_whatever_was_to_follow() {
    let retry = Next::Retry { after: Duration::ZERO };
    for next in [None, Some(Next::Delivered), Some(retry), Some(Next::Failed)] {
        let (bench, webhook, held, delivery) = taken(false).await;
        bench.store.delete_webhook(&account_id("acme"), webhook).await.unwrap();
        let answer = match next {
            None => bench.store.hold("a", &held, &delivery).await.unwrap(),
            Some(next) => bench.settle(&[attempted(&held, &delivery, next)]).await.remove(0),
        };
        assert_eq!(answer, Settled::Gone, "{next:?}");
        assert_eq!((bench.len("queue").await, bench.pending().await), (0, 0), "{next:?}");
        assert_eq!(bench.counted("deliveries_of_deleted_webhook").await, 1, "{next:?}");
        let left = bench.cli::<Vec<String>>(&format!("KEYS {}:*{webhook}*", bench.prefix)).await;
        assert_eq!(left, [""; 0], "{next:?}");
        assert_eq!(bench.visit_in_ms("acme", webhook).await, None, "{next:?}");
    }
}
