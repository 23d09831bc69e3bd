//! Settling: the destination of an attempted delivery. A damaged key blocks neither it nor its neighbours.

use super::*;

const RETRY: Next = Next::Retry { after: Duration::from_secs(2) };

/// Takes these deliveries as consumer `a`.
async fn taken(bench: &Bench, deliveries: &[&Delivery]) -> Vec<Fence> {
    for delivery in deliveries {
        bench.queue(delivery).await;
    }
    bench.take("a").await
}

async fn retries(bench: &Bench) -> Vec<(String, i64)> {
    bench.redis.clone().zrange_withscores(bench.key("retries"), 0, -1).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_waits_for_its_delay_as_the_next_attempt_with_the_envelope_as_it_was() {
    let bench = Bench::new().await;
    let webhook = bench.webhook("acme", true).await;
    let delivery = first("acme", webhook, "e1");
    let envelope = " {\"a\": \"b\\u00e9\"}\n\n";
    bench.append("queue", &[("delivery", &text(&delivery, envelope))]).await;
    let held = bench.take("a").await.remove(0);
    let before = bench.store.now(0).await.unwrap().timestamp_millis();
    assert_eq!(bench.settle(&[attempted(&held, &delivery, RETRY)]).await, [StepAnswer::Done]);
    let after = bench.store.now(0).await.unwrap().timestamp_millis();
    let waiting = retries(&bench).await;
    let [(waiting, due)] = &waiting[..] else { panic!("{waiting:?}") };
    assert_eq!(*waiting, text(&delivery.next_attempt(), envelope));
    assert!((before + 2000..=after + 2000).contains(due), "{before} {due} {after}");
    let visit = bench.visit_in_ms("acme", webhook).await.unwrap();
    assert!((HOUR_MS / 2..=HOUR_MS).contains(&visit), "a visit for its log is planned: {visit}");
    let ttl: u64 = bench.cli(&format!("TTL {}", bench.key(&format!("logs:{webhook}")))).await;
    assert!((LOG_RETENTION.as_secs() - 60..=LOG_RETENTION.as_secs()).contains(&ttl), "{ttl}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_key_of_a_wrong_type_does_not_undo_the_move_and_the_refused_entry_is_counted() {
    for next in [Next::Delivered, RETRY, Next::Failed] {
        let bench = Bench::new().await;
        let webhook = bench.webhook("acme", true).await;
        let delivery = first("acme", webhook, "e1");
        let held = taken(&bench, &[&delivery]).await.remove(0);
        let logs = bench.key(&format!("logs:{webhook}"));
        bench.cli::<()>(&format!("SET {logs} x")).await;
        assert_eq!(bench.settle(&[attempted(&held, &delivery, next)]).await, [StepAnswer::Unlogged], "{next:?}");
        assert_eq!((bench.len("queue").await, bench.pending().await), (0, 0), "{next:?}");
        assert_eq!(bench.counted("log_entries_refused").await, 1, "{next:?}");
        let (retries, failed) = (retries(&bench).await.len(), bench.len(&format!("failed:{webhook}")).await);
        assert_eq!((retries, failed), (usize::from(next == RETRY), usize::from(next == Next::Failed)), "{next:?}");
        assert_eq!(bench.cli::<String>(&format!("GET {logs}")).await, "x", "{next:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_cannot_be_settled_stays_as_it_was_and_its_neighbours_are_settled() {
    let bench = Bench::new().await;
    let [broken, good] = [bench.webhook("acme", true).await, bench.webhook("acme", true).await];
    bench.cli::<()>(&format!("SET {} x", bench.key(&format!("failed:{broken}")))).await;
    let deliveries = [broken, good, good].map(|webhook| first("acme", webhook, "e1"));
    let held = taken(&bench, &deliveries.each_ref()).await;
    let attempts: Vec<Attempted> =
        held.iter().zip(&deliveries).map(|(held, delivery)| attempted(held, delivery, Next::Failed)).collect();
    let answers = bench.settle(&attempts).await;
    assert!(matches!(&answers[0], StepAnswer::Broken(why) if why.contains("WRONGTYPE")), "{answers:?}");
    assert_eq!(answers[1..], [StepAnswer::Done, StepAnswer::Done]);
    let pending: Vec<(String, String, u64, u32)> =
        bench.cli(&format!("XPENDING {} workers - + 10", bench.key("queue"))).await;
    let [(entry, consumer, _, 1)] = &pending[..] else { panic!("{pending:?}") };
    assert_eq!((entry, consumer.as_str()), (&held[0].entry.0, "a"));
    let left = bench.entries("queue").await;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].1, [("delivery".to_owned(), text(&deliveries[0], TRANSCRIPT))]);
    assert!(bench.log(broken).await.is_empty(), "an attempt that was not settled is not in the log");
    assert_eq!((bench.log(good).await.len(), bench.len(&format!("failed:{good}")).await), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_counter_that_is_no_number_or_no_hash_does_not_stop_a_move() {
    for spoil in ["HSET {counts} failed_overflow none", "SET {counts} x"] {
        let bench = Bench::with(&[("LYNKHOOK_FAILED__LIMIT", "1")]).await;
        let webhook = bench.webhook("acme", true).await;
        bench.cli::<()>(&spoil.replace("{counts}", &bench.key("counts"))).await;
        let deliveries = ["e1", "e2"].map(|event| first("acme", webhook, event));
        let held = taken(&bench, &deliveries.each_ref()).await;
        for (held, delivery) in held.iter().zip(&deliveries) {
            assert_eq!(bench.settle(&[attempted(held, delivery, Next::Failed)]).await, [StepAnswer::Done], "{spoil}");
        }
        let failed = bench.entries(&format!("failed:{webhook}")).await;
        assert_eq!(failed.len(), 1, "{spoil}");
        assert_eq!(failed[0].1[0].1, text(&deliveries[1], TRANSCRIPT), "the newest is kept: {spoil}");
        assert_eq!((bench.len("queue").await, bench.pending().await), (0, 0), "{spoil}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_delivery_waits_once_for_the_earlier_time_and_the_other_is_counted() {
    let bench = Bench::new().await;
    let webhook = bench.webhook("acme", true).await;
    let delivery = first("acme", webhook, "e1");
    let held = taken(&bench, &[&delivery, &delivery]).await;
    let later = Next::Retry { after: Duration::from_secs(600) };
    let attempts = [attempted(&held[0], &delivery, RETRY), attempted(&held[1], &delivery, later)];
    assert_eq!(bench.settle(&attempts).await, [StepAnswer::Done, StepAnswer::Done]);
    let waiting = retries(&bench).await;
    assert_eq!(waiting.len(), 1);
    let now = bench.store.now(0).await.unwrap().timestamp_millis();
    assert!(waiting[0].1 <= now + 2000, "the first one's time stays");
    assert_eq!(bench.counted("retries_merged").await, 1);
    assert_eq!((bench.len("queue").await, bench.pending().await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_test_buttons_entry_sets_the_visit_within_the_hour_and_never_later() {
    let bench = Bench::new().await;
    let webhook = bench.webhook("acme", false).await;
    let log = log_of(&first("acme", webhook, "test"));
    assert!(bench.store.log(&account_id("acme"), webhook, &log).await.unwrap());
    let due = bench.visit_in_ms("acme", webhook).await.unwrap();
    assert!((HOUR_MS / 2..=HOUR_MS).contains(&due), "{due}");
    bench.cli::<()>(&format!("ZADD {} 5 acme/{webhook}", bench.key("visits"))).await;
    for _ in 0..60 {
        assert!(bench.store.log(&account_id("acme"), webhook, &log).await.unwrap());
    }
    assert_eq!(bench.cli::<i64>(&format!("ZSCORE {} acme/{webhook}", bench.key("visits"))).await, 5);
    assert_eq!(bench.log(webhook).await.len(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visits_key_of_a_wrong_type_does_not_prevent_a_log_entry() {
    let bench = Bench::new().await;
    let mut attempts = Vec::new();
    for account in ["acme", "other"] {
        let webhook = bench.webhook(account, true).await;
        let delivery = first(account, webhook, "e1");
        bench.queue(&delivery).await;
        attempts.push(delivery);
    }
    bench.cli::<()>(&format!("SET {} x", bench.key("visits"))).await;
    let taken = bench.take("a").await;
    let settled: Vec<_> = taken.iter().zip(&attempts).map(|(held, d)| attempted(held, d, Next::Delivered)).collect();
    assert_eq!(bench.settle(&settled).await, [StepAnswer::Done, StepAnswer::Done]);
    for delivery in &attempts {
        assert_eq!(bench.log(delivery.webhook).await.len(), 1);
    }
    assert_eq!((bench.len("queue").await, bench.pending().await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_gets_its_expiry_and_its_visit_with_its_first_entry_and_when_they_are_renewed() {
    let bench = Bench::new().await;
    let webhook = bench.webhook("acme", true).await;
    let log = bench.key(&format!("logs:{webhook}"));
    let span = LOG_RETENTION.as_secs();
    for (number, renew, expected) in [(0, &[][..], true), (1, &[], false), (2, &[webhook], true)] {
        let delivery = first("acme", webhook, &format!("e{number}"));
        bench.queue(&delivery).await;
        let held = bench.take("a").await.remove(0);
        bench.settle_and_renew(&[attempted(&held, &delivery, Next::Delivered)], renew).await;
        assert_eq!(bench.visit_in_ms("acme", webhook).await.is_some(), expected, "{number}");
        let left: u64 = bench.cli(&format!("TTL {log}")).await;
        assert_eq!(left + 60 > span, expected, "{number}: {left}");
        bench.cli::<()>(&format!("DEL {}", bench.key("visits"))).await;
        bench.cli::<()>(&format!("EXPIRE {log} 1000")).await;
    }
    assert_eq!(bench.log(webhook).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_to_a_webhook_with_a_log_are_settled_together_except_those_of_another_holder() {
    let bench = Bench::new().await;
    let webhooks = [bench.webhook("acme", true).await, bench.webhook("acme", true).await];
    let begin = webhooks.map(|webhook| first("acme", webhook, "e0"));
    for (held, delivery) in taken(&bench, &begin.each_ref()).await.iter().zip(&begin) {
        bench.settle(&[attempted(held, delivery, Next::Delivered)]).await;
    }
    let deliveries: Vec<_> =
        ["e1", "e2", "e3"].iter().flat_map(|event| webhooks.map(|webhook| first("acme", webhook, event))).collect();
    let held = taken(&bench, &deliveries.iter().collect::<Vec<_>>()).await;
    let second_of_the_second = &held[3].entry.0;
    let claim = format!("XCLAIM {} workers b 0 {second_of_the_second} JUSTID", bench.key("queue"));
    bench.cli::<Vec<String>>(&claim).await;
    let attempts: Vec<_> = held.iter().zip(&deliveries).map(|(held, d)| attempted(held, d, Next::Delivered)).collect();
    let expected =
        [StepAnswer::Done, StepAnswer::Done, StepAnswer::Done, StepAnswer::Lost, StepAnswer::Done, StepAnswer::Done];
    assert_eq!(bench.settle(&attempts).await, expected);
    assert_eq!((bench.len("queue").await, bench.pending().await), (1, 1));
    let logged = |log: Vec<serde_json::Value>| {
        log.iter().map(|entry| entry["deliveryId"].as_str().unwrap().to_owned()).collect()
    };
    let ids = |of: &[usize]| of.iter().map(|index| deliveries[*index].id.clone()).collect::<Vec<_>>();
    let [whole, rest]: [Vec<String>; 2] = [logged(bench.log(webhooks[0]).await), logged(bench.log(webhooks[1]).await)];
    assert_eq!(whole, [ids(&[4, 2, 0]), vec![begin[0].id.clone()]].concat(), "newest first");
    assert_eq!(rest, [ids(&[5, 1]), vec![begin[1].id.clone()]].concat(), "newest first");
    assert_eq!(bench.settle(&attempts).await, vec![StepAnswer::Lost; 6], "a late result changes nothing");
    assert_eq!((bench.log(webhooks[0]).await.len(), bench.log(webhooks[1]).await.len()), (4, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_log_an_unreadable_webhook_keeps_its_attempts_and_a_deleted_one_drops_them() {
    let bench = Bench::new().await;
    let (webhook, gone) = (bench.webhook("acme", true).await, bench.webhook("other", true).await);
    let deliveries = [first("acme", webhook, "e1"), first("other", gone, "e2"), first("other", gone, "e3")];
    let held = taken(&bench, &deliveries.each_ref()).await;
    bench.cli::<()>(&format!("SET {} x", bench.key("webhooks:acme"))).await;
    bench.cli::<()>(&format!("HDEL {} {gone}", bench.key("webhooks:other"))).await;
    let nexts = [Next::Delivered, Next::Delivered, RETRY];
    let attempts: Vec<_> =
        held.iter().zip(&deliveries).zip(nexts).map(|((held, d), next)| attempted(held, d, next)).collect();
    let answers = bench.settle(&attempts).await;
    assert!(matches!(answers[0], StepAnswer::Broken(_)), "{answers:?}");
    assert_eq!(answers[1..], [StepAnswer::Gone, StepAnswer::Gone]);
    assert_eq!((bench.len("queue").await, bench.pending().await, bench.len("retries").await), (1, 1, 0));
    assert_eq!(bench.counted("deliveries_of_deleted_webhook").await, 2);
    assert!(bench.log(webhook).await.is_empty() && bench.log(gone).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn if_many_have_failed_the_limits_hold_and_a_lost_visit_is_planned_again() {
    let failed = |webhook: WebhookId| format!("failed:{webhook}");
    let one_by_one = async |bench: &Bench, webhook: WebhookId, count: usize, renew: &[WebhookId]| {
        let delivery = first("acme", webhook, "e1");
        let (mut answers, mut most) = (Vec::new(), 0);
        for _ in 0..count {
            let held = taken(bench, &[&delivery]).await.remove(0);
            answers.extend(bench.settle_and_renew(&[attempted(&held, &delivery, Next::Failed)], renew).await);
            most = most.max(bench.len(&failed(webhook)).await);
        }
        (answers, most)
    };

    let bench = Bench::with(&[("LYNKHOOK_FAILED__LIMIT", "37")]).await;
    let webhook = bench.webhook("acme", true).await;
    assert_eq!(one_by_one(&bench, webhook, 60, &[]).await, (vec![StepAnswer::Done; 60], 37));
    assert_eq!(bench.counted("failed_overflow").await, 23);
    // The stream stays at its limit, so only a renewed log makes the script look at the webhook.
    for (renew, is_planned) in [(&[][..], false), (&[webhook], true)] {
        bench.cli::<()>(&format!("DEL {}", bench.key("visits"))).await;
        one_by_one(&bench, webhook, 17, renew).await;
        assert_eq!(bench.visit_in_ms("acme", webhook).await.is_some(), is_planned);
    }
    bench.cli::<()>(&format!("HDEL {} {webhook}", bench.key("webhooks:acme"))).await;
    assert_eq!(one_by_one(&bench, webhook, 1, &[webhook]).await.0, [StepAnswer::Gone]);
    assert_eq!((bench.len("queue").await, bench.pending().await), (0, 0));

    let webhook = bench.webhook("acme", true).await;
    one_by_one(&bench, webhook, 20, &[]).await;
    bench.cli::<()>(&format!("DEL {}", bench.key("visits"))).await;
    one_by_one(&bench, webhook, 16, &[]).await;
    assert!(bench.visit_in_ms("acme", webhook).await.is_some_and(|due| due <= HOUR_MS));
    for _ in 0..20 {
        bench.append(&failed(webhook), &[("delivery", "x"), ("log", "{}")]).await;
    }
    one_by_one(&bench, webhook, 1, &[]).await;
    assert_eq!((bench.len(&failed(webhook)).await, bench.counted("failed_overflow").await), (37, 23 + 34 + 20));

    // New failures say nothing about the size of the three deliveries that failed first.
    let bench = Bench::with(&[("LYNKHOOK_FAILED__MAX_BYTES", "1MiB")]).await;
    let webhook = bench.webhook("acme", true).await;
    let large = "x".repeat(300 << 10);
    for _ in 0..3 {
        bench.append(&failed(webhook), &[("delivery", &large), ("log", "{}")]).await;
    }
    let (_, most) = one_by_one(&bench, webhook, 400, &[]).await;
    let bytes = bench.bytes(&failed(webhook)).await;
    assert!(bytes <= (1 << 20) + (16 << 10), "{bytes}");
    let dropped = usize::try_from(bench.counted("failed_overflow").await).unwrap();
    assert_eq!(dropped + bench.len(&failed(webhook)).await, 403);
    assert!(most > 100, "the small ones are kept: {most}");

    // The stream is at its limit and has too many bytes; the new delivery is small, and not a sixteenth one.
    let bench = Bench::with(&[("LYNKHOOK_FAILED__MAX_BYTES", "1MiB"), ("LYNKHOOK_FAILED__LIMIT", "37")]).await;
    let webhook = bench.webhook("acme", true).await;
    for number in 0..37 {
        let delivery = if number < 5 { &large } else { "x" };
        bench.append(&failed(webhook), &[("delivery", delivery), ("log", "{}")]).await;
    }
    one_by_one(&bench, webhook, 1, &[webhook]).await;
    let bytes = bench.bytes(&failed(webhook)).await;
    assert!(bytes <= 1 << 20, "{bytes}");
}
