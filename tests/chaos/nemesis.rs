//! The faults, each in a few lines. Each is recorded with its time, so that the books can say which fault explains a
//! repetition.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use crate::{
    plan::{End, Fault, KINDS, Plan, Step, WORKERS},
    proxy::Weather,
    support::*,
    traffic,
    world::{CONCURRENCY, Wire, World},
};

/// The time that a stopped worker may take for its attempts in flight.
const LEAVING: Duration = Duration::from_secs(60);
/// The grace period of 5 s, and the 3 s that Redis has to answer the last steps.
const LEAVES_WITHIN: Duration = Duration::from_secs(8);
/// The interval at which the supervisor looks for workers that ended by themselves.
const SUPERVISION: Duration = Duration::from_millis(200);
pub const KILL: &str = "SIGKILL a worker";
pub const TERM: &str = "SIGTERM a worker";
const STOP: &str = "SIGSTOP a worker";
const REDIS: &str = "SIGKILL Redis";
const CUT: &str = "connections cut";
const DELAYED: &str = "replies delayed";
const WITHHELD: &str = "replies withheld";
const LOST: &str = "replies lost";
const CLIENTS: &str = "CLIENT KILL";
const PAUSE: &str = "CLIENT PAUSE";
const FLUSH: &str = "SCRIPT FLUSH";
const DESTROY: &str = "XGROUP DESTROY";
const FULL: &str = "maxmemory reached";
const JUMP: &str = "load jumped";
/// Every kind of fault.
pub const ALL: [&str; KINDS] =
    [KILL, STOP, TERM, REDIS, CUT, DELAYED, WITHHELD, LOST, CLIENTS, PAUSE, FLUSH, DESTROY, FULL, JUMP];
/// A fault that strikes no connection and no reply within this time does not count as happened.
const STRIKES_WITHIN: Duration = Duration::from_secs(2);

/// A fault that happened.
#[derive(Clone, Debug)]
pub struct Happened {
    pub name: &'static str,
    pub from: Instant,
    pub until: Instant,
    /// The worker that the fault struck, if it was only one.
    pub worker: Option<usize>,
    /// The most attempts that the fault may have repeated: 0 if it must not repeat any.
    pub repeats: usize,
}

pub struct Nemesis {
    world: Arc<World>,
    redis: RedisServer,
    wire: Wire,
    workers: Vec<Process>,
    /// Workers that were told to stop and have not been waited for.
    leaving: Vec<Process>,
    is_redis_up: bool,
    /// Faults that still have to end, and when.
    ends: Vec<(Instant, End)>,
    /// Steps that wait until Redis is up.
    put_off: Vec<Step>,
    /// The current weather if it is not fair, and the number of replies spoiled before it.
    weather: Option<(&'static str, u64)>,
    pub happened: Vec<Happened>,
    /// The standard error of each worker process that ended.
    pub said: Vec<String>,
}

/// Whether a count rises above `above` soon.
async fn rises(above: u64, count: impl Fn() -> u64) -> bool {
    let started = Instant::now();
    while count() <= above && started.elapsed() < STRIKES_WITHIN {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    count() > above
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
            ends: Vec::new(),
            put_off: Vec::new(),
            weather: None,
            happened: Vec::new(),
            said: Vec::new(),
        }
    }

    /// Waits until all workers have started.
    pub async fn workers_are_ready(&self) {
        for worker in &self.workers {
            worker.wait_for_line("worker started").await;
        }
    }

    /// Begins the planned faults, and ends those that last.
    pub async fn run(&mut self, plan: &Plan) {
        let started = Instant::now();
        for step in &plan.steps {
            self.wait_until(started + step.at).await;
            self.begin(*step).await;
        }
        while let Some(last) = self.ends.iter().map(|(at, _)| *at).max() {
            self.wait_until(last).await;
        }
        self.supervise().await;
    }

    /// Waits until this time, and ends the faults that are over by then.
    async fn wait_until(&mut self, until: Instant) {
        loop {
            self.supervise().await;
            let due = |(at, _): &mut (Instant, End)| *at <= Instant::now();
            for (_, end) in self.ends.extract_if(.., due).collect::<Vec<_>>() {
                self.end(end).await;
            }
            let next = self.ends.iter().map(|(at, _)| *at).fold(until, Instant::min);
            let wait = next.saturating_duration_since(Instant::now());
            if wait.is_zero() && next == until {
                return;
            }
            tokio::time::sleep(wait.min(SUPERVISION)).await;
        }
    }

