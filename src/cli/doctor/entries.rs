//! The queue's entries: whether each is in somebody's hands or still to be read, whether some were taken out, how old they are.

use std::time::Duration;

use super::{Finding, fail, pass, span, warn};
use crate::store::{Audit, Group};

/// Entries that were taken out of the queue fail the check for this long.
const TRIMMED_FAILS: Duration = Duration::from_hours(24);
/// The oldest entry waits for longer than an attempt takes.
const OLD_WARN: Duration = Duration::from_secs(15);
const OLD_FAIL: Duration = Duration::from_mins(1);

/// The checks of all partitions that have a group.
pub(super) fn judge(groups: &[Group]) -> Vec<Finding> {
    let audits: Vec<(u16, &Audit)> =
        groups.iter().filter_map(|group| Some((group.partition, group.audit.as_ref()?))).collect();
    if audits.is_empty() {
        return Vec::new();
    }
    vec![held(&audits), ids(&audits), trims(&audits), age(&audits)]
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
    let advice = "a worker sets that right: start one; by hand: README, \"A queue that takes nothing\"";
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
            let found = format!("entries were taken out of the queue {} ago: see entries_trimmed", span(ago));
            fail(CHECK, found, advice)
        }
        Some(ago) => pass(CHECK, format!("entries were taken out of the queue {} ago, none since", span(ago))),
    }
}

fn age(audits: &[(u16, &Audit)]) -> Finding {
    const CHECK: &str = "age";
    const ADVICE: &str = "start more workers; if some run, see their log and lynkhook queue status";
    let Some(oldest) = audits.iter().filter_map(|(_, audit)| audit.oldest).max() else {
        return pass(CHECK, "the queue is empty");
    };
    let found = format!("the oldest entry of the queue came {} ago", span(oldest));
    match oldest {
        oldest if oldest > OLD_FAIL => fail(CHECK, found, ADVICE),
        oldest if oldest > OLD_WARN => warn(CHECK, found, ADVICE),
        _ => pass(CHECK, found),
    }
}
