//! One turn of a kind: load on the good endpoints and, in every other turn, on the bad ones; then on the good ones alone,
//! while what the bad ones have waiting is held.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::kind::{Kind, OK};
use crate::{
    accounting::{RedisFigures, busy_seconds, cpu_seconds, peak_mib, present_mib},
    children::Child,
    figures::median,
    receiver::{Ask, Counts, Report as Received},
    turn::Contender,
    world::{Stage, World},
};

/// Load on the good ones until connections are made and code and pools are warm; then on all.
const WARM: Duration = Duration::from_secs(2);
/// What was sent last is waited for.
const LATE: Duration = Duration::from_secs(1);
/// As common endpoints do, those that have recovered take 20 ms: what is in flight can be seen.
const RECOVERED: &str = "slow-20";
/// How often the worker's memory is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// What a turn is to be.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The healthy load.
    pub per_second: f64,
    /// What the bad ones get together; nothing in turns without them.
    pub bad_per_second: f64,
    /// … and once they have recovered.
    pub recovered_per_second: f64,
    pub seconds: u64,
}

/// What was met.
#[derive(Debug, Clone, Serialize)]
pub struct Met {
    /// Of the good ones, from `XADD` to arrival.
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub per_second: f64,
    /// What the bad ones got of attempts, each a request or, where none arrives, a connection.
    pub bad_per_second: f64,
    /// Of what was pushed for the good ones, this share arrived.
    pub arrived: f64,
    pub p99_ms_per_second: Vec<f64>,
    /// Of the worker.
    pub cpu_per_1000: f64,
    pub peak_mib: f64,
    /// Its memory after a quarter of the turn and at its end.
    pub quarter_mib: f64,
    pub last_mib: f64,
    /// Of Redis, for 1,000 healthy deliveries: under the turn's load, and while only the good ones get events.
    pub redis_cpu_per_1000: f64,
    pub upkeep_cpu_per_1000: f64,
    /// Its commands for each healthy delivery meanwhile, which noise on the machine does not touch.
    pub upkeep_commands: f64,
    /// At the end of the turn: deliveries held, and failed for good.
    pub held: u64,
    pub failed: u64,
    /// What else ran on this machine meanwhile, in cores: where it is much, nothing can be said.
    pub elsewhere: f64,
    pub recovery: Option<Recovery>,
}

impl Met {
    /// The p99 of the good ones in a second in the middle, of all seconds sorted by it.
    pub fn usual_p99_ms(&self) -> f64 {
        median(self.p99_ms_per_second.iter().copied())
    }
}

/// How the backlog of those that recover goes out.
#[derive(Debug, Clone, Serialize)]
pub struct Recovery {
    /// Of one endpoint at most.
    pub most_in_flight: u64,
    pub most_per_second: u64,
    /// Of all ten together.
    pub mean_per_second: f64,
    /// Of the good ones, meanwhile.
    pub p99_ms: f64,
    /// For each second: the most in flight at any one of them, and how much all of them got.
    pub in_flight_per_second: Vec<u64>,
    pub per_second: Vec<u64>,
    /// Held when they recovered, and a turn later.
    pub held_before: u64,
    pub held_after: u64,
}

/// How long load goes on for those that recover: attempts that hang when they do still do until their time is over.
fn recovering(seconds: u64) -> Duration {
    Duration::from_secs(seconds.max(20))
}

/// How long the good ones get events alone.
fn upkeep(seconds: u64) -> Duration {
    Duration::from_secs((seconds / 2).clamp(5, 60))
}

/// How long a turn of this kind takes in the mean, start and end included.
pub fn lasts(kind: &Kind, seconds: u64) -> Duration {
    // Two of three turns have a recovery.
    let recovery = if kind.recovers { recovering(seconds) * 2 / 3 } else { Duration::ZERO };
    WARM * 2 + LATE * 3 + Duration::from_secs(seconds) + recovery + upkeep(seconds) + Duration::from_secs(2)
}

