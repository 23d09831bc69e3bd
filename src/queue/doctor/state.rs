//! Checks of the content of Redis: the settings, the groups, the figures of the queue.

use std::time::Duration;

use super::{
    entries,
    finding::{Finding, MANY_PARTITIONS, fail, pass, warn},
};
use crate::{
    config::PARTITIONS_MAX,
    domain::{lateness, text::seconds},
    store::{Group, SCHEMA, SettingsLooked, Status, parse_partitions},
};

/// At most this many settings that cannot be read are named.
const NAMED_MAX: usize = 3;

/// The check of what is noted. `partitions` are those that were looked at, `wanted` those that the settings ask for.
pub(super) fn schema(noted: Option<&(String, String)>, partitions: u16, wanted: Option<u16>) -> Finding {
    const CHECK: &str = "schema";
    let Some((schema, noted)) = noted else {
        let found = format!("nothing is stored under this prefix yet; partitions at the start: {partitions}");
        return pass(CHECK, found);
    };
    match (parse_partitions(noted), wanted) {
        _ if *schema != SCHEMA.to_string() => fail(
            CHECK,
            format!("version {schema}, but this program uses version {SCHEMA}"),
            "use a Lynkhook of that schema, or another redis.prefix",
        ),
        (None, _) => fail(
            CHECK,
            format!("{noted:?} partitions in Redis, which is not a number from 1 to {PARTITIONS_MAX}"),
            "write the right number there, or use another redis.prefix",
        ),
        (Some(noted), Some(wanted)) if noted != wanted => fail(
            CHECK,
            format!("{noted} partitions in Redis, but queue.partitions is {wanted}"),
            &format!("set queue.partitions = {noted}"),
        ),
        (Some(noted), _) => pass(CHECK, format!("version {SCHEMA}, partitions: {noted}")),
    }
}

pub(super) fn group(groups: &[Group], figures: Option<&Status>) -> Finding {
    const CHECK: &str = "group";
    let missing: Vec<String> =
        groups.iter().filter(|group| group.audit.is_none()).map(|group| group.partition.to_string()).collect();
    let found = match (missing.len(), figures) {
        (0, Some(status)) => return pass(CHECK, format!("exists, with {} consumers", status.all.consumers)),
        (0, None) => return pass(CHECK, "exists"),
        (MANY_PARTITIONS.., _) => format!("none in {} partitions", missing.len()),
        _ => format!("none in partition {}", missing.join(", ")),
    };
    warn(CHECK, found, "a worker creates it when it starts")
}

pub(super) fn stuck(groups: &[Group], figures: Option<&Status>, after: Duration) -> Finding {
    let moves = |group: &&Group| entries::moves(group);
    let waiting: u64 = groups.iter().filter(moves).map(|group| group.suspects).sum();
    let stuck = groups.iter().map(|group| group.stuck + group.suspects).sum::<u64>() - waiting;
    let in_flight = figures.map_or_else(|| "the".to_owned(), |status| status.all.in_flight.to_string());
    if stuck == 0 && waiting > 0 {
        let found = format!(
            "none of {in_flight} entries in flight is stuck; {waiting} that were lost twice wait for their turn"
        );
        return warn("leases", found, "find out why they were lost; a worker attempts one of them at a time");
    }
    if stuck == 0 {
        return pass("leases", format!("none of {in_flight} entries in flight is stuck"));
    }
    let after = seconds(after);
    let found = format!("{stuck} of {in_flight} entries in flight were neither renewed nor taken over for {after}");
    fail("leases", found, "start a worker, which takes them over; if one is running, check its log")
}

pub(super) fn webhooks(SettingsLooked { accounts, complete, unreadable }: &SettingsLooked) -> Finding {
    let (named, count) = (unreadable.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>(), unreadable.len());
    if count == 0 && !complete {
        let found = format!("the settings of the first {accounts} accounts can be read; others were not checked");
        return warn(
            "webhooks",
            found,
            "this Redis has too many keys to check them all: give Lynkhook a Redis of its own",
        );
    }
    if count == 0 {
        return pass("webhooks", format!("the settings of {accounts} accounts can be read"));
    }
    let more = if count > named.len() { format!(", and {} more", count - named.len()) } else { String::new() };
    let found =
        format!("the settings of {accounts} accounts were checked; unreadable: {count}: {}{more}", named.join(", "));
    let advice = "these webhooks get no deliveries, and nothing kept for them is deleted: either restore the value \
                  (held deliveries are then released within the hour), or remove the key or field (the next visit then \
                  drops what is kept for it)";
    fail("webhooks", found, advice)
}

pub(super) fn workers(status: &Status) -> Finding {
    let lacking = status.workers.iter().find_map(|worker| Some((&worker.name, worker.figures.lacking.as_ref()?)));
    match (status.workers.len(), lacking) {
        (0, _) if !status.away.is_empty() => {
            let found = "none is seen, but the figures of some may lie at a master that is away";
            warn("workers", found, "check again when all masters answer")
        }
        (0, _) => warn("workers", "none is alive, so nothing is delivered", "start one: lynkhook worker"),
        (count, None) => pass("workers", format!("{count} alive")),
        (_, Some((name, lacking))) => {
            let advice = "if names cannot be looked up, check the name servers of that machine (dns.servers, or \
                          /etc/resolv.conf); otherwise raise its limit of open files (ulimit -n) or \
                          egress.max_connections, or find the cause of the shortage of files, ports or memory there";
            fail("workers", format!("deliveries wait in {name}: {lacking}"), advice)
        }
    }
}

pub(super) fn retries(status: &Status) -> Finding {
    let retries = status.all.retries;
    let late = Duration::from_millis(retries.late_by_ms);
    let found = format!("{} waiting, {} late, by up to {}", retries.waiting, retries.late, seconds(late));
    match retries.late {
        0 => pass("retries", format!("{} waiting, none late", retries.waiting)),
        _ if late > lateness::RETRY_FAILS_DOCTOR => {
            fail("retries", found, "start a worker, which promotes them; if one is running, check its log")
        }
        _ => warn("retries", found, "check again in a moment"),
    }
}

pub(super) fn rejected(status: &Status) -> Finding {
    match status.all.rejected.entries {
        0 => pass("rejected", "none"),
        count => warn("rejected", count.to_string(), "to see the reasons: lynkhook queue rejected list"),
    }
}

pub(super) fn failed(status: &Status) -> Finding {
    let failed = status.failed;
    match failed.entries {
        0 => pass("failed", "none"),
        count => pass("failed", format!("{count} of {} webhooks, kept for redelivery", failed.streams)),
    }
}

pub(super) fn limits(status: &Status) -> Finding {
    if status.limits_reached.is_empty() {
        return pass("limits", "none reached");
    }
    let advice = "new deliveries may fail, or the oldest are dropped and counted: see lynkhook queue status";
    warn("limits", format!("reached: {}", status.limits_reached.join(", ")), advice)
}
