//! Checks of a cluster as a whole: whether its servers answer, whether all slots have a master, how partitions and
//! replicas are spread, and how long an outage takes.

use std::time::Duration;

use chrono::TimeDelta;

use super::{
    super::redis_advice,
    each::{Known, named, of_each},
    finding::{Finding, fail, pass, warn},
    refusal, server,
};
use crate::{
    domain::text::{numbers, seconds},
    store::{Clock, Server, ServerFacts, ServerInfo, partitions_for},
};

/// A larger difference between the clocks of two servers is a warning.
const APART_MAX: TimeDelta = TimeDelta::seconds(1);
/// A longer `cluster-node-timeout` is a warning.
const NODE_TIMEOUT_MAX: Duration = Duration::from_secs(5);

/// A finding for each server that does not answer; if all answer, one for all.
pub(super) fn servers(servers: &[Server]) -> Vec<Finding> {
    const CHECK: &str = "servers";
    let silent = servers.iter().filter_map(|Server { address, partitions, facts }| {
        let error = facts.as_ref().err()?;
        // An error without an answer says itself which server gave none.
        let at = if error.is_of_a_node() { String::new() } else { format!("{}: ", address.as_deref()?) };
        let is_away = error.is_of_a_node() && error.answer().is_none() && error.tls_fault().is_none();
        let advice = redis_advice::of(error).filter(|_| !is_away);
        Some(match partitions.as_deref() {
            Some(partitions) => fail(
                CHECK,
                format!("{at}{error}; its partitions: {}", numbers(partitions)),
                advice.unwrap_or("start it again: its partitions wait, unless a replica takes its place"),
            ),
            None => warn(
                CHECK,
                format!("{at}{error}; it is no master"),
                advice.unwrap_or("start it again, or name other servers in redis.url if it is gone for good"),
            ),
        })
    });
    let mut findings: Vec<Finding> = silent.collect();
    let known = Known::of(servers);
    let nodes = known.iter().filter_map(|server| cluster(server)?.number("cluster_known_nodes")).min();
    let unseen = nodes.unwrap_or(0).saturating_sub(servers.len() as u64);
    if unseen > 0 {
        let found = format!("servers of the cluster that are down, have no slots, or follow no master yet: {unseen}");
        let advice = "see redis-cli cluster nodes; remove a server that is gone for good with redis-cli --cluster \
                      del-node";
        findings.push(warn(CHECK, found, advice));
    }
    if findings.is_empty() {
        let masters = servers.iter().filter(|server| server.partitions.is_some()).count();
        findings.push(pass(CHECK, format!("all {} answer, of which {masters} are masters", servers.len())));
    }
    findings
}

