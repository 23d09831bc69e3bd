//! `make chaos TOPOLOGY=cluster`: faults of a cluster and of workers, one after another, for minutes; at the end the books
//! must balance. The order of the faults follows from a seed.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};

use super::scene::{Accepted, PARTITIONS, Scene, order};
use crate::support::*;

/// Timings so short that outages outlast leases, and retries come soon.
const HASTE: [(&str, &str); 7] = [
    ("LYNKHOOK_WORKER__LEASE", "4s"),
    ("LYNKHOOK_WORKER__RENEW_EVERY", "400ms"),
    ("LYNKHOOK_WORKER__START_WITHIN", "1s"),
    ("LYNKHOOK_WORKER__CLAIM_EVERY", "1s"),
    ("LYNKHOOK_DELIVERY__TIMEOUT", "1s"),
    ("LYNKHOOK_DELIVERY__RETRY_DELAYS", "500ms,1s"),
    // Bad luck alone must not set an entry aside.
    ("LYNKHOOK_WORKER__MAX_LOSSES", "1000"),
];
/// The time in which everything has to be done after the last fault.
const DRAINED_WITHIN: Duration = Duration::from_secs(180);
/// The kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    PlannedFailover,
    KillMaster,
    StopMaster,
    MoveSlot,
    KillWorker,
    StopWorker,
    ReplaceWorker,
}

const ALL: [Fault; 7] = [
    Fault::PlannedFailover,
    Fault::KillMaster,
    Fault::StopMaster,
    Fault::MoveSlot,
    Fault::KillWorker,
    Fault::StopWorker,
    Fault::ReplaceWorker,
];

/// A fault that happened.
struct Happened {
    fault: Fault,
    from: Instant,
    until: Instant,
    /// The last entry that the promoted replica knew, of each partition that lost its master unplanned.
    last_known: BTreeMap<u16, String>,
}

impl Happened {
    /// Whether attempts of a partition may be repeated because of it.
    fn repeats(&self, partition: u16) -> bool {
        match self.fault {
            Fault::PlannedFailover | Fault::MoveSlot => false,
            Fault::KillMaster | Fault::StopMaster => self.last_known.contains_key(&partition),
            Fault::KillWorker | Fault::StopWorker | Fault::ReplaceWorker => true,
        }
    }
}

/// The answers to an event: the number of attempts that it needs, and whether the last one succeeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Delivered { attempts: usize },
    Failed,
}

fn dice_of(event: &str) -> u32 {
    event.bytes().fold(17, |sum: u32, byte| sum.wrapping_mul(31).wrapping_add(byte.into())) / 7 % 100
}

fn fate(event: &str) -> Fate {
    match dice_of(event) {
        0..5 => Fate::Failed,
        5..20 => Fate::Delivered { attempts: 2 },
        _ => Fate::Delivered { attempts: 1 },
    }
}

fn answer(event: &str, nth: usize) -> Answer {
    let bad = match dice_of(event) {
        15..20 => Answer::Silence,
        5..8 => Answer::ResetBeforeHeaders,
        _ => Answer::Status(503),
    };
    match fate(event) {
        Fate::Failed => Answer::Status(503),
        Fate::Delivered { attempts } if nth < attempts => bad,
        Fate::Delivered { .. } => {
            Answer::Delay(Duration::from_millis((dice_of(event) * 3).into()), Box::new(Answer::Status(200)))
        }
    }
}

struct Storm {
    /// Events that were accepted before had other answers.
    began: Instant,
    scene: Scene,
    dice: StdRng,
    happened: Vec<Happened>,
}

