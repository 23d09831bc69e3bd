//! The content of Redis: the settings, the groups, the figures of the queue.

use std::time::Duration;

use super::{
    entries,
    finding::{Finding, MANY_PARTITIONS, fail, pass, warn},
};
use crate::{
    domain::{lateness, text::seconds},
    store::{Group, SCHEMA, SettingsLooked, Status},
};

/// Settings that cannot be read are named up to here.
const NAMED_MAX: usize = 3;

pub(super) fn schema(noted: Option<&(String, String)>, partitions: u16) -> Finding {
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

pub(super) fn group(groups: &[Group], figures: Option<&Status>) -> Finding {
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

pub(super) fn stuck(groups: &[Group], figures: Option<&Status>, after: Duration) -> Finding {
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
    let after = seconds(after);
    let found = format!("{stuck} of {in_flight} entries in flight were not renewed or taken over for {after}");
    fail("leases", found, "start a worker: it takes them over; if one runs, look at its log")
}

pub(super) fn webhooks(SettingsLooked { accounts, complete, unreadable }: &SettingsLooked) -> Finding {
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

pub(super) fn workers(status: &Status) -> Finding {
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

pub(super) fn retries(status: &Status) -> Finding {
    let retries = status.all.retries;
    let late = Duration::from_millis(retries.late_by_ms);
    let found = format!("{} waiting, {} late, by up to {}", retries.waiting, retries.late, seconds(late));
    match retries.late {
        0 => pass("retries", format!("{} waiting, none late", retries.waiting)),
        _ if late > lateness::RETRY_FAILS_DOCTOR => {
            fail("retries", found, "start a worker: it promotes them; if one runs, look at its log")
        }
        _ => warn("retries", found, "look again in a moment"),
    }
}

pub(super) fn rejected(status: &Status) -> Finding {
    match status.all.rejected.entries {
        0 => pass("rejected", "none"),
        count => warn("rejected", count.to_string(), "see why: lynkhook queue rejected list"),
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
    let advice = "the oldest are dropped and counted, or what comes may fail: see lynkhook queue status";
    warn("limits", format!("reached: {}", status.limits_reached.join(", ")), advice)
}
