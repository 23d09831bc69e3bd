//! `lynkhook doctor`: is this Redis fit for what it is trusted with, and does the queue get on? One line for each check,
//! with what to do. Looks and changes nothing.
//!
//! What is looked at comes from the store; what it means is decided here, in functions of facts alone.

mod entries;
mod refusal;

use std::{fmt, time::Duration};

use chrono::{DateTime, Utc};
use clap::Args;
use serde::Serialize;

use super::{
    Exit,
    output::{self, clean, flexible, render, table},
};
use crate::{
    config::Settings,
    store::{
        Examination, Group, MAX_CLIENTS, Missing, NO_EVICTION, Role, SCHEMA, ServerInfo, SettingsLooked, Status, Store,
        StoreError,
    },
    telemetry,
};

/// A due retry this late means that nobody promotes.
const RETRY_LATE: Duration = Duration::from_secs(10);
/// More than this between this machine's clock and Redis's is worth a look.
const SKEW_MAX: Duration = Duration::from_secs(5);
/// A replica that was silent for longer lags.
const REPLICA_SILENT_S: u64 = 10;
/// So many partitions are counted rather than named.
const MANY_PARTITIONS: usize = 6;
/// Settings that cannot be read are named up to here.
const NAMED_MAX: usize = 3;
/// Memory in use, in percent of what there is.
const MEMORY_WARN: u64 = 75;
const MEMORY_FAIL: u64 = 90;

/// Flags.
#[derive(Debug, Args)]
pub(super) struct Flags {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// What the user in redis.url is for: each right that this takes is tried, and nothing is changed.
    #[arg(long, value_enum, default_value_t = For::Worker)]
    role: For,
}

/// What a Redis user is for. The HTTP API will be one more.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum For {
    /// `lynkhook worker`
    Worker,
    /// `lynkhook enqueue`, and backends
    Producer,
    /// all other commands
    Operator,
}

impl From<For> for Role {
    fn from(role: For) -> Self {
        match role {
            For::Worker => Self::Worker,
            For::Producer => Self::Producer,
            For::Operator => Self::Operator,
        }
    }
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Pass,
    Warn,
    Fail,
}

/// One line.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    found: String,
    /// What to do; absent where nothing is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

/// Runs it. The exit code is 5 where a check failed.
pub(super) async fn run(settings: &Settings, flags: &Flags) -> anyhow::Result<Exit> {
    telemetry::init(&settings.log)?;
    let role = flags.role.into();
    let examined = async {
        let store = Store::unchecked(settings)?;
        Ok((store.examine(stuck_after(settings)).await?, store.missing_rights(role).await))
    };
    let findings = match examined.await {
        Ok((examination, missing)) => with_rights(judge(settings, &examination, Utc::now()), &missing, role),
        Err(error) => vec![refusal::of_connection(&error)],
    };
    if flags.json {
        output::print_json(&findings)?;
    } else {
        let rows = findings.iter().map(|Finding { check, verdict, found, advice }| {
            let advice = advice.as_ref().map(|advice| format!("; {advice}")).unwrap_or_default();
            [verdict.to_string(), (*check).to_owned(), clean(&format!("{found}{advice}")).into_owned()]
        });
        output::print(&render(flexible(table(["", "", ""], rows), [2]), output::width()))?;
    }
    let worst = findings.iter().map(|finding| finding.verdict).max();
    Ok(if worst == Some(Verdict::Fail) { Exit::Redis } else { Exit::Success })
}

/// A live worker renews its leases long before this, and a dead one's are taken over, although a worker whose slots are all in
/// use may first have to end an attempt.
fn stuck_after(settings: &Settings) -> Duration {
    settings.worker.lease + settings.worker.claim_every * 3 + settings.delivery.timeout
}

/// The line about the rights of a role besides. Who has all of them need not know what is refused all the same.
fn with_rights(findings: Vec<Finding>, missing: &Result<Missing, StoreError>, role: Role) -> Vec<Finding> {
    let has_all = missing.as_ref().is_ok_and(|missing| missing.tried && missing.needed.is_empty());
    let findings = findings.into_iter();
    let judged = |finding| if has_all { refusal::of_others_fact(finding, role) } else { finding };
    let mut findings: Vec<Finding> = findings.map(judged).collect();
    findings.extend(each("rights", missing, |missing| vec![refusal::of_rights(missing, role)]));
    findings
}

