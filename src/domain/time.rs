//! Times in the one form that they have in envelopes, in Redis and in answers.

use chrono::{DateTime, SecondsFormat, Utc};

/// RFC 3339, UTC, milliseconds. These texts sort as the times do.
pub fn timestamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}
