//! All attempts, seen from both sides. The workers' logs have a line for each attempt that ended, with its number and
//! its times; the receivers have every request. If no log has a request, its worker ended before the attempt did.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant, SystemTime},
};

use crate::{
    nemesis::{Happened, KILL, TERM},
    support::Received,
};

/// The largest difference between the two sides' times for one attempt.
const SKEW: Duration = Duration::from_millis(250);
/// A fault may strike an attempt this long before its request, when the worker took its entry.
const BEFORE: Duration = Duration::from_millis(1500);
/// A fault may strike an attempt this long after its end, until it is settled.
const AFTER: Duration = Duration::from_secs(2);

/// An attempt that ended. The worker logs it just before it settles it.
#[derive(Clone, Debug)]
pub struct Logged {
    pub number: u8,
    pub started: Instant,
    pub ended: Instant,
    pub last: bool,
    pub good: bool,
}

/// The attempts of one delivery.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub logged: Vec<Logged>,
    /// Requests whose end no worker logged: arrival, and end as the receiver saw it.
    pub unlogged: Vec<(Instant, Instant)>,
}

/// Two clocks that were read at the same moment, to convert times of day into instants.
#[derive(Clone, Copy)]
pub struct Clocks(SystemTime, Instant);

impl Clocks {
    pub fn read() -> Self {
        Self(SystemTime::now(), Instant::now())
    }

    pub fn instant(self, text: &str) -> Option<Instant> {
        let time: SystemTime = chrono::DateTime::parse_from_rfc3339(text).ok()?.into();
        self.1.checked_add(time.duration_since(self.0).ok()?)
    }
}