impl Storm {
    async fn strike(&mut self, fault: Fault) {
        let (from, mut last_known) = (Instant::now(), BTreeMap::new());
        let slot = slot_of(&self.scene.key(self.dice.random_range(0..PARTITIONS), "queue"));
        let master = self.scene.cluster.master_of(slot).await;
        let worker = self.dice.random_range(0..self.scene.workers.len());
        let pause = Duration::from_millis(self.dice.random_range(0..6000));
        match fault {
            Fault::PlannedFailover => {
                let replica = self.scene.cluster.replicas_of(master).await[0];
                self.scene.cluster.failover(replica).await;
            }
            Fault::KillMaster | Fault::StopMaster => {
                let lost = self.scene.partitions_at(master).await;
                let replica = self.scene.cluster.replicas_of(master).await[0];
                let is_killed = fault == Fault::KillMaster;
                if is_killed {
                    self.scene.cluster.kill9(master);
                } else {
                    self.scene.cluster.pause(master);
                }
                last_known = self.scene.last_known_at(replica, &lost).await;
                self.scene.cluster.promoted_after(master).await;
                tokio::time::sleep(pause).await;
                if is_killed {
                    self.scene.cluster.restart(master);
                } else {
                    self.scene.cluster.resume(master);
                }
            }
            Fault::MoveSlot => {
                let masters = self.scene.cluster.masters().await;
                let to = masters.into_iter().filter(|node| *node != master).min_by_key(|_| self.dice.random::<u32>());
                self.scene.cluster.move_slot(slot, to.expect("there are three"), pause / 3).await;
            }
            Fault::KillWorker => {
                self.scene.workers[worker].kill9().await;
                self.scene.workers[worker] = self.scene.program.worker([]);
            }
            Fault::StopWorker => {
                self.scene.workers[worker].sigstop();
                tokio::time::sleep(pause).await;
                self.scene.workers[worker].sigcont();
            }
            Fault::ReplaceWorker => {
                let mut old = std::mem::replace(&mut self.scene.workers[worker], self.scene.program.worker([]));
                old.sigterm();
                assert_eq!(old.wait().await, Some(0), "a worker that was told to stop");
            }
        }
        self.scene.cluster.healthy().await;
        // A master that comes back takes a moment until it follows the promoted one.
        eventually(SOON, "each master has its replica again", async || {
            for partition in 0..PARTITIONS {
                let slot = slot_of(&self.scene.key(partition, "queue"));
                let master = self.scene.cluster.master_of(slot).await;
                self.scene.cluster.replicas_of(master).await.first()?;
            }
            Some(())
        })
        .await;
        self.scene.cluster.in_sync().await;
        self.scene.flows_everywhere().await;
        println!("{fault:?}: everything flows again after {:.1} s", from.elapsed().as_secs_f64());
        self.happened.push(Happened { fault, from, until: Instant::now(), last_known });
    }

    /// Whether an event was accepted by a master whose replica never had it.
    fn was_never_replicated(&self, accepted: &Accepted) -> bool {
        self.happened.iter().any(|happened| {
            let last = happened.last_known.get(&accepted.partition);
            accepted.at < happened.until && last.is_some_and(|last| order(&accepted.entry) > order(last))
                // Entries of the promoted master come later.
                && accepted.at < happened.from + Duration::from_secs(2)
        })
    }

