//! Checks of the queue's entries: whether each is held by a worker or still unread, whether some were removed, and how
//! old they are.

use std::time::Duration;

use chrono::TimeDelta;

use super::finding::{Finding, fail, pass, warn};
use crate::{
    domain::{
        lateness::{ENTRY_FORGOTTEN, ENTRY_OLD},
        text::seconds,
    },
    store::{Audit, Group, Status},
};

/// The check fails for this long after entries were removed from the queue.
const TRIMMED_FAILS: Duration = Duration::from_hours(24);

/// Whether a worker reads from this partition, or has an entry of it in hand.
pub(super) fn moves(group: &Group) -> bool {
    group.touched.is_some_and(|ago| ago < ENTRY_FORGOTTEN)
}

/// The checks of all partitions that have a group.
pub(super) fn judge(groups: &[Group], figures: Option<&Status>) -> Vec<Finding> {
    let audits: Vec<(u16, &Audit)> =
        groups.iter().filter_map(|group| Some((group.partition, group.audit.as_ref()?))).collect();
    if audits.is_empty() {
        return Vec::new();
    }
    vec![held(&audits), ids(&audits), trims(&audits), age(groups, figures)]
}

fn held(audits: &[(u16, &Audit)]) -> Finding {
    match audits.iter().map(|(_, audit)| audit.unheld).sum::<u64>() {
        0 => pass("held", "every entry that was read is held by a worker"),
        unheld => fail(
            "held",
            format!("{unheld} entries were read, and no worker holds them: the group was changed (XGROUP)"),
            "a running worker takes them over within a minute; if they stay, check its log",
        ),
    }
}

fn ids(audits: &[(u16, &Audit)]) -> Finding {
    const CHECK: &str = "ids";
    let partition = |is: fn(&Audit) -> bool| audits.iter().find(|(_, audit)| is(audit)).map(|(partition, _)| partition);
    let advice = "start a worker, which repairs this; by hand: deploy/README.md, \"A queue that takes nothing\"";
    if let Some(partition) = partition(|audit| audit.is_exhausted) {
        let found =
            format!("partition {partition} has reached the largest possible id: nothing can be added to its queue");
        return fail(CHECK, found, advice);
    }
    if let Some(partition) = partition(|audit| audit.is_beyond) {
        let found = format!("the group of partition {partition} is positioned after all ids: new entries are not read");
        return fail(CHECK, found, advice);
    }
    pass(CHECK, "the queue accepts entries, and the group reads them")
}

fn trims(audits: &[(u16, &Audit)]) -> Finding {
    const CHECK: &str = "trims";
    let advice = "find the client that trims the queue or deletes from it (XTRIM, XDEL, XADD with MAXLEN), never use \
                  MAXLEN on the queue, and push the lost events again";
    let now: u64 = audits.iter().map(|(_, audit)| audit.entries_trimmed).sum();
    let noticed = audits.iter().filter_map(|(_, audit)| audit.trim_noticed).min();
    if audits.iter().any(|(_, audit)| audit.trimmed) {
        let many = if now > 0 { now.to_string() } else { "their number is unknown".to_owned() };
        return fail(CHECK, format!("entries were removed from the queue just now: {many}"), advice);
    }
    match noticed {
        None => pass(CHECK, "no entry was removed from the queue"),
        Some(ago) if ago < TRIMMED_FAILS => {
            let found = format!("entries were removed from the queue {} ago: see entries_trimmed", seconds(ago));
            fail(CHECK, found, advice)
        }
        Some(ago) => pass(CHECK, format!("entries were removed from the queue {} ago, none since", seconds(ago))),
    }
}

/// A backlog fails the check only if no worker works on it. A backlog of any age that is being worked off does not
/// fail.
fn age(groups: &[Group], figures: Option<&Status>) -> Finding {
    const CHECK: &str = "age";
    let ages = || groups.iter().filter_map(|group| Some((group, group.audit.as_ref()?.oldest?)));
    let Some((_, oldest)) = ages().max_by_key(|(_, age)| *age) else {
        return pass(CHECK, "the queue is empty");
    };
    let of = figures
        .map_or_else(String::new, |Status { all, .. }| format!(" of {}, {} in flight,", all.depth, all.in_flight));
    let came = |age: TimeDelta| {
        format!("the oldest entry of the queue{of} arrived {} ago", seconds(age.to_std().unwrap_or_default()))
    };
    let is_forgotten =
        |(group, age): &(&Group, TimeDelta)| age.to_std().is_ok_and(|age| age > ENTRY_FORGOTTEN) && !moves(group);
    if let Some((group, age)) = ages().filter(is_forgotten).max_by_key(|(_, age)| *age) {
        let forgotten = match group.touched {
            None => format!("no worker has ever read from partition {}", group.partition),
            Some(ago) => format!("no worker has read from partition {} for {}", group.partition, seconds(ago)),
        };
        let found = format!("{}, and {forgotten}", came(age));
        return fail(CHECK, found, "start a worker; if one is running, check its log");
    }
    let ahead = ages().filter_map(|(_, age)| (-age).to_std().ok()).max().filter(|ahead| *ahead > ENTRY_FORGOTTEN);
    match ahead {
        _ if oldest.to_std().is_ok_and(|age| age > ENTRY_OLD) => warn(
            CHECK,
            came(oldest),
            "workers are reducing the backlog; if it grows, start more workers, or see lynkhook queue status",
        ),
        Some(ahead) => {
            let found = format!(
                "the oldest entry of a queue has an id from the future, {} ahead, so its age is unknown",
                seconds(ahead)
            );
            warn(CHECK, found, "check whether the clock of Redis stepped, or a producer chooses ids itself")
        }
        None => pass(CHECK, came(oldest)),
    }
}