/// All checks, from the server to what lies in it.
fn judge(settings: &Settings, facts: &Examination, here: DateTime<Utc>) -> Vec<Finding> {
    let Examination { server, time, append_fsync, noted, status, groups, settings: accounts } = facts;
    let mut findings = vec![
        version(server),
        role(server),
        persistence(server, append_fsync.as_deref()),
        eviction(server, &settings.redis.accept_eviction),
        memory(server),
        clients(server, settings.redis_connections() as u64),
        replication(server),
    ];
    let partitions = settings.queue.partitions;
    let figures = status.as_ref().ok();
    findings.extend(each("clock", time, |time| vec![clock(*time, here)]));
    findings.extend(each("schema", noted, |noted| vec![schema(noted.as_ref(), partitions)]));
    findings.extend(each("group", groups, |groups| {
        let mut judged = vec![group(groups, figures), stuck(groups, figures, stuck_after(settings))];
        judged.extend(entries::judge(groups, figures));
        judged
    }));
    findings.extend(each("webhooks", accounts, |accounts| vec![webhooks(accounts)]));
    findings.extend(each("queue", status, |status| {
        vec![workers(status), retries(status), rejected(status), failed(status), limits(status)]
    }));
    findings
}

/// What a fact means; where it was refused, that is a failed check of its own.
fn each<T>(check: &'static str, fact: &Result<T, StoreError>, judged: impl FnOnce(&T) -> Vec<Finding>) -> Vec<Finding> {
    match fact {
        Ok(fact) => judged(fact),
        Err(error) => vec![refusal::of_fact(check, error)],
    }
}

fn version(server: &ServerInfo) -> Finding {
    let flavour = server.text("server_name").unwrap_or("redis");
    let found = match server.text("valkey_version") {
        Some(version) => format!("valkey {version}, as Redis {}", server.version()),
        None => format!("{flavour} {}", server.version()),
    };
    if server.is_new_enough() {
        pass("version", found)
    } else {
        fail("version", found, "Lynkhook needs Redis 7.0 or newer")
    }
}

fn role(server: &ServerInfo) -> Finding {
    if server.is_in_a_cluster() {
        return fail("role", "a node of a cluster", "use a single Redis: clusters are not served yet");
    }
    match server.text("role") {
        Some("master") | None => pass("role", "takes writes"),
        Some(role) => fail("role", role, "it takes no writes: name the primary in redis.url"),
    }
}

fn persistence(server: &ServerInfo, append_fsync: Option<&str>) -> Finding {
    const CHECK: &str = "persistence";
    if server.number("loading") == Some(1) {
        return warn(CHECK, "it is still loading its data", "wait, then look again");
    }
    if server.number("aof_enabled") != Some(1) {
        let found = "no append-only file: what Redis forgets when it ends is lost";
        return fail(CHECK, found, "set `appendonly yes` (CONFIG SET appendonly yes, then CONFIG REWRITE)");
    }
    if server.text("aof_last_write_status").is_some_and(|status| status != "ok") {
        return fail(CHECK, "the append-only file cannot be written", "look at Redis's log and its disk");
    }
    match append_fsync {
        Some("always") => pass(CHECK, "append-only file, synced before each answer"),
        Some("everysec") => pass(CHECK, "append-only file, synced every second: a power failure loses up to that much"),
        Some(policy) => {
            let found =
                format!("append-only file, `appendfsync {policy}`: a power failure loses what the system had cached");
            warn(CHECK, found, "set `appendfsync everysec` or `always`")
        }
        None => pass(CHECK, "append-only file (how often it is synced is not told)"),
    }
}

fn eviction(server: &ServerInfo, accepted: &str) -> Finding {
    const CHECK: &str = "eviction";
    match server.eviction_policy() {
        None => warn(CHECK, "its maxmemory-policy may not be asked", "make sure that it is noeviction"),
        Some(NO_EVICTION) => pass(CHECK, NO_EVICTION),
        Some(policy) if policy == accepted => {
            let found =
                format!("{policy}, accepted by redis.accept_eviction: a full Redis deletes what it has accepted");
            warn(CHECK, found, "set `maxmemory-policy noeviction`")
        }
        Some(policy) => fail(
            CHECK,
            format!("{policy}: a full Redis deletes what it has accepted"),
            "set `maxmemory-policy noeviction`; no worker starts before",
        ),
    }
}

