//! The attempts that this worker has in flight at each endpoint, and whether an endpoint may have one more. The rule is
//! `domain::endpoint`. One webhook is one endpoint.
//!
//! All of it is in memory only: a worker learns within a few attempts how an endpoint behaves, and the endpoint may
//! behave differently towards another worker.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;
use url::Url;

use super::{
    alarms::Alarms,
    hosts::{HostRoom, Hosts},
    no_room::NoRoom,
};
use crate::{
    domain::{
        account::AccountId,
        busy::Busy,
        delivery::Delivery,
        endpoint::{Crowd, Endpoint, InFlight, Limit, Rule},
        outcome::Outcome,
        recent::Recent,
        webhook::WebhookId,
    },
    store::Limited,
};

/// The number of endpoints from which on idle ones are forgotten.
const REMEMBERED: usize = 4096;
/// The time after which released deliveries are no longer expected: another worker's reader has taken them.
const COMES: Duration = Duration::from_millis(250);
/// The time for which an endpoint counts as limited.
const LIMITED: Duration = Duration::from_secs(2);
/// The number of limited endpoints that are published at most.
const LIMITED_MAX: usize = 20;

/// All endpoints of one worker.
pub(crate) struct Endpoints {
    began: Instant,
    rule: Rule,
    /// An attempt occupies one place for each `place_bytes` of its envelope, rounded up.
    place_bytes: usize,
    busy_percent: AtomicU8,
    /// The alarms of each partition.
    alarms: Vec<Arc<Alarms>>,
    known: Mutex<State>,
}

#[derive(Default)]
struct State {
    by_webhook: HashMap<WebhookId, One>,
    /// The places occupied by endpoints that were quick when the attempt began, and by endpoints that were slow.
    in_flight: [usize; 2],
    recent: Recent,
    /// For each partition, the webhooks for whose held deliveries a place may have become free.
    rung: Vec<VecDeque<(AccountId, WebhookId)>>,
    hosts: Hosts,
    /// The number of endpoints that always fail: counted by each survey, and raised since.
    failing: usize,
    /// The number of endpoints at which the idle ones are forgotten next.
    forget_at: usize,
}

/// One endpoint.
#[derive(Default)]
struct One {
    endpoint: Endpoint,
    /// The account, known once the endpoint was limited or had held deliveries; the last limit and its time.
    account: Option<AccountId>,
    limited: Option<(Limit, Duration)>,
    /// Whether deliveries are held for the endpoint, and whether the releaser was told of a free place.
    held: bool,
    rung: bool,
    /// The places of held deliveries that were moved to the queue and not read yet, and the time of the last move.
    expected: (usize, Duration),
}

/// The right to make one attempt. Dropping it gives its places back.
pub(crate) struct Permit {
    endpoints: Arc<Endpoints>,
    webhook: WebhookId,
    attempt: InFlight,
    slow: bool,
    ended: bool,
}

impl Endpoints {
    /// Endpoints of which nothing is known yet. The places also share out `bytes`, so that an endpoint that may not
    /// have all places cannot have all bytes in hand either.
    pub(crate) fn new(rule: Rule, bytes: usize, alarms: Vec<Arc<Alarms>>, host_room: HostRoom) -> Self {
        let rung = alarms.iter().map(|_| VecDeque::new()).collect();
        let known = State { rung, hosts: Hosts::new(host_room), ..State::default() };
        let place_bytes = (bytes / rule.places).max(1);
        Self { began: Instant::now(), rule, place_bytes, busy_percent: 0.into(), alarms, known: known.into() }
    }

    /// The right to attempt this delivery, if there is room. `bytes` is the size of its envelope. A delivery that
    /// `was_held` shows that others may be held too.
    pub(crate) fn enter(
        self: &Arc<Self>,
        delivery: &Delivery,
        url: &Url,
        bytes: usize,
        was_held: bool,
    ) -> Result<Permit, NoRoom> {
        let (now, is_retry) = (self.began.elapsed(), delivery.attempt > 1);
        let known = &mut *self.known();
        known.saw(delivery.webhook, now);
        let crowd = known.crowd(self, delivery.webhook, now);
        let one = known.by_webhook.entry(delivery.webhook).or_default();
        if was_held {
            one.held = true;
            one.expected.0 = one.expected.0.saturating_sub(self.places(bytes));
            one.account.get_or_insert_with(|| delivery.account.clone());
        }
        known.hosts.note_url(delivery.webhook, url);
        let (mut room, limit) = room_at(&self.rule, known.hosts.room(delivery.webhook), one, &crowd, now, is_retry);
        if limit == Limit::Connections && !is_retry && !was_held && known.hosts.is_awaited(delivery.webhook) {
            room = 0;
        }
        // Room is kept for held deliveries that are on their way back.
        let others = if is_retry || was_held { 0 } else { one.expected(now) };
        if room > others {
            return Ok(self.permit(known, &crowd, delivery, bytes, now));
        }
        one.account.get_or_insert_with(|| delivery.account.clone());
        one.limited = Some((limit, now));
        Err(NoRoom { limit, fails: one.endpoint.fails() })
    }