pub async fn take(kind: &Kind, plan: Plan, build: Contender, stage: &mut Stage) -> Met {
    let mut world = World::new(stage, kind.setup()).await;
    let worker = build.start(&world, stage).await;
    push(kind, (plan.per_second, 0.0), WARM, &world).await;
    push(kind, (plan.per_second, plan.bad_per_second), WARM, &world).await;
    stage.receiver.ask::<()>(&Ask::Reset).await;

    let seconds = Duration::from_secs(plan.seconds);
    let from = Used::by(&worker, &mut world, stage).await;
    let load = (plan.per_second, plan.bad_per_second);
    let (pushed, memory_mib) = tokio::join!(push(kind, load, seconds, &world), memory(worker.id, seconds));
    let used = Used::by(&worker, &mut world, stage).await.since(from);
    let mut received = report(stage).await;
    let good = received.series.remove(OK).expect("good ones got some");
    let bad_per_second = mean_per_second(kind, &received, seconds);
    let (held, failed) = world.held_and_failed(None).await;
    let (quarter_mib, last_mib) = (around(&memory_mib, 0.25), around(&memory_mib, 1.0));

    stage.receiver.ask::<()>(&Ask::Reset).await;
    let from = Used::by(&worker, &mut world, stage).await;
    push(kind, (plan.per_second, 0.0), upkeep(plan.seconds), &world).await;
    let upkeep = Used::by(&worker, &mut world, stage).await.since(from);
    let good_alone = report(stage).await.series.remove(OK).expect("good ones got some").count;

    let recovery = if kind.recovers && plan.bad_per_second > 0.0 {
        Some(recover(kind, plan, &mut world, stage).await)
    } else {
        None
    };
    let peak_mib = peak_mib(worker.id);
    assert!(worker.runs(), "the worker died; see children.log");
    worker.end().await;
    let Counts { count, p50_ms, p99_ms, p999_ms, p99_ms_per_second, .. } = good;
    #[allow(clippy::cast_precision_loss, reason = "numbers of events")]
    let (count, good_alone, pushed) = (count as f64, good_alone as f64, pushed as f64);
    Met {
        p50_ms,
        p99_ms,
        p999_ms,
        per_second: count / seconds.as_secs_f64(),
        bad_per_second,
        arrived: count / pushed,
        p99_ms_per_second,
        cpu_per_1000: used.worker / count * 1000.0,
        peak_mib,
        quarter_mib,
        last_mib,
        redis_cpu_per_1000: used.redis / count * 1000.0,
        upkeep_cpu_per_1000: upkeep.redis / good_alone * 1000.0,
        elsewhere: used.elsewhere / seconds.as_secs_f64(),
        upkeep_commands: upkeep.redis_commands / good_alone,
        held,
        failed,
        recovery,
    }
}

/// They answer from now on, and load goes on for all.
async fn recover(kind: &Kind, plan: Plan, world: &mut World, stage: &mut Stage) -> Recovery {
    let seconds = recovering(plan.seconds);
    let held_before = world.held_and_failed(None).await.0;
    stage.receiver.ask::<()>(&Ask::Reset).await;
    answer(kind, Some(RECOVERED), stage).await;
    push(kind, (plan.per_second, plan.recovered_per_second), seconds, world).await;
    let received = report(stage).await;
    // The next turn begins as this one did.
    answer(kind, None, stage).await;
    let bad: Vec<&Counts> = kind.bad_series().filter_map(|series| received.series.get(series)).collect();
    let most = |of: fn(&Counts) -> &Vec<u64>| bad.iter().flat_map(|counts| of(counts)).copied().max().unwrap_or(0);
    let by_second = |of: fn(&Counts) -> &Vec<u64>, with: fn(u64, u64) -> u64| {
        let longest = bad.iter().map(|counts| of(counts).len()).max().unwrap_or(0);
        let at = |second: usize| bad.iter().filter_map(|counts| of(counts).get(second).copied()).fold(0, with);
        (0..longest).map(at).collect()
    };
    Recovery {
        most_in_flight: most(|counts| &counts.in_flight_per_second),
        most_per_second: most(|counts| &counts.per_second),
        mean_per_second: mean_per_second(kind, &received, seconds),
        p99_ms: received.series[OK].p99_ms,
        in_flight_per_second: by_second(|counts| &counts.in_flight_per_second, u64::max),
        per_second: by_second(|counts| &counts.per_second, |sum, one| sum + one),
        held_before,
        held_after: world.held_and_failed(None).await.0,
    }
}

