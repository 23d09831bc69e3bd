//! Is this Redis fit for what it is trusted with, and does the queue get on? One finding for each check, with what to do.
//! Looks and changes nothing.
//!
//! The store gathers the facts. What they mean is decided here, in functions of facts alone: the server (`server.rs`), what
//! lies in it (`state.rs`), the queue's entries (`entries.rs`), and what was refused (`refusal.rs`).

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
    store::{Examination, Missing, Store, StoreError, UserRole},
};

/// Examines the Redis of these settings, and whether its user may do what this role takes.
pub async fn examine(settings: &Settings, role: UserRole) -> Vec<Finding> {
    let examined = async {
        let store = Store::unchecked(settings)?;
        Ok((store.examine(stuck_after(settings)).await?, store.missing_rights(role).await))
    };
    match examined.await {
        Ok((examination, missing)) => with_rights(judge(settings, &examination, Utc::now()), &missing, role),
        Err(error) => vec![refusal::of_connection(&error)],
    }
}

/// A live worker renews its leases long before this, and a dead one's are taken over, although a worker whose slots are all in
/// use may first have to end an attempt.
fn stuck_after(settings: &Settings) -> Duration {
    settings.worker.lease + settings.worker.claim_every * 3 + settings.delivery.timeout
}

/// Adds the line about the rights of a role. A user that has all of them does not need those that are refused besides.
fn with_rights(findings: Vec<Finding>, missing: &Result<Missing, StoreError>, role: UserRole) -> Vec<Finding> {
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
        server::version(server),
        server::role(server),
        server::persistence(server, append_fsync.as_deref()),
        server::eviction(server, &settings.redis.accept_eviction),
        server::memory(server),
        server::clients(server, settings.redis_connections() as u64),
        server::replication(server),
    ];
    let partitions = settings.queue.partitions;
    let figures = status.as_ref().ok();
    findings.extend(each("clock", time, |time| vec![server::clock(*time, here)]));
    findings.extend(each("schema", noted, |noted| vec![state::schema(noted.as_ref(), partitions)]));
    findings.extend(each("group", groups, |groups| {
        let mut judged = vec![state::group(groups, figures), state::stuck(groups, figures, stuck_after(settings))];
        judged.extend(entries::judge(groups, figures));
        judged
    }));
    findings.extend(each("webhooks", accounts, |accounts| vec![state::webhooks(accounts)]));
    findings.extend(each("queue", status, |status| {
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

/// The findings of a fact; if the server refused to tell it, that is a failed check of its own.
fn each<T>(check: &'static str, fact: &Result<T, StoreError>, judged: impl FnOnce(&T) -> Vec<Finding>) -> Vec<Finding> {
    match fact {
        Ok(fact) => judged(fact),
        Err(error) => vec![refusal::of_fact(check, error)],
    }
}

#[cfg(test)]
mod tests;
