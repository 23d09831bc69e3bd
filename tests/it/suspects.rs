//! Entries that were lost before are attempted one at a time. An endpoint that does not answer does not delay other
//! endpoints' entries for long.

use std::time::{Duration, Instant};

use lynkhook::domain::webhook::WebhookId;
use redis::AsyncCommands;

use crate::support::*;

/// Gives all entries in the queue to a dead worker, as if claimed before.
async fn abandon(here: &Installation) {
    for partition in 0..here.store.keys().partitions() {
        here.store.ensure_group(partition).await.unwrap();
        abandon_in(here, partition).await;
    }
}

async fn abandon_in(here: &Installation, partition: u16) {
    let mut redis = here.redis.clone();
    let mut reader = here.reader(partition, "dead", Duration::from_millis(10)).await;
    let entries = reader.read(1000).await.unwrap();
    for entry in entries {
        let mut age = redis::cmd("XCLAIM");
        age.arg(here.store.keys().queue(partition)).arg("workers").arg("dead").arg(0).arg(&entry.id.0);
        let _: redis::Value =
            age.arg("IDLE").arg(60_000).arg("RETRYCOUNT").arg(2).arg("JUSTID").query_async(&mut redis).await.unwrap();
    }
}

async fn push_delivery(here: &Installation, account: &str, webhook: WebhookId, event: &str) {
    let delivery = text(&first(account, webhook, event), TRANSCRIPT);
    let _: String = here.redis.clone().xadd(here.key("queue"), "*", &[("delivery", delivery)]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_endpoints_suspect_behind_40_of_a_hanging_one_is_attempted_within_15_s() {
    let receiver = Receiver::start().await;
    receiver.plan("/hangs", [Answer::Silence]);
    receiver.plan("/healthy", [Answer::Status(200)]);
    receiver.plan("/slow", [Answer::Delay(Duration::from_secs(1), Box::new(Answer::Status(200)))]);
    let here = Installation::new(&receiver).await;
    for name in ["hangs", "healthy", "slow"] {
        here.add(name, &receiver.url(&format!("/{name}"))).await;
    }
    for _ in 0..40 {
        here.push("hangs", TRANSCRIPT).await;
    }
    for _ in 0..5 {
        here.push("slow", TRANSCRIPT).await;
    }
    here.push("healthy", TRANSCRIPT).await;
    abandon(&here).await;
    let began = Instant::now();
    let _worker = here.program.worker([]);
    receiver.wait_for("/healthy", 1, SOON * 2).await;
    receiver.wait_for("/slow", 5, SOON * 2).await;
    let took = began.elapsed();
    println!("attempted after {took:.1?}");
    assert!(took < Duration::from_secs(15), "{took:?}");
    assert!(receiver.requests("/hangs").len() <= 2, "suspects of a hanging endpoint are attempted one at a time");
}

#[tokio::test(flavor = "multi_thread")]
async fn hanging_endpoints_other_partitions_and_large_envelopes_do_not_keep_a_suspect_from_its_turn() {
    const HANGING: usize = 20;
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await.with("LYNKHOOK_QUEUE__PARTITIONS", "2").await;
    // The suspects of partition 0 get their turn first.
    let of = |partition, number| {
        let mut names = (0..)
            .map(|name| format!("a{name}"))
            .filter(|name| here.store.keys().partition(&account_id(name)) == partition);
        names.nth(number).unwrap()
    };
    for number in 0..HANGING {
        let (account, path) = (of(0, number), format!("/hangs-{number}"));
        receiver.plan(&path, [Answer::Silence]);
        here.add(&account, &receiver.url(&path)).await;
        let (events, bytes) = if number == 0 { (30, 1_000_000) } else { (3, 10) };
        let envelope = format!(
            r#"{{"event":"transcript.created","timestamp":"2026-03-26T14:32:00.000Z","data":{{"rest":"{}"}}}}"#,
            "x".repeat(bytes)
        );
        for _ in 0..events {
            here.push(&account, &envelope).await;
        }
    }
    let mut healthy = Vec::new();
    for (partition, number) in [(0, HANGING), (1, 0)] {
        let (account, path) = (of(partition, number), format!("/healthy-{partition}"));
        receiver.plan(&path, [Answer::Status(200)]);
        here.add(&account, &receiver.url(&path)).await;
        let fields = [("account", &*account), ("envelope", TRANSCRIPT)];
        let _: String = here.redis.clone().xadd(here.store.keys().queue(partition), "*", &fields).await.unwrap();
        healthy.push(path);
    }
    abandon(&here).await;
    let began = Instant::now();
    let _worker = here.program.worker([]);
    for path in healthy {
        receiver.wait_for(&path, 1, SOON * 2).await;
        println!("{path} was attempted after {:.1?}", began.elapsed());
    }
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
    let requests = |number| receiver.requests(&format!("/hangs-{number}")).len();
    let most = (0..HANGING).map(requests).max().unwrap();
    assert!(most <= 3, "{most} attempts at one endpoint: one of them waited for the one before");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_hanging_endpoint_delays_the_healthy_ones_suspects_once() {
    const HANGING: usize = 3;
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    here.store.ensure_group(0).await.unwrap();
    receiver.plan("/healthy", [Answer::Status(200)]);
    let mut hanging = Vec::new();
    for number in 0..HANGING {
        let path = format!("/hangs-{number}");
        receiver.plan(&path, [Answer::Silence]);
        hanging.push(here.add(&format!("hangs-{number}"), &receiver.url(&path)).await);
    }
    let healthy = here.add("healthy", &receiver.url("/healthy")).await;
    for event in 0..8 {
        for (number, webhook) in hanging.iter().enumerate() {
            // The first account has events, the others have deliveries.
            let account = format!("hangs-{number}");
            if number == 0 {
                here.push(&account, TRANSCRIPT).await;
            } else {
                push_delivery(&here, &account, *webhook, &format!("e{event}")).await;
            }
        }
    }
    for event in 0..5 {
        push_delivery(&here, "healthy", healthy, &format!("e{event}")).await;
    }
    abandon(&here).await;
    let began = Instant::now();
    let _worker = here.program.worker([
        ("LYNKHOOK_DELIVERY__TIMEOUT", "2s"),
        // Failed deliveries must not be attempted as retries during the test: a retry is not a suspect.
        ("LYNKHOOK_DELIVERY__RETRY_DELAYS", "1h"),
    ]);
    receiver.wait_for("/healthy", 5, SOON * 2).await;
    let took = began.elapsed();
    println!("all of the healthy endpoint were attempted after {took:.1?}");
    let requests = |number| receiver.requests(&format!("/hangs-{number}")).len();
    let held_up: usize = (0..HANGING).map(requests).sum();
    assert!((HANGING..=HANGING + 2).contains(&held_up), "{held_up} attempts went before");
    // The first claim comes within 1.5 x 2 s, and each hanging endpoint delays the others for half a second.
    assert!(took < Duration::from_secs(10), "{took:?}");
}
