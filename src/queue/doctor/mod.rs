//! Checks whether Redis is safe for events and whether the queue makes progress. Each check has one finding, with
//! advice. No check changes anything.
//!
//! The store gathers the facts. This module judges them, in functions that depend on the facts alone: a server
//! (`server.rs`), all servers (`each.rs`, `cluster.rs`), their content (`state.rs`), the queue's entries (`entries.rs`), and
//! refused questions (`refusal.rs`).

mod cluster;
mod each;
mod entries;
mod finding;
mod refusal;
mod server;
mod state;

use std::time::Duration;

use self::each::{Known, of_each, of_largest};
pub use self::finding::{Finding, Verdict};
use crate::{
    config::Settings,
    store::{Examination, Server, Store, StoreError, UserRole},
};

/// Examines the Redis of these settings, and checks that its user has the permissions that the role needs.
pub async fn examine(settings: &Settings, role: UserRole) -> Vec<Finding> {
    let examined = async {
        let store = Store::unchecked(settings).await?;
        store.examine(stuck_after(settings), role).await
    };
    match examined.await {
        Ok(examination) => judge(settings, &examination, role),
        Err(error) => vec![refusal::of_connection(&error)],
    }
}

/// The age at which an entry counts as stuck. Before this, a live worker has renewed its lease, and a dead worker's
/// entry has been taken over, even if the worker that takes it over first has to finish an attempt because all its
/// slots are in use.
fn stuck_after(settings: &Settings) -> Duration {
    settings.worker.lease + settings.worker.claim_every * 3 + settings.delivery.timeout
}

/// All checks, from the servers to their content.
fn judge(settings: &Settings, facts: &Examination, role: UserRole) -> Vec<Finding> {
    let Examination { servers, partitions, noted, status, groups, settings: accounts, rights } = facts;
    let figures = status.as_ref().and_then(|status| status.as_ref().ok());
    let mut findings = of_servers(settings, servers, *partitions);
    findings.extend(each("schema", noted, |noted| {
        vec![state::schema(noted.as_ref(), *partitions, settings.queue.partitions)]
    }));
    findings.extend(asked("group", groups.as_ref(), |groups| {
        let mut judged = vec![state::group(groups, figures), state::stuck(groups, figures, stuck_after(settings))];
        judged.extend(entries::judge(groups, figures));
        judged
    }));
    findings.extend(asked("webhooks", accounts.as_ref(), |accounts| vec![state::webhooks(accounts)]));
    findings.extend(asked("queue", status.as_ref(), |status| {
        vec![
            state::workers(status),
            state::retries(status),
            state::rejected(status),
            state::failed(status),
            state::limits(status),
        ]
    }));
    findings.extend(refusal::of_unasked(facts, role));
    findings.extend(each("rights", rights, |missing| vec![refusal::of_rights(missing, role)]));
    findings
}

/// The checks of the servers. Replicas are looked at like masters, for they will be masters.
fn of_servers(settings: &Settings, servers: &[Server], partitions: u16) -> Vec<Finding> {
    let known = Known::of(servers);
    let masters: Vec<Known<'_>> = known.iter().filter(|server| server.partitions.is_some()).copied().collect();
    let is_cluster = known.iter().any(|server| server.facts.cluster.is_some());
    // A worker has a connection for each partition, and one besides.
    let most = servers.iter().filter_map(|server| Some(server.partitions.as_ref()?.len())).max().unwrap_or(0);
    let connections = (settings.threads() * (most + 1)) as u64;
    let mut findings = if is_cluster { cluster::servers(servers) } else { Vec::new() };
    findings.extend([
        of_each(&known, |facts| server::version(&facts.info)),
        of_each(&masters, |facts| server::role(&facts.info)),
        of_each(&known, |facts| server::persistence(&facts.info, facts.setting("appendfsync"))),
        of_each(&known, |facts| server::eviction(&facts.info, &settings.redis.accept_eviction)),
        of_largest(&known, server::filled, |facts| server::memory(&facts.info)),
        of_largest(&known, server::connected, |facts| server::clients(&facts.info, connections)),
    ]);
    if is_cluster {
        findings.extend([
            cluster::replication(&masters),
            cluster::coverage(&known),
            cluster::node_timeout(&known),
            cluster::masters(servers, partitions),
        ]);
    } else {
        findings.push(of_each(&known, |facts| server::replication(&facts.info)));
    }
    let clocks =
        known.iter().filter_map(|server| Some(server.facts.clock.clone()?.map(|clock| (server.address, clock))));
    match clocks.collect::<Result<Vec<_>, StoreError>>() {
        Ok(clocks) => findings.extend(cluster::clocks(&clocks)),
        Err(error) => findings.push(refusal::of_fact("clock", &error)),
    }
    findings
}

/// The findings of a fact; none if Redis was not asked for it.
fn asked<T>(
    check: &'static str,
    fact: Option<&Result<T, StoreError>>,
    judged: impl FnOnce(&T) -> Vec<Finding>,
) -> Vec<Finding> {
    fact.map_or_else(Vec::new, |fact| each(check, fact, judged))
}

/// The findings of a fact. If the server refused to tell it, the refusal is a failed check.
fn each<T>(check: &'static str, fact: &Result<T, StoreError>, judged: impl FnOnce(&T) -> Vec<Finding>) -> Vec<Finding> {
    match fact {
        Ok(fact) => judged(fact),
        Err(error) => vec![refusal::of_fact(check, error)],
    }
}

#[cfg(test)]
mod tests;
