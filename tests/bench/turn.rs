//! One contender's turn: its kind, its start, and the resources it uses between two marks.

use std::{
    ffi::OsString,
    fs::File,
    ops::Range,
    sync::OnceLock,
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::{
    accounting::{RedisFigures, busy_seconds, cpu_seconds, peak_mib},
    bare::{self, Loop},
    bullmq,
    children::{self, Child},
    client::Kind,
    receiver::Ask,
    world::{Setup, Stage, World},
};

/// How often a turn checks its progress.
const LOOK: Duration = Duration::from_millis(20);

/// Longer than any turn should take.
pub const LIMIT: Duration = Duration::from_secs(600);

/// A process is warm after this many deliveries.
const WARM: u64 = 20_000;

/// Events that make endpoints known, and their bytes at most; `held` has room for them.
const BURST: usize = 2000;
const BURST_BYTES: usize = 32 << 20;

/// Events are a backlog once they have waited this long. A worker never fails a backlog, whatever it knows about the
/// endpoint.
pub const BACKLOG: Duration = Duration::from_millis(3500);

/// If nothing arrives twice in a row for this time, the turn may be stuck.
const STUCK: Duration = Duration::from_secs(2);

/// The build of the `lynkhook` program that is measured, if not the benchmark's own: `--program`.
pub static PROGRAM: OnceLock<String> = OnceLock::new();

/// Another build of the `lynkhook` program that takes turns with this one: `--beside`.
pub static BESIDE: OnceLock<String> = OnceLock::new();

/// The programs that take turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contender {
    /// `lynkhook worker` as it ships: one thread.
    Worker,
    /// The same program in another build: [`BESIDE`].
    Beside,
    /// `lynkhook worker` with `worker.threads` set to this machine's number of cores, all of which the bare loop uses
    /// as well.
    WorkerOnAllCores,
    /// A loop; `threads` has the meaning of its argument.
    Bare { kind: Loop, client: Kind, threads: usize },
    /// `BullMQ`, if it is installed.
    BullMq,
}

impl Contender {
    /// The bare loop to which ratios are made: with the worker's client, on all cores.
    pub const BARE: Self = Self::Bare { kind: Loop::Bare, client: Kind::Hyper, threads: 0 };
    pub const BARE_REQWEST: Self = Self::Bare { kind: Loop::Bare, client: Kind::Reqwest, threads: 0 };
    /// The loop that also keeps the delivery log: on all cores, and on one thread like the worker as it ships.
    pub const MINIMUM: Self = Self::Bare { kind: Loop::Minimum, client: Kind::Hyper, threads: 0 };
    pub const MINIMUM_ONE_THREAD: Self = Self::Bare { kind: Loop::Minimum, client: Kind::Hyper, threads: 1 };

    pub fn name(self) -> String {
        match self {
            Self::Worker => "worker".to_owned(),
            Self::Beside => "worker, other build".to_owned(),
            Self::WorkerOnAllCores => format!("worker, {} threads", cores()),
            Self::BullMq => "BullMQ".to_owned(),
            Self::Bare { kind, client, threads } => {
                let kind = if kind == Loop::Minimum { "minimum" } else { "bare" };
                let client = if client == Kind::Hyper { "" } else { ", reqwest" };
                let threads = if threads == 1 { ", 1 thread" } else { "" };
                format!("{kind}{client}{threads}")
            }
        }
    }

    /// The builds that take turns: this one and, with `--beside`, the other one.
    pub fn builds() -> Vec<Self> {
        if BESIDE.get().is_some() { vec![Self::Worker, Self::Beside] } else { vec![Self::Worker] }
    }