fn memory(server: &ServerInfo) -> Finding {
    const CHECK: &str = "memory";
    let used = server.number("used_memory").unwrap_or(0);
    let (most, name) = match (server.number("maxmemory"), server.number("total_system_memory")) {
        (Some(0) | None, Some(system)) if system > 0 => (system, "the machine's memory, for maxmemory is not set"),
        (Some(most), _) if most > 0 => (most, "maxmemory"),
        _ => return warn(CHECK, format!("{} in use; how much there is may not be asked", size(used)), "set maxmemory"),
    };
    let percent = used * 100 / most;
    let found = format!("{} in use, {percent} % of {} ({name})", size(used), size(most));
    let advice = "let workers drain the queue, or raise maxmemory: a full Redis refuses events";
    match percent {
        MEMORY_FAIL.. => fail(CHECK, found, advice),
        MEMORY_WARN.. => warn(CHECK, found, advice),
        _ => pass(CHECK, found),
    }
}

/// Whether Redis has room for a worker that needs `needed` connections.
fn clients(server: &ServerInfo, needed: u64) -> Finding {
    const CHECK: &str = "clients";
    const ADVICE: &str = "raise maxclients, or lower worker.threads or queue.partitions";
    let connected = server.number("connected_clients").unwrap_or(0);
    let needs = format!("a worker with these settings needs {needed}");
    let Some(most) = server.number(MAX_CLIENTS) else {
        return pass(CHECK, format!("{connected} connected; how many there may be is not told; {needs}"));
    };
    let found = format!("{connected} of {most} connected; {needs}");
    match () {
        () if needed >= most => fail(CHECK, found, ADVICE),
        () if connected + needed >= most => warn(CHECK, format!("{found} more"), ADVICE),
        () => pass(CHECK, found),
    }
}

fn replication(server: &ServerInfo) -> Finding {
    const CHECK: &str = "replication";
    let replicas = server.number("connected_slaves").unwrap_or(0);
    // slave0:ip=…,port=…,state=online,offset=…,lag=1
    let behind = (0..replicas).filter_map(|number| server.text(&format!("slave{number}"))).find(|replica| {
        let part = |name: &str| replica.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
        let lag = part("lag").and_then(|lag| lag.parse::<u64>().ok());
        part("state") != Some("online") || lag.is_some_and(|lag| lag > REPLICA_SILENT_S)
    });
    match (replicas, behind) {
        (0, _) => pass(CHECK, "no replica: what the machine loses is lost"),
        (_, Some(replica)) => warn(CHECK, format!("a replica lags: {replica}"), "a failover to it would lose events"),
        (count, None) => pass(CHECK, format!("{count} in step; a failover may lose what was not acknowledged yet")),
    }
}

fn clock(redis: DateTime<Utc>, here: DateTime<Utc>) -> Finding {
    let skew = (here - redis).abs().to_std().unwrap_or_default();
    let found = format!("{} between Redis and this machine", span(skew));
    if skew > SKEW_MAX {
        warn("clock", found, "synchronize the clocks: times in the log and due times are Redis's")
    } else {
        pass("clock", found)
    }
}

fn schema(noted: Option<&(String, String)>, partitions: u16) -> Finding {
    const CHECK: &str = "schema";
    match noted {
        None => pass(CHECK, "nothing lies under this prefix yet"),
        Some((schema, _)) if *schema != SCHEMA.to_string() => fail(
            CHECK,
            format!("version {schema}, and this program writes {SCHEMA}"),
            "use a program of that schema, or another redis.prefix",
        ),
        Some((_, noted)) if *noted != partitions.to_string() => fail(
            CHECK,
            format!("{noted} partitions, and queue.partitions is {partitions}"),
            &format!("set queue.partitions = {noted}"),
        ),
        Some(_) => pass(CHECK, format!("version {SCHEMA}, partitions: {partitions}")),
    }
}

fn group(groups: &[Group], figures: Option<&Status>) -> Finding {
    const CHECK: &str = "group";
    let missing: Vec<String> =
        groups.iter().filter(|group| group.audit.is_none()).map(|group| group.partition.to_string()).collect();
    let found = match (missing.len(), figures) {
        (0, Some(status)) => return pass(CHECK, format!("there, of {} consumers", status.all.consumers)),
        (0, None) => return pass(CHECK, "there"),
        (MANY_PARTITIONS.., _) => format!("none in {} partitions", missing.len()),
        _ => format!("none in partition {}", missing.join(", ")),
    };
    warn(CHECK, found, "a worker makes it when it starts")
}

