//! Prometheus's text format, as far as the tests need it.

use std::collections::{BTreeMap, BTreeSet};

use crate::{health::Probed, support::*};

/// The metrics of one answer.
#[derive(Debug)]
pub(crate) struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    pub(crate) fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.map(|line| line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}")));
        let values: BTreeMap<_, _> = pairs.map(|(name, value)| (sorted(name), value.parse().unwrap())).collect();
        assert!(!values.is_empty(), "{text}");
        Self(values)
    }

    /// Asks a worker.
    pub(crate) async fn of(worker: &Probed) -> Self {
        let (status, text) = worker.get("/metrics").await;
        assert_eq!(status, 200, "{text}");
        Self::parse(&text)
    }

    /// The value of a series, such as `lynkhook_held_total{reason="off"}`; `None` if there is none.
    pub(crate) fn exact(&self, series: &str) -> Option<f64> {
        self.0.get(&sorted(series)).copied()
    }

    /// The same, rounded.
    pub(crate) fn find(&self, series: &str) -> Option<i64> {
        self.exact(series).map(whole)
    }

    /// The same of a series that has to be there.
    pub(crate) fn get(&self, series: &str) -> i64 {
        self.find(series).unwrap_or_else(|| panic!("no {series} in {:#?}", self.0))
    }

    /// The series of this name whose value is not 0: their labels, and their values.
    pub(crate) fn counted(&self, name: &str) -> Vec<(String, i64)> {
        let is_of_it = |series: &&String| series.starts_with(&format!("{name}{{"));
        let of_it =
            self.0.keys().filter(is_of_it).map(|series| (series[name.len()..].to_owned(), whole(self.0[series])));
        of_it.filter(|(_, value)| *value != 0).collect()
    }

    /// All series.
    pub(crate) fn series(&self) -> BTreeSet<String> {
        self.0.keys().cloned().collect()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "no test counts so much")]
fn whole(value: f64) -> i64 {
    value.round() as i64
}

/// The metrics of an answer: their names, and their types.
pub(super) fn types(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    lines.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
}

/// A series with its labels in order.
fn sorted(series: &str) -> String {
    let Some((name, labels)) = series.split_once('{') else { return series.to_owned() };
    let mut labels: Vec<&str> = labels.trim_end_matches('}').split(',').collect();
    labels.sort_unstable();
    format!("{name}{{{}}}", labels.join(","))
}

/// Asks a worker until what it tells is as expected.
pub(crate) async fn until(worker: &Probed, what: &str, is_so: impl Fn(&Metrics) -> bool) -> Metrics {
    eventually(SOON * 2, what, async || Some(Metrics::of(worker).await).filter(&is_so)).await
}
