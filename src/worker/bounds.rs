//! What each webhook has in flight from this worker, and whether it may have one more. The rule is `domain::bound`.
//!
//! It is kept in memory alone: what a worker knows of an endpoint it learns within a few attempts, and another worker
//! may well see another endpoint.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::time::Instant;

use crate::domain::{
    bound::{Crowd, Endpoint, Standing},
    outcome::Outcome,
    webhook::WebhookId,
};

/// A webhook is alone when no other was seen for this long.
const ALONE_AFTER: Duration = Duration::from_secs(2);
/// Endpoints remembered before the idle ones are looked for.
const REMEMBERED: usize = 4096;

/// All endpoints of one worker.
#[derive(Debug)]
pub(super) struct Bounds {
    began: Instant,
    places: usize,
    /// An attempt occupies a place for each so many bytes of its envelope, or part of them.
    place_bytes: usize,
    known: Mutex<Endpoints>,
}

#[derive(Debug, Default)]
struct Endpoints {
    by_webhook: HashMap<WebhookId, Endpoint>,
    /// Places that endpoints occupy which were quick, slow, failing when the attempt began.
    quick: usize,
    slow: usize,
    failing: usize,
    /// The webhook that was seen last, and when the last of all others was.
    last: Option<WebhookId>,
    another: Option<Duration>,
    last_seen: Duration,
    /// What the quickest answer took, by second; `None` where none ended.
    quickest: OfLate<Option<Duration>>,
    /// The webhooks that waited for room while they were slow.
    waiting: OfLate<HashSet<WebhookId>>,
    /// How many are remembered when the idle ones are forgotten.
    forget_at: usize,
}

/// What is noted for the second under way, and for the one before.
#[derive(Debug, Default)]
struct OfLate<T> {
    second: u64,
    this: T,
    before: T,
}

/// One attempt's place, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    bounds: Arc<Bounds>,
    webhook: WebhookId,
    places: usize,
    began: Duration,
    standing: Standing,
    ended: bool,
}

/// There is no room for one more attempt.
#[derive(Debug, Clone, Copy)]
pub(super) struct Busy {
    /// When to look again.
    pub(super) pace: Duration,
    /// How the endpoint does.
    pub(super) standing: Standing,
}

/// What there is room for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// Places.
    pub(super) places: usize,
    /// An attempt takes one for each so many bytes of its envelope, or part of them.
    pub(super) place_bytes: usize,
    /// When to look again.
    pub(super) pace: Duration,
    /// Whether nobody else is there who could be hurt.
    pub(super) alone: bool,
}

/// How many endpoints do how, for operators.
#[derive(Debug, Default)]
pub(super) struct Standings {
    pub(super) slow: usize,
    pub(super) failing: usize,
}

impl Bounds {
    /// Nothing is known yet. Places share out so many bytes as well, so that whoever may not have all places cannot have all
    /// that may be in hand either.
    pub(super) fn new(places: usize, bytes: usize) -> Self {
        Self { began: Instant::now(), places, place_bytes: (bytes / places).max(1), known: Mutex::default() }
    }

    /// A place for one more attempt, with an envelope of so many bytes, if there is room.
    pub(super) fn enter(self: &Arc<Self>, webhook: WebhookId, bytes: usize) -> Result<Place, Busy> {
        let now = self.began.elapsed();
        let mut known = self.known();
        known.saw(webhook, now);
        let crowd = known.crowd(self.places, webhook, now);
        let endpoint = known.by_webhook.entry(webhook).or_default();
        if endpoint.room(&crowd, now) > 0 {
            return Ok(self.place(&mut known, &crowd, (webhook, bytes), now));
        }
        let (pace, standing) = (endpoint.pace(&crowd, now), endpoint.standing(&crowd, now));
        known.waits(webhook, standing, now);
        Err(Busy { pace, standing })
    }

    /// A place, though there be no room.
    pub(super) fn enter_anyway(self: &Arc<Self>, webhook: WebhookId, bytes: usize) -> Place {
        let now = self.began.elapsed();
        let mut known = self.known();
        let crowd = known.crowd(self.places, webhook, now);
        self.place(&mut known, &crowd, (webhook, bytes), now)
    }

