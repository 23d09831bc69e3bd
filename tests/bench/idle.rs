//! The cost of an idle worker, by partitions and threads. Part of that cost, and of a busy worker's, is the upkeep:
//! looking for dead workers' entries and renewing its own. No bare loop is compared, because it does not look for dead
//! workers' entries.

use std::time::Duration;

use serde::Serialize;

use crate::{
    accounting::Upkeep,
    arguments::Extent,
    children::{self, Child},
    figures::{Judged, median},
    report::Report,
    support::eventually,
    turn::{Contender, Mark},
    world::{PLAIN, Setup, Stage, World},
};

/// The partitions and threads to measure.
const IDLE: [(u16, usize); 6] = [(1, 1), (4, 1), (16, 1), (64, 1), (512, 1), (64, 4)];
/// The endpoints of busy workers, and the events per second for them.
const BUSY: [(&[&str], f64); 2] = [(&["slow-10"], 5000.0), (&["slow-2000"], 128.0)];
/// A new endpoint gets few attempts; this many accounts still give many attempts in flight.
const ACCOUNTS: usize = 64;
/// Slow endpoints share half of the slots: 256.
const CONCURRENCY: usize = 512;
const START: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Serialize)]
struct Idled {
    partitions: u16,
    threads: usize,
    connections: f64,
    /// Percent of one core.
    worker_cpu_percent: f64,
    redis_cpu_percent: f64,
    /// Per second.
    round_trips: f64,
    commands: f64,
    /// Percent of one core, of Redis.
    upkeep_percent: f64,
}

impl Idled {
    /// Per partition and thread.
    #[allow(clippy::cast_precision_loss, reason = "few threads")]
    fn each(&self, of: f64) -> f64 {
        of / f64::from(self.partitions) / self.threads as f64
    }
}

#[derive(Debug, Clone, Serialize)]
struct Worked {
    endpoint: &'static str,
    in_flight: f64,
    /// Percent of one core.
    redis_cpu_percent: f64,
    upkeep_percent: f64,
}

impl Worked {
    fn upkeep_share_percent(&self) -> f64 {
        self.upkeep_percent / self.redis_cpu_percent * 100.0
    }
}

pub async fn run(extent: Extent) -> Report {
    let mut stage = Stage::new().await;
    let (mut idle, mut busy) = (Vec::new(), Vec::new());
    for number in 1..=extent.rounds {
        for (partitions, threads) in IDLE {
            let idled = idled(partitions, threads, &mut stage, extent).await;
            extent.progress(&format!(
                "idle, {partitions} partitions, {threads} threads, round {number}: {:.2} % of a core",
                idled.worker_cpu_percent
            ));
            idle.push(idled);
        }
        for (series, per_second) in BUSY {
            let worked = worked(series, per_second, &mut stage, extent).await;
            extent.progress(&format!("busy, {}, round {number}: {worked:.3?}", series[0]));
            busy.push(worked);
        }
    }
    stage.receiver.end().await;
    tell(&idle, &busy)
}

/// Starts a worker, and waits until its readers wait.
async fn start(world: &mut World, threads: usize) -> Child {
    let child =
        Contender::Worker.work(world, &[("LYNKHOOK_WORKER__THREADS", threads.to_string())], children::log()).await;
    let readers = usize::from(world.setup.partitions) * threads;
    eventually(START, "all readers wait", async || (blocked_and_connected(world).await.0 == readers).then_some(()))
        .await;
    child
}

async fn blocked_and_connected(world: &mut World) -> (usize, f64) {
    let info: redis::InfoDict =
        redis::cmd("INFO").arg("clients").query_async(&mut world.redis).await.expect("Redis answers");
    (info.get("blocked_clients").expect("a number"), info.get("connected_clients").expect("a number"))
}

async fn idled(partitions: u16, threads: usize, stage: &mut Stage, extent: Extent) -> Idled {
    let mut world = World::new(stage, Setup { partitions, ..PLAIN }).await;
    let children = vec![start(&mut world, threads).await];
    // The start is not measured.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let upkeep = Upkeep::begin(&mut world.redis).await;
    let from = Mark::take(&children, &mut world, stage).await;
    tokio::time::sleep(extent.seconds(20)).await;
    let to = Mark::take(&children, &mut world, stage).await;
    let upkeep = upkeep.seconds(&mut world.redis).await;
    let with = blocked_and_connected(&mut world).await.1;
    for child in children {
        child.end().await;
    }
    eventually(START, "no reader waits", async || (blocked_and_connected(&mut world).await.0 == 0).then_some(())).await;
    let connections = with - blocked_and_connected(&mut world).await.1;
    let seconds = (to.at - from.at).as_secs_f64();
    let percent = |process: usize| (to.cpu[process] - from.cpu[process]) / seconds * 100.0;
    Idled {
        partitions,
        threads,
        connections,
        worker_cpu_percent: percent(0),
        redis_cpu_percent: percent(1),
        // One of the reads is this measurement itself.
        round_trips: (to.redis.reads - from.redis.reads - 1.0) / seconds,
        commands: (to.redis.commands - from.redis.commands - 1.0) / seconds,
        upkeep_percent: upkeep / seconds * 100.0,
    }
}

