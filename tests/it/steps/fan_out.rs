//! Fanning out: an event becomes one delivery for each webhook that wants it, with its envelope byte for byte.

use super::*;

const ENVELOPE: &str = " {\"a\": \"b\\u00e9\"}\n\n";

#[tokio::test(flavor = "multi_thread")]
async fn an_event_becomes_a_delivery_for_each_webhook_and_without_any_is_done_and_counted() {
    for count in [0, 1, 2, 5] {
        let bench = Bench::new().await;
        let deliveries: Vec<Delivery> =
            (0..count).map(|_| first("acme", WebhookId::new(uuid::Uuid::now_v7()), "e1")).collect();
        bench.push("acme", ENVELOPE).await;
        let held = bench.take("a").await.remove(0);
        let lines: Vec<String> = deliveries.iter().map(Delivery::line).collect();
        assert_eq!(bench.store.fan_out("a", &held, &lines).await.unwrap(), Settled::Done);
        let queued: Vec<_> = bench.entries("queue").await.into_iter().map(|(_, fields)| fields).collect();
        let expected = deliveries.iter().map(|delivery| [("delivery".to_owned(), text(delivery, ENVELOPE))]);
        assert_eq!(queued, expected.collect::<Vec<_>>());
        assert_eq!(bench.pending().await, 0);
        assert_eq!(bench.counted("events_without_webhook").await, u64::from(count == 0), "{count}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_attempted_itself_goes_on_as_a_delivery_with_its_envelope() {
    let bench = Bench::new().await;
    let webhook = bench.webhook("acme", false).await;
    let delivery = first("acme", webhook, "e1");
    for _ in 0..3 {
        bench.push("acme", ENVELOPE).await;
    }
    let held = bench.take("a").await;
    let retry = Next::Retry { after: Duration::ZERO };
    let attempts = [attempted(&held[0], &delivery, retry), attempted(&held[1], &delivery, Next::Failed)];
    assert_eq!(bench.settle(&attempts).await, [Settled::Done, Settled::Done]);
    assert_eq!(bench.hold(&held[2], &delivery, Reason::Off).await, Settled::Done);
    let retries: Vec<String> = bench.cli(&format!("ZRANGE {} 0 -1", bench.key("retries"))).await;
    assert_eq!(retries, [text(&delivery.next_attempt(), ENVELOPE)]);
    for kind in ["failed", "held"] {
        let entries = bench.entries(&format!("{kind}:{webhook}")).await;
        assert_eq!((entries.len(), &entries[0].1[0].1), (1, &text(&delivery, ENVELOPE)), "{kind}");
    }
}
