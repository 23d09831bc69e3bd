//! An entry that kills its worker every time is set aside. Its neighbours are delivered and not blamed.

use std::time::Duration;

use redis::AsyncCommands;

use crate::support::*;

/// A worker that the account `poison` kills, and leases that end soon.
const POISON: [(&str, &str); 6] = [
    ("LYNKHOOK_FAILPOINT", "before-request:poison"),
    ("LYNKHOOK_WORKER__LEASE", "3200ms"),
    ("LYNKHOOK_WORKER__RENEW_EVERY", "200ms"),
    ("LYNKHOOK_WORKER__START_WITHIN", "700ms"),
    ("LYNKHOOK_WORKER__CLAIM_EVERY", "300ms"),
    ("LYNKHOOK_DELIVERY__TIMEOUT", "500ms"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_poisonous_entry_is_set_aside_after_five_losses_and_its_neighbours_are_delivered() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Delay(Duration::from_millis(20), Box::new(Answer::Status(200)))]);
    let here = Installation::new(&receiver).await;
    // This event goes to two webhooks, so it becomes two poisonous deliveries. The other event's account has a single
    // webhook, so the event itself is attempted.
    let mut poisoned = Vec::new();
    for _ in 0..2 {
        poisoned.push(here.add("poison", &receiver.url("/poison")).await);
    }
    for account in 0..4 {
        here.add(&format!("account-{account}"), &receiver.url("/hook")).await;
    }
    for number in 0..40 {
        here.push(
            &format!("account-{}", number % 4),
            TRANSCRIPT.replace("6601abc123def4567890abcd", &format!("m{number}")),
        )
        .await;
        if number == 20 {
            here.push("poison", TRANSCRIPT).await;
        }
    }
    // A supervisor: it starts another worker whenever one dies.
    let supervised = tokio::spawn({
        let program = here.program.clone();
        async move {
            loop {
                let mut worker = program.worker(POISON);
                worker.wait().await;
            }
        }
    });
    let failed = |webhook| here.key(&format!("failed:{webhook}"));
    for webhook in &poisoned {
        let key = failed(*webhook);
        eventually(SOON * 3, "the poison to be set aside", async || {
            (here.redis.clone().xlen::<_, u64>(&key).await.unwrap() == 1).then_some(())
        })
        .await;
        let log = here.log(*webhook).await;
        assert_eq!(log.len(), 1, "{log:#?}");
        assert_eq!(log[0]["error"], "worker ended 5 times during this attempt");
        assert_eq!((&log[0]["final"], &log[0]["httpStatus"]), (&true.into(), &"Network Error".into()));
    }
    here.drained().await;
    supervised.abort();
    let mut arrived: Vec<String> = receiver
        .requests("/hook")
        .iter()
        .map(|request| {
            serde_json::from_slice::<serde_json::Value>(&request.body).unwrap()["data"]["messageId"].to_string()
        })
        .collect();
    arrived.sort();
    arrived.dedup();
    assert_eq!(arrived.len(), 40, "every neighbour was delivered");
    assert!(receiver.requests("/poison").is_empty());
    let rejected: u64 = here.redis.clone().xlen(here.key("rejected")).await.unwrap();
    assert_eq!(rejected, 0, "and none was blamed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisonous_event_that_one_webhook_wants_is_rejected_with_the_reason() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await.with("LYNKHOOK_WORKER__MAX_LOSSES", "2").await;
    here.add("poison", &receiver.url("/poison")).await;
    here.push("poison", TRANSCRIPT).await;
    for _ in 0..2 {
        assert_ne!(here.program.worker(POISON).wait().await, Some(0), "the event kills the worker");
    }
    let _survivor = here.program.worker(POISON);
    here.drained().await;
    let rejected = here.rejected().await;
    assert_eq!(rejected[0][0], ("reason".to_owned(), "worker ended 2 times during this attempt".to_owned()));
    let (name, id) = rejected[0].last().unwrap();
    assert!(name == "id" && id.starts_with("0-"), "it keeps the id with which it may have been sent: {rejected:?}");
    assert!(rejected[0].contains(&("envelope".to_owned(), TRANSCRIPT.to_owned())));
}
