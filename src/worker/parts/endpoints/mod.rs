//! The attempts that each endpoint has in flight from this worker, and whether it may have one more. The rule is
//! `domain::endpoint`.
//!
//! It is kept in memory alone: a worker learns within a few attempts how an endpoint does, and another worker may well see
//! another endpoint. An endpoint is one webhook's.

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

/// Endpoints remembered before the idle ones are looked for.
const REMEMBERED: usize = 4096;
/// A reader brings what a release moved within this long, or another worker's did.
const COMES: Duration = Duration::from_millis(250);
/// An endpoint counts as limited for this long after it was.
const LIMITED: Duration = Duration::from_secs(2);
/// Limited endpoints that are told of at most.
const LIMITED_MAX: usize = 20;

/// All endpoints of one worker.
pub(crate) struct Endpoints {
    began: Instant,
    rule: Rule,
    /// An attempt occupies a place for each this many bytes of its envelope, or part of them.
    place_bytes: usize,
    busy_percent: AtomicU8,
    /// By partition.
    alarms: Vec<Arc<Alarms>>,
    known: Mutex<State>,
}

#[derive(Default)]
struct State {
    by_webhook: HashMap<WebhookId, One>,
    /// Places occupied by endpoints that were quick, and that were slow, when the attempt began.
    in_flight: [usize; 2],
    recent: Recent,
    /// By partition: webhooks for whose held deliveries a place may have become free.
    rung: Vec<VecDeque<(AccountId, WebhookId)>>,
    hosts: Hosts,
    /// How many endpoints always failed when they were counted, and since then.
    failing: usize,
    /// How many are remembered when the idle ones are forgotten.
    forget_at: usize,
}

/// One endpoint.
#[derive(Default)]
struct One {
    endpoint: Endpoint,
    /// Whose it is, if it was limited; what limited it last, and when.
    account: Option<AccountId>,
    limited: Option<(Limit, Duration)>,
    /// Whether deliveries are held for it, and whether the releaser was told of a free place.
    held: bool,
    rung: bool,
    /// Places for held deliveries that releases moved to the queue and no reader brought yet, and when the last were moved.
    expected: (usize, Duration),
}

/// The right to make one attempt; its places are given back when dropped.
pub(crate) struct Permit {
    endpoints: Arc<Endpoints>,
    webhook: WebhookId,
    attempt: InFlight,
    slow: bool,
    ended: bool,
}

impl Endpoints {
    /// Nothing is known yet. Places share out this many bytes as well, so that an endpoint that may not have all places cannot
    /// have all bytes that may be in hand either.
    pub(crate) fn new(rule: Rule, bytes: usize, alarms: Vec<Arc<Alarms>>, host_room: HostRoom) -> Self {
        let rung = alarms.iter().map(|_| VecDeque::new()).collect();
        let known = State { rung, hosts: Hosts::new(host_room), ..State::default() };
        let place_bytes = (bytes / rule.places).max(1);
        Self { began: Instant::now(), rule, place_bytes, busy_percent: 0.into(), alarms, known: known.into() }
    }

    /// The right to attempt this delivery, whose envelope has this many bytes, if there is room.
    /// A delivery that `was_held` says that more may be.
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
        // Held deliveries on their way back have their room.
        let others = if is_retry || was_held { 0 } else { one.expected(now) };
        if room > others {
            return Ok(self.permit(known, &crowd, delivery, bytes, now));
        }
        one.account.get_or_insert_with(|| delivery.account.clone());
        one.limited = Some((limit, now));
        Err(NoRoom::by(limit, one.endpoint.fails()))
    }

    /// The endpoint's host did not take a connection that an attempt needed.
    pub(crate) fn note_host_full(&self, delivery: &Delivery, url: &Url) {
        let (now, mut known) = (self.began.elapsed(), self.known());
        known.hosts.note_full(delivery.webhook, url);
        let one = known.by_webhook.entry(delivery.webhook).or_default();
        one.account.get_or_insert_with(|| delivery.account.clone());
        one.limited = Some((Limit::Connections, now));
    }

    /// How long a due retry waits that found no room.
    pub(crate) fn put_off(&self, webhook: WebhookId) -> Duration {
        let now = self.began.elapsed();
        self.known().by_webhook.entry(webhook).or_default().endpoint.put_off(now)
    }

    /// The right to attempt it, although there is no room.
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

    /// Places that an attempt with an envelope of this many bytes occupies.
    fn places(&self, bytes: usize) -> usize {
        bytes.div_ceil(self.place_bytes).max(1)
    }

    /// For how many places of what is held there is room now, within a round's `share` unless the endpoint is alone; and the
    /// bytes that a place stands for.
    pub(crate) fn room(&self, webhook: WebhookId, share: usize) -> (usize, usize) {
        let (now, known) = (self.began.elapsed(), self.known());
        let room = known.room(self, webhook, now);
        (if known.recent.is_alone(webhook, now) { room } else { room.min(share) }, self.place_bytes)
    }

    /// A release may move held deliveries to the queue that take this many places more, or moved fewer.
    pub(crate) fn expect(&self, webhook: WebhookId, places: isize) {
        let now = self.began.elapsed();
        // A webhook that was just switched on may hold nothing, and is not worth remembering.
        if let Some(one) = self.known().by_webhook.get_mut(&webhook) {
            one.expected = (one.expected(now).saturating_add_signed(places), now);
        }
    }

    /// Deliveries are held for a webhook. Places may have become free before that was known.
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

    /// Nothing is held for a webhook.
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

    /// The next webhook of a partition for whose held deliveries a place may have become free.
    pub(crate) fn next_rung(&self, partition: u16) -> Option<(AccountId, WebhookId)> {
        let mut known = self.known();
        let (account, webhook) = known.rung[usize::from(partition)].pop_front()?;
        known.by_webhook.get_mut(&webhook).expect("remembered while it is rung").rung = false;
        Some((account, webhook))
    }

    /// The worker's thread works for this part of the time.
    pub(crate) fn note_busy(&self, percent: u8) {
        self.busy_percent.store(self.busy().after(percent).percent, Relaxed);
    }

    pub(crate) fn busy(&self) -> Busy {
        Busy { percent: self.busy_percent.load(Relaxed) }
    }

    /// Looks at all endpoints: how many are slow, how many fail, and those that were limited a moment ago.
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

/// Room for one more attempt at an endpoint whose host takes `by_host` more requests, and what limits it.
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

    /// Room for what is held of a webhook.
    fn room(&self, endpoints: &Endpoints, webhook: WebhookId, now: Duration) -> usize {
        let (crowd, unknown) = (self.crowd(endpoints, webhook, now), One::default());
        let one = self.by_webhook.get(&webhook).unwrap_or(&unknown);
        let room = room_at(&endpoints.rule, self.hosts.room(webhook), one, &crowd, now, false).0;
        room.saturating_sub(one.expected(now))
    }
}

impl Permit {
    /// The attempt has met this.
    pub(crate) fn end(mut self, outcome: &Outcome) {
        self.ended = true;
        self.leave(Some(outcome));
    }

    /// Gives its places back; without an outcome the attempt was none.
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
