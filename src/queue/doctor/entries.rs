//! The queue's entries: whether each is in somebody's hands or still to be read, whether some were taken out, how old they are.

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

/// Entries that were taken out of the queue fail the check for this long.
const TRIMMED_FAILS: Duration = Duration::from_hours(24);

/// Whether a worker reads from this partition, or has something of it in hand.
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
        0 => pass("held", "each entry that was read is in a worker's hands"),
        unheld => fail(
            "held",
            format!("{unheld} entries were read, and nobody holds them: the group was changed (XGROUP)"),
            "nothing to do while a worker runs: it takes them over within a minute; if they stay, look at its log",
        ),
    }
}

fn ids(audits: &[(u16, &Audit)]) -> Finding {
    const CHECK: &str = "ids";
    let partition = |is: fn(&Audit) -> bool| audits.iter().find(|(_, audit)| is(audit)).map(|(partition, _)| partition);
    let advice = "a worker sets that right: start one; by hand: deploy/README.md, \"A queue that takes nothing\"";
    if let Some(partition) = partition(|audit| audit.is_exhausted) {
        let found = format!("partition {partition} has the largest id there is: nothing can be added to its queue");
        return fail(CHECK, found, advice);
    }
    if let Some(partition) = partition(|audit| audit.is_beyond) {
        let found = format!("the group of partition {partition} stands behind all ids: nothing that is added is read");
        return fail(CHECK, found, advice);
    }
    pass(CHECK, "the queue takes more, and the group reads it")
}

fn trims(audits: &[(u16, &Audit)]) -> Finding {
    const CHECK: &str = "trims";
    let advice = "find who trims it or deletes from it (XTRIM, XDEL, XADD with MAXLEN): no MAXLEN on the queue; push the events again";
    let now: u64 = audits.iter().map(|(_, audit)| audit.entries_trimmed).sum();
    let noticed = audits.iter().filter_map(|(_, audit)| audit.trim_noticed).min();
    if audits.iter().any(|(_, audit)| audit.trimmed) {
        let many = if now > 0 { now.to_string() } else { "nobody knows how many".to_owned() };
        return fail(CHECK, format!("entries were taken out of the queue just now: {many}"), advice);
    }
    match noticed {
        None => pass(CHECK, "nobody took an entry out of the queue"),
        Some(ago) if ago < TRIMMED_FAILS => {
            let found = format!("entries were taken out of the queue {} ago: see entries_trimmed", seconds(ago));
            fail(CHECK, found, advice)
        }
        Some(ago) => pass(CHECK, format!("entries were taken out of the queue {} ago, none since", seconds(ago))),
    }
}

/// A backlog that is worked off is no fault, however old it is; one that nobody works off is.
fn age(groups: &[Group], figures: Option<&Status>) -> Finding {
    const CHECK: &str = "age";
    let ages = || groups.iter().filter_map(|group| Some((group, group.audit.as_ref()?.oldest?)));
    let Some((_, oldest)) = ages().max_by_key(|(_, age)| *age) else {
        return pass(CHECK, "the queue is empty");
    };
    let of = figures
        .map_or_else(String::new, |Status { all, .. }| format!(" of {}, {} in flight,", all.depth, all.in_flight));
    let came = |age: TimeDelta| {
        format!("the oldest entry of the queue{of} came {} ago", seconds(age.to_std().unwrap_or_default()))
    };
    let is_forgotten =
        |(group, age): &(&Group, TimeDelta)| age.to_std().is_ok_and(|age| age > ENTRY_FORGOTTEN) && !moves(group);
    if let Some((group, age)) = ages().filter(is_forgotten).max_by_key(|(_, age)| *age) {
        let forgotten = match group.touched {
            None => "no worker ever read".to_owned(),
            Some(ago) => format!("no worker has read for {}", seconds(ago)),
        };
        let found = format!("{}, and {forgotten} from partition {}", came(age), group.partition);
        return fail(CHECK, found, "start a worker; if one runs, look at its log");
    }
    let ahead = ages().filter_map(|(_, age)| (-age).to_std().ok()).max().filter(|ahead| *ahead > ENTRY_FORGOTTEN);
    match ahead {
        _ if oldest.to_std().is_ok_and(|age| age > ENTRY_OLD) => warn(
            CHECK,
            came(oldest),
            "it is worked off; where it grows, start more workers, or see lynkhook queue status",
        ),
        Some(ahead) => {
            let found = format!(
                "the oldest entry of a queue has an id from the future, {} ahead: how old it is, nobody knows",
                seconds(ahead)
            );
            warn(CHECK, found, "look whether Redis's clock stepped, or a producer chooses ids itself")
        }
        None => pass(CHECK, came(oldest)),
    }
}
