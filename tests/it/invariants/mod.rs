//! Randomised tests that try to break the queue's invariants. Seeded: `LYNKHOOK_TEST_SEED` repeats a run's choices,
//! `LYNKHOOK_TEST_SECONDS` makes it longer than the few seconds that the ordinary suite has.

mod ages;
mod deletions;
mod lateness;
mod limits;

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use lynkhook::{
    domain::webhook::WebhookId,
    webhooks::{Edit, WebhooksError},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use redis::AsyncCommands;

use crate::support::*;

/// Retries that come soon, so that a few seconds have many of them.
const HASTY: [(&str, &str); 1] = [("LYNKHOOK_DELIVERY__RETRY_DELAYS", "150ms,300ms")];

/// The same, with leases so short that a run sees many of them end.
const SHORT_LEASE: [(&str, &str); 6] = [
    HASTY[0],
    ("LYNKHOOK_WORKER__LEASE", "3200ms"),
    ("LYNKHOOK_WORKER__RENEW_EVERY", "200ms"),
    ("LYNKHOOK_WORKER__START_WITHIN", "700ms"),
    ("LYNKHOOK_WORKER__CLAIM_EVERY", "300ms"),
    ("LYNKHOOK_DELIVERY__TIMEOUT", "500ms"),
];

/// The run's random choices, and its length. The seed is printed, and so shown if the test fails.
fn dice() -> (StdRng, Duration) {
    let seed = std::env::var("LYNKHOOK_TEST_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    let seconds = std::env::var("LYNKHOOK_TEST_SECONDS").map_or(5, |seconds| seconds.parse().unwrap());
    println!("LYNKHOOK_TEST_SEED={seed}");
    (StdRng::seed_from_u64(seed), Duration::from_secs(seconds))
}

/// A receiver's answers to one path: a third of them 503.
fn answers(dice: &mut StdRng) -> Vec<u16> {
    (0..20_000).map(|_| if dice.random_bool(0.33) { 503 } else { 200 }).collect()
}

/// The receiver's answers to each event of one webhook, by `webhook-id`, in order.
fn heard(receiver: &Receiver, path: &str, answers: &[u16]) -> HashMap<String, Vec<u16>> {
    let mut events: HashMap<String, Vec<u16>> = HashMap::new();
    for (request, answer) in receiver.requests(path).iter().zip(answers) {
        events.entry(request.header("webhook-id").unwrap().to_owned()).or_default().push(*answer);
    }
    events
}

async fn length(here: &Installation, key: &str) -> u64 {
    here.redis.clone().xlen(key).await.unwrap()
}

/// Invariants 1 and 3, and half of 5: webhooks are switched at random in the middle of attempts, retries and fan-outs.
/// No delivery is stranded, none is delivered twice, none is attempted more than three times.
#[tokio::test(flavor = "multi_thread")]
async fn switching_at_random_strands_no_delivery_and_repeats_none() {
    let (mut dice, duration) = dice();
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let mut webhooks: Vec<(String, WebhookId, Vec<u16>)> = Vec::new();
    for number in 0..6 {
        let (path, answers) = (format!("/hook-{number}"), answers(&mut dice));
        receiver.plan(&path, answers.iter().map(|&status| Answer::Status(status)).collect::<Vec<_>>());
        let webhook = here.add(&format!("account-{}", number / 2), &receiver.url(&path)).await;
        webhooks.push((path, webhook, answers));
    }
    let _workers = [here.program.worker(HASTY), here.program.worker(HASTY)];
    let (mut pushed, started) = (BTreeMap::<usize, usize>::new(), Instant::now());
    let switch = async |number: usize, active: bool| {
        let edit = Edit { active: Some(active), ..Edit::default() };
        here.webhooks.edit(&account_id(&format!("account-{}", number / 2)), webhooks[number].1, edit).await.unwrap();
    };
    while started.elapsed() < duration {
        for _ in 0..dice.random_range(1..8) {
            let account = dice.random_range(0..3);
            here.push(&format!("account-{account}"), TRANSCRIPT).await;
            *pushed.entry(account).or_default() += 1;
        }
        switch(dice.random_range(0..6), dice.random_bool(0.5)).await;
        tokio::time::sleep(Duration::from_millis(dice.random_range(0..20))).await;
        for (number, (_, webhook, _)) in webhooks.iter().enumerate() {
            assert_held_is_visited(&here, &format!("account-{}", number / 2), *webhook).await;
        }
    }
    for number in 0..6 {
        switch(number, true).await;
    }
    for (_, webhook, _) in &webhooks {
        let held = here.key(&format!("held:{webhook}"));
        eventually(SOON, "nothing held", async || (length(&here, &held).await == 0).then_some(())).await;
    }
    here.drained().await;
    for (number, (path, webhook, answers)) in webhooks.iter().enumerate() {
        let events = heard(&receiver, path, answers);
        let failed = length(&here, &here.key(&format!("failed:{webhook}"))).await;
        assert_eq!(events.len(), pushed[&(number / 2)], "{path}: every event was attempted");
        let mut lost = 0;
        for (event, answers) in &events {
            assert!(answers.len() <= 3, "{event}: {answers:?}");
            assert_eq!(
                answers.iter().filter(|&&status| status == 200).count() + usize::from(answers[..] == [503; 3]),
                1,
                "{event}: {answers:?}"
            );
            lost += u64::from(answers[..] == [503; 3]);
        }
        assert_eq!(failed, lost, "{path}: `failed` has exactly the deliveries that failed three times");
    }
}

/// Invariant 3: if `held` is not empty, its webhook is in `visits`. Both are read in one transaction.
async fn assert_held_is_visited(here: &Installation, account: &str, webhook: WebhookId) {
    let (held, visit): (u64, Option<f64>) = redis::pipe()
        .atomic()
        .xlen(here.key(&format!("held:{webhook}")))
        .zscore(here.key("visits"), format!("{account}/{webhook}"))
        .query_async(&mut here.redis.clone())
        .await
        .unwrap();
    assert!(held == 0 || visit.is_some(), "{held} held deliveries without a visit");
}

/// Invariant 5: attempt numbers are 1 to 3, and only a crash repeats one. Workers are killed at random.
#[tokio::test(flavor = "multi_thread")]
async fn killing_workers_at_random_loses_nothing_and_adds_no_fourth_attempt() {
    let (mut dice, duration) = dice();
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let answers = answers(&mut dice);
    let planned =
        answers.iter().map(|&status| Answer::Delay(Duration::from_millis(5), Box::new(Answer::Status(status))));
    receiver.plan("/hook", planned.collect::<Vec<_>>());
    let webhook = here.add("acme", &receiver.url("/hook")).await;
    let mut workers = [here.program.worker(SHORT_LEASE), here.program.worker(SHORT_LEASE)];
    let (mut pushed, mut killed, started) = (0, 0, Instant::now());
    while started.elapsed() < duration {
        for _ in 0..dice.random_range(1..20) {
            here.push("acme", TRANSCRIPT).await;
            pushed += 1;
        }
        tokio::time::sleep(Duration::from_millis(dice.random_range(0..300))).await;
        if dice.random_bool(0.4) {
            let victim = dice.random_range(0..workers.len());
            workers[victim].kill9().await;
            workers[victim] = here.program.worker(SHORT_LEASE);
            killed += 1;
        }
    }
    here.drained().await;
    let attempts = receiver.requests("/hook").len();
    let events = heard(&receiver, "/hook", &answers);
    println!("{pushed} events, {killed} workers killed, {attempts} requests");
    assert_eq!(events.len(), pushed, "every event was attempted");
    for (event, answers) in &events {
        assert!(answers.len() <= 3 + killed, "{event}: only a crash repeats an attempt: {answers:?}");
    }
    let failed = length(&here, &here.key(&format!("failed:{webhook}"))).await;
    // Delivered, according to the receiver. A delivery whose success died with its worker may be repeated.
    let delivered = events.values().filter(|answers| answers.contains(&200)).count();
    assert!(
        delivered + usize::try_from(failed).unwrap() >= pushed,
        "{delivered} delivered, {failed} failed, {pushed} pushed"
    );
    for entry in here.log(webhook).await {
        assert!((1..=3).contains(&entry["attempt"].as_u64().unwrap()), "{entry}");
    }
}

/// Invariant 6: a log never has more than 50 entries, whatever writes it.
/// Invariant 7: two editors cannot overwrite each other unseen.
#[tokio::test(flavor = "multi_thread")]
async fn editors_at_random_do_not_overwrite_each_other_and_a_busy_log_stays_within_its_bound() {
    let (mut dice, duration) = dice();
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(200)]);
    let here = std::sync::Arc::new(Installation::new(&receiver).await);
    let webhook = here.add("acme", &receiver.url("/hook")).await;
    let _worker = here.program.worker(HASTY);
    // Each editor changes a different field. An edit that was overwritten unseen would undo the other editor's last
    // one.
    let editors: Vec<_> = ["description", "url"]
        .map(|field| {
            let (here, url, mut dice) = (here.clone(), receiver.url("/hook"), StdRng::seed_from_u64(dice.random()));
            tokio::spawn(async move {
                let (mut edits, started) = (0_u64, Instant::now());
                while started.elapsed() < duration {
                    let text = format!("{url}?n={}", dice.random::<u32>());
                    let edit = match field {
                        "url" => Edit { url: Some(text.clone()), ..Edit::default() },
                        _ => Edit { description: Some(text.clone()), ..Edit::default() },
                    };
                    match here.webhooks.edit(&account_id("acme"), webhook, edit).await {
                        Ok(_) => edits += 1,
                        Err(WebhooksError::Conflict) => continue,
                        Err(error) => panic!("{error}"),
                    }
                    let now = here.webhooks.show(&account_id("acme"), webhook).await.unwrap();
                    let mine = if field == "url" { now.url.as_str().to_owned() } else { now.description };
                    assert_eq!(mine, text, "only I edit this field");
                }
                edits
            })
        })
        .into();
    let started = Instant::now();
    while started.elapsed() < duration {
        for _ in 0..20 {
            here.push("acme", TRANSCRIPT).await;
        }
        assert!(here.log(webhook).await.len() <= 50);
    }
    let mut edits = 0;
    for editor in editors {
        edits += editor.await.unwrap();
    }
    here.drained().await;
    let view = here.webhooks.show(&account_id("acme"), webhook).await.unwrap();
    assert_eq!(view.revision, edits + 1, "each edit is one revision");
    assert_eq!(here.log(webhook).await.len(), 50);
}