/// The logged attempts of all deliveries, by delivery id.
pub fn logged(said: &[String], clocks: Clocks) -> BTreeMap<String, History> {
    let mut histories: BTreeMap<String, History> = BTreeMap::new();
    for line in said.iter().flat_map(|stderr| stderr.lines()).filter(|line| line.contains(r#""message":"attempt""#)) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let (Some(delivery), Some(number)) = (line["delivery"].as_str(), line["attempt"].as_u64()) else { continue };
        let ended = clocks.instant(line["timestamp"].as_str().unwrap()).expect("after the start");
        let duration = Duration::from_millis(line["duration_ms"].as_u64().unwrap());
        histories.entry(delivery.to_owned()).or_default().logged.push(Logged {
            number: u8::try_from(number).unwrap(),
            started: ended.checked_sub(duration).unwrap_or(ended),
            ended,
            last: line["last"] == true,
            good: line["status"].as_str().is_some_and(|status| status.starts_with('2')),
        });
    }
    for history in histories.values_mut() {
        history.logged.sort_by_key(|attempt| attempt.ended);
    }
    histories
}

impl History {
    /// Finds each request's line in the logs. A request without a line died with its worker.
    pub fn match_requests(&mut self, requests: &[&Received]) {
        let mut free: Vec<&Logged> = self.logged.iter().collect();
        for request in requests {
            let ended = request.ended.unwrap_or(request.arrived);
            let of = |line: &&Logged| line.started <= request.arrived + SKEW && request.arrived <= line.ended + SKEW;
            match free.iter().position(of) {
                Some(found) => drop(free.remove(found)),
                None => self.unlogged.push((request.arrived, ended)),
            }
        }
    }

    /// The attempts that repeat a number. Each has the span in which a fault must have struck it, and says whether only
    /// the death of its worker explains it.
    pub fn repetitions(&self) -> Vec<Repetition> {
        let mut newest: HashMap<u8, &Logged> = HashMap::new();
        let mut found = Vec::new();
        for attempt in &self.logged {
            // The earlier of the two was not settled, or its worker did not learn that it was.
            if let Some(earlier) = newest.insert(attempt.number, attempt) {
                let from = earlier.started.min(attempt.started);
                found.push(Repetition::of(from, earlier.ended, false));
            }
        }
        found.extend(self.unlogged.iter().map(|(arrived, ended)| Repetition::of(*arrived, *ended, true)));
        found
    }

    /// Violations of the rules in the numbers and times of the attempts.
    pub fn faults(&self, delays: &[Duration]) -> Vec<String> {
        let mut faults = Vec::new();
        for attempt in &self.logged {
            if !(1..=3).contains(&attempt.number) {
                faults.push(format!("attempt number {}", attempt.number));
            }
            let Some(before) = attempt.number.checked_sub(2) else { continue };
            let delay = delays[usize::from(before).min(delays.len() - 1)];
            let predecessors = || self.logged.iter().filter(|other| other.number + 1 == attempt.number && !other.last);
            // The times in a line are whole milliseconds.
            let in_time = |other: &Logged| attempt.started + Duration::from_millis(2) >= other.ended + delay;
            if predecessors().next().is_none() {
                faults.push(format!("attempt {} without one before it", attempt.number));
            } else if !predecessors().any(in_time) {
                faults.push(format!("attempt {} before its time", attempt.number));
            }
        }
        faults
    }
}

/// A repeated attempt, with the same number as an earlier one.
#[derive(Clone, Copy, Debug)]
pub struct Repetition {
    from: Instant,
    until: Instant,
    by_death: bool,
}

impl Repetition {
    fn of(from: Instant, until: Instant, by_death: bool) -> Self {
        Self { from: from.checked_sub(BEFORE).unwrap_or(from), until: until + AFTER, by_death }
    }

    fn is_explained_by(&self, fault: &Happened) -> bool {
        let meets = fault.from <= self.until && self.from <= fault.until;
        // A rollout repeats nothing, unless its grace period ended during a request.
        meets && (fault.name == KILL || self.by_death == (fault.name == TERM))
    }

    /// The time between a fault and this repetition.
    fn distance(&self, fault: &Happened) -> Duration {
        let from = self.from + BEFORE;
        fault.from.saturating_duration_since(from) + from.saturating_duration_since(fault.from)
    }
}

/// Assigns every repetition to a fault that explains it; no fault explains more than it can have caused. Answers the
/// number that each kind of fault explains, and the repetitions that none explains.
pub fn explain(
    mut repetitions: Vec<Repetition>,
    happened: &[Happened],
) -> (BTreeMap<&'static str, usize>, Vec<Repetition>) {
    // The repetitions that the fewest faults can explain choose first.
    let choices = |one: &Repetition| happened.iter().filter(|fault| one.is_explained_by(fault)).count();
    repetitions.sort_by_cached_key(choices);
    let mut left: Vec<usize> = happened.iter().map(|fault| fault.repeats).collect();
    let (mut causes, mut unexplained) = (BTreeMap::new(), Vec::new());
    for repetition in &repetitions {
        let causes_left = (0..left.len()).filter(|&at| left[at] > 0 && repetition.is_explained_by(&happened[at]));
        match causes_left.min_by_key(|&at| repetition.distance(&happened[at])) {
            Some(at) => {
                left[at] -= 1;
                *causes.entry(happened[at].name).or_default() += 1;
            }
            None => unexplained.push(*repetition),
        }
    }
    (causes, unexplained)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(attempts: &[(u8, u64, u64, bool)]) -> History {
        let zero = Instant::now() + Duration::from_secs(60);
        let at = |ms: &u64| zero + Duration::from_millis(*ms);
        let logged = attempts.iter().map(|(number, started, ended, last)| Logged {
            number: *number,
            started: at(started),
            ended: at(ended),
            last: *last,
            good: false,
        });
        History { logged: logged.collect(), ..History::default() }
    }

    #[test]
    fn a_fourth_attempt_and_one_before_its_time_are_seen() {
        let delays = [Duration::from_millis(400), Duration::from_millis(800)];
        for (attempts, faults) in [
            (&[(1, 0, 10, false), (2, 411, 420, false), (3, 1221, 1230, true)][..], &[][..]),
            (&[(1, 0, 10, false), (2, 380, 390, true)], &["attempt 2 before its time"]),
            // The first of the two was settled.
            (&[(1, 0, 10, false), (1, 300, 310, false), (2, 411, 420, true)], &[]),
            (&[(1, 0, 10, true), (2, 911, 920, true)], &["attempt 2 without one before it"]),
            (
                &[(1, 0, 9, false), (2, 411, 420, false), (4, 1300, 1310, true)],
                &["attempt number 4", "attempt 4 without one before it"],
            ),
        ] {
            assert_eq!(history(attempts).faults(&delays), faults, "{attempts:?}");
        }
    }

    #[test]
    fn a_repetition_needs_a_fault_at_its_time_that_can_have_caused_it() {
        let repeated = history(&[(1, 0, 10, true), (1, 300, 310, true)]);
        let repetition = repeated.repetitions();
        assert_eq!(repetition.len(), 1);
        let fault = |at_ms: u64, repeats| {
            let at = repeated.logged[0].started + Duration::from_millis(at_ms);
            Happened { name: KILL, from: at, until: at, worker: None, repeats }
        };
        for (faults, unexplained) in
            [(vec![], 1), (vec![fault(5, 1)], 0), (vec![fault(5, 0)], 1), (vec![fault(5000, 16)], 1)]
        {
            assert_eq!(explain(repetition.clone(), &faults).1.len(), unexplained, "{faults:?}");
        }
        let twice = [repetition.clone(), repetition].concat();
        assert_eq!(explain(twice, &[fault(5, 1)]).1.len(), 1, "one fault explains no more than it can have caused");
    }
}
