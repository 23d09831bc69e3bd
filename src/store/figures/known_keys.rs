//! The figures of idempotency keys: how many are known, since when, and whether memory was too small for 24 hours.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::domain::time::timestamp;

/// The time for which a key is known, in ms, if there is memory for it.
const WINDOW_MS: i64 = 24 * 60 * 60 * 1000;

/// The idempotency keys that are known, in one partition or in all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "program", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct KnownKeys {
    /// Their number.
    pub keys: u64,
    /// The most bytes that they take in Redis, by an estimate from their lengths.
    pub bytes: u64,
    /// The most bytes of a partition.
    pub max_bytes: u64,
    /// Every key that came since this time is known (RFC 3339, UTC, ms); `null` if none is known. For all partitions,
    /// the latest of their times.
    pub since: Option<String>,
    /// If keys were forgotten before 24 hours had passed, because of `max_bytes`, the age of the youngest of them when
    /// that happened last, in ms; `null` if a day has passed since, or if it never happened.
    pub shortened_to_ms: Option<u64>,
}

impl KnownKeys {
    /// The figures of a partition. Each of the two hashes is given by its number of keys and its notes, as `accept.lua`
    /// writes them.
    pub(super) fn read(current: &(u64, String), before: &(u64, String), now_ms: i64, max_bytes: u64) -> Self {
        let known = [Notes::read(before, now_ms), Notes::read(current, now_ms)];
        let latest = known[1].as_ref().filter(|notes| now_ms - notes.since_ms < WINDOW_MS);
        let shortened_to_ms = latest.and_then(|notes| notes.shortened_to_ms);
        let known = || known.iter().flatten();
        Self {
            keys: known().map(|notes| notes.keys).sum(),
            bytes: known().map(|notes| notes.bytes).sum(),
            max_bytes,
            since: known()
                .next()
                .and_then(|first| DateTime::<Utc>::from_timestamp_millis(first.since_ms))
                .map(timestamp),
            shortened_to_ms,
        }
    }

    pub(super) fn plus(&self, other: &Self) -> Self {
        Self {
            keys: self.keys + other.keys,
            bytes: self.bytes + other.bytes,
            max_bytes: self.max_bytes.max(other.max_bytes),
            since: self.since.clone().max(other.since.clone()),
            shortened_to_ms: self.shortened_to_ms.into_iter().chain(other.shortened_to_ms).min(),
        }
    }
}

/// The notes of one of the two hashes.
struct Notes {
    keys: u64,
    since_ms: i64,
    bytes: u64,
    shortened_to_ms: Option<u64>,
}

impl Notes {
    /// `None` if there are none, or if the hash is so old that its keys no longer count.
    fn read((keys, notes): &(u64, String), now_ms: i64) -> Option<Self> {
        let mut numbers = notes.split(' ');
        let since_ms = numbers.next()?.parse().ok().filter(|since_ms| now_ms - since_ms < 2 * WINDOW_MS)?;
        let mut next = || numbers.next()?.parse().ok();
        Some(Self { keys: *keys, since_ms, bytes: next()?, shortened_to_ms: next() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_774_535_520_000;
    const HOUR_MS: i64 = 60 * 60 * 1000;

    /// A hash that began so many hours ago.
    fn hash(keys: u64, hours: i64, rest: &str) -> (u64, String) {
        (keys, format!("{}{rest}", NOW_MS - hours * HOUR_MS))
    }

    #[test]
    fn keys_are_known_since_the_older_hash_began_unless_it_no_longer_counts() {
        let (none, hours) = ((0, String::new()), |hours| {
            Some(timestamp(DateTime::from_timestamp_millis(NOW_MS - hours * HOUR_MS).unwrap()))
        });
        for (current, before, keys, bytes, since, shortened_to_ms) in [
            (none.clone(), none.clone(), 0, 0, None, None),
            (hash(3, 1, " 400"), none.clone(), 3, 400, hours(1), None),
            (hash(3, 1, " 400 7200000"), hash(2, 3, " 300"), 5, 700, hours(3), Some(7_200_000)),
            (hash(3, 23, " 400"), hash(2, 47, " 300 5"), 5, 700, hours(47), None),
            (hash(3, 23, " 400"), hash(2, 48, " 300"), 3, 400, hours(23), None),
            (hash(3, 24, " 400 5"), hash(2, 49, " 300"), 3, 400, hours(24), None),
            (hash(3, 50, " 400 5"), hash(2, 60, " 300"), 0, 0, None, None),
            ((3, "nonsense".to_owned()), none, 0, 0, None, None),
        ] {
            let read = KnownKeys::read(&current, &before, NOW_MS, 9);
            assert_eq!(read, KnownKeys { keys, bytes, max_bytes: 9, since, shortened_to_ms }, "{current:?} {before:?}");
        }
    }

    #[test]
    fn the_sum_of_partitions_has_the_shortest_window() {
        let one = KnownKeys { keys: 1, bytes: 2, max_bytes: 9, since: None, shortened_to_ms: None };
        let other = KnownKeys { keys: 3, since: Some("2026".to_owned()), shortened_to_ms: Some(7), ..one.clone() };
        let sum = one.plus(&other).plus(&KnownKeys { since: Some("2025".to_owned()), shortened_to_ms: Some(9), ..one });
        assert_eq!(sum, KnownKeys { keys: 5, bytes: 6, ..other });
    }
}