/// Whether all slots have a master, and whether partitions go on if others do not.
pub(super) fn coverage(known: &[Known<'_>]) -> Finding {
    const CHECK: &str = "coverage";
    const PARTIAL: &str = "set cluster-require-full-coverage no at each server, so that a lost master stops no other's \
                           partitions";
    const MEND: &str = "start the lost masters again, or mend the cluster (redis-cli --cluster check)";
    if let Some(Err(error)) = known.iter().filter_map(|server| server.facts.cluster.as_ref()).find(|told| told.is_err())
    {
        return refusal::of_fact(CHECK, error);
    }
    let setting = |facts: &ServerFacts| facts.setting("cluster-require-full-coverage").map(str::to_owned);
    let demanding: Vec<&str> = known
        .iter()
        .filter(|server| setting(server.facts).as_deref() == Some("yes"))
        .filter_map(|server| server.address)
        .collect();
    let mend = if demanding.is_empty() { MEND.to_owned() } else { format!("{MEND}, and {PARTIAL}") };
    let unserved = known.iter().filter_map(|server| server.facts.slots_lost()).max().unwrap_or(0);
    let down = known.iter().filter(|server| cluster(server).and_then(|told| told.text("cluster_state")) != Some("ok"));
    let down: Vec<&str> = down.filter_map(|server| server.address).collect();
    match () {
        () if !down.is_empty() => {
            let found =
                format!("{} refuse all keys (cluster_state:fail): {}", named(&down, known.len()), slots_lost(unserved));
            fail(CHECK, found, &mend)
        }
        () if unserved > 0 => fail(CHECK, slots_lost(unserved), &mend),
        () if !demanding.is_empty() => {
            let found = format!(
                "all slots have a master; cluster-require-full-coverage is yes at {}: if a master is lost, all \
                 partitions stop",
                named(&demanding, known.len())
            );
            warn(CHECK, found, PARTIAL)
        }
        () if known.iter().any(|server| setting(server.facts).is_none()) => {
            let found = "all slots have a master; cluster-require-full-coverage is not seen: this user may not ask \
                         (CONFIG GET)";
            pass(CHECK, found)
        }
        () => pass(CHECK, "all slots have a master; if one is lost, the partitions of the others go on"),
    }
}

fn slots_lost(unserved: u64) -> String {
    format!("{unserved} slots have no master that answers")
}

/// The partitions of each master.
pub(super) fn masters(servers: &[Server], partitions: u16) -> Finding {
    const CHECK: &str = "masters";
    let of_masters =
        || servers.iter().filter_map(|server| Some((server.address.as_deref()?, server.partitions.as_ref()?)));
    let masters = of_masters().count();
    let idle: Vec<&str> = of_masters().filter(|(_, its)| its.is_empty()).map(|(address, _)| address).collect();
    let enough = partitions_for(masters);
    if idle.is_empty() {
        let spread: Vec<String> =
            of_masters().map(|(address, its)| format!("{address} has partitions {}", numbers(its))).collect();
        return pass(CHECK, spread.join("; "));
    }
    let found = format!("no partition lies at {}: {partitions} for {masters} masters", named(&idle, masters));
    if partitions < enough {
        let advice = format!(
            "give this installation fewer masters, or begin a new one with queue.partitions = {enough}: the number \
             cannot be changed yet"
        );
        warn(CHECK, found, &advice)
    } else {
        warn(CHECK, found, "spread the slots evenly (redis-cli --cluster rebalance --cluster-use-empty-masters)")
    }
}

/// The clocks, each beside that of this machine and beside the others; `None` if none was asked for.
pub(super) fn clocks(clocks: &[(Option<&str>, Clock)]) -> Option<Finding> {
    let ahead = |(_, clock): &&(Option<&str>, Clock)| clock.there - clock.here;
    let (last, first) = (clocks.iter().min_by_key(ahead)?, clocks.iter().max_by_key(ahead)?);
    let (_, furthest) = if ahead(&first) > -ahead(&last) { first } else { last };
    let apart = ahead(&first) - ahead(&last);
    let (Some(before), Some(behind), true) = (first.0, last.0, apart > APART_MAX) else {
        return Some(server::clock(furthest.there, furthest.here));
    };
    let found =
        format!("{} between {behind} and {before}, which is ahead", seconds(apart.to_std().unwrap_or_default()));
    let advice = "synchronize the clocks: when keys go to another server, with a failover or a slot, its clock decides when \
                  retries are due and which ids new entries get, and an id may come twice";
    Some(warn("clock", found, advice))
}

/// The replicas of each master.
pub(super) fn replication(masters: &[Known<'_>]) -> Finding {
    const CHECK: &str = "replication";
    of_each(masters, |facts| {
        let replicas = facts.info.number("connected_slaves").unwrap_or(0);
        // A server has the second field only if the setting is in force.
        let demanded = facts.setting("min-replicas-to-write").and_then(|demanded| demanded.parse().ok());
        let demanded = demanded.or_else(|| facts.info.text("min_slaves_good_slaves").map(|_| 1)).unwrap_or(0);
        if replicas == 0 {
            let advice = "add one (redis-cli --cluster add-node … --cluster-slave)";
            return warn(CHECK, "no replica: if this master is lost, its partitions stop", advice);
        }
        if replicas <= demanded {
            let found = format!(
                "min-replicas-to-write is {demanded} and there are {replicas}: the one that takes this master's place \
                 has too few and refuses writes"
            );
            let advice = format!("give each master {} replicas, or set min-replicas-to-write 0", demanded + 1);
            return warn(CHECK, found, &advice);
        }
        server::replication(&facts.info)
    })
}

/// The time after which a master counts as lost.
pub(super) fn node_timeout(known: &[Known<'_>]) -> Finding {
    const CHECK: &str = "node timeout";
    of_each(known, |facts| {
        let timeout = facts.setting("cluster-node-timeout").and_then(|timeout| timeout.parse().ok());
        match timeout.map(Duration::from_millis) {
            None => pass(CHECK, "not seen: this user may not ask (CONFIG GET)"),
            Some(timeout) if timeout > NODE_TIMEOUT_MAX => {
                let found = format!(
                    "{}: the partitions of a lost master wait for longer than this until a replica takes its place",
                    seconds(timeout)
                );
                warn(CHECK, found, "set cluster-node-timeout 5000")
            }
            Some(timeout) => pass(CHECK, format!("a lost master is noticed after {}", seconds(timeout))),
        }
    })
}

/// The server's answer to `CLUSTER INFO`.
fn cluster<'a>(server: &Known<'a>) -> Option<&'a ServerInfo> {
    server.facts.cluster.as_ref()?.as_ref().ok()
}
