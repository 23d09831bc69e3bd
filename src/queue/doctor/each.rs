//! A check of each server. It is one line if all servers are alike; else the line names the servers that it is about.

use std::cmp::Reverse;

use super::finding::{Finding, Verdict};
use crate::store::{Server, ServerFacts};

/// At most this many servers are named.
const NAMED_MAX: usize = 6;

/// A server that told its facts.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    /// `None` for a single Redis.
    pub(super) address: Option<&'a str>,
    /// `None` if it is no master.
    pub(super) partitions: Option<&'a [u16]>,
    pub(super) facts: &'a ServerFacts,
}

impl<'a> Known<'a> {
    /// The servers that told their facts.
    pub(super) fn of(servers: &'a [Server]) -> Vec<Self> {
        let known = |Server { address, partitions, facts }: &'a Server| {
            Some(Self { address: address.as_deref(), partitions: partitions.as_deref(), facts: facts.as_ref().ok()? })
        };
        servers.iter().filter_map(known).collect()
    }
}

/// Judges each of these servers, of which there is at least one, and makes one finding of the judgements.
pub(super) fn of_each(servers: &[Known<'_>], judge: impl Fn(&ServerFacts) -> Finding) -> Finding {
    merged(servers.iter().map(|server| (server.address, judge(server.facts))).collect())
}

/// The same for a measure that differs from server to server. If all pass, the finding is that of the server with the
/// largest measure.
pub(super) fn of_largest(
    servers: &[Known<'_>],
    measure: impl Fn(&ServerFacts) -> u64,
    judge: impl Fn(&ServerFacts) -> Finding,
) -> Finding {
    let finding = of_each(servers, &judge);
    let largest = servers.iter().max_by_key(|server| measure(server.facts));
    match largest.and_then(|largest| Some((largest.address?, judge(largest.facts)))) {
        Some((address, largest)) if finding.verdict == Verdict::Pass && servers.len() > 1 => {
            Finding { found: format!("most at {address}: {}", largest.found), ..largest }
        }
        _ => finding,
    }
}

/// One finding of those of several servers: the faults, if there are any, else all.
fn merged(judged: Vec<(Option<&str>, Finding)>) -> Finding {
    let verdict = judged.iter().map(|(_, finding)| finding.verdict).max().expect("there is a server");
    let (all, first) = (judged.len(), judged[0].1.clone());
    let mut groups: Vec<(Vec<&str>, Finding)> = Vec::new();
    for (address, finding) in judged {
        let Some(address) = address else { return first };
        if verdict != Verdict::Pass && finding.verdict == Verdict::Pass {
            continue;
        }
        match groups.iter_mut().find(|(_, known)| *known == finding) {
            Some((addresses, _)) => addresses.push(address),
            None => groups.push((vec![address], finding)),
        }
    }
    if verdict == Verdict::Pass && groups.len() == 1 {
        return first;
    }
    groups.sort_by_key(|(_, finding)| Reverse(finding.verdict));
    let found = groups.iter().map(|(addresses, finding)| format!("{}: {}", named(addresses, all), finding.found));
    let mut advice: Vec<&str> = groups.iter().filter_map(|(_, finding)| finding.advice.as_deref()).collect();
    advice.dedup();
    Finding {
        check: first.check,
        verdict,
        found: found.collect::<Vec<_>>().join("; "),
        advice: (!advice.is_empty()).then(|| advice.join("; ")),
    }
}

/// These servers of so many: their addresses, or the first of them and the number of the others.
pub(super) fn named(addresses: &[&str], all: usize) -> String {
    match addresses.len().checked_sub(NAMED_MAX) {
        _ if all > 1 && addresses.len() == all => format!("all {all}"),
        None | Some(0) => addresses.join(", "),
        Some(more) => format!("{} and {more} more", addresses[..NAMED_MAX].join(", ")),
    }
}
