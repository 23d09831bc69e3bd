//! The cache of API keys: one table of all keys, as Redis had it at a moment.
//!
//! A request whose id is in a table younger than 5 s is judged from it. Any other request waits for a *look*: one
//! reading of all keys that begins after the request came. All requests that wait share it, so a new key works at once.
//! Looks come one after another and begin at least 50 ms apart. So a flood of made-up ids costs Redis 20 looks a second,
//! and makes a new key wait for about 50 ms. It keeps no key out.
//!
//! A look that ends with a passing error, or takes longer than a second, leaves the table in force until it is 60 s old.
//! All keys lie at one master, and while that is away, nobody can revoke a key there either. After a failover, the new
//! master is asked. So the accounts whose masters answer are served. Only if this process alone does not reach that
//! master may it take a key for up to 60 s that was revoked meanwhile.
//!
//! A look is a task of its own: clients that hang up stop it for nobody. The server's connections bound the number of
//! requests that wait.

use std::{collections::HashMap, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use super::{Caller, Denied, keys::time};
use crate::{
    domain::{api_key::KeyId, token::TokenHash},
    store::{ApiKeyRecord, ApiKeyTable, StoreError},
};

/// The time for which a table holds.
const HOLDS: Duration = Duration::from_secs(5);
/// The time for which a table holds while Redis does not answer.
const HOLDS_IN_OUTAGE: Duration = Duration::from_secs(60);
/// The time after which a look that is under way counts as one that gets no answer.
const LATE_AFTER: Duration = Duration::from_secs(1);
/// The least time between the beginnings of two looks.
const APART: Duration = Duration::from_millis(50);
/// The time between two notes of a key's use.
const NOTE_EVERY: Duration = Duration::from_secs(60 * 60);

/// The answer of a look.
type Looked = Result<ApiKeyTable, StoreError>;

/// A key as Redis had it.
#[derive(Debug)]
pub(super) struct KnownKey {
    pub(super) caller: Arc<Caller>,
    pub(super) hash: TokenHash,
    /// The key's end by this process's monotonic clock. It is early by the round trip to Redis at most.
    pub(super) ends: Option<Instant>,
    /// The day of the look by Redis's clock: `2026-03-26`.
    pub(super) day: Arc<str>,
}

/// The cache.
#[derive(Default)]
pub(super) struct KnownKeys {
    known: watch::Sender<Known>,
    plan: Mutex<Plan>,
    /// Held by the look under way. The value is the time at which the last look began.
    looking: tokio::sync::Mutex<Option<Instant>>,
    /// The time of each key's last note, for an hour.
    noted: Mutex<HashMap<KeyId, Instant>>,
}

/// The looks that began, by number from 1, and the one that comes next.
#[derive(Default)]
struct Plan {
    begun: u64,
    is_next_planned: bool,
}

/// The results of the looks.
#[derive(Default)]
struct Known {
    table: Option<Table>,
    /// The number of the last look that ended.
    ended: u64,
    /// The error of that look, if it failed.
    failure: Option<StoreError>,
    /// The last time at which Redis did not answer: a look failed with an error that passes, or was late.
    no_answer: Option<Instant>,
    /// The time of the last change to a key by this process. A table that was asked for before it no longer holds.
    changed: Option<Instant>,
}

/// All keys at a moment. The value of a key that cannot be read is the error.
struct Table {
    asked: Instant,
    keys: HashMap<KeyId, Result<Arc<KnownKey>, StoreError>>,
}

impl KnownKeys {
    /// The key with this id as Redis had it at most 5 s ago, or has it now; while Redis does not answer, as Redis had it at
    /// most 60 s ago. `look` reads all keys; it is polled only if
    /// this request plans the next look.
    ///
    /// # Errors
    /// [`Denied::Unknown`] if Redis does not have it; [`Denied::Store`] if a look was needed and failed.
    pub(super) async fn find(
        self: &Arc<Self>,
        id: &KeyId,
        look: impl Future<Output = Looked> + Send + 'static,
    ) -> Result<Arc<KnownKey>, Denied> {
        let mut known = self.known.subscribe();
        if let Some(held) = known.borrow().held_for(HOLDS, id) {
            return Ok(held?);
        }
        let number = self.next_look(look);
        let is_answered = |known: &Known| known.ended >= number || known.held(id).is_some();
        let known = known.wait_for(is_answered).await.expect("the sender is in `self`");
        known.held(id).map_or_else(|| known.told(id), |held| Ok(held?))
    }

    /// Tells that this process changed a key, so that the next request looks.
    pub(super) fn forget(&self) {
        self.known.send_modify(|known| known.changed = Some(Instant::now()));
    }

    /// Whether an hour has passed since the last note of this key's use. If so, the next is due in an hour.
    pub(super) fn is_use_to_be_noted(&self, id: &KeyId) -> bool {
        let (mut noted, now) = (self.noted.lock(), Instant::now());
        let is_recent = |noted: &Instant| now - *noted < NOTE_EVERY;
        if noted.get(id).is_some_and(is_recent) {
            return false;
        }
        noted.retain(|_, noted| is_recent(noted));
        noted.insert(id.clone(), now);
        true
    }

    /// The number of the next look, which has not begun. The first request that wants it plans it.
    fn next_look(self: &Arc<Self>, look: impl Future<Output = Looked> + Send + 'static) -> u64 {
        let mut plan = self.plan.lock();
        if !plan.is_next_planned {
            plan.is_next_planned = true;
            tokio::spawn(self.clone().look(look));
        }
        plan.begun + 1
    }

    async fn look(self: Arc<Self>, look: impl Future<Output = Looked>) {
        let mut began = self.looking.lock().await;
        if let Some(began) = *began {
            tokio::time::sleep_until(began + APART).await;
        }
        let number = self.plan.lock().begin();
        let asked = Instant::now();
        *began = Some(asked);
        let mut look = std::pin::pin!(look);
        let looked = loop {
            match timeout(LATE_AFTER, &mut look).await {
                Ok(looked) => break looked,
                Err(_) => self.known.send_modify(|known| known.no_answer = Some(Instant::now())),
            }
        };
        let looked = looked.map(|all| Table::new(all, asked));
        self.known.send_modify(|known| known.learn(number, looked));
    }
}

impl Plan {
    /// Begins the planned look. Requests that come from now on want another one.
    fn begin(&mut self) -> u64 {
        self.is_next_planned = false;
        self.begun += 1;
        self.begun
    }
}

impl Known {
    /// The key, if the table has it and holds.
    fn held(&self, id: &KeyId) -> Option<Result<Arc<KnownKey>, StoreError>> {
        // An older sign of an outage may be out of date: then a look has to tell.
        let in_outage = self.no_answer.is_some_and(|when| when.elapsed() < HOLDS);
        self.held_for(if in_outage { HOLDS_IN_OUTAGE } else { HOLDS }, id)
    }

    /// The key, if the table has it and is younger than this.
    fn held_for(&self, holds: Duration, id: &KeyId) -> Option<Result<Arc<KnownKey>, StoreError>> {
        let table = self.table.as_ref()?;
        let holds = table.asked.elapsed() < holds && self.changed.is_none_or(|changed| table.asked >= changed);
        if holds { table.keys.get(id).cloned() } else { None }
    }

    /// The answer of the last look, for a request that waited for it.
    fn told(&self, id: &KeyId) -> Result<Arc<KnownKey>, Denied> {
        if let Some(error) = &self.failure {
            return Err(error.clone().into());
        }
        let key = self.table.as_ref().and_then(|table| table.keys.get(id)).ok_or(Denied::Unknown)?;
        Ok(key.clone()?)
    }

    /// A look that fails leaves the table as it is.
    fn learn(&mut self, number: u64, looked: Result<Table, StoreError>) {
        self.ended = number;
        self.no_answer = looked.as_ref().is_err_and(StoreError::is_passing).then(Instant::now);
        self.failure = match looked {
            Ok(table) => {
                self.table = Some(table);
                None
            }
            Err(error) => Some(error),
        };
    }
}

impl Table {
    fn new(all: ApiKeyTable, asked: Instant) -> Self {
        let day: Arc<str> = all.now.format("%Y-%m-%d").to_string().into();
        let known = |record| Arc::new(KnownKey::new(record, asked, all.now, day.clone()));
        Self { asked, keys: all.keys.into_iter().map(|(id, read)| (id, read.map(known))).collect() }
    }
}

impl KnownKey {
    fn new(record: ApiKeyRecord, asked: Instant, now: DateTime<Utc>, day: Arc<str>) -> Self {
        let ApiKeyRecord { id, name, scopes, account, hash, expires_at, .. } = record;
        let left = |end: &str| {
            // An end that cannot be read has passed.
            let left = time(end).map_or(chrono::TimeDelta::zero(), |end| end - now);
            asked + left.to_std().unwrap_or_default()
        };
        let ends = expires_at.as_deref().map(left);
        Self { caller: Arc::new(Caller { id, name, scopes, account, expires_at }), hash, ends, day }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{task::JoinSet, time::sleep};

    use super::*;

    /// A store that takes 10 ms to answer, with the keys that it had when it was asked.
    #[derive(Default)]
    struct Keys {
        numbers: Mutex<Vec<usize>>,
        /// The error of its answers, if they are errors.
        fault: Mutex<Option<StoreError>>,
        /// Whether it takes five seconds for an error instead of 10 ms.
        hangs: Mutex<bool>,
        /// The times at which it was asked.
        asked: Mutex<Vec<Instant>>,
    }

    impl Keys {
        async fn look(self: Arc<Self>) -> Looked {
            self.asked.lock().push(Instant::now());
            let found = self.numbers.lock().iter().map(|number| (id(*number), Ok(record(*number)))).collect();
            let (fault, hangs) = (self.fault.lock().clone(), *self.hangs.lock());
            sleep(if hangs { Duration::from_secs(5) } else { Duration::from_millis(10) }).await;
            fault.map_or(Ok(ApiKeyTable { keys: found, now: Utc::now() }), Err)
        }

        fn looks(&self) -> usize {
            self.asked.lock().len()
        }
    }

    fn id(number: usize) -> KeyId {
        format!("{number:012}").parse().unwrap()
    }

    fn record(number: usize) -> ApiKeyRecord {
        let record = serde_json::json!({
            "id": id(number), "name": "n", "scopes": ["admin"], "hash": "h", "createdAt": "2026-03-26T14:32:00.000Z",
        });
        serde_json::from_value(record).unwrap()
    }

    fn set() -> (Arc<KnownKeys>, Arc<Keys>) {
        (Arc::default(), Arc::default())
    }

    async fn find(known: &Arc<KnownKeys>, keys: &Arc<Keys>, number: usize) -> Result<(), Denied> {
        known.find(&id(number), keys.clone().look()).await.map(|_| ())
    }

    #[tokio::test(start_paused = true)]
    async fn looks_begin_50_ms_apart_however_many_made_up_ids_come_and_each_waits_for_the_next_alone() {
        let (known, keys) = set();
        let mut requests = JoinSet::new();
        for number in 0..5000 {
            let (known, keys) = (known.clone(), keys.clone());
            requests.spawn(async move {
                let came = Instant::now();
                assert!(matches!(find(&known, &keys, number).await, Err(Denied::Unknown)));
                came.elapsed()
            });
            sleep(Duration::from_millis(1)).await;
        }
        let longest = requests.join_all().await.into_iter().max().unwrap();
        assert!(longest <= Duration::from_millis(50 + 10 + 3), "{longest:?}");
        let asked = keys.asked.lock();
        assert!((95..=101).contains(&asked.len()), "{} looks in 5 s", asked.len());
        assert!(asked.windows(2).all(|pair| pair[1] - pair[0] >= APART), "{asked:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_is_new_since_a_look_began_is_found_by_the_next_one() {
        let (known, keys) = set();
        let early = tokio::spawn({
            let (known, keys) = (known.clone(), keys.clone());
            async move { find(&known, &keys, 1).await }
        });
        sleep(Duration::from_millis(5)).await;
        assert_eq!(keys.looks(), 1, "it is under way");
        keys.numbers.lock().push(1);
        find(&known, &keys, 1).await.unwrap();
        assert!(matches!(early.await.unwrap(), Err(Denied::Unknown)), "there was no such key when it was asked");
        for _ in 0..1000 {
            find(&known, &keys, 1).await.unwrap();
        }
        assert_eq!(keys.looks(), 2, "the table holds");
    }

    #[tokio::test(start_paused = true)]
    async fn a_table_holds_for_5_seconds_and_not_after_a_change_by_this_process() {
        let (known, keys) = set();
        keys.numbers.lock().extend([1, 2]);
        find(&known, &keys, 1).await.unwrap();
        keys.numbers.lock().clear();
        let looked = keys.asked.lock()[0];
        tokio::time::sleep_until(looked + HOLDS - Duration::from_millis(1)).await;
        find(&known, &keys, 2).await.unwrap();
        sleep(Duration::from_millis(1)).await;
        assert!(matches!(find(&known, &keys, 2).await, Err(Denied::Unknown)));
        keys.numbers.lock().push(1);
        sleep(APART).await;
        find(&known, &keys, 1).await.unwrap();
        // The change comes while a look is under way, which has read the keys before.
        sleep(HOLDS).await;
        let early = tokio::spawn({
            let (known, keys) = (known.clone(), keys.clone());
            async move { find(&known, &keys, 1).await }
        });
        sleep(Duration::from_millis(5)).await;
        keys.numbers.lock().clear();
        known.forget();
        early.await.unwrap().unwrap();
        assert!(matches!(find(&known, &keys, 1).await, Err(Denied::Unknown)));
    }

    #[tokio::test(start_paused = true)]
    async fn clients_that_hang_up_stop_no_look_and_cause_no_more_of_them() {
        let (known, keys) = set();
        keys.numbers.lock().push(1);
        // Each plans a look or waits for one, and goes while it waits.
        for number in 2..40 {
            let gone = tokio::time::timeout(Duration::from_millis(1), find(&known, &keys, number)).await;
            assert!(gone.is_err(), "{number}");
        }
        let came = Instant::now();
        find(&known, &keys, 1).await.unwrap();
        assert!(came.elapsed() <= APART, "{:?}", came.elapsed());
        assert!(keys.looks() <= 2, "{} looks", keys.looks());
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_fails_answers_all_that_waited_for_it_and_keys_in_the_table_still_pass() {
        let (known, keys) = set();
        keys.numbers.lock().push(1);
        find(&known, &keys, 1).await.unwrap();
        *keys.fault.lock() = Some(StoreError::answered("-NOPERM no\r\n"));
        let mut requests = JoinSet::new();
        for number in 2..102 {
            let (known, keys) = (known.clone(), keys.clone());
            requests.spawn(async move { find(&known, &keys, number).await });
        }
        for answer in requests.join_all().await {
            assert!(matches!(answer, Err(Denied::Store(_))), "{answer:?}");
        }
        assert_eq!(keys.looks(), 2);
        find(&known, &keys, 1).await.unwrap();
        sleep(HOLDS).await;
        assert!(matches!(find(&known, &keys, 1).await, Err(Denied::Store(_))));
        *keys.fault.lock() = None;
        find(&known, &keys, 1).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn while_redis_does_not_answer_a_table_holds_for_60_seconds_and_new_keys_wait_for_redis() {
        const OUTAGE: Duration = Duration::from_secs(60);
        for hangs in [false, true] {
            let (known, keys) = set();
            keys.numbers.lock().push(1);
            find(&known, &keys, 1).await.unwrap();
            let looked = keys.asked.lock()[0];
            *keys.fault.lock() = Some(StoreError::gone());
            *keys.hangs.lock() = hangs;
            sleep(HOLDS).await;
            let mut longest = Duration::ZERO;
            while looked.elapsed() + Duration::from_millis(1) < HOLDS_IN_OUTAGE {
                let came = Instant::now();
                find(&known, &keys, 1).await.unwrap();
                // Only the first request after the table is old waits, for a second at most.
                assert!(came.elapsed() <= if longest.is_zero() { LATE_AFTER } else { Duration::ZERO }, "{longest:?}");
                longest = longest.max(came.elapsed());
                let left = OUTAGE.saturating_sub(looked.elapsed() + Duration::from_millis(1));
                sleep(Duration::from_millis(700).min(left)).await;
            }
            assert!(matches!(find(&known, &keys, 2).await, Err(Denied::Store(_))), "nobody knows it");
            sleep(Duration::from_millis(1)).await;
            assert!(matches!(find(&known, &keys, 1).await, Err(Denied::Store(_))));
            assert!(keys.looks() > 10, "Redis is asked again and again: {}", keys.looks());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_an_outage_the_keys_are_as_redis_has_them_then() {
        let (known, keys) = set();
        keys.numbers.lock().push(1);
        find(&known, &keys, 1).await.unwrap();
        *keys.fault.lock() = Some(StoreError::gone());
        sleep(HOLDS).await;
        find(&known, &keys, 1).await.unwrap();
        *keys.fault.lock() = None;
        keys.numbers.lock().clear();
        // This request still has the old table, and causes the look that ends it.
        find(&known, &keys, 1).await.unwrap();
        sleep(APART + Duration::from_millis(20)).await;
        assert!(matches!(find(&known, &keys, 1).await, Err(Denied::Unknown)));
        // The outage ends and the key is revoked while nobody asks.
        keys.numbers.lock().push(1);
        sleep(HOLDS).await;
        find(&known, &keys, 1).await.unwrap();
        *keys.fault.lock() = Some(StoreError::gone());
        sleep(HOLDS).await;
        find(&known, &keys, 1).await.unwrap();
        *keys.fault.lock() = None;
        keys.numbers.lock().clear();
        sleep(HOLDS).await;
        assert!(matches!(find(&known, &keys, 1).await, Err(Denied::Unknown)));
        // A change by this process counts in an outage, too.
        keys.numbers.lock().push(1);
        sleep(HOLDS).await;
        find(&known, &keys, 1).await.unwrap();
        *keys.fault.lock() = Some(StoreError::gone());
        known.forget();
        assert!(matches!(find(&known, &keys, 1).await, Err(Denied::Store(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn the_use_of_a_key_is_noted_once_an_hour() {
        let known = KnownKeys::default();
        assert!(known.is_use_to_be_noted(&id(1)) && known.is_use_to_be_noted(&id(2)));
        sleep(NOTE_EVERY.checked_sub(Duration::from_millis(1)).unwrap()).await;
        assert!(!known.is_use_to_be_noted(&id(1)));
        sleep(Duration::from_millis(1)).await;
        assert!(known.is_use_to_be_noted(&id(1)) && !known.is_use_to_be_noted(&id(1)));
        assert_eq!(known.noted.lock().len(), 1, "what is older is forgotten");
    }
}
