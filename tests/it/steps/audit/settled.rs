//! An attempt whose entry has gone from the queue is settled fully and once.

use std::collections::HashSet;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_whose_queue_was_lost_is_settled_in_full_and_once() {
    let ways = ["DEL {}", "XGROUP DESTROY {} workers"];
    for next in [Next::Delivered, Next::Retry { after: Duration::from_secs(2) }, Next::Failed] {
        for (how, renewed) in ways.into_iter().flat_map(|how| [(how, false), (how, true)]) {
            let bench = Bench::new().await;
            let webhook = bench.webhook("acme", true).await;
            let delivery = first("acme", webhook, "e1");
            bench.queue(&delivery).await;
            let mut held = bench.take("a").await.remove(0);
            let (queue, other) = (bench.key("queue"), Fence { partition: 0, ..held.clone() });
            bench.cli::<redis::Value>(&how.replace("{}", &queue)).await;
            bench.cli::<u64>(&format!("XTRIM {queue} MAXLEN 0")).await;
            bench.store.ensure_group(0).await.unwrap();
            // Other entries follow in the queue, whose ids begin again. They come in a later millisecond, or one would
            // have this entry's id.
            let (taken_ms, _) = held.entry.order().unwrap();
            eventually(SOON, "the next millisecond", async || {
                (bench.store.now(0).await.unwrap().timestamp_millis() > taken_ms.cast_signed()).then_some(())
            })
            .await;
            bench.push_many(3).await;
            bench.take_some("b", 2).await;
            let mut attempt = attempted(&held, &delivery, next);
            if renewed {
                let [lost, trimmed, vanished] = bench.store.renew(0, "a", &[other]).await.unwrap();
                assert_eq!((lost, trimmed, vanished), (vec![], vec![], vec![held.entry.clone()]));
            } else {
                assert_eq!(bench.settle(std::slice::from_ref(&attempt)).await, [StepAnswer::Vanished]);
                assert_eq!(bench.log(webhook).await.len(), 0);
            }
            held.deliveries = 0;
            attempt = Attempted { fence: held, trimmed: Some(TRANSCRIPT.into()), ..attempt };
            for _ in 0..2 {
                assert_eq!(bench.settle(std::slice::from_ref(&attempt)).await, [StepAnswer::Done]);
            }
            let retries: Vec<String> = bench.cli(&format!("ZRANGE {} 0 -1", bench.key("retries"))).await;
            let expected = text(&delivery.next_attempt(), TRANSCRIPT);
            assert_eq!(retries, if matches!(next, Next::Retry { .. }) { vec![expected] } else { vec![] });
            let failed = bench.entries(&format!("failed:{webhook}")).await.len();
            assert_eq!((failed, bench.log(webhook).await.len()), (usize::from(next == Next::Failed), 1));
            assert_eq!((bench.counted("entries_trimmed").await, bench.pending().await), (0, 2));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_whose_entry_another_took_over_or_settled_stays_lost_even_if_the_group_is_recreated() {
    let bench = Bench::new().await;
    let webhook = bench.webhook("acme", true).await;
    let delivery = first("acme", webhook, "e1");
    bench.queue(&delivery).await;
    let held = bench.take("a").await.remove(0);
    let (queue, attempt) = (bench.key("queue"), attempted(&held, &delivery, Next::Delivered));
    let (entry, lost) = (&held.entry.0, [StepAnswer::Lost]);
    for again in [format!("XCLAIM {queue} workers b 0 {entry}"), format!("XGROUP DESTROY {queue} workers")] {
        bench.cli::<redis::Value>(&again).await;
        bench.store.ensure_group(0).await.unwrap();
        assert_eq!(bench.settle(std::slice::from_ref(&attempt)).await, lost, "{again}");
    }
    let taken = bench.take("b").await.remove(0);
    let by_other = attempted(&taken, &delivery, Next::Delivered);
    assert_eq!(
        (&taken.entry, bench.settle(std::slice::from_ref(&attempt)).await),
        (&held.entry, vec![StepAnswer::Lost])
    );
    let settled = bench.store.settle(0, "b", &[by_other], &HashSet::new()).await.unwrap();
    assert_eq!(
        (settled, bench.settle(std::slice::from_ref(&attempt)).await),
        (vec![StepAnswer::Done], vec![StepAnswer::Lost])
    );
    assert_eq!((bench.counted("entries_trimmed").await, bench.log(webhook).await.len()), (0, 1));

    // An entry that came after the group was created, and was settled.
    bench.queue(&delivery).await;
    let held = bench.take("a").await.remove(0);
    let before = held.entry.order().unwrap().0 - 1;
    bench.cli::<u64>(&format!("HSET {} lost_before {before}-0", bench.key("audit"))).await;
    let attempt = attempted(&held, &delivery, Next::Delivered);
    assert_eq!(bench.settle(std::slice::from_ref(&attempt)).await, [StepAnswer::Done]);
    assert_eq!(bench.settle(&[attempt]).await, [StepAnswer::Lost], "as after an answer that was lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_whose_entry_was_taken_out_is_settled_in_full_and_once() {
    for next in [Next::Delivered, Next::Retry { after: Duration::from_secs(2) }, Next::Failed] {
        for renewed in [false, true] {
            let bench = Bench::new().await;
            let webhook = bench.webhook("acme", true).await;
            let delivery = first("acme", webhook, "e1");
            bench.queue(&delivery).await;
            let mut held = bench.take("a").await.remove(0);
            bench.cli::<u64>(&format!("XTRIM {} MAXLEN 0", bench.key("queue"))).await;
            if renewed {
                let [_, trimmed, _] = bench.store.renew(0, "a", std::slice::from_ref(&held)).await.unwrap();
                assert_eq!(trimmed, [held.entry.clone()]);
            } else if next != Next::Delivered {
                let before = bench.state().await;
                assert_eq!(bench.settle(&[attempted(&held, &delivery, next)]).await, [StepAnswer::Trimmed]);
                assert_eq!(changed(&before, &bench.state().await), [] as [String; 0]);
            }
            let mut attempt = attempted(&held, &delivery, next);
            if renewed || next != Next::Delivered {
                held.deliveries = 0;
                attempt = Attempted { fence: held, trimmed: Some(TRANSCRIPT.into()), ..attempt };
                assert_eq!(bench.settle(std::slice::from_ref(&attempt)).await, [StepAnswer::Done]);
            }
            assert_eq!(bench.settle(&[attempt]).await, [StepAnswer::Done], "an answer that was lost");
            let retries: Vec<String> = bench.cli(&format!("ZRANGE {} 0 -1", bench.key("retries"))).await;
            let expected = text(&delivery.next_attempt(), TRANSCRIPT);
            assert_eq!(retries, if matches!(next, Next::Retry { .. }) { vec![expected] } else { vec![] });
            let failed = bench.entries(&format!("failed:{webhook}")).await;
            assert_eq!(failed.len(), usize::from(next == Next::Failed));
            assert!(failed.iter().all(|(_, fields)| fields[0].1 == text(&delivery, TRANSCRIPT)));
            assert_eq!((bench.log(webhook).await.len(), bench.pending().await), (1, 0), "{next:?} {renewed}");
            assert_eq!(bench.counted("entries_trimmed").await, 1);
        }
    }
}
