//! Many hosts and few files: two events for each of 20,000 healthy hosts, and a worker with a limit of 1,024 open
//! files.
//!
//! All events wait when the worker starts, first one for each host, then a second for each. When a host's second event
//! comes up, the worker has long needed the file of that host's connection for others. Running out of files is the
//! worker's own trouble, so no event may fail because of it.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Seek},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::{
    accounting::{open_files, peak_mib},
    arguments::Extent,
    figures::{Judged, median, median_ratio},
    receiver::{Ask, Report as Received},
    report::Report,
    support::TELLING,
    turn::{BESIDE, Contender, order},
    world::{PLAIN, Setup, Stage, World},
};

const HOSTS: usize = 20_000;
const EACH: usize = 2;
const FILES: u32 = 1024;
/// Deliveries a second, at least.
const PER_SECOND: f64 = 100.0;
/// A turn ends after this time, even if not everything is delivered.
const LIMIT: Duration = Duration::from_secs(600);
/// The interval at which a turn checks its progress and counts open files.
const LOOK: Duration = Duration::from_millis(100);
/// A report names at most this many error texts, the most frequent first.
const TOLD: usize = 5;

#[derive(Debug, Clone, Serialize)]
struct Met {
    hosts: usize,
    delivered: f64,
    failed_for_good: f64,
    /// Neither delivered nor failed at the end of the turn.
    unfinished: f64,
    /// Attempts that failed, and the number of first attempts among them.
    failed_attempts: f64,
    failed_first_attempts: f64,
    /// From the worker's start until nothing was queued, waited for a retry, or arrived any longer.
    seconds: f64,
    peak_mib: f64,
    most_files: f64,
    connections: f64,
    most_open: f64,
    /// The errors of attempts and the warnings, with how often the worker logged each.
    troubles: BTreeMap<String, u64>,
}

impl Met {
    fn per_second(&self) -> f64 {
        self.delivered / self.seconds
    }
}

type Round = BTreeMap<String, Met>;

pub async fn run(extent: Extent) -> Report {
    let mut rounds = Vec::new();
    for number in 1..=extent.rounds {
        let mut round = Round::new();
        for build in order(Contender::builds(), number) {
            let met = turn(build, extent).await;
            extent.progress(&format!(
                "hosts, round {number}: {} {:.0}/s to {} hosts, {:.0} failed for good, {:.1} MiB, {:.0} files",
                build.name(),
                met.per_second(),
                met.hosts,
                met.failed_for_good,
                met.peak_mib,
                met.most_files
            ));
            round.insert(build.name(), met);
        }
        rounds.push(round);
    }
    tell(&rounds)
}

async fn turn(build: Contender, extent: Extent) -> Met {
    let hosts = extent.events(HOSTS);
    let mut stage = Stage::new().await;
    let mut world = World::new(&stage, Setup { accounts: hosts, addressed: hosts, ..PLAIN }).await;
    world.producer.push(EACH * hosts).await;
    let log = tempfile::tempfile().expect("a file");
    let telling = TELLING.map(|(name, value)| (name, value.to_owned()));
    let started = Instant::now();
    let worker = build.work_within(FILES, &world, &telling, log.try_clone().expect("a file can be shared")).await;
    let (mut most_files, mut arrived, mut at_work) = (0, 0, Duration::ZERO);
    while started.elapsed() < LIMIT {
        tokio::time::sleep(LOOK).await;
        assert!(worker.runs(), "the worker died");
        most_files = most_files.max(open_files(worker.id));
        let count: u64 = stage.receiver.ask(&Ask::Count).await;
        if count > arrived || world.waiting().await + world.retrying().await > 0 {
            (arrived, at_work) = (count, started.elapsed());
        } else if world.has_ended().await {
            break;
        }
    }
    let (held, failed) = world.held_and_failed(None).await;
    let unfinished = world.waiting().await + world.retrying().await;
    let peak_mib = peak_mib(worker.id);
    let received: Received = stage.receiver.ask(&Ask::Report).await;
    worker.end().await;
    stage.receiver.end().await;
    let (attempts, troubles) = read(log);
    #[allow(clippy::cast_precision_loss, reason = "numbers of events")]
    let [pushed, unfinished, failed, most_files, connections, most_open] = [
        (EACH * hosts) as f64,
        held as f64 + unfinished as f64,
        failed as f64,
        most_files as f64,
        received.connections as f64,
        received.most_open as f64,
    ];
    Met {
        hosts,
        delivered: pushed - failed - unfinished,
        failed_for_good: failed,
        unfinished,
        failed_attempts: attempts.iter().sum(),
        failed_first_attempts: attempts[0],
        seconds: at_work.as_secs_f64(),
        peak_mib,
        most_files,
        connections,
        most_open,
        troubles,
    }
}

