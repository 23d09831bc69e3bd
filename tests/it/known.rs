//! A worker caches webhooks: it reads them once, and every change counts for events that are enqueued after it,
//! whatever happens to the connection on which Redis announces changes.

use lynkhook::{domain::webhook::WebhookId, webhooks::Edit};
use redis::AsyncCommands;

use crate::support::*;

/// The number of changes in each run.
const CHANGES: usize = 60;

/// How often Redis was asked for an account's webhooks.
async fn looked_up(here: &Installation) -> u64 {
    let statistics: String = redis::cmd("INFO").arg("commandstats").query_async(&mut here.redis.clone()).await.unwrap();
    let calls = statistics.lines().find_map(|line| line.strip_prefix("cmdstat_hgetall:calls="));
    calls.map_or(0, |calls| calls.split(',').next().unwrap().parse().unwrap())
}

/// Whether it is Valkey 8 or later. It may announce a change after it has answered, so workers ask it at each delivery.
async fn is_valkey_with_threads(here: &Installation) -> bool {
    let info: String = redis::cmd("INFO").arg("server").query_async(&mut here.redis.clone()).await.unwrap();
    let version = info.lines().find_map(|line| line.strip_prefix("valkey_version:"));
    version.is_some_and(|version| version.split('.').next().unwrap().parse::<u32>().unwrap() >= 8)
}

/// The ids of the connections that read entries.
async fn reading(here: &Installation) -> Vec<u64> {
    let clients: String = redis::cmd("CLIENT").arg("LIST").query_async(&mut here.redis.clone()).await.unwrap();
    let readers = clients.lines().filter(|client| client.contains(" cmd=xreadgroup "));
    readers.map(|client| client.split(['=', ' ']).nth(1).unwrap().parse().unwrap()).collect()
}

async fn push(here: &Installation, event: &str) {
    push_for(here, "acme", event).await;
}

async fn push_for(here: &Installation, account: &str, event: &str) {
    let fields = [("account", account), ("id", event), ("envelope", TRANSCRIPT)];
    let keys = here.store.keys();
    let queue = keys.queue(keys.partition(&account_id(account)));
    let _: String = here.redis.clone().xadd(queue, "*", &fields).await.unwrap();
}

/// The number of the path `/<number>` at which an event arrived.
async fn arrived(receiver: &Receiver, event: &str) -> usize {
    eventually(SOON, "the event at the receiver", async || {
        let requests = receiver.all_requests();
        let request = requests.iter().find(|request| request.header("webhook-id") == Some(event))?;
        request.path[1..].parse().ok()
    })
    .await
}

