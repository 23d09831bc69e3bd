//! Holding: a delivery waits beside the queue while its webhook is off, or its endpoint has too much in flight.

use super::*;

async fn taken(active: bool) -> (Bench, WebhookId, Held, Delivery) {
    let bench = Bench::new().await;
    let webhook = bench.webhook("acme", active).await;
    let delivery = first("acme", webhook, "e1").next_attempt();
    bench.queue(&delivery).await;
    let held = bench.take("a").await.remove(0);
    (bench, webhook, held, delivery)
}

/// All that consumer `a` takes now, to be held together: entries of one delivery.
async fn take_to_hold(bench: &Bench, delivery: &Delivery, reason: Reason) -> Vec<Waiting> {
    let mut waiting = Vec::new();
    for held in bench.take("a").await {
        waiting.push(bench.waiting(&held, delivery, reason).await);
    }
    waiting
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_on_after_all_says_so_and_nothing_changes() {
    let (bench, _, held, delivery) = taken(true).await;
    let before = bench.state().await;
    assert_eq!(bench.hold(&held, &delivery, Reason::Off).await, Settled::Active);
    assert_eq!(changed(&before, &bench.state().await), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_is_whole_and_visited_within_the_hour() {
    let (bench, webhook, held, delivery) = taken(false).await;
    assert_eq!(bench.hold(&held, &delivery, Reason::Off).await, Settled::Done);
    let entries = bench.entries(&format!("held:{webhook}")).await;
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].1, [("delivery".to_owned(), text(&delivery, TRANSCRIPT))]);
    let due = bench.visit_in_ms("acme", webhook).await.unwrap();
    assert!((HOUR_MS / 2..=HOUR_MS).contains(&due), "{due}");
    assert_eq!((bench.len("queue").await, bench.pending().await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_its_endpoint_is_held_though_its_webhook_is_on_and_visited_when_said() {
    for within in [Within::Once, Within::FourTimes, Within::EightTimes, Within::Any] {
        let (bench, webhook, held, delivery) = taken(true).await;
        let reason = Reason::Busy { visit_in: Duration::from_secs(9), within };
        assert_eq!(bench.hold(&held, &delivery, reason).await, Settled::Done);
        assert_eq!(bench.entries(&format!("held:{webhook}")).await[0].1[0].1, text(&delivery, TRANSCRIPT));
        let due = bench.visit_in_ms("acme", webhook).await.unwrap();
        assert!((5_000..=9_000).contains(&due), "{due}");
        assert_eq!((bench.len("queue").await, bench.pending().await), (0, 0));
    }
}

const fn busy(within: Within) -> Reason {
    Reason::Busy { visit_in: PACE, within }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_its_webhook_is_on_nothing_is_held_at_the_cost_of_another() {
    let small = [("LYNKHOOK_HELD__LIMIT", "2"), ("LYNKHOOK_HELD__MAX_BYTES", "20KiB")];
    let large = envelope_of(19_000);
    for (what, envelopes) in [("entries", &[TRANSCRIPT; 3][..]), ("bytes", &[&large, TRANSCRIPT])] {
        for active in [true, false] {
            let bench = Bench::with(&small).await;
            let webhook = bench.webhook("acme", active).await;
            for (number, envelope) in envelopes.iter().enumerate() {
                let delivery = first("acme", webhook, &format!("e{number}"));
                bench.append("queue", &[("delivery", &text(&delivery, envelope))]).await;
            }
            let mut taken = bench.take("a").await;
            let last = taken.pop().unwrap();
            for (number, held) in taken.iter().enumerate() {
                let delivery = first("acme", webhook, &format!("e{number}"));
                assert_eq!(bench.hold(held, &delivery, busy(Within::Once)).await, Settled::Done, "{what}");
            }
            let before = bench.state().await;
            let answer = bench.hold(&last, &first("acme", webhook, "last"), busy(Within::Once)).await;
            let held = bench.len(&format!("held:{webhook}")).await;
            let overflowed = bench.counted("held_overflow").await;
            if active {
                assert_eq!((answer, held, overflowed), (Settled::Full, taken.len(), 0), "{what}");
                assert_eq!(changed(&before, &bench.state().await), [""; 0], "{what}: nothing changes");
            } else {
                // It was switched off in between: then the oldest goes.
                assert_eq!((answer, held, overflowed), (Settled::Done, taken.len(), 1), "{what}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_times_as_much_may_be_held_where_more_may_and_what_was_held_before_in_any_case() {
    let large = envelope_of(10_000);
    // How many are held, of which size, within what one more is to be held, and whether it is.
    let cases = [
        (1, TRANSCRIPT, Within::Once, true),
        (2, TRANSCRIPT, Within::Once, false),
        (2, TRANSCRIPT, Within::FourTimes, true),
        (7, TRANSCRIPT, Within::FourTimes, true),
        (8, TRANSCRIPT, Within::FourTimes, false),
        (8, TRANSCRIPT, Within::EightTimes, true),
        (15, TRANSCRIPT, Within::EightTimes, true),
        (16, TRANSCRIPT, Within::EightTimes, false),
        (16, TRANSCRIPT, Within::Any, true),
        (1, &large, Within::Once, false),
        (2, &large, Within::FourTimes, true),
        (7, &large, Within::FourTimes, false),
        (7, &large, Within::EightTimes, true),
        (15, &large, Within::EightTimes, false),
        (15, &large, Within::Any, true),
    ];
    let bench = Bench::with(&[("LYNKHOOK_HELD__LIMIT", "2"), ("LYNKHOOK_HELD__MAX_BYTES", "20KiB")]).await;
    let mut deliveries = Vec::new();
    for (number, (held, envelope, ..)) in cases.iter().enumerate() {
        let account = format!("a{number}");
        let delivery = first(&account, bench.webhook(&account, true).await, "e1");
        let text = text(&delivery, envelope);
        for _ in 0..*held {
            bench.append(&format!("held:{}", delivery.webhook), &[("delivery", &text)]).await;
        }
        bench.append("queue", &[("delivery", &text)]).await;
        deliveries.push(delivery);
    }
    // All in one batch: what is known of one webhook says nothing of another.
    let mut waiting = Vec::new();
    for ((held, delivery), case) in bench.take("a").await.iter().zip(&deliveries).zip(&cases) {
        waiting.push(bench.waiting(held, delivery, busy(case.2)).await);
    }
    let answers = bench.store.hold(0, "a", &waiting).await.unwrap();
    for ((delivery, answer), (before, envelope, within, is_held)) in deliveries.iter().zip(answers).zip(cases) {
        let held = bench.len(&format!("held:{}", delivery.webhook)).await;
        let expected = if is_held { (Settled::Done, before + 1) } else { (Settled::Full, before) };
        assert_eq!((answer, held), expected, "{before} of {} bytes, {within:?}", envelope.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_switched_off_while_more_is_held_loses_no_more_than_comes() {
    for size in [10, 10_000] {
        let bench = Bench::with(&[("LYNKHOOK_HELD__LIMIT", "2"), ("LYNKHOOK_HELD__MAX_BYTES", "20KiB")]).await;
        let webhook = bench.webhook("acme", false).await;
        let delivery = first("acme", webhook, "e1");
        let envelope = envelope_of(size);
        for stream in [format!("held:{webhook}"), "queue".to_owned()] {
            for _ in 0..5 {
                bench.append(&stream, &[("delivery", &text(&delivery, &envelope))]).await;
            }
        }
        let waiting = take_to_hold(&bench, &delivery, Reason::Off).await;
        for (entries, held) in [(&waiting[..2], 5), (&waiting[2..], 5)] {
            assert_eq!(bench.store.hold(0, "a", entries).await.unwrap(), vec![Settled::Done; entries.len()]);
            assert_eq!(bench.len(&format!("held:{webhook}")).await, held, "{size}");
        }
        assert_eq!(bench.counted("held_overflow").await, 5);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_webhook_is_off_its_bytes_stay_within_the_limit_however_large_what_comes_and_what_is_held() {
    let kib = |count: usize| envelope_of(count << 10);
    // What is held, and what comes: within the limit, above it.
    for (held, comes) in [([6; 8], 60), ([60, 1, 1, 1, 1, 1, 1, 1], 40)] {
        let bench = Bench::with(&[("LYNKHOOK_HELD__MAX_BYTES", "100KiB")]).await;
        let webhook = bench.webhook("acme", false).await;
        let (delivery, key) = (first("acme", webhook, "e1"), format!("held:{webhook}"));
        for size in held {
            bench.append(&key, &[("delivery", &text(&delivery, &kib(size)))]).await;
        }
        for _ in 0..5 {
            bench.append("queue", &[("delivery", &text(&delivery, &kib(comes)))]).await;
            let taken = bench.take("a").await.remove(0);
            assert_eq!(bench.hold(&taken, &delivery, Reason::Off).await, Settled::Done);
        }
        let bytes: usize = bench.entries(&key).await.iter().map(|(_, fields)| fields[0].1.len()).sum();
        assert!(((comes << 10)..100 << 10).contains(&bytes), "{held:?}, {comes}: {bytes}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_back_from_being_held_says_since_when_though_its_worker_left() {
    let (bench, webhook, held, delivery) = taken(true).await;
    assert_eq!(bench.hold(&held, &delivery, busy(Within::Once)).await, Settled::Done);
    let held_as = bench.entries(&format!("held:{webhook}")).await[0].0.clone();
    assert_eq!(bench.visit("acme", webhook).await, 1);
    let expected = [("delivery".to_owned(), text(&delivery, TRANSCRIPT)), ("held".to_owned(), held_as)];
    assert_eq!(bench.entries("queue").await[0].1, expected);
    let again = bench.take("b").await.remove(0);
    assert_eq!(bench.store.leave(0, "b", true, &[(again, String::new())]).await.unwrap(), 1);
    assert_eq!(bench.entries("queue").await[0].1, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_delivery_of_a_busy_endpoint_does_not_drive_out_the_small_ones_before_it() {
    let large = envelope_of(300_000);
    let bench = Bench::with(&[("LYNKHOOK_HELD__MAX_BYTES", "1MiB")]).await;
    let webhook = bench.webhook("acme", true).await;
    for (number, envelope) in [TRANSCRIPT; 40].into_iter().chain([large.as_str(); 6]).enumerate() {
        let delivery = first("acme", webhook, &format!("e{number}"));
        bench.append("queue", &[("delivery", &text(&delivery, envelope))]).await;
    }
    let mut answers = Vec::new();
    for (number, held) in bench.take("a").await.iter().enumerate() {
        answers.push(bench.hold(held, &first("acme", webhook, &format!("e{number}")), busy(Within::Once)).await);
    }
    let held = answers.iter().filter(|answer| **answer == Settled::Done).count();
    assert!((42..46).contains(&held) && answers[45] == Settled::Full, "{answers:?}");
    assert_eq!((bench.len(&format!("held:{webhook}")).await, bench.counted("held_overflow").await), (held, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn large_ones_of_one_batch_are_weighed_with_those_before_them() {
    let large = envelope_of(300_000);
    let bench = Bench::with(&[("LYNKHOOK_HELD__MAX_BYTES", "1MiB")]).await;
    let webhook = bench.webhook("acme", true).await;
    let delivery = first("acme", webhook, "e1");
    for _ in 0..6 {
        bench.append("queue", &[("delivery", &text(&delivery, &large))]).await;
    }
    let waiting = take_to_hold(&bench, &delivery, busy(Within::Once)).await;
    let answers = bench.store.hold(0, "a", &waiting).await.unwrap();
    let held = answers.iter().filter(|answer| **answer == Settled::Done).count();
    assert!((2..4).contains(&held), "{answers:?}");
    assert_eq!(bench.len(&format!("held:{webhook}")).await, held);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_cannot_be_held_does_not_hold_up_its_neighbours() {
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
    assert!(matches!(answers[..], [Settled::Broken(_), Settled::Done]), "{answers:?}");
    assert_eq!((bench.len("queue").await, bench.pending().await), (1, 1), "the first stays where it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn under_settings_that_cannot_be_read_it_is_held_too() {
    for settings in ["junk", "null", "5", "[]", "{}", r#"{"active":null}"#, r#"{"id":"wh_x","active":true}"#] {
        let (bench, webhook, held, delivery) = taken(true).await;
        bench.cli::<()>(&format!("HSET {} {webhook} {settings}", bench.key("webhooks:acme"))).await;
        assert_eq!(bench.hold(&held, &delivery, Reason::Off).await, Settled::Done, "{settings}");
        assert_eq!((bench.len("queue").await, bench.pending().await), (0, 0), "{settings}");
        assert_eq!(bench.len(&format!("held:{webhook}")).await, 1, "{settings}");
        assert!(bench.visit_in_ms("acme", webhook).await.is_some(), "{settings}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn holding_does_not_put_off_a_visit_that_comes_sooner() {
    let (bench, webhook, held, delivery) = taken(false).await;
    bench.cli::<()>(&format!("ZADD {} 5 acme/{webhook}", bench.key("visits"))).await;
    assert_eq!(bench.hold(&held, &delivery, Reason::Off).await, Settled::Done);
    assert_eq!(bench.cli::<i64>(&format!("ZSCORE {} acme/{webhook}", bench.key("visits"))).await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_of_a_deleted_webhook_is_dropped_and_counted_whatever_was_to_follow() {
    let retry = Next::Retry { after: Duration::ZERO };
    let holds = [Reason::Off, busy(Within::Once), busy(Within::Any)].map(Err);
    for next in holds.into_iter().chain([Next::Delivered, retry, Next::Failed].map(Ok)) {
        let (bench, webhook, held, delivery) = taken(false).await;
        bench.store.delete_webhook(&account_id("acme"), webhook).await.unwrap();
        let answer = match next {
            Err(reason) => bench.hold(&held, &delivery, reason).await,
            Ok(next) => bench.settle(&[attempted(&held, &delivery, next)]).await.remove(0),
        };
        assert_eq!(answer, Settled::Gone, "{next:?}");
        assert_eq!((bench.len("queue").await, bench.pending().await), (0, 0), "{next:?}");
        assert_eq!(bench.counted("deliveries_of_deleted_webhook").await, 1, "{next:?}");
        let left = bench.cli::<Vec<String>>(&format!("KEYS {}:*{webhook}*", bench.prefix)).await;
        assert_eq!(left, [""; 0], "{next:?}");
        assert_eq!(bench.visit_in_ms("acme", webhook).await, None, "{next:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_without_asking_for_room_leaves_less_for_those_of_its_batch_that_ask() {
    let bench = Bench::with(&[("LYNKHOOK_HELD__LIMIT", "5")]).await;
    let webhook = bench.webhook("acme", true).await;
    let delivery = first("acme", webhook, "e1");
    let [asks, asks_more, asks_not] = [Within::Once, Within::FourTimes, Within::Any].map(busy);
    let batches: [(&[Reason], &[Settled]); 3] = [
        (&[asks; 2], &[Settled::Done, Settled::Done]),
        (&[asks, asks_not, asks_more, asks], &[Settled::Done, Settled::Done, Settled::Done, Settled::Full]),
        (&[asks_more, asks, asks_more], &[Settled::Done, Settled::Full, Settled::Done]),
    ];
    for (reasons, expected) in batches {
        for _ in reasons {
            bench.queue(&delivery).await;
        }
        let mut waiting = Vec::new();
        for (held, reason) in bench.take("a").await.iter().zip(reasons) {
            waiting.push(bench.waiting(held, &delivery, *reason).await);
        }
        assert_eq!(bench.store.hold(0, "a", &waiting).await.unwrap(), expected);
    }
    assert_eq!((bench.len(&format!("held:{webhook}")).await, bench.counted("held_overflow").await), (7, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_many_are_held_the_limits_hold_and_what_somebody_lost_is_planned_anew() {
    let held = |webhook: WebhookId| format!("held:{webhook}");
    let one_by_one = async |bench: &Bench, webhook: WebhookId, count: usize| {
        let delivery = first("acme", webhook, "e1");
        let mut answers = Vec::new();
        for _ in 0..count {
            bench.queue(&delivery).await;
            let taken = bench.take("a").await.remove(0);
            answers.push(bench.hold(&taken, &delivery, busy(Within::Once)).await);
        }
        answers
    };

    let bench = Bench::with(&[("LYNKHOOK_HELD__LIMIT", "37")]).await;
    let webhook = bench.webhook("acme", true).await;
    let answers = one_by_one(&bench, webhook, 40).await;
    assert_eq!(answers[..37], vec![Settled::Done; 37]);
    assert_eq!(answers[37..], vec![Settled::Full; 3]);
    bench.cli::<()>(&format!("HSET {} {webhook} {{\"active\":false}}", bench.key("webhooks:acme"))).await;
    assert_eq!(one_by_one(&bench, webhook, 3).await, vec![Settled::Done; 3], "it is off: the oldest go");
    assert_eq!((bench.len(&held(webhook)).await, bench.counted("held_overflow").await), (37, 3));

    // Nothing of what comes says how large the three are that were held first.
    let bench = Bench::with(&[("LYNKHOOK_HELD__MAX_BYTES", "1MiB")]).await;
    let webhook = bench.webhook("acme", true).await;
    let large = envelope_of(300 << 10);
    for _ in 0..3 {
        let large = text(&first("acme", webhook, "e1"), &large);
        bench.append(&held(webhook), &[("delivery", &large)]).await;
    }
    let answers = one_by_one(&bench, webhook, 400).await;
    let bytes = bench.bytes(&held(webhook)).await;
    let held_of_them = answers.iter().filter(|answer| **answer == Settled::Done).count();
    assert!((30..300).contains(&held_of_them) && answers[399] == Settled::Full, "{held_of_them}");
    assert!(bytes <= (1 << 20) + (16 << 10), "{bytes}");

    let bench = Bench::with(&[("LYNKHOOK_HELD__LIMIT", "45")]).await;
    let webhook = bench.webhook("acme", true).await;
    let is_planned = async || bench.visit_in_ms("acme", webhook).await.is_some_and(|due| due <= 50);
    let lose_visits = async || bench.cli::<()>(&format!("DEL {}", bench.key("visits"))).await;
    one_by_one(&bench, webhook, 20).await;
    lose_visits().await;
    one_by_one(&bench, webhook, 16).await;
    assert!(is_planned().await, "one of sixteen");
    one_by_one(&bench, webhook, 9).await;
    lose_visits().await;
    assert_eq!(one_by_one(&bench, webhook, 1).await, [Settled::Full]);
    assert!(is_planned().await, "there is no room: the more it is to be visited");

    // Fence, and whether it is on, are asked about with each.
    let delivery = first("acme", webhook, "e1");
    bench.queue(&delivery).await;
    let taken = bench.take("a").await.remove(0);
    assert_eq!(bench.hold(&taken, &delivery, Reason::Off).await, Settled::Active);
    bench.cli::<redis::Value>(&format!("XCLAIM {} workers b 0 {}", bench.key("queue"), taken.entry.0)).await;
    assert_eq!(bench.hold(&taken, &delivery, busy(Within::Any)).await, Settled::Lost);
    assert_eq!((bench.len("queue").await, bench.len(&held(webhook)).await), (2, 45), "nothing was held");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_in_which_one_is_a_sixteenth_plans_the_visit_and_one_without_visits_holds_nothing() {
    let bench = Bench::new().await;
    let webhook = bench.webhook("acme", true).await;
    let delivery = first("acme", webhook, "e1");
    let hold = async |count: usize| {
        for _ in 0..count {
            bench.queue(&delivery).await;
        }
        let waiting = take_to_hold(&bench, &delivery, busy(Within::Once)).await;
        bench.store.hold(0, "a", &waiting).await.unwrap()
    };
    assert_eq!(hold(30).await, vec![Settled::Done; 30]);
    bench.cli::<()>(&format!("DEL {}", bench.key("visits"))).await;
    assert_eq!(hold(5).await, vec![Settled::Done; 5]);
    assert!(bench.visit_in_ms("acme", webhook).await.is_some());
    bench.cli::<()>(&format!("SET {} x", bench.key("visits"))).await;
    let answers = hold(14).await;
    assert!(answers.iter().all(|answer| matches!(answer, Settled::Broken(_))), "{answers:?}");
    assert_eq!((bench.len(&format!("held:{webhook}")).await, bench.pending().await), (35, 14));
}
