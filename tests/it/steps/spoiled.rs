//! A worker on a Redis that was damaged by hand: each fault affects one webhook, and is reported there.

use super::*;

async fn until_empty(bench: &Bench, rest: &str) {
    eventually(SOON, &format!("nothing in {rest}"), async || (bench.len(rest).await == 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_whose_settings_cannot_be_read_fails_only_its_own_deliveries() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(200)]);
    let here = Installation::new(&receiver).await.with("LYNKHOOK_WEBHOOKS__LIMIT_PER_ACCOUNT", "3").await;
    let bench = Bench::of(here).await;
    let good = bench.add("acme", &receiver.url("/hook")).await;
    let mut redis = bench.redis.clone();
    let another: String = redis.hget(bench.key("webhooks:acme"), good.to_string()).await.unwrap();
    let spoiled = [bench.webhook("acme", true).await, bench.webhook("acme", true).await];
    for (webhook, settings) in spoiled.iter().zip(["junk", &another]) {
        let _: () = redis.hset(bench.key("webhooks:acme"), webhook.to_string(), settings).await.unwrap();
        bench.queue(&first("acme", *webhook, "queued")).await;
    }
    let _worker = bench.program.worker([]);
    bench.push("acme", TRANSCRIPT).await;
    receiver.wait_for("/hook", 1, SOON).await;
    bench.drained().await;
    for webhook in spoiled {
        let log = bench.log(webhook).await;
        assert_eq!((log.len(), bench.len(&format!("failed:{webhook}")).await), (2, 2), "{log:#?}");
        assert!(
            log.iter().all(|entry| entry["error"].as_str().unwrap().contains("settings cannot be read")),
            "{log:#?}"
        );
    }
    assert_eq!(bench.finished(good).await[0]["status"], "success");
    assert_eq!((receiver.all_requests().len(), bench.len("rejected").await), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_with_no_attempt_left_is_not_sent_and_fails() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(200)]);
    let bench = Bench::of(Installation::new(&receiver).await).await;
    let webhook = bench.add("acme", &receiver.url("/hook")).await;
    for (event, attempt) in [("e3", 3), ("e4", 4), ("e9", 9)] {
        bench.queue(&Delivery { attempt, ..first("acme", webhook, event) }).await;
    }
    let _worker = bench.program.worker([]);
    bench.drained().await;
    let log = bench.log(webhook).await;
    let mut said: Vec<_> = log.iter().map(|entry| (entry["attempt"].as_u64(), entry["error"].as_str())).collect();
    said.sort_unstable();
    let none_left = Some("no attempt is left");
    assert_eq!(said, [(Some(3), None), (Some(4), none_left), (Some(9), none_left)]);
    assert_eq!((receiver.requests("/hook").len(), bench.len(&format!("failed:{webhook}")).await), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_whose_settings_are_of_a_wrong_type_do_not_keep_the_others_waiting() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(200)]);
    let bench = Bench::of(Installation::new(&receiver).await).await;
    let webhook = bench.webhook("acme", false).await;
    bench.append(&format!("held:{webhook}"), &[("delivery", &text(&first("acme", webhook, "e1"), TRANSCRIPT))]).await;
    let spoiled = WebhookId::new(uuid::Uuid::now_v7());
    let times = ["releases", "visits"].map(|times| bench.key(times));
    // More than a worker visits in one round.
    for number in 0..100 {
        bench.cli::<()>(&format!("SET {} x", bench.key(&format!("webhooks:spoiled-{number}")))).await;
        for times in &times {
            bench.cli::<()>(&format!("ZADD {times} {number} spoiled-{number}/{spoiled}")).await;
        }
    }
    let edit = lynkhook::webhooks::Edit { url: Some(receiver.url("/hook")), active: Some(true), ..Default::default() };
    bench.webhooks.edit(&account_id("acme"), webhook, edit).await.unwrap();
    let _worker = bench.program.worker([]);
    until_empty(&bench, &format!("held:{webhook}")).await;
    receiver.wait_for("/hook", 1, SOON).await;
    for times in &times {
        eventually(SOON, "nothing to be due", async || {
            let now = bench.store.now(0).await.unwrap().timestamp_millis();
            (bench.cli::<usize>(&format!("ZCOUNT {times} -inf {now}")).await == 0).then_some(())
        })
        .await;
    }
}
