//! An installation over 16 partitions of a real cluster, with events flowing into each of them, and its books: what was
//! accepted, what arrived, and how long each partition went without a delivery.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use lynkhook::{
    config::Settings,
    domain::{account::AccountId, new_event::NewEvent},
    producer::{EnqueueError, Producer},
    secrets::Vault,
    store::Store,
    webhooks::{NewAuthentication, NewWebhook, Webhooks},
};
use tokio::task::JoinSet;

use crate::support::*;

pub(super) const PARTITIONS: u16 = 16;
/// The interval between two events of a partition.
const EVERY: Duration = Duration::from_millis(100);

/// Events that flow through a cluster.
pub(super) struct Scene {
    pub cluster: RedisCluster,
    pub receiver: Receiver,
    pub prefix: String,
    pub producer: Producer,
    pub program: Program,
    pub webhooks: Webhooks,
    pub workers: Vec<Process>,
    books: Arc<Mutex<Books>>,
    feeding: JoinSet<()>,
}

/// The answers to the producers.
#[derive(Default)]
pub(super) struct Books {
    /// Events whose entry Redis named, by event id.
    pub accepted: BTreeMap<String, Accepted>,
    /// Events without an answer: each may be in the queue or not.
    pub unknown: BTreeSet<String>,
    /// The partitions of events that were refused, and why.
    pub refused: Vec<(u16, String)>,
}

#[derive(Clone)]
pub(super) struct Accepted {
    pub partition: u16,
    pub entry: String,
    pub at: Instant,
}

/// The longest time without a delivery, in partitions of a master that had a fault, and in all others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gaps {
    pub lost: Duration,
    pub others: Duration,
}

impl Scene {
    /// A cluster with these arguments besides, two workers, and a flow of events that has begun to arrive everywhere.
    pub(super) async fn start(replicas_each: usize, arguments: &[&str]) -> Self {
        Self::start_with(RedisCluster::start_with(3, replicas_each, arguments).await, &[]).await
    }

