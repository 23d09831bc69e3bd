//! A worker that leaves gives back the entries that it did not start.

use super::*;

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

async fn consumers(bench: &Bench) -> Vec<String> {
    let listed: Vec<std::collections::HashMap<String, redis::Value>> =
        bench.cli(&format!("XINFO CONSUMERS {} workers", bench.key("queue"))).await;
    let mut names: Vec<String> =
        listed.iter().map(|consumer| redis::from_redis_value(consumer["name"].clone()).unwrap()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_comes_back_under_its_id_and_a_delivery_as_it_was() {
    let bench = Bench::new().await;
    let event = [("account", "acme"), ("envelope", TRANSCRIPT)];
    let after = "wh_019a1b2c-0000-7000-8000-000000000001";
    let [traced, named, begun] = [("traceparent", TRACEPARENT), ("id", "own-id"), ("lynkhook:after", after)]
        .map(|more| [event[0], event[1], more]);
    let delivery = text(&first("acme", bench.webhook("acme", true).await, "e1").next_attempt(), " { }\n\n");
    for fields in [&event[..], &traced, &named, &begun, &[("delivery", &delivery)]] {
        bench.append("queue", fields).await;
    }
    let taken = bench.take("a").await;
    let ids = ["0-made", "0-made-2", "own-id", "0-made-3", ""].map(str::to_owned);
    let given: Vec<(Fence, String)> = taken.into_iter().zip(ids).collect();
    assert_eq!(bench.store.leave(0, "a", true, &given).await.unwrap(), 5);
    let back: Vec<_> = bench.entries("queue").await.into_iter().map(|(_, fields)| fields).collect();
    let expected: [&[(&str, &str)]; 5] = [
        &[event[0], event[1], ("id", "0-made")],
        &[event[0], event[1], ("id", "0-made-2"), ("traceparent", TRACEPARENT)],
        &named,
        &[event[0], event[1], ("id", "0-made-3"), ("lynkhook:after", after)],
        &[("delivery", &delivery)],
    ];
    for (back, expected) in back.iter().zip(expected) {
        let back: Vec<(&str, &str)> = back.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(back, expected);
    }
    assert_eq!((back.len(), bench.pending().await), (5, 0));
    assert_eq!(bench.take("b").await.len(), 5, "and another takes them as new");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_is_removed_only_when_it_leaves_with_nothing_pending() {
    let bench = Bench::new().await;
    for consumer in ["a", "b"] {
        bench.push("acme", TRANSCRIPT).await;
        bench.take(consumer).await;
    }
    bench.store.leave(0, "a", true, &[]).await.unwrap();
    assert_eq!((consumers(&bench).await, bench.pending().await), (vec!["a".to_owned(), "b".to_owned()], 2));
    let pending: Vec<(String, String, u64, u32)> =
        bench.cli(&format!("XPENDING {} workers - + 10 a", bench.key("queue"))).await;
    let held = Fence { partition: 0, entry: lynkhook::store::EntryId(pending[0].0.clone()), deliveries: 1 };
    assert_eq!(bench.store.leave(0, "a", false, &[(held, "e1".to_owned())]).await.unwrap(), 1);
    assert_eq!(consumers(&bench).await, ["a", "b"], "the consumer gave everything back and stays");
    bench.store.leave(0, "b", true, &[]).await.unwrap();
    assert_eq!(consumers(&bench).await, ["a", "b"], "another consumer's leaving does not remove it");
    bench.store.leave(0, "a", true, &[]).await.unwrap();
    assert_eq!(consumers(&bench).await, ["b"]);
}
