//! The resources that processes used: CPU and memory from `/proc`, commands from Redis's own `INFO`.

use std::{collections::BTreeMap, fs};

use redis::aio::MultiplexedConnection;
use serde::Serialize;

/// The unit of `/proc/<pid>/stat`: `USER_HZ`, which is 100 on every Linux in use.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds that a process has used, user and kernel time of all threads.
pub fn cpu_seconds(process: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_else(|error| panic!("{process}: {error}"));
    // The second field is the program's name in parentheses, which may contain anything; utime and stime are the 14th
    // and 15th.
    let after_name = stat.rsplit_once(')').expect("a name in parentheses").1;
    let ticks = after_name.split_whitespace().skip(11).take(2);
    ticks.map(|ticks| ticks.parse::<f64>().expect("a number")).sum::<f64>() / TICKS_PER_SECOND
}

/// CPU seconds that the cores of this machine have been busy, with any process.
pub fn busy_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/stat").expect("this is Linux");
    let first = stat.lines().next().expect("a line for all cores");
    // user nice system idle iowait irq softirq steal: all count except idle and iowait.
    let ticks = first.split_whitespace().skip(1).take(8).map(|ticks| ticks.parse::<f64>().expect("a number"));
    let busy = ticks.enumerate().filter(|(column, _)| !matches!(column, 3 | 4)).map(|(_, ticks)| ticks);
    busy.sum::<f64>() / TICKS_PER_SECOND
}

/// The most memory that a process has had, in MiB.
pub fn peak_mib(process: u32) -> f64 {
    memory_mib(process, "VmHWM:")
}

/// The memory that a process uses now, in MiB.
pub fn present_mib(process: u32) -> f64 {
    memory_mib(process, "VmRSS:")
}

fn memory_mib(process: u32, field: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("Linux reports it");
    line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") / 1024.0
}

/// The number of files that a process has open now, sockets included.
pub fn open_files(process: u32) -> usize {
    fs::read_dir(format!("/proc/{process}/fd")).map_or(0, Iterator::count)
}

/// Figures that Redis reports about itself.
#[derive(Debug, Clone, Copy)]
pub struct RedisFigures {
    /// Commands executed, those inside scripts included.
    pub commands: f64,
    /// How often Redis read from a socket. Several commands that arrive together are one read, so this is the nearest
    /// count of round trips that Redis keeps.
    pub reads: f64,
    pub used_memory_bytes: f64,
}

impl RedisFigures {
    pub async fn read(redis: &mut MultiplexedConnection) -> Self {
        let mut info = redis::cmd("INFO");
        info.arg("stats").arg("memory");
        let text: String = info.query_async(redis).await.expect("Redis answers");
        Self::parse(&text)
    }

    fn parse(info: &str) -> Self {
        let of = |name: &str| -> f64 {
            let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("INFO lacks {name}"))
        };
        Self {
            commands: of("total_commands_processed"),
            reads: of("total_reads_processed"),
            used_memory_bytes: of("used_memory"),
        }
    }
}

/// How often Redis executed each command, and the µs that the commands took by its clock. Commands inside scripts are
/// counted again under `evalsha`.
#[derive(Debug, Clone, Serialize)]
pub struct CommandTimes(pub BTreeMap<String, (f64, f64)>);

impl CommandTimes {
    pub async fn read(redis: &mut MultiplexedConnection) -> Self {
        let mut info = redis::cmd("INFO");
        info.arg("commandstats");
        let text: String = info.query_async(redis).await.expect("Redis answers");
        let read = |line: &str| {
            let (name, figures) = line.trim().strip_prefix("cmdstat_")?.split_once(':')?;
            let figure = |key: &str| {
                figures.split(',').find_map(|figure| figure.strip_prefix(key)?.strip_prefix('=')?.parse().ok())
            };
            Some((name.to_owned(), (figure("calls")?, figure("usec")?)))
        };
        Self(text.lines().filter_map(read).collect())
    }

    /// The difference since `before`, for each of the `deliveries`.
    #[allow(clippy::cast_precision_loss, reason = "a number of deliveries")]
    pub fn since(&self, before: &Self, deliveries: u64) -> Self {
        let deliveries = deliveries.max(1) as f64;
        let mut times = self.0.clone();
        for (name, (calls, micros)) in &mut times {
            let before = before.0.get(name).copied().unwrap_or_default();
            *calls = (*calls - before.0) / deliveries;
            *micros = (*micros - before.1) / deliveries;
        }
        Self(times)
    }
}

/// The process of a Redis.
pub async fn redis_process(redis: &mut MultiplexedConnection) -> u32 {
    let info: redis::InfoDict = redis::cmd("INFO").arg("server").query_async(redis).await.expect("Redis answers");
    info.get("process_id").expect("Redis reports its process")
}

/// How long Redis works on the scripts that claim and renew, by its slow log. While this measures, the slow log records
/// every command.
pub struct Upkeep;

impl Upkeep {
    const SCRIPTS: [&str; 2] = ["claim", "renew"];

    pub async fn begin(redis: &mut MultiplexedConnection) -> Self {
        let mut configure = redis::cmd("CONFIG");
        configure.arg("SET").arg("slowlog-log-slower-than").arg(0).arg("slowlog-max-len").arg(10_000_000);
        configure.exec_async(redis).await.expect("Redis is configured");
        redis::cmd("SLOWLOG").arg("RESET").exec_async(redis).await.expect("Redis answers");
        Self
    }

    /// The seconds since the beginning.
    pub async fn seconds(self, redis: &mut MultiplexedConnection) -> f64 {
        type Logged = (i64, i64, f64, Vec<redis::Value>, redis::Value, redis::Value);
        let named = lynkhook::store::script_names().into_iter();
        let hashes: Vec<String> =
            named.filter(|(_, name)| Self::SCRIPTS.contains(name)).map(|(hash, _)| hash).collect();
        let logged: Vec<Logged> =
            redis::cmd("SLOWLOG").arg("GET").arg(-1).query_async(redis).await.expect("Redis answers");
        let of_upkeep = logged.iter().filter(|(_, _, _, command, ..)| {
            let second = command.get(1).and_then(|hash| redis::from_redis_value_ref::<String>(hash).ok());
            second.is_some_and(|hash| hashes.contains(&hash))
        });
        let micros: Vec<f64> = of_upkeep.map(|(_, _, micros, ..)| *micros).collect();
        assert!(!micros.is_empty(), "the worker runs other scripts");
        micros.iter().sum::<f64>() / 1e6
    }
}
