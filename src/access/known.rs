//! The cache of API keys: Redis's answers of the last 5 s.
//!
//! An id that Redis has is asked for again after 5 s. An id that it does not have is looked up at most 20 times a second
//! over all ids, so that a flood of made-up ids neither loads Redis nor keeps known keys out. All requests that wait for
//! the same id share one look-up. The cache has a limit: beyond it, ids that Redis does not have go first, then those
//! that were not asked for longest.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use parking_lot::Mutex;

use super::{Caller, Denied, keys::time};
use crate::{
    domain::{api_key::KeyId, token::TokenHash},
    store::{API_KEYS_MAX, ApiKeyRecord, StoreError},
};

/// The time for which an answer of Redis holds.
const HOLDS: Duration = Duration::from_secs(5);
/// The most look-ups of unknown ids in any second.
const LOOKUPS_A_SECOND: usize = 20;
/// The most ids in the cache: all keys, and as many again that do not exist.
const IDS_MAX: usize = 2 * API_KEYS_MAX;
/// The time between two notes of a key's use.
const NOTE_EVERY: Duration = Duration::from_secs(60 * 60);

/// The answer of a look-up: the key if there is one, and Redis's clock.
type Looked = Result<(Option<ApiKeyRecord>, DateTime<Utc>), StoreError>;

/// A key as Redis had it.
pub(super) struct KnownKey {
    pub(super) caller: Arc<Caller>,
    pub(super) hash: TokenHash,
    /// The key's end by this process's monotonic clock. It is early by the round trip to Redis at most.
    pub(super) ends: Option<Instant>,
    /// The day of the look-up by Redis's clock: `2026-03-26`.
    pub(super) day: String,
}

/// The cache.
#[derive(Default)]
pub(super) struct KnownKeys {
    slots: Mutex<HashMap<KeyId, Arc<Slot>>>,
    lookups: Mutex<Lookups>,
}

/// The last look-ups of unknown ids.
#[derive(Default)]
struct Lookups(VecDeque<Instant>);

/// One id.
#[derive(Default)]
struct Slot {
    answer: Mutex<Option<Answer>>,
    /// Held while one request asks Redis for all. The value is the time of the last failure, and its error.
    asking: tokio::sync::Mutex<Option<(Instant, StoreError)>>,
    noted: Mutex<Option<Instant>>,
}

#[derive(Clone)]
struct Answer {
    asked: Instant,
    key: Option<Arc<KnownKey>>,
}

impl KnownKeys {
    /// The key with this id as Redis had it at most 5 s ago, or has it now.
    pub(super) async fn find<F>(&self, id: &KeyId, look: impl FnOnce() -> F) -> Result<Option<Arc<KnownKey>>, Denied>
    where
        F: Future<Output = Looked>,
    {
        let came = Instant::now();
        let slot = self.slot(id, came)?;
        if let Some(answer) = slot.answer(came) {
            return Ok(answer.key);
        }
        let mut last_failure = slot.asking.lock().await;
        // Another request has asked meanwhile.
        if let Some(answer) = slot.answer(came) {
            return Ok(answer.key);
        }
        if let Some((failed, error)) = &*last_failure
            && *failed >= came
        {
            return Err(error.clone().into());
        }
        let asked = Instant::now();
        let looked = look().await;
        *last_failure = looked.as_ref().err().map(|error| (Instant::now(), error.clone()));
        let (record, now) = looked?;
        let key = record.map(|record| Arc::new(KnownKey::new(record, asked, now)));
        *slot.answer.lock() = Some(Answer { asked, key: key.clone() });
        Ok(key)
    }

    /// Asks Redis again at the next request with this key.
    pub(super) fn ask_again(&self, id: &KeyId) {
        let Some(slot) = self.slots.lock().get(id).cloned() else { return };
        if let Some(answer) = &mut *slot.answer.lock() {
            answer.asked = answer.asked.checked_sub(HOLDS).unwrap_or(answer.asked);
        }
    }

    /// Whether an hour has passed since the last note of this key's use. If so, the next is due in an hour.
    pub(super) fn is_use_to_be_noted(&self, id: &KeyId) -> bool {
        let Some(slot) = self.slots.lock().get(id).cloned() else { return false };
        let mut noted = slot.noted.lock();
        let due = noted.is_none_or(|noted| noted.elapsed() >= NOTE_EVERY);
        if due {
            *noted = Some(Instant::now());
        }
        due
    }