    /// Waits until all is done, and balances the books.
    async fn balance(&mut self) {
        self.scene.stop_feeding().await;
        let mut accepted = self.scene.told(|books| books.accepted.clone());
        accepted.retain(|_, accepted| accepted.at >= self.began);
        let unfinished = |arrivals: &HashMap<String, usize>| -> Vec<String> {
            let needs = |id: &str| match fate(id) {
                Fate::Delivered { attempts } => attempts,
                Fate::Failed => 3,
            };
            let of = |id: &&String| arrivals.get(*id).copied().unwrap_or(0) < needs(id);
            accepted.keys().filter(of).cloned().collect()
        };
        let unexplained = |ids: Vec<String>| -> Vec<String> {
            ids.into_iter().filter(|id| !self.was_never_replicated(&accepted[id])).collect()
        };
        let started = Instant::now();
        loop {
            let missing = unexplained(unfinished(&self.scene.receiver.arrivals("/hook")));
            if missing.is_empty() {
                break;
            }
            assert!(started.elapsed() < DRAINED_WITHIN, "{} accepted events are lost: {missing:?}", missing.len());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        self.nothing_waits().await;
        let arrivals = self.scene.receiver.requests("/hook");
        let never = unfinished(&self.scene.receiver.arrivals("/hook")).len();
        let mut times: BTreeMap<&str, Vec<Instant>> = BTreeMap::new();
        for request in &arrivals {
            times.entry(request.header("webhook-id").unwrap()).or_default().push(request.arrived);
        }
        let (mut repeated, mut unexplained) = (0, Vec::new());
        for (id, times) in times.iter().filter(|(id, _)| accepted.contains_key(**id)) {
            let most = match fate(id) {
                Fate::Delivered { attempts } => attempts,
                Fate::Failed => 3,
            };
            let surplus = times.len().saturating_sub(most);
            // An attempt is repeated after the fault, and an attempt before the fault's end is the one that it repeats.
            let (first, last) = (times[0], times[times.len() - 1]);
            let explains = |happened: &&Happened| {
                happened.repeats(accepted[*id].partition) && happened.from <= last && first <= happened.until
            };
            let explained = self.happened.iter().filter(explains).count();
            repeated += surplus;
            if surplus > explained {
                unexplained.push((*id, times.len()));
            }
        }
        assert!(unexplained.is_empty(), "attempts that no fault explains: {unexplained:?}");
        let (unknown, refused) = self.scene.told(|books| (books.unknown.len(), books.refused.len()));
        println!(
            "{} events accepted, {refused} refused, {unknown} without an answer; {never} were not replicated when their master \
             was lost; {repeated} of {} attempts were repeated, each explained by a fault",
            accepted.len(),
            arrivals.len()
        );
        for fault in ALL {
            println!("{fault:?}: {}", self.happened.iter().filter(|happened| happened.fault == fault).count());
        }
    }

    /// Nothing is queued, waits for a retry or is held, and each event that cannot be delivered is among the failed ones.
    async fn nothing_waits(&self) {
        for partition in 0..PARTITIONS {
            let mut redis = self.scene.cluster.connection_of(&self.scene.key(partition, "queue")).await;
            let mut waiting = redis::pipe();
            waiting.cmd("XLEN").arg(self.scene.key(partition, "queue"));
            waiting.cmd("ZCARD").arg(self.scene.key(partition, "retries"));
            waiting.cmd("ZCARD").arg(self.scene.key(partition, "releases"));
            eventually(DRAINED_WITHIN, &format!("nothing waits in partition {partition}"), async || {
                let waiting: [u64; 3] = waiting.query_async(&mut redis).await.ok()?;
                (waiting == [0; 3]).then_some(())
            })
            .await;
        }
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a whole number"))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make chaos TOPOLOGY=cluster"]
async fn chaos_nothing_accepted_is_lost_whatever_node_or_worker_dies() {
    let (seed, length) = (number("LYNKHOOK_CHAOS_SEED", 1), number("LYNKHOOK_CHAOS_SECONDS", 600));
    println!("seed {seed}, {length} s");
    let scene = Scene::start_with(RedisCluster::start().await, &HASTE).await;
    let mut times: HashMap<String, usize> = HashMap::new();
    scene.receiver.plan_each("/hook", move |request| {
        let event = request.header("webhook-id").unwrap_or_default().to_owned();
        let nth = times.entry(event.clone()).or_default();
        *nth += 1;
        answer(&event, *nth)
    });
    let mut storm = Storm { began: Instant::now(), scene, dice: StdRng::seed_from_u64(seed), happened: Vec::new() };
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(length) {
        let mut deck = ALL;
        deck.shuffle(&mut storm.dice);
        for fault in deck {
            storm.strike(fault).await;
        }
    }
    storm.balance().await;
}