    /// Starts a worker of this build or of the other one, with further settings and its log in this file.
    pub async fn work(self, world: &World, settings: &[(&'static str, String)], log: File) -> Child {
        let environment = [&world.environment, settings].concat();
        Child::of_program(self.program(), &["worker"], &environment, log).await
    }

    /// The same, for a worker that may have at most `files` open files, sockets included.
    pub async fn work_within(self, files: u32, world: &World, settings: &[(&'static str, String)], log: File) -> Child {
        let environment = [&world.environment, settings].concat();
        let limited = format!(r#"ulimit -n {files} && exec "$@""#);
        Child::of_program("sh", &["-c", &limited, "limited", self.program(), "worker"], &environment, log).await
    }

    fn program(self) -> &'static str {
        match self {
            Self::Beside => BESIDE.get().expect("a build that takes turns was named"),
            _ => PROGRAM.get().map_or(env!("CARGO_BIN_EXE_lynkhook"), String::as_str),
        }
    }

    /// Starts one process of this contender.
    pub async fn start(self, world: &World, stage: &Stage) -> Child {
        match self {
            Self::Worker | Self::Beside => self.work(world, &[], children::log()).await,
            Self::WorkerOnAllCores => {
                let threads = ("LYNKHOOK_WORKER__THREADS", cores().to_string());
                self.work(world, &[threads], children::log()).await
            }
            Self::BullMq => bullmq::work(world, stage).await,
            Self::Bare { kind, client, threads } => {
                let setup = &world.setup;
                let words =
                    |kind: Option<clap::builder::PossibleValue>| kind.expect("it has a name").get_name().to_owned();
                let mut arguments: Vec<OsString> = vec![bare::CHILD.into()];
                let mut add = |flag: &str, value: OsString| arguments.extend([flag.into(), value]);
                add("--kind", words(clap::ValueEnum::to_possible_value(&kind)).into());
                add("--client", words(clap::ValueEnum::to_possible_value(&client)).into());
                add("--threads", threads.to_string().into());
                add("--concurrency", setup.concurrency.to_string().into());
                add("--ca", stage.ca().into());
                for url in stage.urls(setup) {
                    add("--url", url.into());
                }
                add("--accounts", setup.accounts.to_string().into());
                add("--redis", world.redis_url().into());
                for queue in &world.queues {
                    add("--queue", queue.into());
                }
                Child::of_this_binary::<()>(arguments).await.0
            }
        }
    }
}

pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The contenders in the order of a round. Each is first in turn, so that a drift of the machine favours none.
pub fn order(contenders: impl Into<Vec<Contender>>, round: u32) -> Vec<Contender> {
    let mut contenders = contenders.into();
    let first = usize::try_from(round).expect("a small number") % contenders.len();
    contenders.rotate_left(first);
    contenders
}

/// All counters at one moment.
#[derive(Clone)]
pub struct Mark {
    pub at: Instant,
    pub arrived: u64,
    /// CPU seconds of the contender's processes together, of Redis, and of the receiver.
    pub cpu: [f64; 3],
    /// CPU seconds of everything that runs on this machine.
    pub busy: f64,
    pub redis: RedisFigures,
}

impl Mark {
    pub async fn take(contenders: &[Child], world: &mut World, stage: &mut Stage) -> Self {
        let redis = RedisFigures::read(&mut world.redis).await;
        let arrived = stage.receiver.ask(&Ask::Count).await;
        let contender = contenders.iter().map(|child| cpu_seconds(child.id)).sum();
        let cpu = [contender, cpu_seconds(world.redis_process), cpu_seconds(stage.receiver.id)];
        Self { at: Instant::now(), arrived, cpu, busy: busy_seconds(), redis }
    }
}

/// The work and the resources of a contender between two marks.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    pub per_second: f64,
    /// CPU seconds per 1,000 deliveries: of the contender, of Redis, of the receiver.
    pub cpu_per_1000: f64,
    pub redis_cpu_per_1000: f64,
    pub receiver_cpu_per_1000: f64,
    /// The cores that these processes used together, and the cores that everything else used.
    pub cores: f64,
    pub elsewhere: f64,
    pub peak_mib: f64,
    /// Redis's figures per delivery: commands, those inside scripts included; reads of a socket.
    pub commands: f64,
    pub reads: f64,
}

impl Sample {
    pub fn contender_cores(&self) -> f64 {
        self.cpu_per_1000 * self.per_second / 1000.0
    }

    pub fn redis_cores(&self) -> f64 {
        self.redis_cpu_per_1000 * self.per_second / 1000.0
    }

    pub fn receiver_cores(&self) -> f64 {
        self.receiver_cpu_per_1000 * self.per_second / 1000.0
    }

    #[allow(clippy::cast_precision_loss, reason = "numbers of deliveries")]
    pub fn between(from: &Mark, to: &Mark, contenders: &[Child]) -> Self {
        let deliveries = (to.arrived - from.arrived).max(1) as f64;
        let seconds = (to.at - from.at).as_secs_f64();
        let cpu: Vec<f64> = (0..3).map(|i| to.cpu[i] - from.cpu[i]).collect();
        let each = |of: fn(&RedisFigures) -> f64| (of(&to.redis) - of(&from.redis)) / deliveries;
        Self {
            per_second: deliveries / seconds,
            cpu_per_1000: cpu[0] * 1000.0 / deliveries,
            redis_cpu_per_1000: cpu[1] * 1000.0 / deliveries,
            receiver_cpu_per_1000: cpu[2] * 1000.0 / deliveries,
            cores: cpu.iter().sum::<f64>() / seconds,
            elsewhere: (to.busy - from.busy - cpu.iter().sum::<f64>()) / seconds,
            peak_mib: contenders.iter().map(|child| peak_mib(child.id)).sum(),
            commands: each(|redis| redis.commands),
            reads: each(|redis| redis.reads),
        }
    }
}

/// `processes` processes of a contender deliver `events` waiting events. The first fifth (at most [`WARM`] for each
/// process) and the last fiftieth are not measured: between them the processes are busy with deliveries only.
pub async fn drain(contender: Contender, processes: usize, setup: Setup, stage: &mut Stage, events: usize) -> Sample {
    let mut world = World::new(stage, setup).await;
    let children = ready(contender, processes, &mut world, stage).await;
    match contender {
        Contender::BullMq => bullmq::fill(&world, stage, events).await,
        _ => world.producer.push(events).await,
    }
    drain_world(contender, children, &mut world, stage, events).await
}

/// Starts processes of a contender that know their endpoints, and stops them so that their queue can be filled.
///
/// A worker sends a new endpoint few attempts at first. Deliveries beyond that are held, and those that find no room in
/// `held` fail. So a long queue for one new endpoint would say little about the worker's speed. A burst that `held` has
/// room for raises the limit to all places, and opens connections.
pub async fn ready(contender: Contender, processes: usize, world: &mut World, stage: &mut Stage) -> Vec<Child> {
    stage.receiver.ask::<()>(&Ask::Reset).await;
    let mut children = Vec::new();
    for _ in 0..processes {
        children.push(contender.start(world, stage).await);
    }
    if contender != Contender::BullMq {
        let burst = BURST.min(BURST_BYTES / world.setup.envelope_bytes);
        world.producer.push(burst).await;
        all_arrived(stage, world, &children, u64::try_from(burst).expect("64 bits")).await;
        assert!(settled(world, LIMIT).await, "{} does not settle what it delivered", contender.name());
    }
    for child in &children {
        child.stop();
    }
    children
}

/// Processes that are [`ready`] deliver the waiting events.
pub async fn drain_world(
    contender: Contender,
    children: Vec<Child>,
    world: &mut World,
    stage: &mut Stage,
    events: usize,
) -> Sample {
    let sample = between_arrivals(&children, world, stage, measured(events, children.len())).await;
    // All events must arrive and be settled: a contender that loses something has not done the work. (BullMQ has a
    // queue of its own; there it is only known that all events arrived.)
    all_arrived(stage, world, &children, u64::try_from(events).expect("64 bits")).await;
    assert!(settled(world, LIMIT).await, "{} does not settle what it delivered", contender.name());
    for child in children {
        child.end().await;
    }
    sample
}

/// The events that are measured: those during which the processes do nothing else. See [`drain`].
pub fn measured(events: usize, processes: usize) -> Range<u64> {
    let (events, processes) = (u64::try_from(events).expect("64 bits"), u64::try_from(processes).expect("64 bits"));
    (events / 5).min(WARM * processes)..events - events / 50
}

/// Processes that are [`ready`] deliver; the sample covers the time between two arrivals. The processes keep running.
pub async fn between_arrivals(
    children: &[Child],
    world: &mut World,
    stage: &mut Stage,
    measured: Range<u64>,
) -> Sample {
    stage.receiver.ask::<()>(&Ask::Reset).await;
    tokio::time::sleep(BACKLOG).await;
    for child in children {
        child.go_on();
    }
    all_arrived(stage, world, children, measured.start).await;
    let from = Mark::take(children, world, stage).await;
    all_arrived(stage, world, children, measured.end).await;
    let to = Mark::take(children, world, stage).await;
    Sample::between(&from, &to, children)
}

/// Whether, within `limit`, nothing waits or is in flight.
pub async fn settled(world: &mut World, limit: Duration) -> bool {
    let started = Instant::now();
    while world.waiting().await > 0 {
        if started.elapsed() > limit {
            return false;
        }
        tokio::time::sleep(LOOK).await;
    }
    true
}

/// Waits until this many requests have arrived.
pub async fn all_arrived(stage: &mut Stage, world: &mut World, children: &[Child], count: u64) {
    let (started, mut before) = (Instant::now(), None);
    while !arrived(stage, count, STUCK).await {
        assert!(children.iter().all(Child::runs), "a process died; see children.log");
        assert!(started.elapsed() < LIMIT, "not within {LIMIT:?}: {count} requests");
        let now: u64 = stage.receiver.ask(&Ask::Count).await;
        if before.replace(now) == Some(now) && world.has_ended().await {
            let (_, failed) = world.held_and_failed(None).await;
            panic!("{now} requests of {count} arrived, and nothing waits: {failed} deliveries failed for good");
        }
    }
}

/// Whether at least this many requests arrive within `limit`.
pub async fn arrived(stage: &mut Stage, count: u64, limit: Duration) -> bool {
    let started = Instant::now();
    while stage.receiver.ask::<u64>(&Ask::Count).await < count {
        if started.elapsed() > limit {
            return false;
        }
        tokio::time::sleep(LOOK).await;
    }
    true
}
