//! The worker: it takes entries from the queue, delivers them, and looks after the deliveries that wait.
//!
//! Each role is one loop (`roles`). Each partition has a reader for new entries, a claimer for entries whose worker
//! died, a promoter, a releaser, a visitor, an auditor, a mender, and a loop for each kind of step that deliveries take
//! together. A worker has one renewer, one publisher, one sweeper and one gauge. The loops share `Worker` and nothing
//! else. All state that matters is in Redis, so a worker may end at any instant.
//!
//! A worker takes only as many entries as it has room for. An entry keeps a slot until it is settled (`parts/slots.rs`), and
//! is read with that slot in hand. The one exception is the entry that an idle partition's reader waits for
//! (`roles/read.rs`).
//!
//! A process may hold several workers, one for each thread (`threads.rs`). They share nothing but the process.

mod admit;
mod attempt;
mod deliver;
mod error;
mod leave;
mod limits;
mod parts;
mod probes;
mod roles;
mod step;
mod threads;
mod until_answered;

use std::{collections::BTreeMap, sync::Arc};

use chrono::{DateTime, Utc};
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

pub use self::error::WorkerError;
use self::{
    parts::{
        bytes_in_hand::BytesInHand,
        in_hand::InHand,
        leases::Lease,
        partition::Partition,
        room::Room,
        rules::Rules,
        stop::{Stop, a_panic},
        vitals::Vitals,
    },
    probes::Workers,
};
use crate::{
    config::Settings,
    scrape::Scrape,
    secrets::Vault,
    sender::Sender,
    store::{Master, Store, StoreError},
    supervisor,
    telemetry::metrics::OfWorker,
};

/// The state that the loops share.
struct Worker {
    /// This worker's name in the consumer groups. No other worker ever had it.
    name: String,
    store: Store,
    sender: Sender,
    vault: Vault,
    rules: Rules,
    room: Room,
    in_hand: InHand,
    partitions: Vec<Partition>,
    vitals: Vitals,
    stop: Stop,
}

/// Runs `worker.threads` workers until `stop` is cancelled and the entries in hand are finished or given back. The
/// first worker uses this `store` and runs on the calling thread.
///
/// # Errors
/// At the start, if Redis is out of reach or unfit, or if this machine allows too little. A running worker survives
/// anything that Redis does. Later there is an error only after a fault of this program: a worker that lost one of its
/// loops stops as if told to. Without the loop that settles, for example, it would repeat deliveries endlessly.
pub async fn run(settings: &Settings, store: Store, vault: Vault, stop: CancellationToken) -> Result<(), WorkerError> {
    let settings = &limits::within_files(settings, store.keys().partitions())?;
    limits::within_clients(settings, &store).await?;
    let (metrics, counted) = OfWorker::new(&settings.catalogue());
    let workers = Arc::new(Workers::new(settings.threads(), counted));
    if let Some(address) = settings.worker.health_bind {
        let listener = probes::open(address).await.map_err(|source| WorkerError::Health { address, source })?;
        tokio::spawn(probes::serve(workers.clone(), Scrape::new(metrics, store.clone()), listener));
    }
    let watched = workers.clone();
    tokio::spawn(supervisor::feed(move || probes::fault(&watched)));
    let others = threads::start(settings, &vault, &workers, &stop);
    let settings = threads::share(settings, 0);
    let own = work(&settings, (store, vault), (&workers, 0), stop.clone()).await;
    if own.is_err() {
        stop.cancel();
    }
    own.and(threads::ended(others).await)
}

/// Runs the `nth` worker on the current thread. Probes see it among `workers`.
async fn work(
    settings: &Settings,
    (store, vault): (Store, Vault),
    (workers, nth): (&Workers, usize),
    stop: CancellationToken,
) -> Result<(), WorkerError> {
    let sender = Sender::new(&settings.delivery, &settings.egress, &settings.dns)?;
    let rules = Rules::new(settings);
    let clocks = clocks(&store).await?;
    let now = clocks[&0].0;
    let (partitions, asked): (Vec<_>, Vec<_>) =
        clocks.into_values().map(|heard| Partition::new(heard, &rules.schedule)).unzip();
    let max_bytes = usize::try_from(settings.worker.max_bytes).unwrap_or(usize::MAX);
    let in_hand = InHand::new(Arc::new(BytesInHand::new(max_bytes, store.keys().partitions())));
    let alarms = partitions.iter().map(|partition| partition.alarms.clone()).collect();
    let hosts = sender.clone();
    let room = Room::new(&rules, &in_hand.bytes, alarms, Box::new(move |host| hosts.room(host)));
    let worker = Arc::new(Worker {
        name: new_name(),
        vitals: Vitals::new(settings, store.keys().partitions(), now, workers.metrics.clone()),
        store,
        sender,
        vault,
        rules,
        room,
        in_hand,
        partitions,
        stop: Stop::new(stop),
    });
    let (partitions, concurrency) = (worker.partitions.len(), worker.rules.concurrency);
    tracing::info!(worker = worker.name, partitions, concurrency, "worker started");
    for Master { address, partitions } in worker.store.masters() {
        if let Some(master) = address {
            tracing::info!(master, ?partitions, "partitions at a master of the cluster");
        }
    }

    let (mut taking, mut serving) = (JoinSet::new(), JoinSet::new());
    roles::spawn(&worker, asked, &mut taking, &mut serving);
    let renewing = serving.spawn(roles::renew::renew(worker.clone()));
    if workers.are_started_with(nth, &worker) {
        supervisor::started().await;
    }
    if settings.worker.health_bind.is_some() {
        let asking = worker.clone();
        serving.spawn(async move { asking.vitals.redis.keep_asking(&asking.store, &asking.partitions).await });
    }

    tokio::select! {
        () = worker.stop.begins() => {}
        () = a_panic(&mut taking) => worker.stop.after_a_panic(),
        () = a_panic(&mut serving) => worker.stop.after_a_panic(),
    }
    let deadline = Instant::now() + settings.worker.shutdown_grace;
    let in_flight = worker.in_hand.leases.count();
    tracing::info!(in_flight, "stopping: no more entries are taken, those in flight are finished");
    if nth == 0 {
        supervisor::stopping().await;
    }
    worker.finish(&mut taking, deadline).await;
    while let Some(ended) = serving.try_join_next() {
        worker.stop.note_end(&ended);
    }
    renewing.abort();
    worker.leave().await;
    if worker.stop.has_panicked() { Err(WorkerError::Panicked) } else { Ok(()) }
}

/// The clock of each partition's Redis node, and the time at which it was asked.
async fn clocks(store: &Store) -> Result<BTreeMap<u16, (DateTime<Utc>, Instant)>, StoreError> {
    let mut clocks = BTreeMap::new();
    for partitions in store.by_node() {
        let (sent, now) = (Instant::now(), store.now(partitions[0]).await?);
        clocks.extend(partitions.into_iter().map(|partition| (partition, (now, sent))));
    }
    Ok(clocks)
}

impl Worker {
    fn partition(&self, partition: u16) -> &Partition {
        &self.partitions[usize::from(partition)]
    }

    /// The partition of the entry that this lease is for.
    fn partition_of(&self, lease: &Lease) -> &Partition {
        self.partition(lease.partition())
    }
}

/// A name that no other process ever had: the host's name, for people, and a random part.
fn new_name() -> String {
    let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let host: String = host.trim().chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(63).collect();
    let host = if host.is_empty() { "worker" } else { &host };
    format!("{host}-{:012x}", rand::random::<u64>() >> 16)
}