    /// Restarts a worker that ended by itself. A worker gives up if Redis is out of reach at its start, and at no other
    /// time.
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

    async fn begin(&mut self, step: Step) {
        let of_worker = matches!(step.fault, Fault::KillWorker(_) | Fault::StopWorker(_) | Fault::ReplaceWorker(_));
        if !self.is_redis_up && !of_worker {
            return self.put_off.push(step);
        }
        eprint!("{:?} ", step.fault);
        let most = CONCURRENCY * WORKERS;
        match step.fault {
            Fault::KillWorker(worker) => self.kill_worker(worker).await,
            Fault::StopWorker(worker) => self.stop_worker(worker),
            Fault::ReplaceWorker(worker) => self.replace_worker(worker),
            Fault::KillRedis => self.kill_redis(),
            Fault::CutConnections => self.cut().await,
            Fault::SlowConnections(delay) => self.change_weather(DELAYED, Weather::Slow(delay)).await,
            Fault::WithholdReplies => self.change_weather(WITHHELD, Weather::Withheld).await,
            Fault::LoseReplies => self.change_weather(LOST, Weather::Lossy).await,
            Fault::KillClients => drop(self.tell(CLIENTS, most, "CLIENT KILL TYPE normal SKIPME yes").await),
            Fault::PauseClients(pause) => self.pause_clients(pause).await,
            Fault::FlushScripts => drop(self.tell(FLUSH, 0, "SCRIPT FLUSH").await),
            Fault::DestroyGroup(partition) => {
                let command = format!("XGROUP DESTROY {} workers", self.world.key(partition, "queue"));
                self.tell(DESTROY, most, &command).await;
            }
            Fault::FillMemory => self.fill_memory().await,
            Fault::JumpLoad(account) => self.jump_load(account).await,
        }
        self.ends.extend(step.end.map(|(after, end)| (Instant::now() + after, end)));
    }

    async fn end(&mut self, end: End) {
        match end {
            End::ResumeWorker(worker) => {
                if !self.workers[worker].has_ended() {
                    self.workers[worker].sigcont();
                }
                self.over(STOP, Some(worker));
            }
            End::StartRedis => {
                if !self.is_redis_up {
                    tokio::task::block_in_place(|| self.redis.restart());
                    self.is_redis_up = true;
                    self.over(REDIS, None);
                }
                for step in std::mem::take(&mut self.put_off) {
                    self.begin(step).await;
                }
            }
            End::FairWeather => self.clear_up().await,
            End::FreeMemory => {
                // A restart forgets the limit.
                if self.is_redis_up {
                    let _: String = self.wire.ask(redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(0)).await;
                }
                self.over(FULL, None);
            }
        }
    }

