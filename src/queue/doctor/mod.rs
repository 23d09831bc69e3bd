//! Checks whether Redis is safe for events and whether the queue makes progress. Each check has one finding, with
//! advice. No check changes anything.
//!
//! The store gathers the facts. This module judges them, in functions that depend on the facts alone: the server
//! (`server.rs`), its content (`state.rs`), the queue's entries (`entries.rs`), and refused questions (`refusal.rs`).

mod entries;
mod finding;
mod refusal;
mod server;
mod state;

use std::time::Duration;

use chrono::{DateTime, Utc};

pub use self::finding::{Finding, Verdict};
use crate::{
    config::Settings,
    store::{Examination, Store, StoreError, UserRole},
};

/// Examines the Redis of these settings, and checks that its user has the permissions that the role needs.
pub async fn examine(settings: &Settings, role: UserRole) -> Vec<Finding> {
    let examined = async {
        let store = Store::unchecked(settings).await?;
        Ok((store.examine(stuck_after(settings), role).await?, store.missing_rights(role).await))
    };
    match examined.await {
        Ok((examination, missing)) => {
            let mut findings = judge(settings, &examination, Utc::now());
            findings.extend(refusal::of_unasked(&examination, role));
            findings.extend(each("rights", &missing, |missing| vec![refusal::of_rights(missing, role)]));
            findings
        }
        Err(error) => vec![refusal::of_connection(&error)],
    }
}

/// The age at which an entry counts as stuck. Before this, a live worker has renewed its lease, and a dead worker's
/// entry has been taken over, even if the worker that takes it over first has to finish an attempt because all its
/// slots are in use.
fn stuck_after(settings: &Settings) -> Duration {
    settings.worker.lease + settings.worker.claim_every * 3 + settings.delivery.timeout
}

/// All checks, from the server to its content.
fn judge(settings: &Settings, facts: &Examination, here: DateTime<Utc>) -> Vec<Finding> {
    let Examination { server, time, append_fsync, partitions, noted, status, groups, settings: accounts } = facts;
    let mut findings = vec![
        server::version(server),
        server::role(server),
        server::persistence(server, append_fsync.as_deref()),
        server::eviction(server, &settings.redis.accept_eviction),
        server::memory(server),
        server::clients(server, settings.redis_connections(*partitions) as u64),
        server::replication(server),
    ];
    let figures = status.as_ref().and_then(|status| status.as_ref().ok());
    findings.extend(asked("clock", time.as_ref(), |time| vec![server::clock(*time, here)]));
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
