//! The delivery logs at the end of a storm: each must hold the newest fifty attempts that ended, with none missing.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::attempts::History;

/// A log holds at most this many entries, the newest.
const LIMIT: usize = 50;

/// An attempt: the delivery's id and the attempt's number.
type Attempt = (String, u8);

/// Violations of the rules in one webhook's log. `log` is in Redis's order, newest first. `failed` has the final log
/// entries of its failed deliveries, oldest first. Of the attempts in `histories`, at most `dropped` may not have been
/// settled.
pub fn faults(
    webhook: &str,
    log: &[String],
    failed: &[String],
    histories: &BTreeMap<String, History>,
    dropped: usize,
) -> Vec<String> {
    let of_webhook = histories.iter().filter(|(id, _)| id.ends_with(webhook));
    let ended: BTreeSet<Attempt> = of_webhook
        .flat_map(|(id, history)| history.logged.iter().map(|attempt| (id.clone(), attempt.number)))
        .collect();
    let mut faults = Vec::new();
    let fewest = ended.len().saturating_sub(dropped).min(LIMIT);
    if !(fewest..=ended.len().min(LIMIT)).contains(&log.len()) {
        faults.push(format!("{} log entries of {webhook}, of {} attempts", log.len(), ended.len()));
    }
    let logged: Vec<Attempt> = log.iter().map(|entry| attempt(entry)).collect();
    for (newer, (id, number)) in logged.iter().enumerate() {
        if !ended.contains(&(id.clone(), *number)) {
            faults.push(format!("attempt {number} of {id} is in the log, and no worker made it"));
        }
        // The attempt after this one is newer, so it was not trimmed.
        let next = (id.clone(), number + 1);
        if dropped == 0 && ended.contains(&next) && !logged[..newer].contains(&next) {
            faults.push(format!("attempt {} of {id} is not in the log, or is older than the one before it", next.1));
        }
    }
    faults.extend(missing_failures(log, failed).map(|entry| format!("not in the log of {webhook}: {entry}")));
    faults
}

/// A delivery fails and is logged in one step. So the log has the newest failures in their order, with none missing
/// between them. Entries trimmed from a full log are older than all of these.
fn missing_failures<'a>(log: &[String], failed: &'a [String]) -> impl Iterator<Item = &'a String> {
    let places: Vec<Option<usize>> =
        failed.iter().rev().map(|entry| log.iter().position(|logged| logged == entry)).collect();
    let in_log = places.iter().flatten().count();
    let found = places.iter().take_while(|place| place.is_some()).count();
    let is_in_order = places[..found].is_sorted();
    let fine = is_in_order && found == in_log && (log.len() >= LIMIT || found == failed.len());
    failed.iter().rev().skip(if is_in_order { found } else { 0 }).take(usize::from(!fine))
}

fn attempt(entry: &str) -> Attempt {
    let entry: Value = serde_json::from_str(entry).unwrap();
    let number = entry["attempt"].as_u64().and_then(|number| u8::try_from(number).ok());
    (entry["deliveryId"].as_str().unwrap_or_default().to_owned(), number.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::attempts::Logged;

    #[test]
    fn a_log_that_is_too_short_and_a_failure_that_it_lacks_are_seen() {
        let now = Instant::now() + Duration::from_secs(1);
        let logged = |number| Logged { number, started: now, ended: now, last: number == 3, good: false };
        let history = History { logged: [1, 2, 3].map(logged).into(), unlogged: Vec::new() };
        let histories = BTreeMap::from([("e1.wh_1".to_owned(), history)]);
        let entry = |number: u8| format!(r#"{{"deliveryId":"e1.wh_1","attempt":{number},"final":{}}}"#, number == 3);
        let found = |log: &[u8]| {
            let log: Vec<String> = log.iter().map(|number| entry(*number)).collect();
            faults("wh_1", &log, &[entry(3)], &histories, 0).len()
        };
        assert_eq!(found(&[3, 2, 1]), 0);
        assert_eq!(found(&[3, 2]), 1, "too few");
        assert_eq!(found(&[2, 1]), 3, "too few, the third is not there, and it is the failure's");
        assert_eq!(found(&[4, 2, 1]), 3, "a fourth, no third, no failure");
        assert_eq!(found(&[3, 1, 2]), 1, "out of order");
    }
}
