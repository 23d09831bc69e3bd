//! The form of times in envelopes, in Redis and in answers.

use chrono::{DateTime, SecondsFormat, Utc};

/// A time in RFC 3339, UTC, with milliseconds. The texts sort in the order of the times.
pub fn timestamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}
