//! The time of a delivery, compared with the bare loop's and the minimum's: of the processes by area ([`sampler`]), of
//! Redis by area and by command, and of the rest of the machine.

mod sampler;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use self::sampler::{Area, Sampler};
use crate::{
    accounting::CommandTimes,
    arguments::Extent,
    figures::median,
    receiver::Ask,
    report::Report,
    throughput::{SHAPES, Shape},
    turn::{BACKLOG, Contender, Mark, Sample, all_arrived, cores, measured, order, ready},
    world::{Stage, World},
};

const EVENTS: usize = 200_000;

const CONTENDERS: [Contender; 3] = [Contender::BARE, Contender::MINIMUM_ONE_THREAD, Contender::Worker];

type Micros = BTreeMap<Area, f64>;

/// The time of a delivery, in µs.
#[derive(Debug, Serialize)]
struct Profile {
    /// Of all cores together.
    in_all: f64,
    process: Micros,
    redis: Micros,
    commands: CommandTimes,
    receiver: f64,
    elsewhere: f64,
    idle: f64,
}

#[derive(Serialize)]
struct Shaped {
    shape: &'static str,
    rounds: Vec<BTreeMap<String, Profile>>,
}

pub async fn run(extent: Extent) -> Report {
    let mut measured = Vec::new();
    for shape in &SHAPES {
        let mut stage = Stage::new().await;
        let mut rounds = Vec::new();
        for number in 1..=extent.rounds {
            let mut round = BTreeMap::new();
            for contender in order(CONTENDERS, number) {
                let profile = take(contender, shape, &mut stage, extent).await;
                let name = contender.name();
                extent.progress(&format!("profile, {}, round {number}: {name} {:.1} µs", shape.name, profile.in_all));
                round.insert(name, profile);
            }
            rounds.push(round);
        }
        stage.receiver.end().await;
        measured.push(Shaped { shape: shape.name, rounds });
    }
    tell(&measured)
}

async fn take(contender: Contender, shape: &Shape, stage: &mut Stage, extent: Extent) -> Profile {
    let events = extent.events(EVENTS);
    let mut world = World::new(stage, shape.setup()).await;
    let children = ready(contender, 1, &mut world, stage).await;
    world.producer.push(events).await;
    stage.receiver.ask::<()>(&Ask::Reset).await;
    tokio::time::sleep(BACKLOG).await;
    children[0].go_on();
    let measured = measured(events, 1);
    all_arrived(stage, &mut world, &children, measured.start).await;
    let samplers = [Sampler::attach(children[0].id).await, Sampler::attach(world.redis_process).await];
    let before = CommandTimes::read(&mut world.redis).await;
    let from = Mark::take(&children, &mut world, stage).await;
    all_arrived(stage, &mut world, &children, measured.end).await;
    let to = Mark::take(&children, &mut world, stage).await;
    let after = CommandTimes::read(&mut world.redis).await;
    let sample = Sample::between(&from, &to, &children);
    // The samplers run until the processes end.
    for child in children {
        child.end().await;
    }
    drop(world);
    let [process, redis] = samplers.map(Sampler::shares);
    let micros_of = |cores: f64| cores / sample.per_second * 1e6;
    let by_area = |shares: BTreeMap<Area, f64>, cores: f64| -> Micros {
        shares.into_iter().map(|(area, share)| (area, share * micros_of(cores))).collect()
    };
    let cores = f64::from(u32::try_from(cores()).expect("32 bits"));
    Profile {
        in_all: micros_of(cores),
        process: by_area(process, sample.contender_cores()),
        redis: by_area(redis, sample.redis_cores()),
        commands: after.since(&before, to.arrived - from.arrived),
        receiver: micros_of(sample.receiver_cores()),
        elsewhere: micros_of(sample.elsewhere),
        idle: micros_of(cores - sample.cores - sample.elsewhere),
    }
}

fn tell(measured: &[Shaped]) -> Report {
    let mut report = Report::new("profile", &measured);
    for shaped in measured {
        let mut rows = vec![
            shaped.row("in total", |profile| profile.in_all),
            shaped.row("the process", |profile| profile.process.values().sum()),
        ];
        rows.extend(Area::ALL.map(|area| shaped.area(area, |profile| &profile.process)));
        rows.push(shaped.row("Redis", |profile| profile.redis.values().sum()));
        rows.extend(Area::ALL.map(|area| shaped.area(area, |profile| &profile.redis)));
        rows.push(shaped.row("the receiver", |profile| profile.receiver));
        rows.push(shaped.row("anything else here", |profile| profile.elsewhere));
        rows.push(shaped.row("nothing: idle", |profile| profile.idle));
        report.table(
            [shaped.shape, "bare loop, µs", "minimum, 1 thread, µs", "worker, µs", "more than the minimum, µs"],
            rows.into_iter().flatten(),
        );
        report.table(
            ["Redis's commands", "bare loop: calls", "µs", "minimum: calls", "µs", "worker: calls", "µs"],
            shaped.commands().iter().filter_map(|name| shaped.command(name)),
        );
    }
    report.note(
        "For one delivery, over all cores, idle time included. Each row is the median of its rounds, so the rows do not \
         quite add up. Anything else here: the producer, perf, and time taken by the host."
            .to_owned(),
    );
    report.note(
        "Commands by Redis's own clock, which continues while another process has its core. Commands of scripts are \
         counted again under EVALSHA."
            .to_owned(),
    );
    report
}

/// Smaller rows are left out.
const TOLD: f64 = 0.05;

impl Shaped {
    /// The medians of the bare loop, of the minimum, and of the worker.
    fn medians(&self, of: impl Fn(&Profile) -> f64) -> [f64; 3] {
        CONTENDERS.map(|contender| median(self.rounds.iter().map(|round| of(&round[&contender.name()]))))
    }

    fn row(&self, name: &str, of: impl Fn(&Profile) -> f64) -> Option<[String; 5]> {
        let medians = self.medians(of);
        let [_, minimum, worker] = medians;
        let is_told = medians.iter().any(|micros| micros.abs() >= TOLD);
        is_told.then(|| {
            let [bare, min, own] = medians.map(|micros| format!("{micros:.1}"));
            [name.to_owned(), bare, min, own, format!("{:+.1}", worker - minimum)]
        })
    }

    fn area(&self, area: Area, of: fn(&Profile) -> &Micros) -> Option<[String; 5]> {
        self.row(&format!("… {}", area.name()), |profile| of(profile).get(&area).copied().unwrap_or(0.0))
    }

    fn commands(&self) -> BTreeSet<String> {
        let profiles = self.rounds.iter().flat_map(BTreeMap::values);
        profiles.flat_map(|profile| profile.commands.0.keys().cloned()).collect()
    }

    fn command(&self, name: &str) -> Option<[String; 7]> {
        let figure = |profile: &Profile, of: fn(&(f64, f64)) -> f64| profile.commands.0.get(name).map_or(0.0, of);
        let calls = self.medians(|profile| figure(profile, |(calls, _)| *calls));
        let micros = self.medians(|profile| figure(profile, |(_, micros)| *micros));
        let is_told = micros.iter().any(|micros| *micros >= TOLD);
        let told =
            |value: f64, decimals: usize| if value == 0.0 { String::new() } else { format!("{value:.decimals$}") };
        is_told.then(|| {
            let [[bare, bare_micros], [minimum, minimum_micros], [worker, worker_micros]] =
                [0, 1, 2].map(|which| [told(calls[which], 3), told(micros[which], 2)]);
            [name.to_uppercase(), bare, bare_micros, minimum, minimum_micros, worker, worker_micros]
        })
    }
}