    /// Notes that the endpoint's host did not accept a connection that an attempt needed.
    pub(crate) fn note_host_full(&self, delivery: &Delivery, url: &Url) {
        let (now, mut known) = (self.began.elapsed(), self.known());
        known.hosts.note_full(delivery.webhook, url);
        let one = known.by_webhook.entry(delivery.webhook).or_default();
        one.account.get_or_insert_with(|| delivery.account.clone());
        one.limited = Some((Limit::Connections, now));
    }

    /// The wait of a due retry that found no room.
    pub(crate) fn put_off(&self, webhook: WebhookId) -> Duration {
        let now = self.began.elapsed();
        self.known().by_webhook.entry(webhook).or_default().endpoint.put_off(now)
    }

    /// The right to attempt this delivery even without room.
    pub(crate) fn enter_anyway(self: &Arc<Self>, delivery: &Delivery, bytes: usize) -> Permit {
        let (now, mut known) = (self.began.elapsed(), self.known());
        let crowd = known.crowd(self, delivery.webhook, now);
        self.permit(&mut known, &crowd, delivery, bytes, now)
    }

    fn permit(
        self: &Arc<Self>,
        known: &mut State,
        crowd: &Crowd,
        delivery: &Delivery,
        bytes: usize,
        now: Duration,
    ) -> Permit {
        let one = known.by_webhook.entry(delivery.webhook).or_default();
        let slow = !one.endpoint.is_quick(crowd, now);
        let places = self.places(bytes);
        let attempt = one.endpoint.begin(&self.rule, crowd, places, now, delivery.attempt > 1);
        known.in_flight[usize::from(slow)] += places;
        Permit { endpoints: self.clone(), webhook: delivery.webhook, attempt, slow, ended: false }
    }

    /// The number of places that an attempt occupies; `bytes` is the size of its envelope.
    fn places(&self, bytes: usize) -> usize {
        bytes.div_ceil(self.place_bytes).max(1)
    }

    /// The number of places that are free for held deliveries, at most a round's `share` unless the endpoint is alone;
    /// and the bytes of one place.
    pub(crate) fn room(&self, webhook: WebhookId, share: usize) -> (usize, usize) {
        let (now, known) = (self.began.elapsed(), self.known());
        let room = known.room(self, webhook, now);
        (if known.recent.is_alone(webhook, now) { room } else { room.min(share) }, self.place_bytes)
    }

    /// Expects `places` more from held deliveries that a release may move to the queue; negative if it moved fewer.
    pub(crate) fn expect(&self, webhook: WebhookId, places: isize) {
        let now = self.began.elapsed();
        // An unknown webhook, just switched on, may have no held deliveries; do not remember it for that.
        if let Some(one) = self.known().by_webhook.get_mut(&webhook) {
            one.expected = (one.expected(now).saturating_add_signed(places), now);
        }
    }

    /// Notes that deliveries are held for a webhook, and rings if places became free before.
    pub(crate) fn note_held(&self, account: &AccountId, webhook: WebhookId) {
        let (now, mut known) = (self.began.elapsed(), self.known());
        known.saw(webhook, now);
        let one = known.by_webhook.entry(webhook).or_default();
        one.held = true;
        one.account.get_or_insert_with(|| account.clone());
        known.hosts.wait(webhook);
        if known.room(self, webhook, now) > 0 {
            self.ring(&mut known, webhook);
        }
    }

    /// Notes that no deliveries are held for a webhook.
    pub(crate) fn note_none_held(&self, webhook: WebhookId) {
        if let Some(one) = self.known().by_webhook.get_mut(&webhook) {
            one.held = false;
        }
    }

    /// Has the releaser look after a webhook, if anything is held for it.
    fn ring(&self, known: &mut State, webhook: WebhookId) {
        let Some(one) = known.by_webhook.get_mut(&webhook).filter(|one| one.held && !one.rung) else { return };
        let Some(account) = &one.account else { return };
        one.rung = true;
        let partition = account.partition(u16::try_from(known.rung.len()).unwrap_or(u16::MAX));
        known.rung[usize::from(partition)].push_back((account.clone(), webhook));
        self.alarms[usize::from(partition)].release.by(Instant::now());
    }

    /// The next webhook of a partition for whose held deliveries a place may be free.
    pub(crate) fn next_rung(&self, partition: u16) -> Option<(AccountId, WebhookId)> {
        let mut known = self.known();
        let (account, webhook) = known.rung[usize::from(partition)].pop_front()?;
        known.by_webhook.get_mut(&webhook).expect("remembered while it is rung").rung = false;
        Some((account, webhook))
    }

    /// Notes the part of the time, in percent, for which the worker's thread works.
    pub(crate) fn note_busy(&self, percent: u8) {
        self.busy_percent.store(self.busy().after(percent).percent, Relaxed);
    }

    pub(crate) fn busy(&self) -> Busy {
        Busy { percent: self.busy_percent.load(Relaxed) }
    }

