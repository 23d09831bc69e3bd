//! Fanning out: an event becomes one delivery for each webhook that wants it, with its envelope byte for byte, in steps
//! that are limited by number and bytes.

use std::collections::BTreeSet;

use bytes::Bytes;
use lynkhook::{
    domain::{
        entry::{Found, Judged, Plan},
        event::{Catalogue, EventType},
    },
    store::{BATCH_MAX, BATCH_MAX_BYTES, Entry, Known, Reader, fan_out_max},
};

use super::*;

const ENVELOPE: &str = " {\"a\": \"b\\u00e9\"}\n\n";

/// Deliveries of one event of account acme, in the order of their webhooks.
fn deliveries(count: usize) -> Vec<Delivery> {
    (0..count).map(|_| first("acme", WebhookId::new(uuid::Uuid::now_v7()), "e1")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_becomes_a_delivery_for_each_webhook_and_without_any_is_done_and_counted() {
    for count in [0, 1, 2, 5] {
        let bench = Bench::new().await;
        let deliveries = deliveries(count);
        bench.push("acme", ENVELOPE).await;
        let held = bench.take("a").await.remove(0);
        assert_eq!(bench.store.fan_out("a", &held, &deliveries, false).await.unwrap(), StepAnswer::Done);
        let queued: Vec<_> = bench.entries("queue").await.into_iter().map(|(_, fields)| fields).collect();
        let expected = deliveries.iter().map(|delivery| [("delivery".to_owned(), text(delivery, ENVELOPE))]);
        assert_eq!(queued, expected.collect::<Vec<_>>());
        assert_eq!(bench.pending().await, 0);
        assert_eq!(bench.counted("events_without_webhook").await, u64::from(count == 0), "{count}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_of_a_fan_out_is_the_event_again_with_its_id_and_the_last_webhook_and_ends_uncounted() {
    for traceparent in [None, Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")] {
        let bench = Bench::new().await;
        let mut event = vec![("account", "acme"), ("envelope", ENVELOPE), ("ignored", "x")];
        event.extend(traceparent.map(|traceparent| ("traceparent", traceparent)));
        bench.append("queue", &event).await;
        let deliveries = deliveries(3);
        for step in deliveries.chunks(2) {
            let held = bench.take("a").await;
            assert_eq!(bench.store.fan_out("a", held.last().unwrap(), step, true).await.unwrap(), StepAnswer::Done);
            let (_, rest) = bench.entries("queue").await.pop().unwrap();
            let last = step.last().unwrap().webhook.to_string();
            let mut expected =
                vec![("account", "acme"), ("envelope", ENVELOPE), ("id", "e1"), ("lynkhook:after", &last)];
            expected.extend(traceparent.map(|traceparent| ("traceparent", traceparent)));
            assert_eq!(rest, expected.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect::<Vec<_>>());
        }
        let held = bench.take("a").await;
        assert_eq!(bench.store.fan_out("a", held.last().unwrap(), &[], false).await.unwrap(), StepAnswer::Done);
        assert_eq!((bench.len("queue").await, bench.counted("events_without_webhook").await), (3, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_without_webhook_is_counted_whatever_fields_its_producer_gave_it() {
    let bench = Bench::new().await;
    let webhook = WebhookId::new(uuid::Uuid::now_v7()).to_string();
    let fields = [("after", webhook.as_str()), ("lynkhook:after", "yesterday"), ("lynkhook:after", "wh_1")];
    for (counted, field) in (1..).zip(fields) {
        bench.append("queue", &[("account", "acme"), ("envelope", ENVELOPE), field]).await;
        let held = bench.take("a").await.remove(0);
        assert_eq!(bench.store.fan_out("a", &held, &[], false).await.unwrap(), StepAnswer::Done);
        assert_eq!(bench.counted("events_without_webhook").await, counted, "{field:?}");
    }
}

/// Takes the step of a worker for the next entry, with the program's own judgement and plan. Answers the account of the
/// entry, the webhooks of the added deliveries (which are removed from the queue), and whether more are left; or `None`
/// if the queue has no entry to fan out.
async fn step(
    bench: &Bench,
    (consumer, reader): &mut (String, Reader),
    known: &Known,
) -> Option<(String, Vec<WebhookId>, bool)> {
    let Entry { id, deliveries, fields } = reader.read(1).await.unwrap().pop()?;
    let catalogue = Catalogue::new(BTreeMap::from([("transcript.created".to_owned(), EventType::default())]), 1 << 20);
    let found = Found { entry: &id.0, partition: 0, partitions: 1 };
    let judged = Judged::parse(&fields, &found, &catalogue, |_| String::new()).unwrap();
    let held = Fence { partition: 0, entry: id.clone(), deliveries };
    let account = judged.account().clone();
    let webhooks = bench.store.subscriptions(std::slice::from_ref(&account), known).await.unwrap().remove(0).unwrap();
    let most = fan_out_max(judged.envelope.len());
    let (fanned, more) = match judged.work.plan(&judged.facts.event, &webhooks, most) {
        Plan::FanOut { deliveries, more } => (deliveries, more),
        Plan::Attempt(delivery, _) => (vec![delivery], false),
        other => panic!("{other:?}"),
    };
    assert!(fanned.len() <= BATCH_MAX, "{}", fanned.len());
    assert_eq!(bench.store.fan_out(consumer, &held, &fanned, more).await.unwrap(), StepAnswer::Done);
    // The added entries are the last in the queue.
    let added: Vec<(String, Vec<(String, Bytes)>)> = redis::cmd("XREVRANGE")
        .arg(bench.key("queue"))
        .arg("+")
        .arg("-")
        .arg("COUNT")
        .arg(fanned.len() + usize::from(more))
        .query_async(&mut bench.redis.clone())
        .await
        .unwrap();
    let texts = added.iter().flat_map(|(_, fields)| fields);
    let bytes: usize = texts.map(|(name, value)| name.len() + value.len()).sum();
    assert!(bytes <= BATCH_MAX_BYTES, "one script added {bytes} bytes");
    let mut webhooks = Vec::new();
    for (id, fields) in added {
        if fields[0].0 == "delivery" {
            webhooks.push(Delivery::parse(&fields[0].1).unwrap().0.webhook);
            bench.cli::<()>(&format!("XDEL {} {id}", bench.key("queue"))).await;
        }
    }
    Some((account.to_string(), webhooks, more))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_webhooks_get_a_large_event_once_each_in_small_steps_with_other_entries_between() {
    let bench = Bench::with(&[("LYNKHOOK_WEBHOOKS__LIMIT_PER_ACCOUNT", "1000")]).await;
    let mut wanting = BTreeSet::new();
    for _ in 0..999 {
        wanting.insert(bench.add("large", "https://localhost/hook").await);
    }
    bench.add("small", "https://localhost/hook").await;
    bench.push("large", envelope_of(1 << 20)).await;
    let known = Known::default();
    let (mut steps, mut got, mut worker) = (0, Vec::new(), None);
    loop {
        // At every hundredth step, the worker that took it has died, and another continues with the queue's entries.
        if steps % 100 == 0 {
            let name = format!("worker-{steps}");
            let reader = bench.reader(0, &name, Duration::from_secs(1)).await;
            worker = Some((name, reader));
        }
        let worker = worker.as_mut().unwrap();
        bench.push("small", TRANSCRIPT).await;
        let (account, webhooks, more) = step(&bench, worker, &known).await.expect("the rest is in the queue");
        assert_eq!(account, "large");
        got.extend(webhooks);
        steps += 1;
        let between = step(&bench, worker, &known).await.map(|(account, ..)| account);
        assert_eq!(between.as_deref(), Some("small"), "entries queued in the meantime come between two steps");
        if steps == 10 {
            // The new webhook comes after the one that the fan-out has reached.
            wanting.insert(bench.add("large", "https://localhost/hook").await);
        }
        if !more {
            break;
        }
    }
    assert_eq!(
        (got.len(), got.into_iter().collect::<BTreeSet<_>>() == wanting),
        (1000, true),
        "each webhook got exactly one"
    );
    assert_eq!(steps, 500);
    assert_eq!(bench.counted("events_without_webhook").await, 0);
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
    assert_eq!(bench.settle(&attempts).await, [StepAnswer::Done, StepAnswer::Done]);
    assert_eq!(bench.hold(&held[2], &delivery, Reason::Off).await, StepAnswer::Done);
    let retries: Vec<String> = bench.cli(&format!("ZRANGE {} 0 -1", bench.key("retries"))).await;
    assert_eq!(retries, [text(&delivery.next_attempt(), ENVELOPE)]);
    for kind in ["failed", "held"] {
        let entries = bench.entries(&format!("{kind}:{webhook}")).await;
        assert_eq!((entries.len(), &entries[0].1[0].1), (1, &text(&delivery, ENVELOPE)), "{kind}");
    }
}
