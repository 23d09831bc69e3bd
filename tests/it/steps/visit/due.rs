//! The times of visits and releases: which webhooks are due, even with other members among them.

use super::*;

/// Both kinds of times.
const TIMES: [(Times, &str); 2] = [(Times::Releases, "releases"), (Times::Visits, "visits")];

#[tokio::test(flavor = "multi_thread")]
async fn invalid_members_are_removed_from_the_times_and_the_others_are_due_oldest_first() {
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
async fn a_webhook_of_another_partition_is_removed_from_the_visits() {
    let bench = Bench::with(&[("LYNKHOOK_QUEUE__PARTITIONS", "2")]).await;
    let visit = (account_id("acme"), WebhookId::new(uuid::Uuid::now_v7()));
    for partition in [0, 1] {
        let visits = bench.store.keys().visits(partition);
        let mut redis = bench.redis_of(&visits).await;
        let _: () = redis.zadd(&visits, format!("acme/{}", visit.1), 0).await.unwrap();
        let own = bench.store.keys().partition(&visit.0) == partition;
        let due = bench.store.due(Times::Visits, partition, 3, 64).await.unwrap().0;
        assert_eq!(due, if own { vec![visit.clone()] } else { vec![] }, "{partition}");
        assert_eq!(redis.zcard::<_, usize>(&visits).await.unwrap(), usize::from(own), "{partition}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn times_written_by_hand_count_as_well() {
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