    /// For how much of what is held of a webhook there is room now, and when to look again.
    pub(super) fn room(&self, webhook: WebhookId) -> Room {
        let now = self.began.elapsed();
        let known = self.known();
        let unknown = Endpoint::default();
        let endpoint = known.by_webhook.get(&webhook).unwrap_or(&unknown);
        let crowd = known.crowd(self.places, webhook, now);
        Room {
            places: endpoint.room(&crowd, now),
            place_bytes: self.place_bytes,
            pace: endpoint.pace(&crowd, now),
            alone: crowd.alone,
        }
    }

    /// A webhook has deliveries that wait: whoever has all places is not alone. Where there is no room for them, slow ones
    /// share with it.
    pub(super) fn waits(&self, webhook: WebhookId, no_room: bool) {
        let now = self.began.elapsed();
        let mut known = self.known();
        known.saw(webhook, now);
        if no_room {
            let crowd = known.crowd(self.places, webhook, now);
            let endpoint = known.by_webhook.get(&webhook);
            let standing = endpoint.map_or(Standing::Slow, |endpoint| endpoint.standing(&crowd, now));
            known.waits(webhook, standing, now);
        }
    }

    /// Nothing of its own waits any more.
    pub(super) fn waits_no_more(&self, webhook: WebhookId) {
        let OfLate { this, before, .. } = &mut self.known().waiting;
        this.remove(&webhook);
        before.remove(&webhook);
    }

    /// How the endpoints do that are remembered.
    pub(super) fn standings(&self) -> Standings {
        let now = self.began.elapsed();
        let mut standings = Standings::default();
        let known = self.known();
        for (webhook, endpoint) in &known.by_webhook {
            match endpoint.standing(&known.crowd(self.places, *webhook, now), now) {
                Standing::Quick => {}
                Standing::Slow => standings.slow += 1,
                Standing::Failing => standings.failing += 1,
            }
        }
        standings
    }

    fn place(
        self: &Arc<Self>,
        known: &mut Endpoints,
        crowd: &Crowd,
        (webhook, bytes): (WebhookId, usize),
        now: Duration,
    ) -> Place {
        let places = bytes.div_ceil(self.place_bytes).max(1);
        let endpoint = known.by_webhook.entry(webhook).or_default();
        let standing = endpoint.standing(crowd, now);
        endpoint.begin(places, now);
        *known.occupied(standing) += places;
        Place { bounds: self.clone(), webhook, places, began: now, standing, ended: false }
    }

    fn known(&self) -> MutexGuard<'_, Endpoints> {
        self.known.lock().expect("never poisoned")
    }
}

impl Endpoints {
    fn saw(&mut self, webhook: WebhookId, now: Duration) {
        if self.last != Some(webhook) {
            self.another = self.last.map(|_| self.last_seen);
            self.last = Some(webhook);
        }
        self.last_seen = now;
        if self.by_webhook.len() >= self.forget_at.max(REMEMBERED) {
            self.by_webhook.retain(|_, endpoint| !endpoint.is_forgettable(now));
            self.forget_at = self.by_webhook.len() * 2;
        }
    }

    /// Only slow ones count: the others' room does not depend on how many wait.
    fn waits(&mut self, webhook: WebhookId, standing: Standing, now: Duration) {
        if standing == Standing::Slow {
            self.waiting.noted(now).insert(webhook);
        }
    }

    fn occupied(&mut self, standing: Standing) -> &mut usize {
        match standing {
            Standing::Quick => &mut self.quick,
            Standing::Slow => &mut self.slow,
            Standing::Failing => &mut self.failing,
        }
    }

    fn crowd(&self, places: usize, webhook: WebhookId, now: Duration) -> Crowd {
        let another = if self.last == Some(webhook) { self.another } else { self.last.map(|_| self.last_seen) };
        let alone = another.is_none_or(|seen| now.saturating_sub(seen) > ALONE_AFTER);
        // Of the last one or two seconds in which an attempt ended, though that be long ago.
        let quickest = self.quickest.this.into_iter().chain(self.quickest.before).min().unwrap_or_default();
        let waiting = self.waiting.recent(now).map(HashSet::len).max().unwrap_or(0);
        let in_flight = self.quick + self.slow + self.failing;
        Crowd { places, in_flight, slow: self.slow, failing: self.failing, alone, quickest, waiting }
    }
}