/// The bad ones answer as this series does, or as their own name says.
async fn answer(kind: &Kind, like: Option<&str>, stage: &mut Stage) {
    for series in kind.bad_series() {
        let like = like.unwrap_or(series).to_owned();
        stage.receiver.ask::<()>(&Ask::Answer { series: series.to_owned(), like }).await;
    }
}

/// Pushes so many events a second, for the good and for the bad ones, as one backend does, for whom they are not two.
/// Answers how many for the good ones.
async fn push(kind: &Kind, (good, bad): (f64, f64), duration: Duration, world: &World) -> usize {
    let mix = mix(kind, bad / good);
    let mut producer = world.producer_for(mix.iter().copied());
    let pushed = producer.push_steadily(good + bad, duration).await;
    mix.iter().cycle().take(pushed).filter(|account| kind.is_good(**account)).count()
}

/// Each good account a hundred times, and the bad ones this many times as often; both are spread evenly.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "some thousands"
)]
fn mix(kind: &Kind, share: f64) -> Vec<usize> {
    let good = kind.accounts(true).repeat(100);
    let bads = (good.len() as f64 * share).round() as usize;
    let bad: Vec<usize> = kind.accounts(false).into_iter().cycle().take(bads).collect();
    let mut placed = Vec::with_capacity(good.len() + bad.len());
    for (these, others) in [(&good, &bad), (&bad, &good)] {
        placed.extend(these.iter().enumerate().map(|(n, account)| ((2 * n + 1) * others.len().max(1), *account)));
    }
    placed.sort_by_key(|(place, _)| *place);
    placed.into_iter().map(|(_, account)| account).collect()
}

/// What the bad ones got each second while load went on; later arrivals are left out.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "numbers of requests")]
fn mean_per_second(kind: &Kind, received: &Received, duration: Duration) -> f64 {
    let seconds = duration.as_secs() as usize;
    let bad: BTreeSet<&str> = kind.bad_series().collect();
    let counts = bad.iter().filter_map(|series| received.series.get(*series));
    counts.flat_map(|counts| counts.per_second.iter().take(seconds)).sum::<u64>() as f64 / duration.as_secs_f64()
}

/// CPU seconds, and Redis's commands.
#[derive(Debug, Clone, Copy)]
struct Used {
    worker: f64,
    redis: f64,
    redis_commands: f64,
    elsewhere: f64,
}

impl Used {
    async fn by(worker: &Child, world: &mut World, stage: &Stage) -> Self {
        let redis_commands = RedisFigures::read(&mut world.redis).await.commands;
        let (worker, redis) = (cpu_seconds(worker.id), cpu_seconds(world.redis_process));
        let here = worker + redis + cpu_seconds(stage.receiver.id) + cpu_seconds(std::process::id());
        Self { worker, redis, redis_commands, elsewhere: busy_seconds() - here }
    }

    fn since(self, from: Self) -> Self {
        Self {
            worker: self.worker - from.worker,
            redis: self.redis - from.redis,
            redis_commands: self.redis_commands - from.redis_commands,
            elsewhere: self.elsewhere - from.elsewhere,
        }
    }
}

async fn report(stage: &mut Stage) -> Received {
    tokio::time::sleep(LATE).await;
    stage.receiver.ask(&Ask::Report).await
}

/// A process's memory in MiB over so long.
async fn memory(process: u32, duration: Duration) -> Vec<f64> {
    let started = Instant::now();
    let mut memory_mib = Vec::new();
    while started.elapsed() < duration {
        tokio::time::sleep(LOOK).await;
        memory_mib.push(present_mib(process));
    }
    memory_mib
}

/// The mean of the tenth that ends at this share of the turn.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a few samples"
)]
fn around(samples: &[f64], share: f64) -> f64 {
    let end = ((samples.len() as f64 * share) as usize).max(1);
    let tenth = &samples[end.saturating_sub((samples.len() / 10).max(1))..end];
    tenth.iter().sum::<f64>() / tenth.len() as f64
}