fn stuck(groups: &[Group], figures: Option<&Status>, after: Duration) -> Finding {
    let moves = |group: &&Group| entries::moves(group);
    let waiting: u64 = groups.iter().filter(moves).map(|group| group.suspects).sum();
    let stuck = groups.iter().map(|group| group.stuck + group.suspects).sum::<u64>() - waiting;
    let in_flight = figures.map_or_else(|| "the".to_owned(), |status| status.all.in_flight.to_string());
    if stuck == 0 && waiting > 0 {
        let found =
            format!("none stuck of {in_flight} entries in flight; {waiting} that were lost twice wait for their turn");
        return warn("leases", found, "look why they were lost: a worker attempts one of them at a time");
    }
    if stuck == 0 {
        return pass("leases", format!("none stuck of {in_flight} entries in flight"));
    }
    let after = span(after);
    let found = format!("{stuck} of {in_flight} entries in flight were not renewed or taken over for {after}");
    fail("leases", found, "start a worker: it takes them over; if one runs, look at its log")
}

fn webhooks(SettingsLooked { accounts, complete, unreadable }: &SettingsLooked) -> Finding {
    let (named, count) = (unreadable.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>(), unreadable.len());
    if count == 0 && !complete {
        let found = format!("the settings of the first {accounts} accounts can be read; others were not looked at");
        return warn("webhooks", found, "this Redis has too many keys to look at all: give Lynkhook one of its own");
    }
    if count == 0 {
        return pass("webhooks", format!("the settings of {accounts} accounts can be read"));
    }
    let more = if count > named.len() { format!(", and {} more", count - named.len()) } else { String::new() };
    let found = format!("of {accounts} accounts, settings that cannot be read: {count}: {}{more}", named.join(", "));
    let advice = "nothing can be delivered there, and nothing kept for them is deleted: write the value back, which releases what \
                  is held within the hour, or remove the key or field, and the next visit drops what is kept for it";
    fail("webhooks", found, advice)
}

fn workers(status: &Status) -> Finding {
    let lacking = status.workers.iter().find_map(|worker| Some((&worker.name, worker.figures.lacking.as_ref()?)));
    match (status.workers.len(), lacking) {
        (0, _) => warn("workers", "none is alive: nothing is delivered", "start one: lynkhook worker"),
        (count, None) => pass("workers", format!("{count} alive")),
        (_, Some((name, lacking))) => {
            let advice = "where names cannot be looked up, check the name servers there (dns.servers, or /etc/resolv.conf); otherwise raise its limit of open files (ulimit -n) or egress.max_connections, or find what uses up files, ports or memory there";
            fail("workers", format!("deliveries wait at {name}: {lacking}"), advice)
        }
    }
}

fn retries(status: &Status) -> Finding {
    let retries = status.all.retries;
    let late = Duration::from_millis(retries.late_by_ms);
    let found = format!("{} waiting, {} late, by up to {}", retries.waiting, retries.late, span(late));
    match retries.late {
        0 => pass("retries", format!("{} waiting, none late", retries.waiting)),
        _ if late > RETRY_LATE => {
            fail("retries", found, "start a worker: it promotes them; if one runs, look at its log")
        }
        _ => warn("retries", found, "look again in a moment"),
    }
}

fn rejected(status: &Status) -> Finding {
    match status.all.rejected.entries {
        0 => pass("rejected", "none"),
        count => warn("rejected", count.to_string(), "see why: lynkhook queue rejected list"),
    }
}

fn failed(status: &Status) -> Finding {
    let failed = status.failed;
    match failed.entries {
        0 => pass("failed", "none"),
        count => pass("failed", format!("{count} of {} webhooks, kept for redelivery", failed.streams)),
    }
}

fn limits(status: &Status) -> Finding {
    if status.limits_reached.is_empty() {
        return pass("limits", "none reached");
    }
    let advice = "the oldest are dropped and counted, or what comes may fail: see lynkhook queue status";
    warn("limits", format!("reached: {}", status.limits_reached.join(", ")), advice)
}

fn pass(check: &'static str, found: impl Into<String>) -> Finding {
    Finding { check, verdict: Verdict::Pass, found: found.into(), advice: None }
}

fn warn(check: &'static str, found: impl Into<String>, advice: &str) -> Finding {
    Finding { check, verdict: Verdict::Warn, found: found.into(), advice: Some(advice.to_owned()) }
}

fn fail(check: &'static str, found: impl Into<String>, advice: &str) -> Finding {
    Finding { verdict: Verdict::Fail, ..warn(check, found, advice) }
}

/// In whole seconds.
fn span(duration: Duration) -> String {
    match duration.as_secs() {
        0 => "less than 1s".to_owned(),
        seconds => humantime::format_duration(Duration::from_secs(seconds)).to_string(),
    }
}

fn size(bytes: u64) -> String {
    bytesize::ByteSize(bytes).display().iec().to_string()
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
        })
    }
}

#[cfg(test)]
mod tests;