impl<T: Default> OfLate<T> {
    /// What is noted for the second that it is.
    fn noted(&mut self, now: Duration) -> &mut T {
        match now.as_secs().saturating_sub(self.second) {
            0 => {}
            1 => self.before = std::mem::take(&mut self.this),
            _ => (self.before, self.this) = (T::default(), T::default()),
        }
        self.second = self.second.max(now.as_secs());
        &mut self.this
    }

    /// What was noted for the second that it is, and for the one before.
    fn recent(&self, now: Duration) -> impl Iterator<Item = &T> {
        let age = now.as_secs().saturating_sub(self.second);
        [&self.this, &self.before].into_iter().take(2_usize.saturating_sub(usize::try_from(age).unwrap_or(2)))
    }
}

impl Place {
    /// The attempt has ended so.
    pub(super) fn end(mut self, outcome: &Outcome) {
        let failed = matches!(outcome, Outcome::NetworkError(_) | Outcome::Response { status: 500..=599 });
        let answered = !failed && matches!(outcome, Outcome::Response { .. });
        self.leave(answered, |endpoint, place, now| endpoint.end(place.places, place.began, now, failed));
    }

    fn leave(&mut self, answered: bool, how: impl FnOnce(&mut Endpoint, &Self, Duration)) {
        self.ended = true;
        let now = self.bounds.began.elapsed();
        let mut known = self.bounds.known();
        *known.occupied(self.standing) -= self.places;
        let endpoint = known.by_webhook.get_mut(&self.webhook).expect("remembered while something is in flight");
        how(endpoint, self, now);
        if answered {
            let (took, quickest) = (now.saturating_sub(self.began), known.quickest.noted(now));
            *quickest = Some(quickest.map_or(took, |quickest| quickest.min(took)));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.ended {
            self.leave(false, |endpoint, place, now| endpoint.forget(place.places, now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> WebhookId {
        WebhookId::new(uuid::Uuid::now_v7())
    }

    /// A place for every 100 bytes.
    fn bounds(places: usize) -> Arc<Bounds> {
        Arc::new(Bounds::new(places, 100 * places))
    }

    /// In all, and of endpoints that were failing.
    fn in_flight(bounds: &Bounds) -> (usize, usize) {
        let known = bounds.known();
        (known.quick + known.slow + known.failing, known.failing)
    }

    const ANSWERED: Outcome = Outcome::Response { status: 200 };
    const UNAVAILABLE: Outcome = Outcome::Response { status: 503 };

    #[tokio::test(start_paused = true)]
    async fn whoever_is_alone_may_have_all_places_and_shares_them_as_soon_as_another_comes() {
        let (bounds, slow, other) = (bounds(8), id(), id());
        let place = bounds.enter(slow, 0).unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        place.end(&ANSWERED);
        let mut places: Vec<Place> = (0..8).map(|_| bounds.enter(slow, 0).unwrap()).collect();
        assert!(bounds.enter(slow, 0).is_err(), "there are no more places");
        places.truncate(3);
        places.push(bounds.enter(other, 0).unwrap());
        assert!(bounds.enter(slow, 0).is_err(), "four are free, two of them nobody's, and it has three");
        places.pop();
        tokio::time::advance(ALONE_AFTER + Duration::from_millis(1)).await;
        assert!(bounds.enter(slow, 0).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_given_back_however_the_attempt_ends() {
        let (bounds, webhook) = (bounds(2), id());
        for _ in 0..10 {
            bounds.enter(webhook, 0).unwrap().end(&ANSWERED);
            drop(bounds.enter(webhook, 0).unwrap());
        }
        for _ in 0..3 {
            tokio::time::advance(Duration::from_millis(1)).await;
            bounds.enter(webhook, 0).unwrap().end(&UNAVAILABLE);
        }
        assert_eq!(bounds.enter(webhook, 0).unwrap_err().standing, Standing::Failing);
        tokio::time::advance(Duration::from_millis(50)).await;
        let place = bounds.enter(webhook, 0).unwrap();
        assert_eq!(in_flight(&bounds), (1, 1));
        place.end(&ANSWERED);
        assert_eq!(in_flight(&bounds), (0, 0));
        drop(bounds.enter_anyway(webhook, 0));
        assert_eq!(in_flight(&bounds), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_event_occupies_as_many_places_as_share_out_its_bytes() {
        let (bounds, webhook) = (bounds(16), id());
        for (bytes, places) in [(0, 1), (1, 1), (100, 1), (101, 2), (250, 3), (5000, 50)] {
            let place = bounds.enter(webhook, bytes).unwrap();
            assert_eq!(in_flight(&bounds), (places, 0), "{bytes}");
            place.end(&ANSWERED);
            assert_eq!(in_flight(&bounds), (0, 0), "{bytes}");
        }
        let hog = id();
        let places: Vec<Place> = std::iter::from_fn(|| bounds.enter(hog, 300).ok()).collect();
        assert_eq!((places.len(), in_flight(&bounds).0), (2, 6), "a quarter, passed by less than one more takes");
    }

    #[tokio::test(start_paused = true)]
    async fn what_counts_as_quick_follows_the_quickest_answer_of_the_last_seconds() {
        let (bounds, slow, quick) = (bounds(16), id(), id());
        let answers = async |webhook, after_ms| {
            let place = bounds.enter(webhook, 0).unwrap();
            tokio::time::advance(Duration::from_millis(after_ms)).await;
            place.end(&ANSWERED);
        };
        answers(slow, 120).await;
        assert_eq!(bounds.standings().slow, 0, "none is quicker");
        answers(quick, 10).await;
        assert_eq!(bounds.standings().slow, 1);
        tokio::time::advance(Duration::from_secs(1)).await;
        answers(slow, 120).await;
        assert_eq!(bounds.standings().slow, 1, "a second ago another was");
        tokio::time::advance(Duration::from_secs(2)).await;
        answers(slow, 120).await;
        assert_eq!(bounds.standings().slow, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_one_that_waits_counts_for_a_second_or_two_or_until_nothing_of_its_own_waits() {
        let bounds = bounds(64);
        let waiting = || bounds.known().crowd(bounds.places, id(), bounds.began.elapsed()).waiting;
        let slow: Vec<WebhookId> = (0..40).map(|_| id()).collect();
        let places: Vec<Place> = slow.iter().filter_map(|webhook| bounds.enter(*webhook, 0).ok()).collect();
        assert_eq!((places.len(), waiting()), (32, 8), "slow ones have half of the places");
        for webhook in &slow {
            bounds.waits(*webhook, false);
        }
        assert_eq!(waiting(), 8, "for the others there was room");
        for webhook in &slow {
            bounds.waits(*webhook, true);
        }
        assert_eq!(waiting(), 40);
        bounds.waits_no_more(slow[38]);
        assert_eq!(waiting(), 39);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(waiting(), 39);
        bounds.waits(slow[0], true);
        bounds.waits_no_more(slow[39]);
        assert_eq!(waiting(), 38, "most of them were seen in the second before");
        for place in places {
            place.end(&ANSWERED);
        }
        assert_eq!(bounds.room(slow[0]).places, 1, "all places are free, and others wait for them");
        let (failing, quick, unknown) = (id(), id(), id());
        for _ in 0..3 {
            tokio::time::advance(Duration::from_millis(1)).await;
            bounds.enter(failing, 0).unwrap().end(&UNAVAILABLE);
        }
        bounds.enter(quick, 0).unwrap().end(&ANSWERED);
        for webhook in [failing, quick, unknown] {
            bounds.waits(webhook, true);
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(
            waiting(),
            2,
            "in the last second one, and one that is not known: quick and failing ones share nothing"
        );
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(waiting(), 0);
        bounds.waits(slow[1], true);
        assert_eq!(waiting(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_all_places_is_not_alone_where_another_waits_for_room() {
        let (bounds, one, other) = (bounds(8), id(), id());
        bounds.enter(one, 0).unwrap().end(&ANSWERED);
        assert!(bounds.room(one).alone);
        bounds.waits(other, false);
        assert!(!bounds.room(one).alone);
    }

    #[tokio::test(start_paused = true)]
    async fn endpoints_that_are_idle_are_forgotten_before_they_are_many() {
        let bounds = bounds(8);
        let kept = bounds.enter(id(), 0).unwrap();
        for _ in 0..REMEMBERED {
            bounds.enter(id(), 0).unwrap().end(&ANSWERED);
        }
        tokio::time::advance(Duration::from_secs(61)).await;
        for _ in 0..2 * REMEMBERED {
            bounds.enter(id(), 0).unwrap().end(&ANSWERED);
        }
        let remembered = bounds.known().by_webhook.len();
        assert!(remembered < 5 * REMEMBERED / 2, "{remembered} of {}", 3 * REMEMBERED);
        kept.end(&ANSWERED);
    }
}