    /// The slot of an id. If the id is not known to exist and nobody is asking for it, this takes one of the look-ups.
    fn slot(&self, id: &KeyId, now: Instant) -> Result<Arc<Slot>, Denied> {
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.get(id)
            && !slot.is_unknown(now)
        {
            return Ok(slot.clone());
        }
        if !self.lookups.lock().take(now) {
            return Err(Denied::TooManyLookups);
        }
        if slots.len() >= IDS_MAX && !slots.contains_key(id) {
            make_room(&mut slots, now);
        }
        Ok(slots.entry(id.clone()).or_default().clone())
    }
}

impl Lookups {
    /// Takes one look-up, unless 20 were taken in the last second.
    fn take(&mut self, now: Instant) -> bool {
        if self.0.len() == LOOKUPS_A_SECOND {
            if now.duration_since(self.0[0]) < Duration::from_secs(1) {
                return false;
            }
            self.0.pop_front();
        }
        self.0.push_back(now);
        true
    }
}

impl Slot {
    /// The answer, while it holds.
    fn answer(&self, now: Instant) -> Option<Answer> {
        self.answer.lock().clone().filter(|answer| now.duration_since(answer.asked) < HOLDS)
    }

    /// Whether nothing says that the id exists, and nobody is asking.
    fn is_unknown(&self, now: Instant) -> bool {
        let exists = match &*self.answer.lock() {
            Some(Answer { key: Some(_), .. }) => true,
            Some(Answer { asked, key: None }) => now.duration_since(*asked) < HOLDS,
            None => false,
        };
        !exists && self.asking.try_lock().is_ok()
    }
}

/// Drops the ids that are unknown; if there are none, the one that was not asked for longest.
fn make_room(slots: &mut HashMap<KeyId, Arc<Slot>>, now: Instant) {
    slots.retain(|_, slot| !slot.is_unknown(now));
    if slots.len() >= IDS_MAX {
        let asked = |slot: &Slot| slot.answer.lock().as_ref().map(|answer| answer.asked);
        let oldest = slots.iter().min_by_key(|(_, slot)| asked(slot)).map(|(id, _)| id.clone());
        oldest.map(|id| slots.remove(&id));
    }
}

impl KnownKey {
    fn new(record: ApiKeyRecord, asked: Instant, now: DateTime<Utc>) -> Self {
        let ApiKeyRecord { id, name, scopes, account, hash, expires_at, .. } = record;
        let left = |end: &str| {
            // An end that cannot be read has passed.
            let left = time(end).map_or(chrono::TimeDelta::zero(), |end| end - now);
            asked + left.to_std().unwrap_or_default()
        };
        let ends = expires_at.as_deref().map(left);
        let day = now.format("%Y-%m-%d").to_string();
        Self { caller: Arc::new(Caller { id, name, scopes, account, expires_at }), hash, ends, day }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_20_lookups_are_taken_in_any_second() {
        let (mut lookups, start) = (Lookups::default(), Instant::now());
        let mut taken = Vec::new();
        for ms in 0..5000 {
            let now = start + Duration::from_millis(ms);
            if lookups.take(now) {
                taken.push(now);
            }
        }
        assert_eq!(taken.len(), 100);
        for window in taken.windows(LOOKUPS_A_SECOND + 1) {
            assert!(window[LOOKUPS_A_SECOND] - window[0] >= Duration::from_secs(1));
        }
    }

    fn id(number: usize) -> KeyId {
        format!("{number:012}").parse().unwrap()
    }

    fn key(number: usize) -> Arc<KnownKey> {
        let record = serde_json::json!({
            "id": id(number), "name": "n", "scopes": ["admin"], "hash": "h", "createdAt": "2026-03-26T14:32:00.000Z",
        });
        Arc::new(KnownKey::new(serde_json::from_value(record).unwrap(), Instant::now(), Utc::now()))
    }

    #[test]
    fn the_cache_has_a_limit_and_keeps_keys_that_exist_before_ids_that_do_not() {
        let (known, mut now) = (KnownKeys::default(), Instant::now());
        for number in 0..API_KEYS_MAX {
            let slot =
                Slot { answer: Mutex::new(Some(Answer { asked: now, key: Some(key(number)) })), ..Slot::default() };
            known.slots.lock().insert(id(number), Arc::new(slot));
        }
        for number in API_KEYS_MAX..4 * API_KEYS_MAX {
            now += Duration::from_millis(51);
            let slot = known.slot(&id(number), now).unwrap_or_else(|denied| panic!("{denied}"));
            *slot.answer.lock() = Some(Answer { asked: now, key: None });
            assert!(known.slots.lock().len() <= IDS_MAX);
        }
        let slots = known.slots.lock();
        assert!((0..API_KEYS_MAX).all(|number| slots.contains_key(&id(number))), "keys that exist stay");
    }
}