/// A line of the worker's log.
#[derive(Deserialize)]
struct Line {
    level: String,
    message: String,
    lacking: Option<String>,
    attempt: Option<u8>,
    error: Option<String>,
}

/// The number of first and later attempts that failed, and how often the worker logged each trouble.
fn read(mut log: File) -> ([f64; 2], BTreeMap<String, u64>) {
    log.rewind().expect("a file can be read again");
    let (mut failed, mut troubles) = ([0.0; 2], BTreeMap::new());
    for line in BufReader::new(log).lines().map(|line| line.expect("a line")) {
        // The last line may be incomplete.
        let Ok(line) = serde_json::from_str::<Line>(&line) else { continue };
        let trouble = match (line.attempt, line.error) {
            (Some(number), Some(error)) if line.message == "attempt" => {
                failed[usize::from(number > 1)] += 1.0;
                error
            }
            _ if ["WARN", "ERROR"].contains(&&*line.level) => {
                let lacking = line.lacking.map(|lacking| format!(" ({lacking})"));
                format!("{} in the log: {}{}", line.level, line.message, lacking.unwrap_or_default())
            }
            _ => continue,
        };
        *troubles.entry(without_numbers(&trouble)).or_default() += 1;
    }
    (failed, troubles)
}

/// Names and ports differ from host to host, but the trouble is the same.
fn without_numbers(trouble: &str) -> String {
    let mut text = String::with_capacity(trouble.len());
    for character in trouble.chars() {
        match character {
            '0'..='9' if text.ends_with('#') => {}
            '0'..='9' => text.push('#'),
            other => text.push(other),
        }
    }
    text
}

fn tell(rounds: &[Round]) -> Report {
    let mut report = Report::new("hosts", &rounds);
    let median_of =
        |build: Contender, of: &dyn Fn(&Met) -> f64| median(rounds.iter().map(|round| of(&round[&build.name()])));
    let rows = Contender::builds().into_iter().map(|build| {
        let of = |figure: fn(&Met) -> f64, decimals: usize| format!("{:.decimals$}", median_of(build, &figure));
        [
            build.name(),
            of(|met| met.delivered, 0),
            of(|met| met.failed_for_good, 0),
            of(|met| met.unfinished, 0),
            of(|met| met.failed_attempts, 0),
            of(|met| met.failed_first_attempts, 0),
            of(Met::per_second, 0),
            of(|met| met.peak_mib, 1),
            of(|met| met.most_files, 0),
            of(|met| met.connections, 0),
            of(|met| met.most_open, 0),
        ]
    });
    let hosts = rounds.iter().flat_map(BTreeMap::values).map(|met| met.hosts).max().unwrap_or(0);
    report.table(
        [
            &format!("{hosts} hosts, {FILES} files"),
            "delivered",
            "failed for good",
            "unfinished",
            "attempts that failed",
            "first ones",
            "deliveries/s",
            "peak MiB",
            "most open files",
            "connections opened",
            "open at once",
        ],
        rows,
    );
    let this = |of: fn(&Met) -> f64| median_of(Contender::Worker, &of);
    let worst =
        |of: fn(&Met) -> f64| rounds.iter().map(|round| of(&round[&Contender::Worker.name()])).fold(0.0, f64::max);
    report.judge(Judged::at_most("events that failed for good, in any round", worst(|met| met.failed_for_good), 0.0));
    report.judge(Judged::at_most("events unfinished, in any round", worst(|met| met.unfinished), 0.0));
    report.judge(Judged::at_least("deliveries/s", this(Met::per_second), PER_SECOND));
    for build in Contender::builds() {
        let mut troubles = BTreeMap::<&str, u64>::new();
        for (trouble, count) in rounds.iter().flat_map(|round| &round[&build.name()].troubles) {
            *troubles.entry(trouble).or_default() += count;
        }
        let mut troubles: Vec<(&str, u64)> = troubles.into_iter().collect();
        troubles.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        for (trouble, count) in troubles.into_iter().take(TOLD) {
            report.note(format!("{}, {count} times: {trouble}", build.name()));
        }
    }
    if let Some(program) = BESIDE.get() {
        let peak_mib = |of: Contender| move |round: &Round| round[&of.name()].peak_mib;
        let ratio = median_ratio(rounds, peak_mib(Contender::Worker), peak_mib(Contender::Beside));
        report.note(format!("Peak MiB is {ratio:.3} of that of the other build, {program}."));
    }
    report
}
