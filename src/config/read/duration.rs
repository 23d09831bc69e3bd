//! Durations as people write them: `"20s"`, `"90d"`.

use std::{ops::RangeInclusive, time::Duration};

use humantime::{format_duration, parse_duration};
use toml::Value;

use super::DAY;

/// A duration within the range, or a hint about a common mistake (empty if there is no hint).
pub(super) fn duration(value: &Value, range: &RangeInclusive<Duration>) -> Result<Duration, String> {
    let text = match value {
        Value::String(text) => text.trim(),
        Value::Integer(number) => return Err(format!("; add the unit: \"{number}s\" if seconds are meant")),
        _ => return Err(String::new()),
    };
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("; add the unit: \"{text}s\" if seconds are meant"));
    }
    if text.contains('M') {
        return Err("; \"M\" means months: write \"m\" for minutes, \"d\" for days".to_owned());
    }
    parse_duration(text).ok().filter(|found| range.contains(found)).ok_or_else(String::new)
}

pub(super) fn a_duration(range: &RangeInclusive<Duration>) -> String {
    format!("a duration in quotes from {} to {}", format_duration(*range.start()), plain_days(*range.end()))
}

/// A duration in days if it is a whole number of days, because humantime would write 3650 days as years and months.
fn plain_days(duration: Duration) -> String {
    match (duration.as_secs() / DAY.as_secs(), duration.as_secs() % DAY.as_secs()) {
        (days, 0) if days > 0 => format!("{days}d"),
        _ => format_duration(duration).to_string(),
    }
}
