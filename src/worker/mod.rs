//! The worker: takes entries from the queue, delivers them, and looks after what waits.
//!
//! Each role is one loop: a reader for new entries and a claimer for those whose worker died, a promoter, a releaser,
//! a visitor and a mender for each partition, and one for each kind of step that deliveries take together; one renewer and one publisher. They
//! share `Worker` and nothing else; all state that matters lies in Redis, so that a worker may end at any instant.
//!
//! A worker takes only what it has room for: an entry keeps a slot until it is settled (`slots.rs`), and is read with that
//! slot in hand, except for the one entry that an idle partition's reader waits for (`reader.rs`).
//!
//! A process may hold several workers, one a thread (`threads.rs`); they share nothing but the process.

mod admit;
mod alarm;
mod audit;
mod batch;
mod bytes_in_hand;
mod clock;
mod deliver;
mod endpoints;
mod figures;
mod health;
mod heartbeat;
mod hosts;
mod leases;
mod limits;
mod local_exhaustion;
mod mend;
mod names;
mod no_room;
mod reader;
mod release;
mod roles;
mod slots;
mod steps;
mod suspects;
mod threads;
mod until_answered;
mod visit;

use std::{
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::Mutex,
    task::{JoinError, JoinSet},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    alarm::Alarm,
    batch::{Asking, batched},
    bytes_in_hand::{BytesInHand, Weight},
    clock::ServerClock,
    endpoints::Endpoints,
    figures::Counters,
    health::RedisHealth,
    heartbeat::Heartbeats,
    leases::{Lease, Leases},
    local_exhaustion::LocalExhaustion,
    names::Unnamed,
    slots::Slots,
    steps::LookedUp,
    suspects::Suspects,
};
use crate::{
    config::Settings,
    domain::{
        account::AccountId,
        endpoint::Rule,
        entry::{Found, Judged, Rejection},
        event::Catalogue,
        retry::Schedule,
    },
    secrets::Vault,
    sender::{Sender, SenderError},
    store::{Attempted, Entry, Fence, Known, StepAnswer, Store, StoreError, ToHold},
};

/// One read takes at most this many entries.
const READ_MAX: usize = 64;
/// How long Redis may take to answer the last steps of a worker that leaves.
const LEAVING: Duration = Duration::from_secs(3);

/// What the roles share.
struct Worker {
    store: Store,
    sender: Sender,
    vault: Vault,
    catalogue: Catalogue,
    schedule: Schedule,
    /// This process's random name in the consumer groups.
    consumer: String,
    clock: ServerClock,
    turns: Heartbeats,
    heard: RedisHealth,
    shortage: LocalExhaustion,
    unnamed: Unnamed,
    leases: Arc<Leases>,
    figures: Counters,
    slots: Slots,
    load: Arc<BytesInHand>,
    endpoints: Arc<Endpoints>,
    /// By partition.
    steps: Vec<Steps>,
    /// What was read and not started, to be given back.
    unstarted: Mutex<Vec<Unstarted>>,
    deliveries: TaskTracker,
    /// Rung when the worker is to take nothing more.
    stop: CancellationToken,
    /// Whether one of its loops panicked.
    fallen: AtomicBool,
    next_promote: Vec<Alarm>,
    suspects: Arc<Suspects>,
    next_release: Arc<[Alarm]>,
    next_visit: Vec<Alarm>,
    next_mend: Vec<Alarm>,
    /// Held by the one partition whose visits are made.
    one_visits: Mutex<()>,
    lease: Duration,
    renew_every: Duration,
    start_within: Duration,
    claim_every: Duration,
    max_losses: u32,
    concurrency: usize,
}

/// Where deliveries of one partition ask for the steps that they take together, and what need not be asked for.
struct Steps {
    known: Arc<Known>,
    look_up: Asking<AccountId, LookedUp>,
    settle: Asking<Attempted, StepAnswer>,
    hold: Asking<ToHold, StepAnswer>,
}

/// An entry that is in hand, and is renewed from now on.
struct Taken {
    lease: Lease,
    weight: Weight,
    entry: Entry,
}

/// An entry that was read and could not be started before the worker stopped.
struct Unstarted {
    lease: Lease,
    /// Of an event; empty for a delivery, which carries its own.
    event_id: String,
    bytes: usize,
}