    async fn kill_worker(&mut self, worker: usize) {
        // If the worker was stopped, the attempts that it loses have been in flight since then.
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

    /// Starts another worker at once; the old one finishes its attempts. A worker that had only just started simply
    /// ends.
    fn replace_worker(&mut self, worker: usize) {
        let mut leaving = std::mem::replace(&mut self.workers[worker], self.world.program.worker([]));
        if !leaving.has_ended() {
            // If Redis is down, the worker cannot settle its attempts, and another worker repeats them.
            self.note(TERM, CONCURRENCY).until += LEAVES_WITHIN;
            leaving.sigterm();
            leaving.sigcont();
            self.over(STOP, Some(worker));
        }
        self.leaving.push(leaving);
    }

    fn kill_redis(&mut self) {
        self.note(REDIS, CONCURRENCY * WORKERS);
        tokio::task::block_in_place(|| self.redis.kill9());
        self.is_redis_up = false;
    }

    async fn cut(&mut self) {
        let (world, before) = (self.world.clone(), self.world.proxy.tally().cuts.load(Relaxed));
        self.note(CUT, CONCURRENCY * WORKERS);
        world.proxy.cut();
        if !rises(before, || world.proxy.tally().cuts.load(Relaxed)).await {
            self.happened.pop();
        }
    }

    async fn change_weather(&mut self, name: &'static str, weather: Weather) {
        self.clear_up().await;
        self.note(name, CONCURRENCY * WORKERS);
        self.weather = Some((name, self.world.proxy.spoiled()));
        self.world.proxy.set(weather);
    }

    /// Returns to fair weather, once the other weather has spoiled a reply.
    async fn clear_up(&mut self) {
        let Some((name, before)) = self.weather.take() else { return };
        let has_struck = rises(before, || self.world.proxy.spoiled()).await;
        self.world.proxy.set(Weather::Fair);
        self.over(name, None);
        if !has_struck && let Some(at) = self.happened.iter().rposition(|fault| fault.name == name) {
            self.happened.remove(at);
        }
    }

    /// Pauses Redis's clients for longer than a lease.
    async fn pause_clients(&mut self, pause: Duration) {
        let command = format!("CLIENT PAUSE {} ALL", pause.as_millis());
        if self.tell(PAUSE, CONCURRENCY * WORKERS, &command).await
            && let Some(fault) = self.happened.last_mut()
        {
            fault.until += pause;
        }
    }

    /// Fills Redis's memory: producers are refused, and workers must continue to drain.
    async fn fill_memory(&mut self) {
        let info: redis::InfoDict = self.wire.ask(redis::cmd("INFO").arg("memory")).await;
        let used: u64 = info.get("used_memory").expect("Redis says how much it uses");
        self.note(FULL, 0);
        let mut limit = redis::cmd("CONFIG");
        let _: String = self.wire.ask(limit.arg("SET").arg("maxmemory").arg(used * 9 / 10)).await;
        let mut write = redis::cmd("SET");
        write.arg("written-when-full").arg(1);
        let written: redis::RedisResult<()> =
            self.wire.once(async |connection| write.query_async(connection).await).await;
        if written.is_ok() {
            self.happened.pop();
        }
    }

    async fn jump_load(&mut self, account: usize) {
        let accepted = |world: &World| world.notes.lock().unwrap().accepted[account].len();
        let before = accepted(&self.world);
        traffic::push(&self.world, &mut self.wire, account, 100).await;
        if accepted(&self.world) > before {
            self.note(JUMP, 0);
        }
    }

    /// Records a fault and tells Redis to cause it. Answers whether it happened; if Redis answers a number, that is how
    /// many clients or entries it struck.
    async fn tell(&mut self, name: &'static str, repeats: usize, command: &str) -> bool {
        self.note(name, repeats);
        let mut words = command.split(' ');
        let mut told = redis::cmd(words.next().expect("a command has a name"));
        told.arg(words.collect::<Vec<_>>());
        let mut answer: redis::RedisResult<redis::Value> = Ok(redis::Value::Nil);
        // The first try may find its connection closed with an earlier Redis.
        for _ in 0..3 {
            answer = self.wire.once(async |connection| told.query_async(connection).await).await;
            if !answer.as_ref().is_err_and(redis::RedisError::is_io_error) {
                break;
            }
        }
        self.over(name, None);
        let has_struck = match answer {
            Ok(redis::Value::Int(struck)) => struck > 0,
            answer => answer.is_ok(),
        };
        if !has_struck {
            self.happened.pop();
        }
        has_struck
    }

    fn note(&mut self, name: &'static str, repeats: usize) -> &mut Happened {
        let now = Instant::now();
        self.happened.push(Happened { name, from: now, until: now, worker: None, repeats });
        self.happened.last_mut().expect("it was just added")
    }

    /// Ends the newest fault of this name now, unless it has already ended.
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
            // None: the worker did not yet handle signals. 5: Redis was out of reach when it started.
            assert!(matches!(code, Some(0 | 5) | None), "a worker did not leave in order, {code:?}: {stderr}");
            self.said.push(stderr);
        }
        for worker in &self.workers {
            worker.sigterm();
        }
        for worker in self.workers.drain(..) {
            let Output { code, stderr, .. } = worker.output(LEAVING).await;
            // 5: Redis was out of reach when this worker was last started, so it never began.
            let began = stderr.contains("worker started");
            assert!(
                code == Some(0) || (code == Some(5) && !began),
                "a worker did not leave in order, {code:?}: {stderr}"
            );
            self.said.push(stderr);
        }
    }
}
