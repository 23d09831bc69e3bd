//! Checks of the server: its version, its persistence, and its free room.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::finding::{Finding, fail, pass, size, warn};
use crate::{
    domain::text::seconds,
    store::{MAX_CLIENTS, MemoryLimit, NO_EVICTION, ServerFacts, ServerInfo},
};

/// A larger difference between the clocks of this machine and of Redis is a warning.
const SKEW_MAX: Duration = Duration::from_secs(5);
/// A replica that has been silent for longer counts as lagging.
const REPLICA_SILENT_S: u64 = 10;
/// Memory in use, in percent of the available memory.
const MEMORY_WARN: u64 = 75;
const MEMORY_FAIL: u64 = 90;

pub(super) fn version(server: &ServerInfo) -> Finding {
    let flavour = server.text("server_name").unwrap_or("redis");
    let found = match server.text("valkey_version") {
        Some(version) => format!("valkey {version}, compatible with Redis {}", server.version()),
        None => format!("{flavour} {}", server.version()),
    };
    if server.is_new_enough() {
        pass("version", found)
    } else {
        fail("version", found, "Lynkhook needs Redis 7.0 or newer")
    }
}

pub(super) fn role(server: &ServerInfo) -> Finding {
    match server.text("role") {
        Some("master") | None => pass("role", "accepts writes"),
        Some(role) if server.is_in_a_cluster() => {
            fail("role", role, "a replica may have taken its place just now: check again in a moment")
        }
        Some(role) => fail("role", role, "it accepts no writes: name the primary in redis.url"),
    }
}

pub(super) fn persistence(server: &ServerInfo, append_fsync: Option<&str>) -> Finding {
    const CHECK: &str = "persistence";
    if server.number("loading") == Some(1) {
        return warn(CHECK, "Redis is still loading its data", "wait, then check again");
    }
    if server.number("aof_enabled") != Some(1) {
        let found = "no append-only file: events may be lost when Redis ends";
        return fail(CHECK, found, "set `appendonly yes` (CONFIG SET appendonly yes, then CONFIG REWRITE)");
    }
    if server.text("aof_last_write_status").is_some_and(|status| status != "ok") {
        return fail(CHECK, "the append-only file cannot be written", "check the log of Redis and its disk");
    }
    match append_fsync {
        Some("always") => pass(CHECK, "append-only file, synced before each answer"),
        Some("everysec") => {
            pass(CHECK, "append-only file, synced every second: a power failure loses up to one second")
        }
        Some(policy) => {
            let found =
                format!("append-only file, `appendfsync {policy}`: a power failure loses writes not yet on disk");
            warn(CHECK, found, "set `appendfsync everysec` or `always`")
        }
        None => pass(CHECK, "append-only file; how often it is synced is not seen: this user may not ask (CONFIG GET)"),
    }
}

pub(super) fn eviction(server: &ServerInfo, accepted: &str) -> Finding {
    const CHECK: &str = "eviction";
    match server.eviction_policy() {
        None => warn(CHECK, "Redis does not show its maxmemory-policy", "make sure that it is noeviction"),
        Some(NO_EVICTION) => pass(CHECK, NO_EVICTION),
        Some(policy) if policy == accepted => {
            let found = format!(
                "{policy}, accepted by redis.accept_eviction: a full Redis deletes events that it has accepted"
            );
            warn(CHECK, found, "set `maxmemory-policy noeviction`")
        }
        Some(policy) => fail(
            CHECK,
            format!("{policy}: a full Redis deletes events that it has accepted"),
            "set `maxmemory-policy noeviction`; until then no worker starts",
        ),
    }
}

/// The part of the memory that is in use, to compare servers.
pub(super) fn filled(facts: &ServerFacts) -> u64 {
    let (used, limit) = facts.info.memory();
    limit.map_or(0, |limit| used.saturating_mul(1000) / limit.bytes())
}

pub(super) fn memory(server: &ServerInfo) -> Finding {
    const CHECK: &str = "memory";
    let (used, limit) = server.memory();
    let (most, name) = match limit {
        Some(MemoryLimit::Machine(most)) => (most, "the machine's memory, because maxmemory is not set"),
        Some(MemoryLimit::Maxmemory(most)) => (most, "maxmemory"),
        None => return warn(CHECK, format!("{} in use; Redis does not show its limit", size(used)), "set maxmemory"),
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

/// The connected clients, to compare servers.
pub(super) fn connected(facts: &ServerFacts) -> u64 {
    facts.info.number("connected_clients").unwrap_or(0)
}

/// Whether Redis has room for a worker that needs `needed` connections.
pub(super) fn clients(server: &ServerInfo, needed: u64) -> Finding {
    const CHECK: &str = "clients";
    const ADVICE: &str = "raise maxclients, or lower worker.threads or queue.partitions";
    let connected = server.number("connected_clients").unwrap_or(0);
    let needs = format!("a worker with these settings needs {needed}");
    let Some(most) = server.number(MAX_CLIENTS) else {
        return pass(CHECK, format!("{connected} connected; Redis does not show its limit; {needs}"));
    };
    let found = format!("{connected} of {most} connected; {needs}");
    match () {
        () if needed >= most => fail(CHECK, found, ADVICE),
        () if connected + needed >= most => warn(CHECK, format!("{found} more"), ADVICE),
        () => pass(CHECK, found),
    }
}

pub(super) fn replication(server: &ServerInfo) -> Finding {
    const CHECK: &str = "replication";
    let replicas = server.number("connected_slaves").unwrap_or(0);
    // slave0:ip=…,port=…,state=online,offset=…,lag=1
    let behind = (0..replicas).filter_map(|number| server.text(&format!("slave{number}"))).find(|replica| {
        let part = |name: &str| replica.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
        let lag = part("lag").and_then(|lag| lag.parse::<u64>().ok());
        part("state") != Some("online") || lag.is_some_and(|lag| lag > REPLICA_SILENT_S)
    });
    match (replicas, behind) {
        (0, _) => pass(CHECK, "no replica: if the machine loses its data, the events are lost"),
        (_, Some(replica)) => warn(CHECK, format!("a replica lags: {replica}"), "a failover to it would lose events"),
        (count, None) => {
            pass(CHECK, format!("{count} in sync; a failover may lose writes that are not yet replicated"))
        }
    }
}

pub(super) fn clock(redis: DateTime<Utc>, here: DateTime<Utc>) -> Finding {
    let skew = (here - redis).abs().to_std().unwrap_or_default();
    let found = format!("{} between Redis and this machine", seconds(skew));
    if skew > SKEW_MAX {
        warn("clock", found, "synchronize the clocks: times in the log and due times are from the clock of Redis")
    } else {
        pass("clock", found)
    }
}
