//! One turn of a kind. First, load on the good endpoints and, in the turns that have them, on the bad ones. Then load
//! on the good ones alone, while deliveries for the bad ones are held.

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

/// Load on the good ones until connections are open and code and pools are warm; then on all.
const WARM: Duration = Duration::from_secs(2);
/// The time that the last events have to arrive.
const LATE: Duration = Duration::from_secs(1);
/// Recovered endpoints answer after 20 ms, as common endpoints do, so that attempts in flight can be seen.
const RECOVERED: &str = "slow-20";
/// The interval at which the worker's memory is read.
const LOOK: Duration = Duration::from_millis(500);

/// The load of a turn.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The healthy load.
    pub per_second: f64,
    /// The load on all bad ones together; 0 in turns without them.
    pub bad_per_second: f64,
    /// The same, once they have recovered.
    pub recovered_per_second: f64,
    pub seconds: u64,
}

/// The figures of a turn.
#[derive(Debug, Clone, Serialize)]
pub struct Met {
    /// For the good ones, from `XADD` to arrival.
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub per_second: f64,
    /// Attempts per second that the bad ones got: requests or, if no request arrives, connections.
    pub bad_per_second: f64,
    /// The share of the good ones' events that arrived.
    pub arrived: f64,
    pub p99_ms_per_second: Vec<f64>,
    /// The worker's.
    pub cpu_per_1000: f64,
    pub peak_mib: f64,
    /// The worker's memory after a quarter of the turn and at its end.
    pub quarter_mib: f64,
    pub last_mib: f64,
    /// Redis's CPU for 1,000 healthy deliveries: under the turn's load, and while only the good ones get events.
    pub redis_cpu_per_1000: f64,
    pub upkeep_cpu_per_1000: f64,
    /// Redis's commands per healthy delivery while only the good ones get events. Other work on the machine does not
    /// change it.
    pub upkeep_commands: f64,
    /// At the end of the turn: held deliveries, and deliveries that failed for good.
    pub held: u64,
    pub failed: u64,
    /// The machine's other work during the turn, in cores. If it is much, the figures mean nothing.
    pub elsewhere: f64,
    pub recovery: Option<Recovery>,
}

impl Met {
    /// The good ones' p99 in a median second.
    pub fn usual_p99_ms(&self) -> f64 {
        median(self.p99_ms_per_second.iter().copied())
    }
}

/// How the backlog of the recovering endpoints leaves.
#[derive(Debug, Clone, Serialize)]
pub struct Recovery {
    /// The most in flight at one endpoint.
    pub most_in_flight: u64,
    pub most_per_second: u64,
    /// All ten together.
    pub mean_per_second: f64,
    /// For the good ones, meanwhile.
    pub p99_ms: f64,
    /// For each second: the most in flight at any one of them, and the deliveries that all of them got.
    pub in_flight_per_second: Vec<u64>,
    pub per_second: Vec<u64>,
    /// Held when the endpoints recovered, and a turn later.
    pub held_before: u64,
    pub held_after: u64,
}

/// How long the load goes on for recovering endpoints: attempts that hang when they recover still take their full time.
fn recovering(seconds: u64) -> Duration {
    Duration::from_secs(seconds.max(20))
}

/// How long only the good ones get events.
fn upkeep(seconds: u64) -> Duration {
    Duration::from_secs((seconds / 2).clamp(5, 60))
}

/// The mean length of a turn of this kind, start and end included.
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

/// The bad ones answer from now on, and the load continues for all.
async fn recover(kind: &Kind, plan: Plan, world: &mut World, stage: &mut Stage) -> Recovery {
    let seconds = recovering(plan.seconds);
    let held_before = world.held_and_failed(None).await.0;
    stage.receiver.ask::<()>(&Ask::Reset).await;
    answer(kind, Some(RECOVERED), stage).await;
    push(kind, (plan.per_second, plan.recovered_per_second), seconds, world).await;
    let received = report(stage).await;
    // The next turn begins like this one.
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

/// Makes the bad ones answer like this series, or as their own name says if `None`.
async fn answer(kind: &Kind, like: Option<&str>, stage: &mut Stage) {
    for series in kind.bad_series() {
        let like = like.unwrap_or(series).to_owned();
        stage.receiver.ask::<()>(&Ask::Answer { series: series.to_owned(), like }).await;
    }
}

/// Pushes events for the good and the bad ones in one stream, as one backend does, which does not tell them apart.
/// Answers the number of events for the good ones.
async fn push(kind: &Kind, (good, bad): (f64, f64), duration: Duration, world: &World) -> usize {
    let mix = mix(kind, bad / good);
    let mut producer = world.producer_for(mix.iter().copied());
    let pushed = producer.push_steadily(good + bad, duration).await;
    mix.iter().cycle().take(pushed).filter(|account| kind.is_good(**account)).count()
}

/// Each good account a hundred times, and the bad ones together `share` times as often; both are spread evenly.
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

/// The mean rate at which the bad ones got requests while the load lasted; later arrivals are left out.
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

/// Samples of a process's memory in MiB over this time.
async fn memory(process: u32, duration: Duration) -> Vec<f64> {
    let started = Instant::now();
    let mut memory_mib = Vec::new();
    while started.elapsed() < duration {
        tokio::time::sleep(LOOK).await;
        memory_mib.push(present_mib(process));
    }
    memory_mib
}

/// The mean of the tenth of the samples that ends at this share of the turn.
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