/// Why a worker could not start.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Redis.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The client for requests.
    #[error(transparent)]
    Sender(#[from] SenderError),
    /// A thread could not be started.
    #[error("worker.threads: a thread cannot be started")]
    Thread(#[source] std::io::Error),
    /// A thread ended although nobody told it to.
    #[error("a worker's thread ended by a fault of this program")]
    ThreadEnded,
    /// One of its loops panicked, and without that loop it would do harm.
    #[error("the worker stopped by a fault of this program: one of its loops panicked, and the log says where")]
    Panicked,
    /// The limit of open files leaves too few connections.
    #[error(
        "this process may have {limit} files open; {besides} are for connections to Redis and the like, {connections} are left for connections to endpoints, and worker.concurrency needs {needed} of those: raise the limit (ulimit -n) or lower {settings}"
    )]
    Files {
        /// The limit.
        limit: usize,
        /// Files for everything but endpoints.
        besides: usize,
        /// What it leaves.
        connections: usize,
        /// What is needed.
        needed: usize,
        /// The settings that need most.
        settings: &'static str,
    },
    /// Redis allows too few clients.
    #[error(
        "this Redis allows {most} clients (maxclients), and a worker needs {needed} connections to it: each of {threads} threads has one and another for each of {partitions} partitions; raise maxclients, or lower worker.threads or queue.partitions"
    )]
    Clients {
        /// The limit.
        most: u64,
        /// The connections that it needs.
        needed: usize,
        /// Threads.
        threads: usize,
        /// Partitions.
        partitions: u16,
    },
    /// The address for health probes cannot be listened on.
    #[error("worker.health_bind: cannot listen on {address}")]
    Health {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
}

/// Runs `worker.threads` workers, of which the first has these parts, until `stop` is cancelled and what was in flight is
/// finished, or given back.
///
/// # Errors
/// At the start, where Redis is out of reach or unfit: a running worker survives whatever Redis does. Later only by a fault of
/// this program: a worker that lost one of its loops stops as if told to, because without settling, for example, it would
/// repeat deliveries without end.
pub async fn run(settings: &Settings, store: Store, vault: Vault, stop: CancellationToken) -> Result<(), WorkerError> {
    let settings = &limits::within_files(settings)?;
    limits::within_clients(settings, &store).await?;
    let crew: health::Workers = (0..settings.threads()).map(|_| OnceLock::new()).collect();
    if let Some(address) = settings.worker.health_bind {
        let probes = health::listen(address).await.map_err(|source| WorkerError::Health { address, source })?;
        tokio::spawn(health::serve(crew.clone(), probes));
    }
    let others = threads::start(settings, &vault, &crew, &stop);
    let settings = threads::share(settings, 0);
    let own = work(&settings, (store, vault), &crew[0], stop.clone()).await;
    if own.is_err() {
        stop.cancel();
    }
    own.and(threads::ended(others).await)
}

