//! Taking back: entries that a consumer read without getting the answer are leased to it again, with the same count.

use super::*;

/// Entry, consumer and delivery count of all pending entries, oldest first.
async fn leases(bench: &Bench) -> Vec<(String, String, u64)> {
    let pending: Vec<(String, String, u64, u64)> =
        bench.cli(&format!("XPENDING {} workers - + 10000", bench.key("queue"))).await;
    pending.into_iter().map(|(entry, consumer, _, deliveries)| (entry, consumer, deliveries)).collect()
}

async fn take_back(bench: &Bench, last: Option<&str>, most: usize) -> Vec<String> {
    let last = last.map(|last| EntryId(last.to_owned()));
    let taken = bench.store.take_back(0, "a", Untold::Read(last.as_ref()), most).await.unwrap();
    assert!(taken.iter().all(|entry| entry.deliveries == 1 && !entry.fields.is_empty()), "{taken:?}");
    taken.into_iter().map(|entry| entry.id.0).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_consumers_own_new_entries_after_the_last_one_are_taken_back() {
    let bench = Bench::new().await;
    let mut entries = Vec::new();
    for consumer in ["a", "a", "a", "b", "a"] {
        bench.push("acme", TRANSCRIPT).await;
        entries.push(bench.take(consumer).await.remove(0).entry.0);
    }
    let queue = bench.key("queue");
    let claimed = &entries[2];
    bench.cli::<redis::Value>(&format!("XCLAIM {queue} workers a 0 {claimed} RETRYCOUNT 2")).await;
    bench.cli::<redis::Value>(&format!("XCLAIM {queue} workers a 0 {} IDLE 60000 JUSTID", entries[4])).await;
    bench.push("acme", TRANSCRIPT).await;
    let nobodys = bench.take("a").await.remove(0).entry.0;
    bench.cli::<redis::Value>(&format!("XCLAIM {queue} workers a 0 {nobodys} RETRYCOUNT 0 JUSTID")).await;
    let before = leases(&bench).await;
    assert_eq!(take_back(&bench, Some(&entries[0]), 50).await, [entries[1].clone(), entries[4].clone()]);
    assert_eq!(take_back(&bench, None, 50).await, [0, 1, 4].map(|number| entries[number].clone()));
    assert_eq!(take_back(&bench, Some(&entries[4]), 50).await, [""; 0]);
    assert_eq!(leases(&bench).await, before, "neither holder nor count changed");
    let idle: Vec<String> = bench.cli(&format!("XPENDING {queue} workers IDLE 30000 - + 10")).await;
    assert!(idle.is_empty(), "the lease starts again");
}

#[tokio::test(flavor = "multi_thread")]
async fn claimed_entries_that_a_consumer_does_not_have_in_hand_are_taken_back_with_their_count() {
    let bench = Bench::new().await;
    let mut entries = Vec::new();
    for (consumer, deliveries) in [("a", 1), ("a", 2), ("a", 4), ("b", 2), ("a", 3), ("a", 3)] {
        bench.push("acme", TRANSCRIPT).await;
        let held = bench.take(consumer).await.remove(0);
        let id = &held.entry.0;
        let queue = bench.key("queue");
        bench.cli::<redis::Value>(&format!("XCLAIM {queue} workers {consumer} 0 {id} RETRYCOUNT {deliveries}")).await;
        entries.push(Fence { deliveries, ..held });
    }
    let before = leases(&bench).await;
    let aged = format!("XCLAIM {} workers a 0 {} IDLE 60000 RETRYCOUNT 3", bench.key("queue"), entries[5].entry.0);
    bench.cli::<redis::Value>(&aged).await;
    let untold = Untold::Claimed { in_hand: &entries[1..2], within: Duration::from_secs(30) };
    let take_back = async |most| {
        let taken = bench.store.take_back(0, "a", untold, most).await.unwrap();
        taken.into_iter().map(|entry| (entry.id.0, entry.deliveries)).collect::<Vec<_>>()
    };
    let expected = [2, 4].map(|number| (entries[number].entry.0.clone(), entries[number].deliveries));
    assert_eq!(take_back(50).await, expected);
    assert_eq!(take_back(1).await, expected[..1]);
    assert_eq!(leases(&bench).await, before, "neither holder nor count changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_entries_are_taken_back_in_steps_of_bounded_number_and_bytes() {
    let bench = Bench::new().await;
    let mut events = redis::pipe();
    for _ in 0..2500 {
        events.xadd(bench.key("queue"), "*", &[("account", "acme"), ("envelope", TRANSCRIPT)]).ignore();
    }
    let _: () = events.query_async(&mut bench.redis.clone()).await.unwrap();
    while bench.take("a").await.len() == 1000 {}
    let (mut all, mut steps) = (Vec::<String>::new(), 0);
    loop {
        let taken = take_back(&bench, all.last().map(String::as_str), 50).await;
        if taken.is_empty() {
            break;
        }
        all.extend(taken);
        steps += 1;
    }
    assert_eq!((all.len(), steps), (2500, 50));

    let bench = Bench::new().await;
    let large = envelope_of(1_500_000);
    for _ in 0..5 {
        bench.append("queue", &[("account", "acme"), ("envelope", &large)]).await;
    }
    bench.take("a").await;
    let first = take_back(&bench, None, 50).await;
    assert_eq!(first.len(), 3, "the third exceeds 4 MiB");
    assert_eq!(take_back(&bench, first.last().map(String::as_str), 50).await.len(), 2);
}
