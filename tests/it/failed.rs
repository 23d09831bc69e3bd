//! Deliveries that failed for good are kept whole, listed, redelivered and bounded. Held deliveries can be discarded.

use std::collections::{BTreeMap, HashSet};

use lynkhook::{
    domain::{delivery::Delivery, log_entry::LogEntry, retry::Next, webhook::WebhookId},
    store::{Attempted, EntryId, EntryRange, Fence, Reason, Redelivered, StepAnswer, ToHold},
    webhooks::{FailedDelivery, NewAuthentication, Progress, WebhooksError, Which},
};
use redis::AsyncCommands;
use serde_json::{Value, json};

use crate::support::*;

/// One attempt at a time, so that deliveries fail in the order of their arrival.
const ONE_BY_ONE: [(&str, &str); 1] = [("LYNKHOOK_WORKER__CONCURRENCY", "1")];

fn numbered(number: usize) -> String {
    TRANSCRIPT.replace("6601abc123def4567890abcd", &format!("m{number}"))
}

/// An event of at least this many bytes.
fn large(bytes: usize) -> String {
    TRANSCRIPT.replace("6601abc123def4567890abcd", &"m".repeat(bytes))
}

fn messages(failed: &[FailedDelivery]) -> Vec<&str> {
    failed.iter().map(|delivery| delivery.identifiers["messageId"].as_str()).collect()
}

impl Installation {
    async fn failed(&self, webhook: WebhookId) -> Vec<FailedDelivery> {
        let acme = account_id("acme");
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = self.webhooks.failed(&acme, webhook, None, after.as_deref(), 50).await.unwrap();
            all.extend(page.items);
            after = page.next;
            if after.is_none() {
                return all;
            }
        }
    }

    async fn redeliver(&self, webhook: WebhookId, which: Which) -> Result<u64, WebhooksError> {
        self.webhooks.redeliver(&account_id("acme"), webhook, &which, |_| {}).await
    }

    /// Redelivers all. Answers the reported progress: redelivered, and the total.
    async fn redeliver_all(&self, webhook: WebhookId) -> Vec<(u64, Option<u64>)> {
        let (account, mut heard) = (account_id("acme"), Vec::new());
        let hear = |progress: Progress| heard.push((progress.moved, progress.of));
        let moved = self.webhooks.redeliver(&account, webhook, &Which::All, hear).await.unwrap();
        assert_eq!(heard.last().map(|(moved, _)| *moved), Some(moved));
        heard
    }

    async fn count(&self, cause: &str) -> u64 {
        let count: Option<u64> = self.redis.clone().hget(self.key("counts"), cause).await.unwrap();
        count.unwrap_or_default()
    }

    /// The entries of a stream of deliveries, oldest first: each with its delivery and its envelope.
    async fn deliveries(&self, rest: &str) -> Vec<(Value, String)> {
        let range = redis::cmd("XRANGE").arg(self.key(rest)).arg("-").arg("+").to_owned();
        let entries: Vec<(String, Vec<String>)> = range.query_async(&mut self.redis.clone()).await.unwrap();
        let parts = entries.iter().map(|(_, fields)| fields[1].split_once('\n').unwrap());
        parts.map(|(line, envelope)| (serde_json::from_str(line).unwrap(), envelope.to_owned())).collect()
    }

    /// Adds a failed delivery by hand, as a worker leaves it.
    pub(crate) async fn fail(&self, webhook: WebhookId, id: &str, event: &str, envelope: &str) {
        let delivery = first("acme", webhook, event).next_attempt().next_attempt();
        let fields = [("delivery", text(&delivery, envelope)), ("log", log_of(&delivery).to_json())];
        let _: String = self.redis.clone().xadd(self.key(&format!("failed:{webhook}")), id, &fields).await.unwrap();
    }

    pub(crate) async fn keys_with(&self, webhook: WebhookId) -> Vec<String> {
        self.redis.clone().keys(format!("{}*{webhook}*", self.prefix)).await.unwrap()
    }
}

