//! A full Redis refuses producers, and every step that drains the queue still works.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn at_maxmemory_a_producer_is_refused_and_every_step_works() {
    let redis = RedisServer::start(AppendFsync::No);
    let bench = Bench::of(Installation::on(&redis, &Receiver::start().await).await).await;
    let [on, off] = [bench.webhook("acme", true).await, bench.webhook("acme", false).await];
    let (delivery, to_off) = (first("acme", on, "e1"), first("acme", off, "e1"));
    for _ in 0..2 {
        bench.push("acme", TRANSCRIPT).await;
    }
    for delivery in [&delivery, &delivery, &to_off, &to_off, &delivery, &delivery, &delivery] {
        bench.queue(delivery).await;
    }
    let held = bench.take("a").await;
    let [event, refused, delivered, retried, failed, held_back, again, unstarted, abandoned] = &held[..] else {
        panic!("{held:?}")
    };
    let queue = bench.key("queue");
    bench.cli::<redis::Value>(&format!("XCLAIM {queue} workers a 0 {} IDLE 60000 JUSTID", abandoned.entry.0)).await;
    bench.append(&format!("held:{on}"), &[("delivery", &text(&delivery, TRANSCRIPT))]).await;
    bench.cli::<()>(&format!("ZADD {} 0 acme/{on}", bench.key("releases"))).await;
    let _: () =
        bench.redis.clone().zadd(bench.key("retries"), text(&delivery.next_attempt(), TRANSCRIPT), 0).await.unwrap();
    bench.cli::<()>("CONFIG SET maxmemory 1").await;

    let refusal: redis::RedisResult<String> = bench.redis.clone().xadd(&queue, "*", &[("account", "acme")]).await;
    assert_eq!(refusal.unwrap_err().code(), Some("OOM"));
    let store = &bench.store;
    let leases = [delivered.clone(), retried.clone()];
    assert_eq!(store.renew(0, "a", &leases).await.unwrap(), [vec![], vec![], vec![]]);
    assert_eq!(store.fan_out("a", event, &[delivery.clone(), to_off.clone()], true).await.unwrap(), StepAnswer::Done);
    assert_eq!(store.reject("a", refused, "no event", None).await.unwrap(), StepAnswer::Done);
    let retry = Next::Retry { after: Duration::from_secs(600) };
    let attempts = [
        attempted(delivered, &delivery, Next::Delivered),
        attempted(retried, &delivery, retry),
        attempted(failed, &to_off, Next::Failed),
    ];
    assert_eq!(bench.settle(&attempts).await, [StepAnswer::Done, StepAnswer::Done, StepAnswer::Done]);
    assert_eq!(bench.hold(held_back, &to_off, Reason::Off).await, StepAnswer::Done);
    let put_off = Reason::Again { after: Duration::from_secs(600) };
    assert_eq!(bench.hold(again, &Delivery { attempt: 3, ..delivery.clone() }, put_off).await, StepAnswer::Done);
    assert_eq!(store.leave(0, "a", true, &[(unstarted.clone(), String::new())]).await.unwrap(), 1);
    assert_eq!(store.promote(0, &KnownClock::default()).await.unwrap().moved, 1);
    assert_eq!(bench.release_now("acme", on, (50, usize::MAX, PACE), false).await.moved, 1);
    let claimed = store.claim(0, "b", Duration::from_secs(30), (10, 1)).await.unwrap().entries;
    assert_eq!(claimed.len(), 1);
    // Two entries of the fan-out and its rest; one each that was given back, promoted and released; and the claimed
    // one.
    assert_eq!((bench.len("queue").await, bench.pending().await), (7, 1));
    for (rest, expected) in [(format!("held:{off}"), 1), (format!("failed:{off}"), 1), ("rejected".to_owned(), 1)] {
        assert_eq!(bench.len(&rest).await, expected, "{rest}");
    }
}
