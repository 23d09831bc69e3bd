//! Workers take over entries that another worker lost: only if a fault made it lose them, and only a full lease later.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{attempts::Clocks, nemesis::Happened, world::LEASE};

/// The newest renewal may be this much older than the fault: a lease is renewed every 200 ms.
const RENEWED: Duration = Duration::from_millis(600);
/// The most time between a lease's end and the takeover: entries that were lost before are taken one at a time.
const LATE: Duration = Duration::from_secs(8);

/// Each takeover that workers logged and that no fault explains.
pub fn unexplained(said: &[String], clocks: Clocks, happened: &[Happened]) -> Vec<String> {
    let lines = said.iter().flat_map(|stderr| stderr.lines()).filter(|line| line.contains(r#""message":"took over "#));
    let unexplained = lines.filter(|line| {
        let read: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let at = clocks.instant(read["timestamp"].as_str().unwrap()).expect("after the start");
        !happened.iter().any(|fault| explains(fault, at))
    });
    unexplained.map(|line| format!("taken over, and no fault explains it: {line}")).collect()
}

fn explains(fault: &Happened, at: Instant) -> bool {
    fault.repeats > 0 && fault.from + LEASE <= at + RENEWED && at <= fault.until + LEASE + LATE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nemesis::KILL;

    #[test]
    fn a_takeover_is_explained_by_a_fault_a_lease_ago_and_by_no_other() {
        let now = Instant::now();
        let fault = |repeats| Happened { name: KILL, from: now, until: now, worker: None, repeats };
        for (after, is_explained) in [(LEASE / 4, false), (LEASE, true), (LEASE + LATE * 2, false)] {
            assert_eq!(explains(&fault(16), now + after), is_explained, "{after:?}");
            assert!(!explains(&fault(0), now + after), "what repeats nothing explains nothing");
        }
    }
}