fn log_of(delivery: &Delivery) -> LogEntry {
    serde_json::from_value(json!({
        "status": "failed", "event": "transcript.created", "httpStatus": 503, "attempt": delivery.attempt,
        "durationMs": 1, "error": "HTTP 503 Service Unavailable", "identifiers": {}, "deliveryId": delivery.id,
        "final": true, "time": "2026-03-26T14:32:00.000Z",
    }))
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_is_kept_whole_listed_and_redelivered_under_the_same_webhook_id() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(404), Answer::Status(410), Answer::Status(200)]);
    let here = Installation::new(&receiver).await;
    let webhook = here.add("acme", &receiver.url("/hook")).await;
    let _worker = here.program.worker(ONE_BY_ONE);
    // Blanks, escapes and a final newline: bytes that rewriting the JSON would lose.
    let envelope = format!(" {}\n\n", TRANSCRIPT.replace("6601abc123def4567890abcd", r"caf\u00e9\/é"));
    here.push("acme", &envelope).await;
    here.push("acme", numbered(2)).await;
    receiver.wait_for("/hook", 2, SOON).await;
    here.drained().await;

    let kept = here.deliveries(&format!("failed:{webhook}")).await;
    assert_eq!(kept[0].1, envelope);
    let failed = here.failed(webhook).await;
    assert_eq!(messages(&failed), ["m2", "café/é"], "newest first");
    let oldest = &failed[1];
    assert_eq!((oldest.attempt, oldest.redelivery), (1, None));
    assert_eq!((json!(oldest.http_status), oldest.error.as_deref()), (json!(404), Some("HTTP 404 Not Found")));
    assert_eq!(oldest.envelope_bytes, envelope.len() as u64);

    assert_eq!(here.redeliver(webhook, Which::One(oldest.delivery_id.clone())).await.unwrap(), 1);
    let requests = receiver.wait_for("/hook", 3, SOON).await;
    here.drained().await;
    assert_eq!(requests[2].body, envelope.as_bytes());
    assert_eq!(requests[2].header("webhook-id"), requests[0].header("webhook-id"));
    assert_eq!(requests[2].header("webhook-id"), Some(oldest.event_id.as_str()));
    let log = here.log(webhook).await;
    assert_eq!(
        [&log[0]["attempt"], &log[0]["redelivery"], &log[0]["status"]],
        [&json!(1), &json!(1), &json!("success")]
    );
    assert_eq!(log[2]["redelivery"], Value::Null);
    assert_eq!(messages(&here.failed(webhook).await), ["m2"]);

    let again = here.redeliver(webhook, Which::One(oldest.delivery_id.clone())).await;
    assert!(matches!(again, Err(WebhooksError::NoSuchDelivery { .. })), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn redelivering_all_ends_even_if_all_fail_again_and_keeps_each_once() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(404)]);
    let here = Installation::new(&receiver).await;
    let webhook = here.add("acme", &receiver.url("/hook")).await;
    let _worker = here.program.worker([]);
    for number in 0..130 {
        here.push("acme", numbered(number)).await;
    }
    receiver.wait_for("/hook", 130, SOON).await;
    here.drained().await;
    for round in 1..=2 {
        let heard = here.redeliver_all(webhook).await;
        assert_eq!(heard, [(50, Some(130)), (100, Some(130)), (130, Some(130))]);
        receiver.wait_for("/hook", 130 * (1 + round as usize), SOON).await;
        here.drained().await;
        let mut times = BTreeMap::<_, u32>::new();
        for delivery in here.failed(webhook).await {
            assert_eq!((delivery.redelivery, delivery.attempt), (Some(round), 1));
            *times.entry(delivery.delivery_id).or_default() += 1;
        }
        assert_eq!(times.len(), 130);
        assert!(times.values().all(|&times| times == 1), "{times:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redelivery_since_a_time_includes_that_time_and_starts_at_attempt_1() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let webhook = here.add("acme", &receiver.url("/hook")).await;
    for ms in [999, 1000, 2000] {
        here.fail(webhook, &format!("{ms}-0"), &format!("e{ms}"), TRANSCRIPT).await;
    }
    here.fail(webhook, "*", "recent", TRANSCRIPT).await;
    let since = |text: &str| Which::Since(text.parse().unwrap());
    let queued = async || -> Vec<String> {
        let queued = here.deliveries("queue").await;
        queued.iter().map(|(line, _)| line["event_id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(here.redeliver(webhook, since("9999-01-01T00:00:00Z")).await.unwrap(), 0);
    assert_eq!(here.redeliver(webhook, Which::Within(std::time::Duration::from_secs(60))).await.unwrap(), 1);
    assert_eq!(here.redeliver(webhook, since("1970-01-01T00:00:01Z")).await.unwrap(), 2);
    assert_eq!(queued().await, ["recent", "e1000", "e2000"]);
    assert_eq!(here.redeliver(webhook, since("1900-01-01T00:00:00Z")).await.unwrap(), 1);
    assert_eq!(queued().await, ["recent", "e1000", "e2000", "e999"]);
    assert_eq!(here.redeliver(webhook, Which::All).await.unwrap(), 0, "nothing is left");
    let exists: bool = here.redis.clone().exists(here.key(&format!("failed:{webhook}"))).await.unwrap();
    assert!(!exists, "an empty key is no key");
    for (line, envelope) in here.deliveries("queue").await {
        assert_eq!((&line["attempt"], &line["redelivery"]), (&json!(1), &json!(1)), "{line}");
        assert_eq!(envelope, TRANSCRIPT);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_large_envelopes_is_bounded_by_bytes() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let webhook = here.add("acme", &receiver.url("/hook")).await;
    let envelope = large(1_500_000);
    for number in 0..5 {
        here.fail(webhook, "*", &format!("e{number}"), &envelope).await;
    }
    let heard = here.redeliver_all(webhook).await;
    assert_eq!(heard, [(2, Some(5)), (4, Some(5)), (5, Some(5))], "4 MiB hold two of these");
    here.fail(webhook, "*", "larger", &large(5_000_000)).await;
    assert_eq!(here.redeliver(webhook, Which::All).await.unwrap(), 1, "one is redelivered, however large");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redelivery_for_a_webhook_that_is_off_is_held() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let webhook = here.add_with("acme", &receiver.url("/hook"), NewAuthentication::None, false).await;
    here.fail(webhook, "*", "e1", TRANSCRIPT).await;
    let _worker = here.program.worker([]);
    assert_eq!(here.redeliver(webhook, Which::All).await.unwrap(), 1);
    here.drained().await;
    let held = here.deliveries(&format!("held:{webhook}")).await;
    assert_eq!((held.len(), &held[0].0["redelivery"]), (1, &json!(1)));
    assert!(receiver.all_requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn held_deliveries_can_be_discarded_and_are_counted() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(200)]);
    let here = Installation::new(&receiver).await;
    let webhook = here.add_with("acme", &receiver.url("/hook"), NewAuthentication::None, false).await;
    let _worker = here.program.worker([]);
    for number in 0..7 {
        here.push("acme", numbered(number)).await;
    }
    here.drained().await;
    let id = webhook.to_string();
    let enabled = here.program.json(["webhook", "enable", "--discard-held", "--account", "acme", &id]).await;
    assert_eq!((&enabled["heldDiscarded"], &enabled["active"]), (&json!(7), &json!(true)));
    assert_eq!(here.count("held_discarded").await, 7);
    here.push("acme", numbered(7)).await;
    receiver.wait_for("/hook", 1, SOON).await;
    here.drained().await;
    let arrived = receiver.requests("/hook");
    assert_eq!(arrived.len(), 1, "the held deliveries are gone");
    assert_eq!(arrived[0].body, numbered(7).as_bytes());
    let enabled = here.program.json(["webhook", "enable", "--account", "acme", &id]).await;
    assert_eq!(enabled.get("heldDiscarded"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_are_kept_within_the_limit_and_the_others_counted() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(404)]);
    let here = Installation::new(&receiver).await.with("LYNKHOOK_FAILED__LIMIT", "5").await;
    let here = here.with("LYNKHOOK_HELD__LIMIT", "5").await;
    let webhook = here.add("acme", &receiver.url("/hook")).await;
    let off = here.add_with("other", &receiver.url("/hook"), NewAuthentication::None, false).await;
    let _worker = here.program.worker(ONE_BY_ONE);
    for number in 0..8 {
        here.push("acme", numbered(number)).await;
        here.push("other", numbered(number)).await;
    }
    here.drained().await;
    assert_eq!(messages(&here.failed(webhook).await), ["m7", "m6", "m5", "m4", "m3"]);
    let held: Vec<String> = here.deliveries(&format!("held:{off}")).await.into_iter().map(|(_, e)| e).collect();
    assert_eq!(held, (3..8).map(numbered).collect::<Vec<_>>());
    assert_eq!((here.count("failed_overflow").await, here.count("held_overflow").await), (3, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn large_envelopes_are_kept_within_the_bound_of_bytes_and_the_others_counted() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(404)]);
    let here = Installation::new(&receiver).await.with("LYNKHOOK_FAILED__MAX_BYTES", "1MiB").await;
    let here = here.with("LYNKHOOK_HELD__MAX_BYTES", "1MiB").await;
    let webhook = here.add("acme", &receiver.url("/hook")).await;
    let off = here.add_with("other", &receiver.url("/hook"), NewAuthentication::None, false).await;
    // Many small events come first: the size of the oldest says nothing about the size of the newest.
    for number in 0..100 {
        here.fail(webhook, "*", &format!("small-{number}"), TRANSCRIPT).await;
    }
    let _worker = here.program.worker(ONE_BY_ONE);
    for _ in 0..8 {
        here.push("acme", large(200_000)).await;
        here.push("other", large(200_000)).await;
    }
    here.drained().await;
    for (key, pushed, cause) in
        [(format!("failed:{webhook}"), 108, "failed_overflow"), (format!("held:{off}"), 8, "held_overflow")]
    {
        // A visit measures the held deliveries, and it comes at once.
        let within = async || (here.bytes(&key).await <= 1 << 20).then_some(());
        eventually(SOON, &format!("{key} within its bytes"), within).await;
        let kept = here.deliveries(&key).await;
        assert!((3..=5).contains(&kept.len()), "{} of {key} are kept", kept.len());
        assert_eq!(here.count(cause).await, pushed - kept.len() as u64);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_webhooks_failed_deliveries_do_not_come_back_by_a_redelivery() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(404)]);
    let here = Installation::new(&receiver).await;
    let _worker = here.program.worker([]);
    for round in 0..5 {
        let webhook = here.add("acme", &receiver.url("/hook")).await;
        for number in 0..120 {
            here.fail(webhook, "*", &format!("e{round}-{number}"), TRANSCRIPT).await;
        }
        let (account, under_way) = (account_id("acme"), tokio::sync::Notify::new());
        let redelivered = here.webhooks.redeliver(&account, webhook, &Which::All, |_| under_way.notify_one());
        let deleted = async {
            // In some rounds before it begins, in others in the middle of it.
            if round % 2 == 1 {
                under_way.notified().await;
            }
            here.webhooks.delete(&account, webhook, None).await
        };
        let (redelivered, deleted) = tokio::join!(redelivered, deleted);
        deleted.unwrap();
        assert!(matches!(redelivered, Ok(0 | 120) | Err(WebhooksError::NotFound { .. })), "{redelivered:?}");
        here.drained().await;
        let keys = here.keys_with(webhook).await;
        assert!(keys.is_empty(), "{keys:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_writes_to_a_missing_webhook_says_so_and_leaves_no_key() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let (account, webhook) = (account_id("acme"), WebhookId::new(uuid::Uuid::now_v7()));
    let delivery = Delivery::first(&"e1".parse().unwrap(), &account, webhook, None);
    let log = log_of(&delivery);
    assert!(!here.store.log(&account, webhook, &log).await.unwrap());
    let range = EntryRange { first: EntryId("0-0".to_owned()), last: EntryId("9999999999999-0".to_owned()) };
    let redelivered = here.store.redeliver(&account, webhook, range).await.unwrap();
    assert!(matches!(redelivered, Redelivered::Gone), "{redelivered:?}");

    here.store.ensure_group(0).await.unwrap();
    let mut reader = here.reader(0, "tester", std::time::Duration::from_millis(1)).await;
    let retry = Next::Retry { after: std::time::Duration::ZERO };
    for next in [None, Some(Next::Delivered), Some(retry), Some(Next::Failed)] {
        let fields = [("delivery", text(&delivery, TRANSCRIPT))];
        let _: String = here.redis.clone().xadd(here.key("queue"), "*", &fields).await.unwrap();
        let entry = reader.read(1).await.unwrap().remove(0);
        let held = Fence { partition: 0, entry: entry.id, deliveries: entry.deliveries };
        let answer = match next {
            None => {
                let waiting = ToHold {
                    fence: held,
                    delivery: delivery.clone(),
                    envelope: TRANSCRIPT.into(),
                    reason: Reason::Off,
                };
                here.store.hold(0, "tester", &[waiting]).await.unwrap().remove(0)
            }
            Some(next) => {
                let attempt = Attempted {
                    fence: held,
                    delivery: delivery.clone().into(),
                    next,
                    log: log.clone().into(),
                    trimmed: None,
                };
                here.store.settle(0, "tester", &[attempt], &HashSet::new()).await.unwrap().remove(0)
            }
        };
        assert_eq!(answer, StepAnswer::Gone, "{next:?}");
    }
    let keys = here.keys_with(webhook).await;
    assert!(keys.is_empty(), "{keys:?}");
    let members: u64 = here.redis.clone().zcard(here.key("visits")).await.unwrap();
    let retries: u64 = here.redis.clone().zcard(here.key("retries")).await.unwrap();
    let queued: u64 = here.redis.clone().xlen(here.key("queue")).await.unwrap();
    assert_eq!((members, retries, queued), (0, 0, 0));
    assert_eq!(here.count("deliveries_of_deleted_webhook").await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_lists_and_redelivers() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let webhook = here.add("acme", &receiver.url("/hook")).await;
    let id = webhook.to_string();
    let run = async |args: &[&str]| here.program.run(args.iter().chain(&["--account", "acme", &id])).await;
    let empty = run(&["webhook", "failed"]).await;
    assert_eq!((empty.code, empty.stdout.as_str()), (Some(0), "No failed deliveries.\n"));
    for number in 0..3 {
        here.fail(webhook, "*", &format!("e{number}"), TRANSCRIPT).await;
    }
    let listed = here.program.json(["webhook", "failed", "--account", "acme", &id]).await;
    assert_eq!(listed.as_array().unwrap().len(), 3);
    assert_eq!(listed[0]["deliveryId"], format!("e2.{id}"));
    assert_eq!((&listed[0]["eventId"], &listed[0]["attempt"]), (&json!("e2"), &json!(3)));
    assert_eq!(listed[0]["envelopeBytes"], TRANSCRIPT.len());
    let table = run(&["webhook", "failed"]).await.stdout;
    assert_eq!(table.lines().count(), 4, "{table}");

    for wrong in [&[][..], &["--all", "--since", "2h"], &["--all", "--delivery", "x"], &["--since", "2M"]] {
        let output = run(&[&["webhook", "redeliver"], wrong].concat()).await;
        assert_eq!(output.code, Some(2), "{wrong:?}: {output:?}");
    }
    let unknown = run(&["webhook", "redeliver", "--delivery", "e9.wh"]).await;
    assert_eq!(unknown.code, Some(3));
    assert!(unknown.stderr.contains("has no failed delivery `e9.wh`"), "{}", unknown.stderr);
    let one = run(&["webhook", "redeliver", "--delivery", &format!("e1.{id}")]).await;
    assert!(one.code == Some(0) && one.stdout.starts_with("1 delivery is queued again"), "{one:?}");
    let since = run(&["webhook", "redeliver", "--since", "2h", "--json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&since.stdout).unwrap()["redelivered"], 2);
    let all = here.program.json(["webhook", "redeliver", "--all", "--account", "acme", &id]).await;
    assert_eq!(all, json!({"id": id, "account": "acme", "redelivered": 0}));
}
