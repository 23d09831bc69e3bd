//! What goes wrong: each fault a few lines, noted with its time, so that the books can say what explains a repetition.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    plan::{End, Fault, Plan, Step, WORKERS},
    proxy::Weather,
    support::*,
    traffic,
    world::{CONCURRENCY, Wire, World},
};

/// How long a worker that was stopped may take for what is in flight.
const LEAVING: Duration = Duration::from_secs(60);
/// The grace of 5 s, and the 3 s that Redis has to answer the last steps.
const LEAVES_WITHIN: Duration = Duration::from_secs(8);
/// Workers that ended by themselves are looked for this often.
const SUPERVISION: Duration = Duration::from_millis(200);
pub const KILL: &str = "SIGKILL a worker";
pub const TERM: &str = "SIGTERM a worker";
const STOP: &str = "SIGSTOP a worker";

/// A fault that happened.
#[derive(Clone, Debug)]
pub struct Happened {
    pub name: &'static str,
    pub from: Instant,
    pub until: Instant,
    /// The worker that it struck, if only one.
    pub worker: Option<usize>,
    /// So many attempts it may have repeated: 0 for what must not repeat any.
    pub repeats: usize,
}

pub struct Nemesis {
    world: Arc<World>,
    redis: RedisServer,
    wire: Wire,
    workers: Vec<Process>,
    /// Told to stop, and not waited for yet.
    leaving: Vec<Process>,
    is_redis_up: bool,
    pub happened: Vec<Happened>,
    /// What each worker process that ended had written to standard error.
    pub said: Vec<String>,
}

impl Nemesis {
    pub fn new(world: Arc<World>, redis: RedisServer) -> Self {
        let workers = (0..WORKERS).map(|_| world.program.worker([])).collect();
        let wire = world.wire();
        Self {
            world,
            redis,
            wire,
            workers,
            leaving: Vec::new(),
            is_redis_up: true,
            happened: Vec::new(),
            said: Vec::new(),
        }
    }

    /// Does what is planned, then ends what still lasts.
    pub async fn run(&mut self, plan: &Plan) {
        let started = Instant::now();
        for (at, step) in &plan.steps {
            loop {
                self.supervise().await;
                let wait = at.saturating_sub(started.elapsed());
                if wait.is_zero() {
                    break;
                }
                tokio::time::sleep(wait.min(SUPERVISION)).await;
            }
            match step {
                Step::Begin(fault) if started.elapsed() < plan.length => self.begin(*fault).await,
                Step::Begin(_) => {}
                Step::End(end) => self.end(*end).await,
            }
        }
        for worker in 0..WORKERS {
            self.end(End::ResumeWorker(worker)).await;
        }
        for end in [End::StartRedis, End::FairWeather, End::FreeMemory] {
            self.end(end).await;
        }
        self.supervise().await;
    }

    /// Starts a worker anew that ended by itself: a worker gives up where Redis is out of reach at its start, and at no
    /// other time.
    async fn supervise(&mut self) {
        for worker in 0..WORKERS {
            if self.workers[worker].has_ended() {
                let ended = std::mem::replace(&mut self.workers[worker], self.world.program.worker([]));
                let Output { code, stderr, .. } = ended.output(LEAVING).await;
                assert!(code == Some(5) && !stderr.contains("worker started"), "a worker ended, {code:?}: {stderr}");
                self.said.push(stderr);
            }
        }
    }

    async fn begin(&mut self, fault: Fault) {
        eprint!("{fault:?} ");
        match fault {
            Fault::KillWorker(worker) => self.kill_worker(worker).await,
            Fault::StopWorker(worker) => self.stop_worker(worker),
            Fault::ReplaceWorker(worker) => self.replace_worker(worker),
            Fault::KillRedis => self.kill_redis(),
            Fault::CutConnections => self.cut(),
            Fault::SlowConnections(delay) => self.slow_connections(delay),
            Fault::WithholdReplies => self.withhold_replies(),
            Fault::LoseReplies => self.lose_replies(),
            Fault::KillClients => {
                self.tell("CLIENT KILL", CONCURRENCY * WORKERS, "CLIENT KILL TYPE normal SKIPME yes").await;
            }
            Fault::PauseClients(pause) => self.pause_clients(pause).await,
            Fault::FlushScripts => self.tell("SCRIPT FLUSH", 0, "SCRIPT FLUSH").await,
            Fault::DestroyGroup(partition) => self.destroy_group(partition).await,
            Fault::FillMemory => self.fill_memory().await,
            Fault::JumpLoad(account) => self.jump_load(account).await,
        }
    }

    async fn end(&mut self, end: End) {
        match end {
            End::ResumeWorker(worker) => {
                if !self.workers[worker].has_ended() {
                    self.workers[worker].sigcont();
                }
                self.over(STOP, Some(worker));
            }
            End::StartRedis if !self.is_redis_up => {
                tokio::task::block_in_place(|| self.redis.restart());
                self.is_redis_up = true;
                self.over("SIGKILL Redis", None);
            }
            End::FairWeather => {
                self.world.proxy.set(Weather::Fair);
                for name in ["replies delayed", "replies withheld", "replies lost"] {
                    self.over(name, None);
                }
            }
            End::FreeMemory if self.is_redis_up => {
                let _: String = self.wire.ask(redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(0)).await;
                self.over("maxmemory reached", None);
            }
            // Redis is up, or away: a restart forgets the limit.
            End::StartRedis | End::FreeMemory => {}
        }
    }

