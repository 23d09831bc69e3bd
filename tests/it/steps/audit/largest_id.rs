//! A queue whose last id is the largest possible id takes no entries until an audit opens it again.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_id_leaves_the_queue_open_and_its_entry_is_delivered_with_another_id() {
    for in_hand in [false, true] {
        let bench = Bench::new().await;
        let ids = bench.push_many(3).await;
        bench.audit().await;
        let queue = bench.key("queue");
        bench.cli::<String>(&format!("XADD {queue} {LARGEST} account acme envelope {{}}")).await;
        let push = async || {
            let mut push = redis::cmd("XADD");
            push.arg(&queue).arg("*").arg("account").arg("acme").arg("envelope").arg("{}");
            push.query_async::<String>(&mut bench.redis.clone()).await
        };
        push().await.unwrap_err();
        assert!(bench.look().await.is_exhausted);
        if in_hand {
            assert_eq!(bench.take_some("a", 10).await.len(), 4);
            assert!(bench.audit().await.is_exhausted);
            push().await.unwrap_err();
            let held = Fence { partition: 0, entry: lynkhook::store::EntryId(LARGEST.to_owned()), deliveries: 1 };
            let webhook = bench.webhook("acme", true).await;
            let attempt = attempted(&held, &first("acme", webhook, "e1"), Next::Delivered);
            assert_eq!(bench.settle(&[attempt]).await, [StepAnswer::Done]);
        }
        let seen = bench.audit().await;
        assert!(seen.is_exhausted && !seen.trimmed && seen.unheld == 0, "{seen:?}");
        if !in_hand && !sets_ids_back(&bench).await {
            // The entry is processed with its id.
            assert_eq!(bench.take_some("a", 10).await.len(), 4);
            continue;
        }
        if in_hand && !sets_ids_back(&bench).await {
            // The queue's ids begin again when it is empty.
            for entry in &ids {
                bench.cli::<u64>(&format!("XACK {queue} workers {entry}")).await;
                bench.cli::<u64>(&format!("XDEL {queue} {entry}")).await;
            }
            bench.audit().await;
        }
        let pushed = push().await.unwrap();
        let seen = bench.look().await;
        assert!(!seen.is_exhausted && !seen.is_beyond && seen.unheld == 0, "{seen:?}");
        let read = bench.take_some("a", 10).await;
        if in_hand {
            assert_eq!(read, [pushed]);
        } else {
            assert_eq!(
                (&read[..3], &read[4..]),
                (&ids[..], &[pushed][..]),
                "the entry between them had the largest id"
            );
        }
        let seen = bench.audit().await;
        assert!(!seen.trimmed && seen.unheld == 0, "{seen:?}");
        assert_eq!(bench.counted("entries_trimmed").await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_entries_with_the_largest_ms_get_new_ids_once_none_of_them_is_in_hand() {
    let bench = Bench::new().await;
    let ids = bench.push_many(3).await;
    let queue = bench.key("queue");
    let ms = u64::MAX;
    for sequence in [ms - 7, ms - 1, ms] {
        bench.cli::<String>(&format!("XADD {queue} {ms}-{sequence} account acme envelope {sequence}")).await;
    }
    let seen = bench.audit().await;
    assert!(seen.is_exhausted && !seen.trimmed, "{seen:?}");
    if !sets_ids_back(&bench).await {
        return assert_eq!(bench.take_some("a", 10).await.len(), 6, "the entries are processed with their ids");
    }
    let pushed = bench.push_many(1).await;
    let entries = bench.entries("queue").await;
    let envelopes: Vec<_> = entries[3..6].iter().map(|(_, fields)| fields[1].1.clone()).collect();
    assert_eq!(envelopes, [ms - 7, ms - 1, ms].map(|sequence| sequence.to_string()), "in their order");
    assert_eq!(bench.take_some("a", 4).await[..3], ids);
    bench.cli::<redis::Value>(&format!("XADD {queue} {LARGEST} account acme envelope {{}}")).await;
    bench.take_some("a", 10).await;
    let seen = bench.audit().await;
    assert!(seen.is_exhausted && bench.entries("queue").await.iter().any(|(id, _)| id == LARGEST), "{seen:?}");
    assert!(bench.leases().await.iter().any(|(id, ..)| *id == pushed[0]) && !seen.trimmed && seen.unheld == 0);
}

/// Whether this Redis can set a stream's last id back below that of a deleted entry.
async fn sets_ids_back(bench: &Bench) -> bool {
    let info: redis::InfoDict = redis::cmd("INFO").query_async(&mut bench.redis.clone()).await.unwrap();
    let version: String = info.get("redis_version").unwrap();
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap());
    (parts.next(), parts.next()) < (Some(7), Some(2))
}

#[tokio::test(flavor = "multi_thread")]
async fn fanned_out_deliveries_wait_among_the_retries_while_the_queue_takes_nothing() {
    let bench = Bench::new().await;
    let queue = bench.key("queue");
    let mut push = redis::cmd("XADD");
    push.arg(&queue).arg(LARGEST).arg(&["account", "acme", "envelope", TRANSCRIPT]);
    let _: String = push.query_async(&mut bench.redis.clone()).await.unwrap();
    let held = bench.take("a").await.remove(0);
    let deliveries: Vec<Delivery> = (0..3).map(|_| first("acme", WebhookId::new(uuid::Uuid::now_v7()), "e1")).collect();
    for _ in 0..2 {
        let answer = bench.store.fan_out("a", &held, &deliveries[..2], true).await.unwrap();
        assert_eq!((answer, bench.pending().await), (StepAnswer::Rest, 1), "the event is not done");
    }
    assert_eq!(bench.store.fan_out("a", &held, &deliveries[2..], false).await.unwrap(), StepAnswer::Done);
    assert_eq!(bench.len("queue").await, 0);
    assert!(bench.audit().await.is_exhausted);
    assert!(!bench.look().await.is_exhausted);
    assert_eq!(bench.store.promote(0, &KnownClock::default()).await.unwrap().moved, 3);
    let queued: Vec<_> = bench.entries("queue").await.into_iter().map(|(_, fields)| fields[0].1.clone()).collect();
    let mut expected: Vec<_> = deliveries.iter().map(|delivery| text(delivery, TRANSCRIPT)).collect();
    expected.sort();
    let mut sorted = queued.clone();
    sorted.sort();
    assert_eq!(sorted, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_of_thousands_of_fields_with_the_largest_id_is_kept() {
    let bench = Bench::new().await;
    let mut push = redis::cmd("XADD");
    push.arg(bench.key("queue")).arg(LARGEST).arg(vec!["x"; 10_000]);
    let _: String = push.query_async(&mut bench.redis.clone()).await.unwrap();
    assert!(bench.audit().await.is_exhausted);
    assert_eq!(bench.take_some("a", 10).await, [LARGEST]);
}
