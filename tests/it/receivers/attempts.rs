//! The attempts that a worker made, according to its log.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A line of the worker's log.
#[derive(Clone, Debug, Deserialize)]
pub struct Attempt {
    /// The event's id, a dot, the webhook's id.
    pub delivery: String,
    #[serde(rename = "attempt")]
    pub number: u8,
    /// The HTTP status, or "Network Error".
    pub status: String,
    pub error: Option<String>,
}

impl Attempt {
    pub fn is_good(&self) -> bool {
        self.status.starts_with('2')
    }
}

/// All attempts, in the order in which they ended. `said` is the worker's standard error.
pub fn attempts(said: &str) -> Vec<Attempt> {
    let lines = said.lines().filter(|line| line.contains(r#""message":"attempt""#));
    lines.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// The number of these attempts that ended in each way, such as "status 502".
pub fn reasons<'a>(attempts: impl Iterator<Item = &'a Attempt>) -> BTreeMap<String, usize> {
    let mut reasons = BTreeMap::new();
    for attempt in attempts {
        let reason = attempt.error.clone().unwrap_or_else(|| format!("status {}", attempt.status));
        *reasons.entry(reason).or_default() += 1;
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_read_from_the_lines_of_a_log() {
        let said = r#"{"message":"worker started"}
            {"message":"attempt","delivery":"e1.wh_1","attempt":1,"status":"Network Error","error":"reset","last":false}
            {"message":"attempt","delivery":"e1.wh_1","attempt":2,"status":"200","last":true}"#;
        let attempts = attempts(said);
        assert_eq!(attempts.iter().map(|one| (one.number, one.is_good())).collect::<Vec<_>>(), [(1, false), (2, true)]);
        assert_eq!(reasons(attempts.iter()), BTreeMap::from([("reset".to_owned(), 1), ("status 200".to_owned(), 1)]));
    }
}
