//! A worker: its attempts, and the reasons for which deliveries wait. The workers of a process count together.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use super::{Metrics, REQUEST_SECONDS, add, counters, seconds};
use crate::domain::{
    endpoint::Limit,
    event::Catalogue,
    outcome::{Class, Outcome},
    retry::Next,
};

/// The upper bounds of the wait for a first attempt, in seconds: from what an idle worker takes to minutes.
const WAIT_SECONDS: [f64; 16] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// The outcomes of an attempt.
const OUTCOMES: [&str; 5] = ["delivered", "http_5xx", "http_other", "network_error", "address_refused"];
/// An event type that is no longer in the catalogue.
const OTHER: &str = "other";

/// The reason why a delivery has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Its endpoint has no room, because of this limit.
    Limited(Limit),
    /// Its webhook is off.
    Off,
    /// No name server answers.
    NoNameServer,
}

/// The reasons, as labels. The first ones are the limits'.
const REASONS: [&str; 9] =
    ["new", "slow", "silent", "failing", "worker_full", "host_full", "retries_first", "off", "no_name_server"];

impl Wait {
    /// The place among [`REASONS`].
    fn reason(self) -> usize {
        match self {
            Self::Limited(Limit::New) => 0,
            Self::Limited(Limit::Answers | Limit::Share) => 1,
            Self::Limited(Limit::Silent) => 2,
            Self::Limited(Limit::Failing) => 3,
            Self::Limited(Limit::Places) => 4,
            Self::Limited(Limit::Connections) => 5,
            Self::Limited(Limit::Retries) => 6,
            Self::Off => 7,
            Self::NoNameServer => 8,
        }
    }
}

/// Attempts, as they are counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Attempts {
    outcome: &'static str,
    event: String,
}

/// The metrics of the workers of a process.
#[derive(Debug, Clone)]
pub struct OfWorker {
    attempts: Arc<HashMap<String, [Counter; OUTCOMES.len()]>>,
    durations: Histogram,
    first_waits: Histogram,
    settled: [Counter; 3],
    held: [Counter; REASONS.len()],
    put_off: [Counter; REASONS.len()],
    no_room: [Counter; REASONS.len()],
    leases_lost: Counter,
    orphans: Counter,
    rejected: Counter,
    in_flight: Gauge,
    concurrency: Gauge,
    busy: Gauge<f64, AtomicU64>,
}

impl OfWorker {
    /// The metrics of workers that have done nothing yet, and all metrics of their process.
    pub fn new(catalogue: &Catalogue) -> (Metrics, Self) {
        let mut all = Metrics::new("worker");
        let registry = &mut all.registry;
        let waits = |registry: &mut Registry, name, help| counters(registry, (name, help), ("reason", REASONS));
        let own = Self {
            attempts: attempts(registry, catalogue).into(),
            durations: seconds(registry, "attempt_duration_seconds", "Time of an attempt", REQUEST_SECONDS),
            first_waits: seconds(
                registry,
                "first_attempt_wait_seconds",
                "Time from an entry's arrival in the queue to its first attempt, if it was not put aside",
                WAIT_SECONDS,
            ),
            settled: counters(
                registry,
                ("settled", "Deliveries whose attempt, or end without one, is in Redis, by what follows"),
                ("next", ["delivered", "retry", "failed"]),
            ),
            held: waits(registry, "held", "First attempts that were put into held, by reason"),
            put_off: waits(registry, "retries_put_off", "Deliveries that were put off into retries, by reason"),
            no_room: waits(registry, "no_room", "Deliveries that failed because held is full, by reason"),
            leases_lost: add(
                registry,
                "leases_lost",
                "Entries that were taken over, because their worker lost its lease",
            ),
            orphans: add(registry, "orphans", "Entries that no worker held, found by an audit"),
            rejected: add(registry, "rejected", "Entries that were rejected, because they are no valid event"),
            in_flight: add(registry, "in_flight", "Entries in hand"),
            concurrency: add(registry, "concurrency", "Entries that there may be in hand"),
            busy: add(registry, "busy_ratio", "Part of the time for which the worker's thread works, from 0 to 1"),
        };
        (all, own)
    }

    /// Counts an attempt that has ended, of an event of this type.
    pub fn attempted(&self, event: &str, outcome: &Outcome, took: Duration) {
        let of_event = self.attempts.get(event).or_else(|| self.attempts.get(OTHER)).expect("others are counted");
        of_event[place(outcome)].inc();
        self.durations.observe(took.as_secs_f64());
    }

    /// Notes the time that an entry waited in the queue for its first attempt.
    pub fn waited(&self, wait: Duration) {
        self.first_waits.observe(wait.as_secs_f64());
    }

    /// Counts a delivery that was settled.
    pub fn settled(&self, next: Next) {
        let place = match next {
            Next::Delivered => 0,
            Next::Retry { .. } => 1,
            Next::Failed => 2,
        };
        self.settled[place].inc();
    }