/// One worker, on the thread that this runs on; seen by probes through `place`.
async fn work(
    settings: &Settings,
    (store, vault): (Store, Vault),
    place: &OnceLock<Arc<Worker>>,
    stop: CancellationToken,
) -> Result<(), WorkerError> {
    let sender = Sender::new(&settings.delivery, &settings.egress, &settings.dns)?;
    let (sent, now) = (Instant::now(), store.now().await?);
    let partitions = store.keys().partitions();
    let (steps, batches): (Vec<_>, Vec<_>) = (0..partitions)
        .map(|_| {
            let ((look_up, to_look_up), (settle, to_settle), (hold, to_hold)) = (batched(), batched(), batched());
            (Steps { known: Arc::default(), look_up, settle, hold }, (to_look_up, to_settle, to_hold))
        })
        .unzip();
    let max_bytes = usize::try_from(settings.worker.max_bytes).unwrap_or(usize::MAX);
    let load = Arc::new(BytesInHand::new(max_bytes, partitions));
    let next_release: Arc<[Alarm]> = (0..partitions).map(|_| Alarm::new()).collect();
    let schedule = Schedule::new(settings.delivery.retry_delays.clone());
    let asked = sender.clone();
    let host_room = Box::new(move |host: &str| asked.room(host));
    let worker = Arc::new(Worker {
        catalogue: settings.catalogue(),
        clock: ServerClock::new(now, sent, schedule.shortest_wait()..=schedule.longest_wait()),
        schedule,
        consumer: consumer_name(),
        turns: Heartbeats::new(settings, partitions),
        heard: RedisHealth::default(),
        shortage: LocalExhaustion::default(),
        unnamed: Unnamed::new(settings.worker.concurrency),
        leases: Arc::default(),
        figures: Counters::new(now),
        slots: Slots::new(settings.worker.concurrency, load.clone()),
        load,
        endpoints: Arc::new(Endpoints::new(rule(settings), max_bytes, next_release.clone(), host_room)),
        steps,
        unstarted: Mutex::default(),
        deliveries: TaskTracker::new(),
        fallen: AtomicBool::new(false),
        next_promote: (0..partitions).map(|_| Alarm::new()).collect(),
        suspects: Arc::new(Suspects::new(partitions)),
        next_release,
        next_visit: (0..partitions).map(|_| Alarm::new()).collect(),
        next_mend: (0..partitions).map(|_| Alarm::new()).collect(),
        one_visits: Mutex::default(),
        lease: settings.worker.lease,
        renew_every: settings.worker.renew_every,
        start_within: settings.worker.start_within,
        claim_every: settings.worker.claim_every,
        max_losses: settings.worker.max_losses,
        concurrency: settings.worker.concurrency,
        store,
        sender,
        vault,
        stop,
    });
    tracing::info!(worker = worker.consumer, partitions, concurrency = worker.concurrency, "worker started");

    let (mut taking, mut serving) = (JoinSet::new(), JoinSet::new());
    for (partition, (to_look_up, to_settle, to_hold)) in (0..partitions).zip(batches) {
        taking.spawn(reader::read(worker.clone(), partition));
        taking.spawn(roles::claim(worker.clone(), partition));
        taking.spawn(roles::promote(worker.clone(), partition));
        taking.spawn(release::release(worker.clone(), partition));
        taking.spawn(visit::visit(worker.clone(), partition));
        taking.spawn(audit::audit(worker.clone(), partition));
        taking.spawn(mend::mend(worker.clone(), partition));
        serving.spawn(steps::look_up(worker.clone(), partition, to_look_up));
        serving.spawn(steps::settle(worker.clone(), partition, to_settle));
        serving.spawn(steps::hold(worker.clone(), partition, to_hold));
    }
    taking.spawn(roles::publish(worker.clone()));
    taking.spawn(roles::sweep(worker.clone()));
    taking.spawn(roles::gauge(worker.clone()));
    let renewing = serving.spawn(roles::renew(worker.clone()));
    let _ = place.set(worker.clone());
    if settings.worker.health_bind.is_some() {
        serving.spawn(health::listen_to_redis(worker.clone()));
    }

    tokio::select! {
        () = worker.stop.cancelled() => {}
        () = a_panic(&mut taking) => worker.fall(),
        () = a_panic(&mut serving) => worker.fall(),
    }
    let deadline = Instant::now() + settings.worker.shutdown_grace;
    tracing::info!(in_flight = worker.leases.count(), "stopping: nothing more is taken, what is in flight is finished");
    worker.finish(&mut taking, deadline).await;
    while let Some(ended) = serving.try_join_next() {
        worker.note_end(&ended);
    }
    renewing.abort();
    worker.leave().await;
    if worker.fallen.load(Relaxed) { Err(WorkerError::Panicked) } else { Ok(()) }
}

/// Waits until one of these loops panics.
async fn a_panic(loops: &mut JoinSet<()>) {
    loop {
        match loops.join_next().await {
            Some(Err(error)) if error.is_panic() => return,
            Some(_) => {}
            None => std::future::pending().await,
        }
    }
}

impl Worker {
    fn partitions(&self) -> u16 {
        self.store.keys().partitions()
    }

    fn steps_of(&self, lease: &Lease) -> &Steps {
        &self.steps[usize::from(lease.partition())]
    }