#[allow(clippy::cast_precision_loss, reason = "hundreds of entries")]
async fn worked(series: &'static [&'static str], per_second: f64, stage: &mut Stage, extent: Extent) -> Worked {
    let mut world = World::new(stage, Setup { accounts: ACCOUNTS, concurrency: CONCURRENCY, series, ..PLAIN }).await;
    let children = vec![start(&mut world, 1).await];
    world.producer.push_steadily(per_second, Duration::from_secs(10)).await;
    let upkeep = Upkeep::begin(&mut world.redis).await;
    let from = Mark::take(&children, &mut world, stage).await;
    world.producer.push_steadily(per_second, extent.seconds(15)).await;
    let to = Mark::take(&children, &mut world, stage).await;
    let in_flight = world.waiting().await as f64;
    let upkeep = upkeep.seconds(&mut world.redis).await;
    for child in children {
        child.end().await;
    }
    let percent = 100.0 / (to.at - from.at).as_secs_f64();
    Worked {
        endpoint: series[0],
        in_flight,
        redis_cpu_percent: (to.cpu[1] - from.cpu[1]) * percent,
        upkeep_percent: upkeep * percent,
    }
}

fn tell(idle: &[Idled], busy: &[Worked]) -> Report {
    let mut report = Report::new("idle", &serde_json::json!({ "idle": idle, "busy": busy }));
    let of = |(partitions, threads): (u16, usize), figure: &dyn Fn(&Idled) -> f64| {
        let same = idle.iter().filter(|idled| (idled.partitions, idled.threads) == (partitions, threads));
        median(same.map(figure))
    };
    let rows = IDLE.map(|row| {
        [
            format!("{} × {}", row.0, row.1),
            format!("{:.0}", of(row, &|idled| idled.connections)),
            format!("{:.2}", of(row, &|idled| idled.each(idled.round_trips))),
            format!("{:.2}", of(row, &|idled| idled.each(idled.commands))),
            format!("{:.2}", of(row, &|idled| idled.worker_cpu_percent)),
            format!("{:.2}", of(row, &|idled| idled.redis_cpu_percent)),
            format!("{:.3}", of(row, &|idled| idled.upkeep_percent)),
        ]
    });
    report.table(
        [
            "idle: partitions × threads",
            "connections to Redis",
            "round trips/s per partition and thread",
            "commands/s per partition and thread",
            "worker, % of a core",
            "Redis, % of a core",
            "upkeep (dead workers' entries, renewing), % of a core",
        ],
        rows,
    );
    let busy_of = |endpoint: &str, figure: &dyn Fn(&Worked) -> f64| {
        median(busy.iter().filter(|worked| worked.endpoint == endpoint).map(figure))
    };
    let rows = BUSY.map(|(series, per_second)| {
        let endpoint = series[0];
        [
            format!("{endpoint} ms, {per_second:.0} events/s"),
            format!("{:.0}", busy_of(endpoint, &|worked| worked.in_flight)),
            format!("{:.2}", busy_of(endpoint, &|worked| worked.redis_cpu_percent)),
            format!("{:.3}", busy_of(endpoint, &|worked| worked.upkeep_percent)),
            format!("{:.2}", busy_of(endpoint, &Worked::upkeep_share_percent)),
        ]
    });
    report.table(
        [
            "busy: endpoints that take",
            "entries in hand",
            "Redis, % of a core",
            "upkeep (dead workers' entries, renewing), % of a core",
            "upkeep, % of Redis's work",
        ],
        rows,
    );
    for row in IDLE {
        let name = format!("partitions × threads: {} × {}", row.0, row.1);
        let [cpu, trips] =
            [of(row, &|idled| idled.each(idled.worker_cpu_percent)), of(row, &|idled| idled.each(idled.round_trips))];
        report.judge(Judged::at_most(format!("{name}; worker, % of a core per partition and thread"), cpu, 0.5));
        report.judge(Judged::at_most(format!("{name}; round trips/s per partition and thread"), trips, 2.5));
    }
    let upkeep = of((1, 1), &|idled| idled.upkeep_percent);
    report.judge(Judged::at_most("idle, one partition; upkeep, % of a core of Redis", upkeep, 1.0));
    for (series, _) in BUSY {
        let share = busy_of(series[0], &Worked::upkeep_share_percent);
        report.judge(Judged::at_most(format!("busy, {}; upkeep, % of Redis's work", series[0]), share, 1.0));
    }
    report
}