    /// Counts a delivery that was put into `held`.
    pub fn held(&self, why: Wait) {
        self.held[why.reason()].inc();
    }

    /// Counts a delivery that was put off into `retries`.
    pub fn put_off(&self, why: Wait) {
        self.put_off[why.reason()].inc();
    }

    /// Counts a delivery that fails because `held` is full.
    pub fn no_room(&self, why: Wait) {
        self.no_room[why.reason()].inc();
    }

    /// Counts entries that were taken over.
    pub fn leases_lost(&self, entries: usize) {
        self.leases_lost.inc_by(entries as u64);
    }

    /// Counts entries that nobody held.
    pub fn orphans(&self, entries: u64) {
        self.orphans.inc_by(entries);
    }

    /// Counts an entry that was rejected.
    pub fn rejected(&self) {
        self.rejected.inc();
    }

    /// Notes how much all workers of this process have in hand, how much they may have, and how busy the busiest is.
    pub fn load(&self, in_flight: usize, concurrency: usize, busy_percent: u8) {
        self.in_flight.set(i64::try_from(in_flight).unwrap_or(i64::MAX));
        self.concurrency.set(i64::try_from(concurrency).unwrap_or(i64::MAX));
        self.busy.set(f64::from(busy_percent) / 100.0);
    }
}

/// The attempts by event type, and of types that are no longer in the catalogue.
fn attempts(registry: &mut Registry, catalogue: &Catalogue) -> HashMap<String, [Counter; OUTCOMES.len()]> {
    let attempts: Family<Attempts, Counter> =
        add(registry, "attempts", "Attempts that have ended, by outcome and event type");
    let of_event = |event: &str| {
        let counters =
            OUTCOMES.map(|outcome| attempts.get_or_create_owned(&Attempts { outcome, event: event.to_owned() }));
        (event.to_owned(), counters)
    };
    catalogue.names().chain([OTHER]).map(of_event).collect()
}

/// The place of an outcome among [`OUTCOMES`].
fn place(outcome: &Outcome) -> usize {
    match (outcome.class(), outcome) {
        (Class::Delivered, _) => 0,
        (Class::Retryable, Outcome::Response { .. }) => 1,
        (Class::Final, _) => 2,
        (Class::Retryable, _) => 3,
        (Class::Forbidden, _) => 4,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::outcome::NetworkFault;

    /// The samples of a metric that are not 0.
    fn counted(all: &Metrics, name: &str) -> Vec<String> {
        let text = all.text();
        let samples = text.lines().filter_map(|line| line.strip_prefix(&format!("lynkhook_{name}{{")));
        samples.filter(|sample| !sample.ends_with(" 0")).map(str::to_owned).collect()
    }

    #[test]
    fn each_reason_has_its_own_count_and_each_place_counts_apart() {
        for (wait, reason) in [
            (Wait::Limited(Limit::New), "new"),
            (Wait::Limited(Limit::Answers), "slow"),
            (Wait::Limited(Limit::Share), "slow"),
            (Wait::Limited(Limit::Silent), "silent"),
            (Wait::Limited(Limit::Failing), "failing"),
            (Wait::Limited(Limit::Retries), "retries_first"),
            (Wait::Limited(Limit::Places), "worker_full"),
            (Wait::Limited(Limit::Connections), "host_full"),
            (Wait::Off, "off"),
            (Wait::NoNameServer, "no_name_server"),
        ] {
            let (all, own) = OfWorker::new(&Catalogue::new(BTreeMap::new(), 1));
            own.held(wait);
            for _ in 0..2 {
                own.put_off(wait);
            }
            for _ in 0..3 {
                own.no_room(wait);
            }
            for (name, count) in [("held_total", 1), ("retries_put_off_total", 2), ("no_room_total", 3)] {
                assert_eq!(counted(&all, name), [format!("reason=\"{reason}\"}} {count}")], "{wait:?}");
            }
        }
    }

    #[test]
    fn each_outcome_has_its_own_count() {
        let refused = Outcome::Refused(String::new());
        for (outcome, label) in [
            (Outcome::Response { status: 204 }, "delivered"),
            (Outcome::Response { status: 500 }, "http_5xx"),
            (Outcome::Response { status: 301 }, "http_other"),
            (Outcome::Response { status: 404 }, "http_other"),
            (Outcome::NetworkError(NetworkFault::ConnectionRefused), "network_error"),
            (refused, "address_refused"),
        ] {
            let (all, own) = OfWorker::new(&Catalogue::new(BTreeMap::new(), 1));
            own.attempted("unknown", &outcome, Duration::from_millis(1));
            assert_eq!(counted(&all, "attempts_total"), [format!("outcome=\"{label}\",event=\"other\"}} 1")]);
        }
    }
}