/// Changes a webhook again and again. After each change it pushes an event, which must meet the change; `between` runs
/// before each of these events.
async fn every_change_counts(here: &Installation, receiver: &Receiver, mut between: impl AsyncFnMut(usize)) {
    let webhook: WebhookId = here.add("acme", &receiver.url("/0")).await;
    for number in 0..CHANGES {
        receiver.plan(&format!("/{number}"), [Answer::Status(200)]);
    }
    let mut worker = here.program.worker([]);
    for number in 1..CHANGES {
        // The worker knows the webhook in its former state.
        let before = format!("before-{number}");
        push(here, &before).await;
        assert_eq!(arrived(receiver, &before).await, number - 1);
        between(number).await;
        let edit = Edit { url: Some(receiver.url(&format!("/{number}"))), ..Edit::default() };
        here.webhooks.edit(&account_id("acme"), webhook, edit).await.unwrap();
        let after = format!("after-{number}");
        push(here, &after).await;
        assert_eq!(arrived(receiver, &after).await, number, "enqueued after the change");
    }
    // The worker stops in order: Redis could give the next entry to a worker that was just killed.
    worker.sigterm();
    assert_eq!(worker.wait().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_counts_for_the_next_event_and_unchanged_webhooks_are_not_read_again() {
    let (redis, receiver) = (RedisServer::start(AppendFsync::No), Receiver::start().await);
    let here = Installation::on(&redis, &receiver).await;
    every_change_counts(&here, &receiver, async |_| {}).await;
    if is_valkey_with_threads(&here).await {
        let asked = looked_up(&here).await;
        assert!(asked >= 2 * (CHANGES as u64 - 1), "{asked}: at each delivery");
        return;
    }
    let before = looked_up(&here).await;
    assert!(before <= 2 * CHANGES as u64, "{before}: at most once per change, plus the test's own reads");

    let _worker = here.program.worker([]);
    for number in 0..50 {
        push(&here, &format!("same-{number}")).await;
        arrived(&receiver, &format!("same-{number}")).await;
    }
    let asked = looked_up(&here).await - before;
    assert!((1..=3).contains(&asked), "{asked} look-ups for fifty events of one webhook");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_counts_for_the_next_event_even_if_the_tracking_connection_was_just_lost() {
    let (redis, receiver) = (RedisServer::start(AppendFsync::No), Receiver::start().await);
    let here = Installation::on(&redis, &receiver).await;
    every_change_counts(&here, &receiver, async |number| {
        for id in reading(&here).await.into_iter().filter(|_| number % 5 == 0) {
            let mut kill = redis::cmd("CLIENT");
            let _: () = kill.arg("KILL").arg("ID").arg(id).query_async(&mut here.redis.clone()).await.unwrap();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tracking_webhooks_are_read_at_each_delivery() {
    let (redis, receiver) = (RedisServer::start(AppendFsync::No), Receiver::start().await);
    let mut allow = redis::cmd("ACL");
    allow.arg("SETUSER").arg("deaf").arg(["on", ">secret", "~*", "&*", "+@all", "-client|tracking"].as_slice());
    let _: () = allow.query_async(&mut redis.connection().await).await.unwrap();
    let url = format!("redis://deaf:secret@127.0.0.1:{}/", redis.port());
    let here = Installation::on(&redis, &receiver).await.with("LYNKHOOK_REDIS__URL", &url).await;
    every_change_counts(&here, &receiver, async |_| {}).await;
    let asked = looked_up(&here).await;
    assert!(asked >= 2 * (CHANGES as u64 - 1), "{asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_tracked_in_each_partition() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await.with("LYNKHOOK_QUEUE__PARTITIONS", "4").await;
    every_change_counts(&here, &receiver, async |_| {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn adding_switching_or_deleting_a_webhook_counts_for_the_next_event() {
    let receiver = Receiver::start().await;
    receiver.plan("/1", [Answer::Status(200)]);
    let here = Installation::new(&receiver).await.with("LYNKHOOK_QUEUE__PARTITIONS", "4").await;
    let _worker = here.program.worker([]);
    let counted = async |cause: &str| -> u64 {
        let mut all = 0;
        for partition in 0..4 {
            let key = here.store.keys().counts(partition);
            all += here.redis.clone().hget::<_, _, Option<u64>>(key, cause).await.unwrap().unwrap_or_default();
        }
        all
    };
    let switch = async |account: &str, webhook: WebhookId, active: bool| {
        let edit = Edit { active: Some(active), ..Edit::default() };
        here.webhooks.edit(&account_id(account), webhook, edit).await.unwrap();
    };
    for number in 1..=20 {
        let account = format!("a{number}");
        let event = |what: &str| format!("{what}-{number}");
        push_for(&here, &account, &event("none")).await;
        eventually(SOON, "it matches nothing", async || {
            (counted("events_without_webhook").await == 2 * number - 1).then_some(())
        })
        .await;
        let webhook = here.add(&account, &receiver.url("/1")).await;
        push_for(&here, &account, &event("added")).await;
        arrived(&receiver, &event("added")).await;

        switch(&account, webhook, false).await;
        push_for(&here, &account, &event("off")).await;
        let keys = here.store.keys();
        let held = keys.held(keys.partition(&account_id(&account)), webhook);
        eventually(SOON, "it is held", async || {
            (here.redis.clone().xlen::<_, u64>(&held).await.unwrap() == 1).then_some(())
        })
        .await;
        switch(&account, webhook, true).await;
        push_for(&here, &account, &event("on")).await;
        arrived(&receiver, &event("on")).await;
        arrived(&receiver, &event("off")).await;

        here.webhooks.delete(&account_id(&account), webhook, None).await.unwrap();
        push_for(&here, &account, &event("deleted")).await;
        eventually(SOON, "it matches nothing any more", async || {
            (counted("events_without_webhook").await == 2 * number).then_some(())
        })
        .await;
    }
    assert_eq!(receiver.requests("/1").len(), 60);
}
