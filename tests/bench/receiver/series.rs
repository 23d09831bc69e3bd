//! What a receiver counted, by series.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Latencies are kept one by one up to this many for a series (80 MB); what comes after is counted only.
const LATENCIES: usize = 20_000_000;

/// All series of a receiver.
#[derive(Default)]
pub struct Series {
    total: u64,
    connections: u64,
    in_flight: u64,
    most_in_flight: u64,
    by_name: BTreeMap<String, One>,
}

#[derive(Default)]
struct One {
    count: u64,
    latencies_us: Vec<u32>,
    per_second: BTreeMap<u64, u64>,
}

/// What was counted, for whoever asks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    pub connections: u64,
    /// The most requests that had arrived and were not answered yet.
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
    /// Arrivals in each second of the clock from the first on.
    pub per_second: Vec<u64>,
}

impl Series {
    pub fn total(&self) -> u64 {
        self.total
    }

    pub fn connected(&mut self) {
        self.connections += 1;
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
        *one.per_second.entry(now_us / 1_000_000).or_default() += 1;
        if let Some(sent_us) = sent_us
            && one.latencies_us.len() < LATENCIES
        {
            one.latencies_us.push(u32::try_from(now_us.saturating_sub(sent_us)).unwrap_or(u32::MAX));
        }
    }

    /// A request was answered, or its client has left.
    pub fn left(&mut self) {
        // It may have come before the last reset.
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    pub fn report(&mut self) -> Report {
        let series = self.by_name.iter_mut().map(|(name, one)| (name.clone(), one.counts())).collect();
        Report { connections: self.connections, most_in_flight: self.most_in_flight, series }
    }
}

impl One {
    fn counts(&mut self) -> Counts {
        self.latencies_us.sort_unstable();
        let at = |share: f64| quantile_ms(&self.latencies_us, share);
        let (first, last) = (self.per_second.keys().next(), self.per_second.keys().next_back());
        let seconds = first.zip(last).map(|(first, last)| *first..=*last);
        let count_of = |second| self.per_second.get(&second).copied().unwrap_or(0);
        Counts {
            count: self.count,
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: at(1.0),
            per_second: seconds.map(|seconds| seconds.map(count_of).collect()).unwrap_or_default(),
        }
    }
}

/// The smallest of these that at least this share of them does not exceed.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn quantile_ms(sorted_us: &[u32], share: f64) -> f64 {
    let rank = (sorted_us.len() as f64 * share).ceil() as usize;
    sorted_us.get(rank.saturating_sub(1)).map_or(0.0, |us| f64::from(*us) / 1000.0)
}
