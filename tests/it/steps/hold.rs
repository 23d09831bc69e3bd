//! Holding: a delivery waits beside the queue while its webhook is off or its endpoint has no room. A retry whose
//! endpoint has no room goes back to the retries.

use super::*;

async fn taken(active: bool) -> (Bench, WebhookId, Fence, Delivery) {
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
    assert_eq!(bench.hold(&held, &delivery, Reason::Off).await, StepAnswer::Active);
    assert_eq!(changed(&before, &bench.state().await), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_delivery_is_whole_and_visited_within_the_hour() {
    let (bench, webhook, held, delivery) = taken(false).await;
    assert_eq!(bench.hold(&held, &delivery, Reason::Off).await, StepAnswer::Done);
    let entries = bench.entries(&format!("held:{webhook}")).await;
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].1, [("delivery".to_owned(), text(&delivery, TRANSCRIPT))]);
    let due = bench.visit_in_ms("acme", webhook).await.unwrap();
    assert!((HOUR_MS / 2..=HOUR_MS).contains(&due), "{due}");
    assert_eq!((bench.len("queue").await, bench.pending().await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_waits_for_its_endpoint_is_held_and_its_release_is_planned() {
    for is_new in [true, false] {
        let (bench, webhook, held, delivery) = taken(true).await;
        let reason = Reason::Busy { release_in: Duration::from_secs(9), is_new };
        assert_eq!(bench.hold(&held, &delivery, reason).await, StepAnswer::Done);
        assert_eq!(bench.entries(&format!("held:{webhook}")).await[0].1[0].1, text(&delivery, TRANSCRIPT));
        let due = bench.release_in_ms("acme", webhook).await.unwrap();
        assert!((5_000..=9_000).contains(&due), "{due}");
        let visit = bench.visit_in_ms("acme", webhook).await.unwrap();
        assert!((HOUR_MS / 2 - 1000..=HOUR_MS).contains(&visit), "and a visit will check its age: {visit}");
        assert_eq!((bench.len("queue").await, bench.pending().await), (0, 0));
    }
}

const NEW: Reason = Reason::Busy { release_in: PACE, is_new: true };
const KNOWN: Reason = Reason::Busy { release_in: PACE, is_new: false };

/// Queues one delivery several times and holds all copies together.
async fn hold_together(bench: &Bench, delivery: &Delivery, envelope: &str, reasons: &[Reason]) -> Vec<StepAnswer> {
    for _ in reasons {
        bench.append("queue", &[("delivery", &text(delivery, envelope))]).await;
    }
    let mut waiting = Vec::new();
    for (held, reason) in bench.take("a").await.iter().zip(reasons) {
        waiting.push(bench.waiting(held, delivery, *reason).await);
    }
    bench.store.hold(0, "a", &waiting).await.unwrap()
}

/// Edits the settings of one of acme's webhooks by hand: switches it on or off.
async fn switch(bench: &Bench, webhook: WebhookId, active: bool) {
    let mut redis = bench.redis.clone();
    let settings: String = redis.hget(bench.key("webhooks:acme"), webhook.to_string()).await.unwrap();
    let switched = settings.replace(&format!(r#""active":{}"#, !active), &format!(r#""active":{active}"#));
    let _: () = redis.hset(bench.key("webhooks:acme"), webhook.to_string(), switched).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_limit_a_new_delivery_of_a_webhook_that_is_on_is_refused_and_displaces_no_other() {
    let bench = Bench::with(&[("LYNKHOOK_HELD__LIMIT", "3")]).await;
    let webhook = bench.webhook("acme", true).await;
    let (delivery, held) = (first("acme", webhook, "e1"), format!("held:{webhook}"));
    assert_eq!(hold_together(&bench, &delivery, TRANSCRIPT, &[NEW; 2]).await, [StepAnswer::Done, StepAnswer::Done]);
    let together = hold_together(&bench, &delivery, TRANSCRIPT, &[NEW; 2]).await;
    assert_eq!(together, [StepAnswer::Done, StepAnswer::Full], "deliveries held earlier in the batch count");
    let (before, queued) = (bench.state().await, bench.entries("queue").await);
    let refused = bench.take("a").await;
    assert_eq!((refused.len(), bench.pending().await), (0, 1), "the entry stays in the queue");
    // From Redis 7.2 on, a stream records when a consumer last asked.
    let changed = changed(&before, &bench.state().await);
    assert!(changed.iter().all(|key| *key == bench.key("queue")), "{changed:?}");
    assert_eq!(bench.entries("queue").await, queued);

    // Once the webhook is off, the same delivery is held, and the oldest is dropped.
    let oldest = bench.entries(&held).await.remove(0).0;
    switch(&bench, webhook, false).await;
    assert_eq!(hold_together(&bench, &delivery, TRANSCRIPT, &[NEW]).await, [StepAnswer::Done]);
    assert_eq!((bench.len(&held).await, bench.counted("held_overflow").await), (3, 1));
    assert!(bench.entries(&held).await.iter().all(|(id, _)| *id != oldest), "the oldest was dropped");
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_limit_of_bytes_a_new_delivery_of_a_webhook_that_is_on_is_refused() {
    let envelope = envelope_of(1000);
    let each = text(&first("acme", WebhookId::new(uuid::Uuid::now_v7()), "e1"), &envelope).len();
    // The last delivery is held while the sum is at least one byte below the limit.
    for (limit, fit) in [(3 * each, 3), (3 * each + 1, 4)] {
        let bench = Bench::with(&[("LYNKHOOK_HELD__MAX_BYTES", &limit.to_string())]).await;
        let webhook = bench.webhook("acme", true).await;
        let delivery = first("acme", webhook, "e1");
        let mut answers = hold_together(&bench, &delivery, &envelope, &[NEW; 2]).await;
        answers.extend(hold_together(&bench, &delivery, &envelope, &[NEW; 3]).await);
        let held = answers.iter().take_while(|answer| **answer == StepAnswer::Done).count();
        assert_eq!((held, &answers[held..]), (fit, &vec![StepAnswer::Full; 5 - fit][..]), "{limit}");
        assert_eq!(bench.len(&format!("held:{webhook}")).await, fit);
        assert_eq!(bench.held_bytes(webhook).await, Some((fit * each).to_string()));
        let visit = bench.visit_in_ms("acme", webhook).await.unwrap();
        assert!(visit > HOUR_MS / 3, "nothing is trimmed while the webhook is on, so nothing is measured: {visit}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_delivery_is_held_however_much_is_held_already() {
    let bench = Bench::with(&[("LYNKHOOK_HELD__LIMIT", "2"), ("LYNKHOOK_HELD__MAX_BYTES", "20KiB")]).await;
    for (account, size) in [("acme", 10), ("other", 15_000)] {
        let webhook = bench.webhook(account, true).await;
        let delivery = first(account, webhook, "e1");
        let reasons = [NEW, KNOWN, KNOWN, NEW, KNOWN, NEW];
        let answers = hold_together(&bench, &delivery, &envelope_of(size), &reasons).await;
        let expected = reasons.map(|reason| if reason == NEW { StepAnswer::Full } else { StepAnswer::Done });
        assert_eq!((&answers[0], &answers[1..]), (&StepAnswer::Done, &expected[1..]), "{account}");
        assert_eq!(bench.len(&format!("held:{webhook}")).await, 4, "{account}");
    }
    assert_eq!(bench.counted("held_overflow").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn if_a_webhook_holds_too_much_when_switched_off_the_newest_stay_within_the_limit() {
    for reason in [Reason::Off, NEW, KNOWN] {
        let bench = Bench::with(&[("LYNKHOOK_HELD__LIMIT", "2")]).await;
        let webhook = bench.webhook("acme", true).await;
        let (delivery, held) = (first("acme", webhook, "e1"), format!("held:{webhook}"));
        assert_eq!(hold_together(&bench, &delivery, TRANSCRIPT, &[KNOWN; 5]).await, vec![StepAnswer::Done; 5]);
        switch(&bench, webhook, false).await;
        let fourth = bench.entries(&held).await[4].0.clone();
        assert_eq!(hold_together(&bench, &delivery, TRANSCRIPT, &[reason]).await, [StepAnswer::Done], "{reason:?}");
        let left = bench.entries(&held).await;
        assert_eq!((left.len(), &left[0].0, bench.counted("held_overflow").await), (2, &fourth, 4), "{reason:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn holding_adds_exactly_the_held_bytes_to_the_sum() {
    let bench = Bench::with(&[("LYNKHOOK_HELD__LIMIT", "2")]).await;
    let [busy, off] = [bench.webhook("acme", true).await, bench.webhook("acme", false).await];
    let [delivery, to_off] = [busy, off].map(|webhook| first("acme", webhook, "e1"));
    let bytes = |count: usize| Some((count * text(&delivery, TRANSCRIPT).len()).to_string());
    assert_eq!(bench.held_bytes(busy).await, None);
    let answers = hold_together(&bench, &delivery, TRANSCRIPT, &[Reason::Off, NEW, KNOWN, NEW]).await;
    assert_eq!(answers, [StepAnswer::Active, StepAnswer::Done, StepAnswer::Done, StepAnswer::Full]);
    assert_eq!(bench.held_bytes(busy).await, bytes(2));
    // The entry was deleted by hand while its holder had it: it is neither held nor counted.
    bench.queue(&delivery).await;
    let deleted = bench.take("a").await.remove(0);
    bench.cli::<()>(&format!("XDEL {} {}", bench.key("queue"), deleted.entry.0)).await;
    assert_eq!(bench.hold(&deleted, &delivery, KNOWN).await, StepAnswer::Done);
    assert_eq!((bench.held_bytes(busy).await, bench.len(&format!("held:{busy}")).await), (bytes(2), 2));
    // The oldest is dropped without being read, so its bytes stay in the sum until a visit measures them.
    for held in 1..=3 {
        assert_eq!(hold_together(&bench, &to_off, TRANSCRIPT, &[Reason::Off]).await, [StepAnswer::Done]);
        assert_eq!(bench.held_bytes(off).await, bytes(held));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn if_the_sum_of_held_bytes_is_missing_a_visit_is_due_now_and_the_sum_stays_unknown() {
    // The damage to the sum, and whether a visit can mend it.
    for (what, spoil, mended) in [
        ("lost", "DEL {sums}", true),
        ("junk", "HSET {sums} {webhook} junk", true),
        ("no number", "HSET {sums} {webhook} nan", true),
        ("no hash", "SET {sums} x", false),
    ] {
        let bench = Bench::new().await;
        let webhook = bench.webhook("acme", true).await;
        let (delivery, held) = (first("acme", webhook, "e1"), format!("held:{webhook}"));
        let later = Reason::Busy { release_in: Duration::from_secs(60), is_new: true };
        hold_together(&bench, &delivery, TRANSCRIPT, &[later; 2]).await;
        bench.cli::<()>(&format!("DEL {}", bench.key("held_bytes"))).await;
        let spoil = spoil.replace("{sums}", &bench.key("held_bytes")).replace("{webhook}", &webhook.to_string());
        bench.cli::<redis::Value>(&spoil).await;
        assert_eq!(hold_together(&bench, &delivery, TRANSCRIPT, &[later]).await, [StepAnswer::Done], "{what}");
        assert!(bench.visit_in_ms("acme", webhook).await.unwrap() <= 0, "{what}");
        bench.visit("acme", webhook).await;
        let weight = bench.bytes(&held).await.to_string();
        let sum = if mended { Some(weight) } else { None };
        assert_eq!(bench.held_bytes(webhook).await, sum, "{what}");
        assert_eq!(bench.release("acme", webhook).await, 3, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_without_room_goes_back_to_the_retries_and_is_due_again() {
    let (bench, webhook, held, delivery) = taken(true).await;
    let before = bench.store.now(0).await.unwrap().timestamp_millis();
    let again = Reason::Again { after: Duration::from_millis(700) };
    assert_eq!(bench.hold(&held, &delivery, again).await, StepAnswer::Done);
    let after = bench.store.now(0).await.unwrap().timestamp_millis();
    let waiting: Vec<(String, i64)> = bench.redis.clone().zrange_withscores(bench.key("retries"), 0, -1).await.unwrap();
    let [(waiting, due)] = &waiting[..] else { panic!("{waiting:?}") };
    assert_eq!(*waiting, text(&delivery, TRANSCRIPT), "with the number that its next attempt has");
    assert!((before + 700..=after + 700).contains(due), "{before} {due} {after}");
    assert_eq!((bench.len("queue").await, bench.pending().await), (0, 0));
    assert_eq!((bench.len(&format!("held:{webhook}")).await, bench.held_bytes(webhook).await), (0, None));
    assert_eq!(bench.release_in_ms("acme", webhook).await, None, "nothing is held for it");
    assert_eq!(bench.visit_in_ms("acme", webhook).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_without_room_goes_back_though_held_is_full_and_though_its_webhook_is_off() {
    for active in [true, false] {
        let bench = Bench::with(&[("LYNKHOOK_HELD__LIMIT", "1")]).await;
        let webhook = bench.webhook("acme", active).await;
        let (held, delivery) = (format!("held:{webhook}"), first("acme", webhook, "e1"));
        let again = Reason::Again { after: PACE };
        assert_eq!(hold_together(&bench, &delivery, TRANSCRIPT, &[KNOWN, again]).await, vec![StepAnswer::Done; 2]);
        assert_eq!((bench.len(&held).await, bench.counted("held_overflow").await), (1, 0), "{active}");
        assert_eq!(bench.cli::<usize>(&format!("ZCARD {}", bench.key("retries"))).await, 1, "{active}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_waits_already_keeps_its_time_and_the_other_is_counted() {
    let (bench, _, held, delivery) = taken(true).await;
    let _: () = bench.redis.clone().zadd(bench.key("retries"), text(&delivery, TRANSCRIPT), 5).await.unwrap();
    assert_eq!(bench.hold(&held, &delivery, Reason::Again { after: PACE }).await, StepAnswer::Done);
    assert_eq!(bench.cli::<usize>(&format!("ZCOUNT {} 5 5", bench.key("retries"))).await, 1);
    assert_eq!((bench.counted("retries_merged").await, bench.len("queue").await, bench.pending().await), (1, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_released_delivery_keeps_the_time_since_when_it_was_held_even_if_its_worker_leaves() {
    let (bench, webhook, held, delivery) = taken(true).await;
    assert_eq!(bench.hold(&held, &delivery, NEW).await, StepAnswer::Done);
    let held_as = bench.entries(&format!("held:{webhook}")).await[0].0.clone();
    assert_eq!(bench.release("acme", webhook).await, 1);
    let expected = [("delivery".to_owned(), text(&delivery, TRANSCRIPT)), ("held".to_owned(), held_as)];
    assert_eq!(bench.entries("queue").await[0].1, expected);
    let again = bench.take("b").await.remove(0);
    assert_eq!(bench.store.leave(0, "b", true, &[(again, String::new())]).await.unwrap(), 1);
    assert_eq!(bench.entries("queue").await[0].1, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_cannot_be_held_does_not_block_its_neighbours() {
    let bench = Bench::new().await;
    let webhooks = [bench.webhook("acme", false).await, bench.webhook("other", false).await];
    let deliveries = [first("acme", webhooks[0], "e1"), first("other", webhooks[1], "e2")];
    for delivery in &deliveries {
        bench.queue(delivery).await;
    }
    bench.cli::<()>(&format!("SET {} x", bench.key(&format!("held:{}", webhooks[0])))).await;
    let taken = bench.take("a").await;
    let mut waiting = Vec::new();
    for (held, delivery) in taken.iter().zip(&deliveries) {
        waiting.push(bench.waiting(held, delivery, Reason::Off).await);
    }
    let answers = bench.store.hold(0, "a", &waiting).await.unwrap();
    assert!(matches!(answers[..], [StepAnswer::Broken(_), StepAnswer::Done]), "{answers:?}");
    assert_eq!((bench.len("queue").await, bench.pending().await), (1, 1), "the first entry stays in the queue");
    assert_eq!(bench.held_bytes(webhooks[0]).await, None);

    // The same with one webhook: its retry cannot go back, and its new delivery is held.
    let spoiled = bench.key("retries");
    bench.cli::<()>(&format!("SET {spoiled} x")).await;
    let reasons = [Reason::Again { after: PACE }, Reason::Off];
    let answers = hold_together(&bench, &deliveries[1], TRANSCRIPT, &reasons).await;
    assert!(matches!(answers[..], [StepAnswer::Broken(_), StepAnswer::Done]), "{answers:?}");
    assert_eq!((bench.len("queue").await, bench.pending().await), (2, 2), "the retry stays in the queue");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_held_even_if_its_webhooks_settings_cannot_be_read() {
    for settings in ["junk", "null", "5", "[]", "{}", r#"{"active":null}"#, r#"{"id":"wh_x","active":true}"#] {
        let (bench, webhook, held, delivery) = taken(true).await;
        bench.cli::<()>(&format!("HSET {} {webhook} {settings}", bench.key("webhooks:acme"))).await;
        assert_eq!(bench.hold(&held, &delivery, Reason::Off).await, StepAnswer::Done, "{settings}");
        assert_eq!((bench.len("queue").await, bench.pending().await), (0, 0), "{settings}");
        assert_eq!(bench.len(&format!("held:{webhook}")).await, 1, "{settings}");
        assert!(bench.visit_in_ms("acme", webhook).await.is_some(), "{settings}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn holding_does_not_delay_an_earlier_visit() {
    let (bench, webhook, held, delivery) = taken(false).await;
    bench.cli::<()>(&format!("ZADD {} 5 acme/{webhook}", bench.key("visits"))).await;
    assert_eq!(bench.hold(&held, &delivery, Reason::Off).await, StepAnswer::Done);
    assert_eq!(bench.cli::<i64>(&format!("ZSCORE {} acme/{webhook}", bench.key("visits"))).await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_of_a_deleted_webhook_is_dropped_and_counted_whatever_was_to_follow() {
    let retry = Next::Retry { after: Duration::ZERO };
    let holds = [Reason::Off, NEW, KNOWN, Reason::Again { after: Duration::ZERO }].map(Err);
    for next in holds.into_iter().chain([Next::Delivered, retry, Next::Failed].map(Ok)) {
        let (bench, webhook, held, delivery) = taken(false).await;
        bench.store.delete_webhook(&account_id("acme"), webhook).await.unwrap();
        let answer = match next {
            Err(reason) => bench.hold(&held, &delivery, reason).await,
            Ok(next) => bench.settle(&[attempted(&held, &delivery, next)]).await.remove(0),
        };
        assert_eq!(answer, StepAnswer::Gone, "{next:?}");
        assert_eq!((bench.len("queue").await, bench.pending().await), (0, 0), "{next:?}");
        assert_eq!(bench.counted("deliveries_of_deleted_webhook").await, 1, "{next:?}");
        let left = bench.cli::<Vec<String>>(&format!("KEYS {}:*{webhook}*", bench.prefix)).await;
        assert_eq!(left, [""; 0], "{next:?}");
        assert_eq!(bench.visit_in_ms("acme", webhook).await, None, "{next:?}");
        assert_eq!(bench.release_in_ms("acme", webhook).await, None, "{next:?}");
        assert_eq!(bench.held_bytes(webhook).await, None, "{next:?}");
        assert_eq!(bench.cli::<usize>(&format!("ZCARD {}", bench.key("retries"))).await, 0, "{next:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_batch_plans_a_lost_visit_or_release_again_and_holds_nothing_if_it_cannot() {
    let bench = Bench::with(&[("LYNKHOOK_HELD__LIMIT", "3")]).await;
    let webhook = bench.webhook("acme", true).await;
    let delivery = first("acme", webhook, "e1");
    for expected in [StepAnswer::Done, StepAnswer::Done, StepAnswer::Done, StepAnswer::Full] {
        bench.cli::<()>(&format!("DEL {}", bench.key("releases"))).await;
        assert_eq!(hold_together(&bench, &delivery, TRANSCRIPT, &[NEW]).await, [expected]);
        assert!(bench.release_in_ms("acme", webhook).await.is_some_and(|due| due <= 50));
    }
    let off = bench.webhook("other", false).await;
    for _ in 0..2 {
        bench.cli::<()>(&format!("DEL {}", bench.key("visits"))).await;
        hold_together(&bench, &first("other", off, "e1"), TRANSCRIPT, &[Reason::Off]).await;
        assert!(bench.visit_in_ms("other", off).await.is_some());
    }
    bench.cli::<()>(&format!("SET {} x", bench.key("releases"))).await;
    let answers = hold_together(&bench, &delivery, TRANSCRIPT, &[KNOWN; 5]).await;
    assert!(answers.iter().all(|answer| matches!(answer, StepAnswer::Broken(_))), "{answers:?}");
    assert_eq!((bench.len(&format!("held:{webhook}")).await, bench.pending().await), (3, 6));
}

#[tokio::test(flavor = "multi_thread")]
async fn holding_checks_the_fence_and_the_switch_even_if_deliveries_are_held_already() {
    let bench = Bench::new().await;
    let webhook = bench.webhook("acme", true).await;
    let (delivery, held) = (first("acme", webhook, "e1"), format!("held:{webhook}"));
    hold_together(&bench, &delivery, TRANSCRIPT, &[NEW; 2]).await;
    bench.queue(&delivery).await;
    let taken = bench.take("a").await.remove(0);
    assert_eq!(bench.hold(&taken, &delivery, Reason::Off).await, StepAnswer::Active);
    bench.cli::<redis::Value>(&format!("XCLAIM {} workers b 0 {}", bench.key("queue"), taken.entry.0)).await;
    let before = bench.state().await;
    for reason in [Reason::Off, NEW, KNOWN, Reason::Again { after: PACE }] {
        assert_eq!(bench.hold(&taken, &delivery, reason).await, StepAnswer::Lost, "{reason:?}");
        assert_eq!(changed(&before, &bench.state().await), [""; 0], "{reason:?}");
    }
    assert_eq!((bench.len("queue").await, bench.len(&held).await), (1, 2));
}