    /// What an entry of this partition is.
    fn judge(&self, partition: u16, entry: &Entry) -> Result<Judged, Rejection> {
        let found = Found { entry: &entry.id.0, partition, partitions: self.partitions() };
        Judged::parse(&entry.fields, &found, &self.catalogue, |p| self.store.keys().queue(p))
    }

    /// Takes note of an entry that was given to this worker by a command sent at `sent`; `None` where it is in hand already.
    fn take(&self, partition: u16, entry: Entry, sent: Instant) -> Option<Taken> {
        let lease = self.leases.take(partition, entry.id.clone(), entry.deliveries, sent)?;
        Some(Taken { lease, weight: self.load.add(entry.size_bytes()), entry })
    }

    /// A loop has panicked: the worker takes nothing more, finishes what it can, and says so at its end.
    fn fall(&self) {
        self.fallen.store(true, Relaxed);
        self.stop.cancel();
    }

    fn note_end(&self, ended: &Result<(), JoinError>) {
        if ended.as_ref().is_err_and(JoinError::is_panic) {
            self.fall();
        }
    }

    /// Starts delivering an entry. `done` is called when it is settled. A panic in its task drops all that it has: the entry
    /// stays pending and its lease ends, so that it is lost once, as if the worker had died of it.
    fn begin(self: &Arc<Self>, Taken { lease, weight, entry }: Taken, done: impl FnOnce() + Send + 'static) {
        // In a box, because a task is moved several times before it runs.
        let delivering = Box::pin(deliver::deliver(self.clone(), lease, entry));
        self.deliveries.spawn(async move {
            delivering.await;
            drop(weight);
            done();
        });
    }

    /// Waits for the readers, then for what is in flight, until the deadline.
    async fn finish(&self, taking: &mut JoinSet<()>, deadline: Instant) {
        self.deliveries.close();
        let finished = async {
            while let Some(ended) = taking.join_next().await {
                self.note_end(&ended);
            }
            self.deliveries.wait().await;
        };
        if tokio::time::timeout_at(deadline, finished).await.is_err() {
            tracing::warn!(
                in_flight = self.leases.count(),
                "the grace is over; what is in flight stays pending and another worker takes it over"
            );
        }
    }

    /// Gives back what was not started, and takes this consumer out of the groups; all of it within one limit.
    async fn leave(&self) {
        let unstarted = std::mem::take(&mut *self.unstarted.lock().await);
        let mut by_partition: Vec<Vec<Unstarted>> = (0..self.partitions()).map(|_| Vec::new()).collect();
        for entry in unstarted {
            by_partition[usize::from(entry.lease.partition())].push(entry);
        }
        let left = tokio::time::timeout(LEAVING, async {
            for (partition, mut unstarted) in (0..).zip(by_partition) {
                // At least once, because leaving takes this consumer out of the group too.
                loop {
                    let batch: Vec<Unstarted> = batch::first(&mut unstarted, |entry| entry.bytes);
                    let given: Vec<(Fence, String)> =
                        batch.iter().map(|entry| (entry.lease.token().0, entry.event_id.clone())).collect();
                    let given = self.store.leave(partition, &self.consumer, true, &given).await?;
                    if given > 0 {
                        tracing::info!(partition, given, "gave unstarted entries back");
                    }
                    if unstarted.is_empty() {
                        break;
                    }
                }
            }
            self.store.withdraw_worker(&self.consumer).await
        });
        match left.await {
            Ok(Ok(())) => {}
            other => tracing::warn!(?other, "could not leave; another worker takes over when the leases end"),
        }
        tracing::info!(worker = self.consumer, "worker stopped");
    }
}

/// The settings that the rule about endpoints uses.
fn rule(settings: &Settings) -> Rule {
    let attempts = u32::try_from(settings.delivery.retry_delays.len() + 1).unwrap_or(u32::MAX);
    Rule {
        places: settings.worker.concurrency,
        timeout: settings.delivery.timeout,
        failing_every: Duration::from_secs(attempts.into()) / settings.worker.failing_rate,
    }
}

/// A name that no other process has had: the host's, for people, and a random part.
fn consumer_name() -> String {
    let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let host: String = host.trim().chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(63).collect();
    let host = if host.is_empty() { "worker" } else { &host };
    format!("{host}-{:012x}", rand::random::<u64>() >> 16)
}
