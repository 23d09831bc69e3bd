//! One Redis becomes a cluster by the steps of `deploy/README.md`, and nothing that it has is lost.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use lynkhook::{
    domain::{account::AccountId, log_entry::LogEntry, webhook::WebhookId},
    webhooks::{FailedDelivery, HeldDelivery, LogFilter, NewAuthentication, NewWebhook, Webhooks},
};
use redis::AsyncCommands;

use crate::support::*;

use super::deployed::{DeployedCluster, block_of};

const ACCOUNTS: usize = 12;
const PARTITIONS: u16 = 16;
/// The webhooks of each account. At first `/later` answers 503. `/off` is off.
const PATHS: [&str; 4] = ["/fine", "/gone", "/later", "/off"];

/// An account and its webhooks, in the order of [`PATHS`].
struct Customer {
    account: AccountId,
    hooks: [WebhookId; 4],
}

/// The stored data of one webhook: its log, newest first, and its held and failed deliveries.
#[derive(Debug, PartialEq)]
struct Stored {
    log: Vec<LogEntry>,
    held: Vec<HeldDelivery>,
    failed: Vec<FailedDelivery>,
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a whole cluster: run alone, by `make test`"]
async fn serial_one_redis_becomes_a_cluster_and_all_that_waits_is_held_or_has_failed_is_still_there() {
    let mut cluster = DeployedCluster::prepare().await;
    cluster.add_single();
    let later_is_well = plan(&cluster.receiver);
    let (_, webhooks) = cluster.webhooks().await;
    let customers = customers(&webhooks, &cluster.receiver).await;
    enqueue(&cluster, &customers).await;
    let worker = cluster.program_of("worker").worker([("LYNKHOOK_DELIVERY__RETRY_DELAYS", "8s,8s")]);
    eventually(SOON, "one event is delivered, held, failed or to be repeated", async || {
        let counts = counts(&cluster, &webhooks, &customers).await;
        (counts == [[1, 0, 0], [1, 0, 1], [1, 0, 0], [0, 1, 0]]).then_some(())
    })
    .await;
    stop(worker).await;
    enqueue(&cluster, &customers).await;
    let before = stored(&webhooks, &customers).await;
    assert_eq!(waiting(&cluster).await.0, [ACCOUNTS, ACCOUNTS], "in the queues, and for a retry");

    cluster.restart_as_a_node();
    for _ in 0..5 {
        cluster.add_node();
    }
    cluster.run(&block_of("### One Redis becomes a cluster", "sh"));
    cluster.ready().await;

    let (_, webhooks) = cluster.webhooks().await;
    assert_eq!(stored(&webhooks, &customers).await, before);
    assert_eq!(waiting(&cluster).await, ([ACCOUNTS, ACCOUNTS], BTreeSet::from([0, 1, 2])), "at each of three masters");
    later_is_well.store(true, Relaxed);
    let worker = cluster.program_of("worker").worker([]);
    eventually(SOON, "the other event, too, and the retries of the first", async || {
        let counts = counts(&cluster, &webhooks, &customers).await;
        (counts == [[2, 0, 0], [2, 0, 2], [3, 0, 0], [0, 2, 0]]).then_some(())
    })
    .await;
    for (after, before) in stored(&webhooks, &customers).await.iter().zip(&before) {
        assert!(after.log.ends_with(&before.log) && after.held.starts_with(&before.held), "{before:#?}\n{after:#?}");
        assert!(after.failed.ends_with(&before.failed), "{before:#?}\n{after:#?}");
    }
    for customer in &customers {
        webhooks.enable(&customer.account, customer.hooks[3], false, None).await.unwrap();
    }
    cluster.receiver.wait_for_ended("/off", 2 * ACCOUNTS, SOON).await;
    eventually(SOON, "nothing waits", async || (waiting(&cluster).await.0 == [0, 0]).then_some(())).await;
    for (path, requests) in PATHS.into_iter().zip([2, 2, 3, 2]) {
        assert_eq!(cluster.receiver.requests(path).len(), requests * ACCOUNTS, "{path}");
    }
    stop(worker).await;
    let refusals: BTreeSet<String> = cluster.refusals().await.into_iter().collect();
    assert_eq!(refusals, BTreeSet::from(["cluster toplevel command function|dump".to_owned()]), "as the page says");
}

fn plan(receiver: &Receiver) -> Arc<AtomicBool> {
    let later_is_well = Arc::new(AtomicBool::new(false));
    let is_well = later_is_well.clone();
    receiver.plan_each("/later", move |_| Answer::Status(if is_well.load(Relaxed) { 200 } else { 503 }));
    for (path, status) in [("/fine", 200), ("/gone", 404), ("/off", 200)] {
        receiver.plan(path, [Answer::Status(status)]);
    }
    later_is_well
}

async fn customers(webhooks: &Webhooks, receiver: &Receiver) -> Vec<Customer> {
    let mut customers = Vec::new();
    for number in 0..ACCOUNTS {
        let account = account_id(&format!("customer-{number}"));
        let mut hooks = Vec::new();
        for path in PATHS {
            let new = NewWebhook {
                url: receiver.url(path),
                events: None,
                authentication: NewAuthentication::None,
                description: String::new(),
                active: path != "/off",
            };
            hooks.push(webhooks.add(&account, new).await.unwrap().id);
        }
        customers.push(Customer { account, hooks: hooks.try_into().unwrap() });
    }
    customers
}

/// Adds an event for each customer, as any producer does on a single Redis.
async fn enqueue(cluster: &DeployedCluster, customers: &[Customer]) {
    let mut redis = cluster.nodes[0].connection().await;
    for Customer { account, .. } in customers {
        let queue = format!("lynkhook:{{{}}}:queue", account.partition(PARTITIONS));
        let fields = [("account", account.as_str()), ("envelope", TRANSCRIPT)];
        let () = redis.xadd(queue, "*", &fields).await.unwrap();
    }
}

async fn stop(mut worker: Process) {
    worker.sigterm();
    assert_eq!(worker.wait().await, Some(0));
}

/// The data of each webhook of each customer.
async fn stored(webhooks: &Webhooks, customers: &[Customer]) -> Vec<Stored> {
    let mut stored = Vec::new();
    for Customer { account, hooks } in customers {
        for hook in hooks {
            let log = webhooks.logs(account, *hook, &LogFilter::default(), None, 100).await.unwrap();
            let held = webhooks.held(account, *hook, None, 100).await.unwrap();
            let failed = webhooks.failed(account, *hook, None, None, 100).await.unwrap();
            stored.push(Stored { log: log.items, held: held.items, failed: failed.items });
        }
    }
    stored
}

/// For each of [`PATHS`] the lengths of a webhook's log, held and failed deliveries, if they are the same for all customers
/// and nothing waits in the queues.
async fn counts(cluster: &DeployedCluster, webhooks: &Webhooks, customers: &[Customer]) -> [[usize; 3]; 4] {
    let stored = stored(webhooks, customers).await;
    let lengths: Vec<[usize; 3]> =
        stored.iter().map(|Stored { log, held, failed }| [log.len(), held.len(), failed.len()]).collect();
    let first: [[usize; 3]; 4] = lengths[..4].try_into().unwrap();
    let is_same = lengths.chunks(4).all(|lengths| lengths == first) && waiting(cluster).await.0[0] == 0;
    if is_same { first } else { [[0; 3]; 4] }
}

/// The numbers of queued entries and of retries, and the nodes that have any.
async fn waiting(cluster: &DeployedCluster) -> ([usize; 2], BTreeSet<usize>) {
    let (mut numbers, mut nodes) = ([0, 0], BTreeSet::new());
    for partition in 0..PARTITIONS {
        for (number, ask) in numbers.iter_mut().zip(["XLEN lynkhook:{P}:queue", "ZCARD lynkhook:{P}:retries"]) {
            let (node, count): (usize, usize) = cluster.ask_master(&ask.replace('P', &partition.to_string())).await;
            *number += count;
            if count > 0 {
                nodes.insert(node);
            }
        }
    }
    (numbers, nodes)
}
