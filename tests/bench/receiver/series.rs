//! The counts of a receiver, by series.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Each series keeps up to this many latencies (80 MB); later ones are only counted.
const LATENCIES: usize = 20_000_000;

/// All series of a receiver.
#[derive(Default)]
pub struct Series {
    total: u64,
    connections: u64,
    open: u64,
    most_open: u64,
    in_flight: u64,
    most_in_flight: u64,
    by_name: BTreeMap<String, One>,
}

#[derive(Default)]
struct One {
    count: u64,
    in_flight: u64,
    /// In the order of arrival.
    latencies_us: Vec<u32>,
    /// By second of the clock.
    seconds: BTreeMap<u64, Second>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Second {
    count: u64,
    most_in_flight: u64,
}

/// All counts, as the parent gets them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// Accepted connections, with or without a request.
    pub connections: u64,
    /// The most that were open at once.
    pub most_open: u64,
    /// The most requests that had arrived and were not yet answered.
    pub most_in_flight: u64,
    pub series: BTreeMap<String, Counts>,
}

/// One series.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Counts {
    pub count: u64,
    /// From `XADD` to arrival, at p50, p99, p99.9 and at most, in ms.
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
    /// For each second of the clock from the first arrival on: arrivals, the p99 of their latencies in ms (0 if none
    /// arrived), and the most requests in flight when one arrived.
    pub per_second: Vec<u64>,
    pub p99_ms_per_second: Vec<f64>,
    pub in_flight_per_second: Vec<u64>,
}

impl Series {
    pub fn total(&self) -> u64 {
        self.total
    }

    pub fn connected(&mut self) {
        self.connections += 1;
        self.open += 1;
        self.most_open = self.most_open.max(self.open);
    }

    pub fn disconnected(&mut self) {
        self.open -= 1;
    }

    pub fn arrived(&mut self, series: &str, now_us: u64, sent_us: Option<u64>) {
        self.total += 1;
        self.in_flight += 1;
        self.most_in_flight = self.most_in_flight.max(self.in_flight);
        if !self.by_name.contains_key(series) {
            self.by_name.insert(series.to_owned(), One::default());
        }
        let one = self.by_name.get_mut(series).expect("it was put there");
        one.count += 1;
        one.in_flight += 1;
        let second = one.seconds.entry(now_us / 1_000_000).or_default();
        second.count += 1;
        second.most_in_flight = second.most_in_flight.max(one.in_flight);
        if let Some(sent_us) = sent_us
            && one.latencies_us.len() < LATENCIES
        {
            one.latencies_us.push(u32::try_from(now_us.saturating_sub(sent_us)).unwrap_or(u32::MAX));
        }
    }

    /// A request was answered, or its client left.
    pub fn left(&mut self, series: &str) {
        self.in_flight -= 1;
        self.by_name.get_mut(series).expect("it arrived").in_flight -= 1;
    }

    /// Starts counting again; open connections and requests in flight remain.
    pub fn reset(&mut self) {
        let by_name = std::mem::take(&mut self.by_name);
        let still = by_name.into_iter().filter(|(_, one)| one.in_flight > 0);
        let still = still.map(|(name, one)| (name, One { in_flight: one.in_flight, ..One::default() }));
        *self = Self {
            open: self.open,
            most_open: self.open,
            in_flight: self.in_flight,
            most_in_flight: self.in_flight,
            by_name: still.collect(),
            ..Self::default()
        };
    }

    pub fn report(&self) -> Report {
        let series = self.by_name.iter().map(|(name, one)| (name.clone(), one.counts())).collect();
        let Self { connections, most_open, most_in_flight, .. } = *self;
        Report { connections, most_open, most_in_flight, series }
    }
}

impl One {
    fn counts(&self) -> Counts {
        let sorted_us = sorted(&self.latencies_us);
        let at = |share: f64| quantile_ms(&sorted_us, share);
        let (first, last) = (self.seconds.keys().next(), self.seconds.keys().next_back());
        let range = first.zip(last).map(|(first, last)| *first..=*last);
        let seconds: Vec<Second> =
            range.into_iter().flatten().map(|at| self.seconds.get(&at).copied().unwrap_or_default()).collect();
        Counts {
            count: self.count,
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: at(1.0),
            per_second: seconds.iter().map(|second| second.count).collect(),
            p99_ms_per_second: self.p99_ms_of(&seconds),
            in_flight_per_second: seconds.iter().map(|second| second.most_in_flight).collect(),
        }
    }

    /// The latencies are in order of arrival, so each second's are the next `count` of them.
    fn p99_ms_of(&self, seconds: &[Second]) -> Vec<f64> {
        let mut rest = &self.latencies_us[..];
        let of_second = seconds.iter().map(|second| {
            let count = usize::try_from(second.count).unwrap_or(usize::MAX).min(rest.len());
            let (here, after) = rest.split_at(count);
            rest = after;
            quantile_ms(&sorted(here), 0.99)
        });
        of_second.collect()
    }
}

fn sorted(latencies_us: &[u32]) -> Vec<u32> {
    let mut sorted = latencies_us.to_vec();
    sorted.sort_unstable();
    sorted
}

/// The smallest value that at least this share of the values does not exceed.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn quantile_ms(sorted_us: &[u32], share: f64) -> f64 {
    let rank = (sorted_us.len() as f64 * share).ceil() as usize;
    sorted_us.get(rank.saturating_sub(1)).map_or(0.0, |us| f64::from(*us) / 1000.0)
}