    /// Counts the slow and the failing endpoints, and lists those that were limited a moment ago.
    pub(crate) fn survey(&self) -> (usize, usize, Vec<Limited>) {
        let (now, mut known) = (self.began.elapsed(), self.known());
        known.failing = known.by_webhook.values().filter(|one| one.endpoint.always_fails(now)).count();
        let (mut slow, mut failing, mut limited) = (0, 0, Vec::new());
        for (webhook, one) in &known.by_webhook {
            let crowd = known.crowd(self, *webhook, now);
            slow += usize::from(!one.endpoint.is_quick(&crowd, now));
            failing += usize::from(one.endpoint.fails());
            let room = |is_retry| room_at(&self.rule, known.hosts.room(*webhook), one, &crowd, now, is_retry).0;
            let has_room = room(false) > 0;
            let recently = one.limited.filter(|(_, at)| now.saturating_sub(*at) < LIMITED || (one.held && !has_room));
            if let Some((why, _)) = recently.filter(|_| limited.len() < LIMITED_MAX) {
                let in_flight = one.endpoint.in_flight();
                let limit = in_flight + room(true);
                let account = one.account.as_ref().map(AccountId::to_string).unwrap_or_default();
                limited.push(Limited { account, webhook: webhook.to_string(), why: why.to_string(), in_flight, limit });
            }
        }
        (slow, failing, limited)
    }

    /// A panic under this lock, which is a fault of this program, spoils no more than the figures of one endpoint.
    fn known(&self) -> MutexGuard<'_, State> {
        self.known.lock()
    }
}

impl One {
    fn expected(&self, now: Duration) -> usize {
        let (places, moved) = self.expected;
        if now < moved + COMES { places } else { 0 }
    }
}

/// The room for attempts at an endpoint, and the limit that decided it. The endpoint's host takes `by_host` more
/// requests.
fn room_at(rule: &Rule, by_host: usize, one: &One, crowd: &Crowd, now: Duration, is_retry: bool) -> (usize, Limit) {
    let by_rule = one.endpoint.room(rule, crowd, now, is_retry);
    if by_host < by_rule.0 { (by_host, Limit::Connections) } else { by_rule }
}

impl State {
    fn saw(&mut self, webhook: WebhookId, now: Duration) {
        self.recent.saw(webhook, now);
        if self.by_webhook.len() >= self.forget_at.max(REMEMBERED) {
            self.by_webhook.retain(|_, one| one.rung || !one.endpoint.is_forgettable(now));
            self.hosts.forget(|webhook| self.by_webhook.contains_key(webhook));
            self.forget_at = self.by_webhook.len() * 2;
        }
    }

    fn crowd(&self, endpoints: &Endpoints, webhook: WebhookId, now: Duration) -> Crowd {
        let (alone, quickest) = (self.recent.is_alone(webhook, now), self.recent.quickest());
        let [quick, slow] = self.in_flight;
        Crowd {
            in_flight: quick + slow,
            slow,
            failing: self.failing,
            alone,
            quickest,
            busy: endpoints.busy().is_busy(),
        }
    }

    /// The number of places that are free for a webhook's held deliveries.
    fn room(&self, endpoints: &Endpoints, webhook: WebhookId, now: Duration) -> usize {
        let (crowd, unknown) = (self.crowd(endpoints, webhook, now), One::default());
        let one = self.by_webhook.get(&webhook).unwrap_or(&unknown);
        let room = room_at(&endpoints.rule, self.hosts.room(webhook), one, &crowd, now, false).0;
        room.saturating_sub(one.expected(now))
    }
}

impl Permit {
    /// Ends the attempt with this outcome.
    pub(crate) fn end(mut self, outcome: &Outcome) {
        self.ended = true;
        self.leave(Some(outcome));
    }

    /// Gives the places back. Without an outcome no attempt was made.
    fn leave(&self, outcome: Option<&Outcome>) {
        let endpoints = &*self.endpoints;
        let (now, mut known) = (endpoints.began.elapsed(), endpoints.known());
        known.in_flight[usize::from(self.slow)] -= self.attempt.places;
        let one = known.by_webhook.get_mut(&self.webhook).expect("remembered while something is in flight");
        let failed_before = one.endpoint.always_fails(now);
        match outcome {
            Some(outcome) => one.endpoint.end(&endpoints.rule, self.attempt, now, outcome),
            None => one.endpoint.forget(self.attempt, now),
        }
        let fails_now = one.endpoint.always_fails(now);
        known.failing += usize::from(fails_now && !failed_before);
        if let Some(Outcome::Response { .. }) = outcome {
            known.recent.note_answer(self.attempt.took(now), now);
        }
        let State { hosts, by_webhook, .. } = &mut *known;
        let next = hosts.next(self.webhook, |webhook| by_webhook.get(&webhook).is_some_and(|one| one.held));
        endpoints.ring(&mut known, next);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.ended {
            self.leave(None);
        }
    }
}

#[cfg(test)]
mod tests;