    async fn kill_worker(&mut self, worker: usize) {
        // One that is stopped has had what it was killed in since then.
        let stopped = |fault: &&Happened| fault.name == STOP && fault.worker == Some(worker);
        let since = self.happened.iter().rev().find(stopped).filter(|stop| stop.until == stop.from);
        let since = since.map(|stop| stop.from);
        let fault = self.note(KILL, CONCURRENCY);
        fault.worker = Some(worker);
        fault.from = since.unwrap_or(fault.from);
        self.over(STOP, Some(worker));
        let mut dead = std::mem::replace(&mut self.workers[worker], self.world.program.worker([]));
        dead.kill9().await;
        self.said.push(dead.output(LEAVING).await.stderr);
    }

    fn stop_worker(&mut self, worker: usize) {
        if !self.workers[worker].has_ended() {
            self.note(STOP, CONCURRENCY).worker = Some(worker);
            self.workers[worker].sigstop();
        }
    }

    /// Another starts at once; this one finishes what it has. One that was only just started simply ends.
    fn replace_worker(&mut self, worker: usize) {
        let mut leaving = std::mem::replace(&mut self.workers[worker], self.world.program.worker([]));
        if !leaving.has_ended() {
            // What it cannot settle because Redis is away, another repeats.
            self.note(TERM, CONCURRENCY).until += LEAVES_WITHIN;
            leaving.sigterm();
            leaving.sigcont();
            self.over(STOP, Some(worker));
        }
        self.leaving.push(leaving);
    }

    fn kill_redis(&mut self) {
        if self.is_redis_up {
            self.note("SIGKILL Redis", CONCURRENCY * WORKERS);
            tokio::task::block_in_place(|| self.redis.kill9());
            self.is_redis_up = false;
        }
    }

    fn cut(&mut self) {
        self.note("connections cut", CONCURRENCY * WORKERS);
        self.world.proxy.cut();
    }

    fn slow_connections(&mut self, delay: Duration) {
        self.note("replies delayed", CONCURRENCY * WORKERS);
        self.world.proxy.set(Weather::Slow(delay));
    }

    fn withhold_replies(&mut self) {
        self.note("replies withheld", CONCURRENCY * WORKERS);
        self.world.proxy.set(Weather::Withheld);
    }

    fn lose_replies(&mut self) {
        self.note("replies lost", CONCURRENCY * WORKERS);
        self.world.proxy.set(Weather::Lossy);
    }

    /// For longer than a lease.
    async fn pause_clients(&mut self, pause: Duration) {
        let command = format!("CLIENT PAUSE {} ALL", pause.as_millis());
        self.tell("CLIENT PAUSE", CONCURRENCY * WORKERS, &command).await;
        if let Some(fault) = self.happened.last_mut() {
            fault.until += pause;
        }
    }

    async fn destroy_group(&mut self, partition: usize) {
        let command = format!("XGROUP DESTROY {} workers", self.world.key(partition, "queue"));
        self.tell("XGROUP DESTROY", CONCURRENCY * WORKERS, &command).await;
    }

    /// Producers are refused; workers must drain on.
    async fn fill_memory(&mut self) {
        if self.is_redis_up {
            let info: redis::InfoDict = self.wire.ask(redis::cmd("INFO").arg("memory")).await;
            let used: u64 = info.get("used_memory").expect("Redis says how much it uses");
            self.tell("maxmemory reached", 0, &format!("CONFIG SET maxmemory {used}")).await;
        }
    }

    async fn jump_load(&mut self, account: usize) {
        if self.is_redis_up {
            self.note("load jumped", 0);
            traffic::push(&self.world, &mut self.wire, account, 100).await;
        }
    }

    /// Notes a fault and tells Redis to bring it about; where Redis is down, it does not happen.
    async fn tell(&mut self, name: &'static str, repeats: usize, command: &str) {
        if self.is_redis_up {
            self.note(name, repeats);
            let mut words = command.split(' ');
            let mut told = redis::cmd(words.next().expect("a command has a name"));
            told.arg(words.collect::<Vec<_>>());
            let _: redis::RedisResult<redis::Value> =
                self.wire.once(async |connection| told.query_async(connection).await).await;
            self.over(name, None);
        }
    }

    fn note(&mut self, name: &'static str, repeats: usize) -> &mut Happened {
        let now = Instant::now();
        self.happened.push(Happened { name, from: now, until: now, worker: None, repeats });
        self.happened.last_mut().expect("it was just added")
    }

    /// The newest fault of this name ends now, or has ended before.
    fn over(&mut self, name: &'static str, worker: Option<usize>) {
        let newest = self.happened.iter_mut().rev().find(|fault| fault.name == name && fault.worker == worker);
        if let Some(fault) = newest
            && fault.until == fault.from
        {
            fault.until = Instant::now();
        }
    }

    /// Stops the workers in order; they leave nothing pending.
    pub async fn dismiss(&mut self) {
        for leaving in self.leaving.drain(..) {
            let Output { code, stderr, .. } = leaving.output(LEAVING).await;
            // None: it had not yet an ear for signals. 5: Redis was out of reach when it started.
            assert!(matches!(code, Some(0 | 5) | None), "a worker did not leave in order, {code:?}: {stderr}");
            self.said.push(stderr);
        }
        for worker in &self.workers {
            worker.sigterm();
        }
        for worker in self.workers.drain(..) {
            let Output { code, stderr, .. } = worker.output(LEAVING).await;
            assert_eq!(code, Some(0), "a worker did not leave in order: {stderr}");
            self.said.push(stderr);
        }
    }
}