    /// The same on this cluster, with these settings besides.
    pub(super) async fn start_with(cluster: RedisCluster, settings: &[(&'static str, &str)]) -> Self {
        let receiver = Receiver::start().await;
        receiver.plan("/hook", [Answer::Status(200)]);
        let prefix = cluster.unique_prefix();
        let own = [
            ("LYNKHOOK_REDIS__URL", cluster.url()),
            ("LYNKHOOK_REDIS__PREFIX", prefix.clone()),
            ("LYNKHOOK_QUEUE__PARTITIONS", PARTITIONS.to_string()),
            ("LYNKHOOK_EGRESS__ALLOW", "127.0.0.0/8,localhost".to_owned()),
            ("LYNKHOOK_SECRETS__KEY", SECRETS_KEY.to_owned()),
        ];
        let variables: Vec<(&str, String)> =
            own.into_iter().chain(settings.iter().map(|&(name, value)| (name, value.to_owned()))).collect();
        let program = Program::new(cluster.server(0), &prefix).trusting(&receiver);
        let program = variables.iter().fold(program, |program, (name, value)| program.env(name, value));
        let settings = Settings::load(None, variables).unwrap();
        let store = Store::open(&settings).await.unwrap();
        let webhooks =
            Webhooks::new(&settings, store.clone(), Vault::new(settings.secrets.key.as_ref()).unwrap()).unwrap();
        let accounts: Vec<AccountId> = (0..PARTITIONS).map(|partition| account_of(partition, "account")).collect();
        for account in &accounts {
            webhooks.add(account, webhook_to(receiver.url("/hook"))).await.unwrap();
        }
        let workers = vec![program.worker([]), program.worker([])];
        for worker in &workers {
            worker.wait_for_line("partitions at a master of the cluster").await;
        }
        let books = Arc::<Mutex<Books>>::default();
        let mut feeding = JoinSet::new();
        let producer = Producer::new(store.clone(), settings.catalogue());
        for (partition, account) in (0..).zip(&accounts) {
            feeding.spawn(feed(producer.clone(), partition, account.clone(), Arc::clone(&books)));
        }
        let scene = Self { cluster, receiver, prefix, producer, program, webhooks, workers, books, feeding };
        scene.flows_everywhere().await;
        scene
    }

    /// The key of a partition.
    pub(super) fn key(&self, partition: u16, rest: &str) -> String {
        format!("{}:{{{partition}}}:{rest}", self.prefix)
    }

    /// Waits until an event that is accepted from now on has arrived in each partition.
    pub(super) async fn flows_everywhere(&self) {
        let before = self.books.lock().unwrap().accepted.keys().cloned().collect::<BTreeSet<_>>();
        eventually(SOON * 2, "a new event arrives in each partition", async || {
            let arrived = self.receiver.arrivals("/hook");
            let books = self.books.lock().unwrap();
            let new = books.accepted.iter().filter(|(id, _)| !before.contains(*id) && arrived.contains_key(*id));
            let partitions: BTreeSet<u16> = new.map(|(_, accepted)| accepted.partition).collect();
            (partitions.len() == usize::from(PARTITIONS)).then_some(())
        })
        .await;
    }

    /// The partitions whose master is this node now.
    pub(super) async fn partitions_at(&self, node: usize) -> Vec<u16> {
        let mut at = Vec::new();
        for partition in 0..PARTITIONS {
            if self.cluster.master_of(slot_of(&self.key(partition, "queue"))).await == node {
                at.push(partition);
            }
        }
        at
    }

    /// A master that has partitions, and its partitions.
    pub(super) async fn a_master(&self) -> (usize, Vec<u16>) {
        let master = self.cluster.master_of(slot_of(&self.key(0, "queue"))).await;
        (master, self.partitions_at(master).await)
    }

    /// The longest time without a delivery since `from`, of these partitions and of the others.
    pub(super) fn gaps(&self, from: Instant, lost: &[u16]) -> Gaps {
        let now = Instant::now();
        let mut before = [from; PARTITIONS as usize];
        let mut longest = [Duration::ZERO; PARTITIONS as usize];
        let arrivals = self.receiver.requests("/hook");
        let arrivals = arrivals.iter().filter(|request| request.arrived >= from);
        for request in arrivals {
            let partition = usize::from(partition_of(request.header("webhook-id").unwrap()));
            longest[partition] = longest[partition].max(request.arrived.saturating_duration_since(before[partition]));
            before[partition] = before[partition].max(request.arrived);
        }
        let of = |is_lost: bool| {
            let all = (0..PARTITIONS).filter(|partition| lost.contains(partition) == is_lost).map(usize::from);
            all.map(|partition| longest[partition].max(now - before[partition])).max().unwrap_or_default()
        };
        Gaps { lost: of(true), others: of(false) }
    }

    /// The last entry of each of these partitions that a replica knows, whose master has just gone.
    pub(super) async fn last_known_at(&self, node: usize, partitions: &[u16]) -> BTreeMap<u16, String> {
        // It still takes what is on the way to it, and is not promoted before seconds have passed.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let mut redis = self.cluster.connection(node).await;
        let () = redis::cmd("READONLY").query_async(&mut redis).await.unwrap();
        let mut last = BTreeMap::new();
        for &partition in partitions {
            let mut ask = redis::cmd("XINFO");
            ask.arg("STREAM").arg(self.key(partition, "queue"));
            let stream: BTreeMap<String, redis::Value> = ask.query_async(&mut redis).await.unwrap();
            last.insert(partition, redis::from_redis_value(stream["last-generated-id"].clone()).unwrap());
        }
        last
    }

    /// Ends the flow, and waits until everything that was accepted has arrived, but for entries after `last_known`: those
    /// that a promoted replica never had. Answers their number.
    pub(super) async fn balance(&mut self, last_known: &BTreeMap<u16, String>) -> usize {
        self.stop_feeding().await;
        let was_lost = |accepted: &Accepted| {
            last_known.get(&accepted.partition).is_some_and(|last| order(&accepted.entry) > order(last))
        };
        let accepted = self.books.lock().unwrap().accepted.clone();
        let what = "all accepted events have arrived, but for those that the promoted master never had";
        eventually(SOON * 2, what, async || {
            let arrived = self.receiver.arrivals("/hook");
            let missing: Vec<_> = accepted.iter().filter(|(id, _)| !arrived.contains_key(*id)).collect();
            missing.iter().all(|(_, accepted)| was_lost(accepted)).then_some(missing.len())
        })
        .await
    }

    /// Ends the flow.
    pub(super) async fn stop_feeding(&mut self) {
        self.feeding.shutdown().await;
    }

    /// The attempts after the first, by partition.
    pub(super) fn repeated(&self) -> BTreeMap<u16, usize> {
        let mut repeated = BTreeMap::new();
        for (id, times) in self.receiver.arrivals("/hook").into_iter().filter(|(_, times)| *times > 1) {
            *repeated.entry(partition_of(&id)).or_default() += times - 1;
        }
        repeated
    }

    /// Looks at the books so far.
    pub(super) fn told<T>(&self, look: impl FnOnce(&Books) -> T) -> T {
        look(&self.books.lock().unwrap())
    }
}

/// Enqueues an event of a partition at intervals. One that was refused or has no answer is not repeated.
async fn feed(producer: Producer, partition: u16, account: AccountId, books: Arc<Mutex<Books>>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for number in 0.. {
        ticks.tick().await;
        let id = format!("p{partition}-{number}");
        let event = NewEvent::from_envelope(TRANSCRIPT).with_id(id.parse().unwrap());
        let answer = producer.enqueue(&account, &event).await;
        let mut books = books.lock().unwrap();
        match answer {
            Ok(enqueued) => {
                books.accepted.insert(id, Accepted { partition, entry: enqueued.stream_id, at: Instant::now() });
            }
            Err(EnqueueError::Unknown(_)) => drop(books.unknown.insert(id)),
            Err(EnqueueError::NotAccepted(why)) => books.refused.push((partition, why.to_string())),
            Err(EnqueueError::Refused(fault)) => panic!("{fault}"),
        }
    }
}

/// A webhook for all events, without authentication.
pub(super) fn webhook_to(url: String) -> NewWebhook {
    NewWebhook { url, events: None, authentication: NewAuthentication::None, description: String::new(), active: true }
}

/// An account of a partition, with a name that begins so.
pub(super) fn account_of(partition: u16, name: &str) -> AccountId {
    let mut names = (0..).map(|number| account_id(&format!("{name}-{number}")));
    names.find(|account| account.partition(PARTITIONS) == partition).expect("each partition has accounts")
}

/// The partition of an event of [`feed`].
pub(super) fn partition_of(id: &str) -> u16 {
    id.trim_start_matches('p').split('-').next().and_then(|number| number.parse().ok()).expect("an event of this scene")
}

/// An entry's id as numbers, which have its order.
pub(super) fn order(entry: &str) -> (u64, u64) {
    let (ms, sequence) = entry.split_once('-').expect("an entry's id");
    (ms.parse().unwrap(), sequence.parse().unwrap())
}
