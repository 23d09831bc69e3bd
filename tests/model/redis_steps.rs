//! Each script of `src/store/lua` as a pure function on the abstract state, with the same conditions and the same
//! effect.
//!
//! The model omits limits on bytes and age, the limits of `failed` and `rejected`, and equal events with one id,
//! because nothing here depends on them. The tests of `tests/it/steps` cover those.

use crate::{
    protocol::Protocol,
    state::{Command, Consumer, Delivery, Due, Event, Logged, Next, Pending, Reason, State, Step, Work},
};

/// The most deliveries held for a webhook. A setting, 10,000 by default; small here, so that it is reached.
pub(crate) const HELD_LIMIT: usize = 1;

/// The answer of a leased step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Answer {
    Done,
    Lost,
    Gone,
    Active,
    Full,
}

/// The entries that a worker is given: entry, delivery count, work.
pub(crate) type Given = Vec<(u8, u8, Work)>;

impl Protocol {
    /// The fence.
    fn holds(self, state: &mut State, consumer: Consumer, entry: u8, deliveries: u8) -> bool {
        let pending = state.entry(entry).and_then(|entry| entry.pending);
        let holder = pending.is_some_and(|pending| pending.holder == consumer);
        let right = holder && pending.is_some_and(|pending| pending.deliveries == deliveries);
        let passes = if self.counted { right } else { holder } || !self.fenced;
        state.trespassed |= passes && !right;
        passes
    }

    /// A leased step.
    pub(crate) fn take(self, state: &mut State, command: Command) -> Answer {
        let Command { consumer, entry, deliveries, step } = command;
        if !self.holds(state, consumer, entry, deliveries) {
            return Answer::Lost;
        }
        match step {
            Step::FanOut { webhooks, more } => self.fan_out(state, entry, webhooks, more),
            Step::Hold(delivery, reason) => self.hold(state, entry, delivery, reason),
            Step::Settle(delivery, next) => self.settle(state, entry, delivery, next),
            Step::Reject => reject(state, entry),
        }
    }

    fn hold(self, state: &mut State, entry: u8, delivery: Delivery, reason: Reason) -> Answer {
        if self.is_gone(state, entry, delivery) {
            return Answer::Gone;
        }
        let is_there = state.entry(entry).is_some();
        let webhook = &mut state.webhooks[usize::from(delivery.webhook)];
        match reason {
            Reason::Off if webhook.active => return Answer::Active,
            Reason::New if webhook.active && webhook.held.len() >= HELD_LIMIT => return Answer::Full,
            Reason::Again if is_there => drop(state.retries.entry(delivery).or_insert(Due::Later)),
            Reason::Again => {}
            Reason::Off | Reason::New | Reason::Known => {
                if self.held_is_planned {
                    webhook.visit |= webhook.held.is_empty();
                    if reason != Reason::Off {
                        webhook.release = webhook.release.or(Some(Due::Later));
                    }
                }
                webhook.held.extend(is_there.then_some(delivery));
                let over = webhook.held.len().saturating_sub(if webhook.active { usize::MAX } else { HELD_LIMIT });
                for oldest in webhook.held.drain(..over).collect::<Vec<_>>() {
                    state.book(oldest).dropped += 1;
                    state.counts.held_overflow += 1;
                }
            }
        }
        if is_there {
            state.book(delivery);
        }
        state.done(entry);
        Answer::Done
    }

    fn settle(self, state: &mut State, entry: u8, delivery: Delivery, next: Next) -> Answer {
        if self.is_gone(state, entry, delivery) {
            return Answer::Gone;
        }
        let is_there = state.entry(entry).is_some();
        let book = state.book(delivery);
        book.delivered += u8::from(next == Next::Delivered);
        let webhook = &mut state.webhooks[usize::from(delivery.webhook)];
        webhook.visit = true;
        *webhook.log.entry(Logged { delivery, last: next != Next::Retry }).or_default() += 1;
        match next {
            _ if !is_there => {}
            Next::Delivered => {}
            Next::Failed => webhook.failed.push(delivery),
            Next::Retry => {
                let following = Delivery { attempt: delivery.attempt + 1, ..delivery };
                state.retries.entry(following).or_insert(Due::Later);
            }
        }
        state.done(entry);
        Answer::Done
    }

    fn fan_out(self, state: &mut State, entry: u8, webhooks: u8, more: bool) -> Answer {
        let Some(Work::Event(Event { number, after })) = state.entry(entry).map(|entry| entry.work) else {
            return Answer::Done;
        };
        let mut last = after;
        for webhook in (0..8).filter(|webhook| webhooks & 1 << webhook != 0) {
            let delivery = Delivery { event: number, webhook, redelivery: 0, attempt: 1 };
            state.book(delivery);
            state.push(Work::Delivery(delivery));
            last = Some(webhook);
        }
        if more {
            state.begun.insert(number);
            if self.fan_out_goes_on {
                state.push(Work::Event(Event { number, after: last }));
            }
        } else {
            state.begun.remove(&number);
            if last.is_none() {
                state.unmatched.push(number);
                state.counts.events_without_webhook += 1;
            }
        }
        state.done(entry);
        Answer::Done
    }

    /// Drops and counts a delivery whose webhook is deleted.
    fn is_gone(self, state: &mut State, entry: u8, delivery: Delivery) -> bool {
        let gone = self.webhook_must_exist && state.webhooks[usize::from(delivery.webhook)].deleted;
        if gone {
            state.book(delivery).dropped += 1;
            state.counts.deliveries_of_deleted_webhook += 1;
            state.done(entry);
        }
        gone
    }

    /// `audit.lua`: an entry without a holder counts as long idle, and as never delivered.
    pub(crate) fn audit(self, state: &mut State) {
        let pending = state.queue.iter_mut().filter_map(|entry| entry.pending.as_mut());
        for pending in pending.filter(|pending| self.audits && pending.holder == Consumer::Nobody) {
            *pending = Pending { holder: Consumer::Dead, deliveries: 0, idle: true };
        }
    }

    /// Every retry that is due, in order.
    pub(crate) fn promote(self, state: &mut State) {
        for (delivery, due) in state.retries.clone() {
            if due == Due::Now || !self.promote_waits {
                state.push(Work::Delivery(delivery));
                if due == Due::Later {
                    state.early.insert(delivery);
                }
                if self.promote_removes {
                    state.retries.remove(&delivery);
                }
            }
        }
    }
}

fn reject(state: &mut State, entry: u8) -> Answer {
    let Some(Work::Event(event)) = state.entry(entry).map(|entry| entry.work) else { return Answer::Done };
    state.rejected.push(event);
    state.done(entry);
    Answer::Done
}

/// `XREADGROUP … >` of one entry: the oldest that no consumer has taken. Taken entries come before all others.
pub(crate) fn read(state: &mut State, consumer: Consumer) -> Given {
    let Some(entry) = state.queue.iter_mut().find(|entry| entry.pending.is_none()) else { return Vec::new() };
    entry.pending = Some(Pending { holder: consumer, deliveries: 1, idle: false });
    vec![(entry.id, 1, entry.work)]
}

/// `take_back.lua`, of all entries.
pub(crate) fn take_back(state: &mut State, consumer: Consumer) -> Given {
    let mut given = Vec::new();
    for entry in &mut state.queue {
        let Some(pending) = &mut entry.pending else { continue };
        if pending.holder == consumer && pending.deliveries == 1 {
            pending.idle = false;
            given.push((entry.id, 1, entry.work));
        }
    }
    given
}

/// `claim.lua`, with room for `room` entries and `suspects` suspects.
pub(crate) fn claim(state: &mut State, consumer: Consumer, room: usize, mut suspects: usize) -> Given {
    let mut given = Vec::new();
    for suspect in [true, false] {
        for entry in &mut state.queue {
            let is_such = |pending: &Pending| pending.idle && (pending.deliveries > 1) == suspect;
            let Some(pending) = entry.pending.filter(is_such) else { continue };
            if given.len() >= room || suspect && suspects == 0 {
                continue;
            }
            suspects -= usize::from(suspect);
            let deliveries = pending.deliveries + 1;
            entry.pending = Some(Pending { holder: consumer, deliveries, idle: false });
            given.push((entry.id, deliveries, entry.work));
        }
    }
    given
}

/// `renew.lua`; answers the entries that another consumer holds.
pub(crate) fn renew(protocol: Protocol, state: &mut State, consumer: Consumer, leases: &[(u8, u8)]) -> Vec<u8> {
    let mut lost = Vec::new();
    for &(entry, deliveries) in leases {
        if protocol.holds(state, consumer, entry, deliveries) {
            if let Some(pending) = state.entry(entry).and_then(|entry| entry.pending.as_mut()) {
                (pending.holder, pending.idle) = (consumer, false);
            }
        } else {
            lost.push(entry);
        }
    }
    lost
}

/// `leave.lua`: unstarted entries are added again as new ones.
pub(crate) fn leave(protocol: Protocol, state: &mut State, consumer: Consumer, unstarted: &[(u8, u8)]) {
    for &(entry, deliveries) in unstarted {
        if protocol.holds(state, consumer, entry, deliveries) {
            if let Some(work) = state.entry(entry).map(|entry| entry.work) {
                state.push(work);
            }
            state.done(entry);
        }
    }
}

/// `release.lua`: does nothing before the release is due.
pub(crate) fn release(state: &mut State, number: u8) {
    let webhook = &mut state.webhooks[usize::from(number)];
    if webhook.release != Some(Due::Now) {
        return;
    }
    webhook.release = None;
    let back = if webhook.active { std::mem::take(&mut webhook.held) } else { Vec::new() };
    for delivery in back {
        state.push(Work::Delivery(delivery));
    }
}

/// `visit.lua`, when the visit is due.
pub(crate) fn visit(state: &mut State, number: u8) {
    let webhook = &mut state.webhooks[usize::from(number)];
    if webhook.visit && webhook.active && !webhook.held.is_empty() {
        webhook.release = Some(Due::Now);
    }
    webhook.visit &= !(webhook.held.is_empty() && webhook.failed.is_empty() && webhook.log.is_empty());
}

/// `put_webhook.lua` with an edit that switches.
pub(crate) fn switch(state: &mut State, number: u8, on: bool) {
    let webhook = &mut state.webhooks[usize::from(number)];
    webhook.active = on;
    if on && !webhook.held.is_empty() {
        webhook.release = Some(Due::Now);
    }
}

/// `delete_webhook.lua`.
pub(crate) fn delete(state: &mut State, number: u8) {
    let webhook = &mut state.webhooks[usize::from(number)];
    let (held, failed) = (std::mem::take(&mut webhook.held), std::mem::take(&mut webhook.failed));
    webhook.log.clear();
    (webhook.deleted, webhook.active, webhook.visit, webhook.release) = (true, false, false, None);
    state.counts.deliveries_of_deleted_webhook += u8::try_from(held.len()).unwrap();
    state.counts.failed_of_deleted_webhook += u8::try_from(failed.len()).unwrap();
    for delivery in held.into_iter().chain(failed) {
        state.book(delivery).dropped += 1;
    }
}

/// `redeliver.lua`, for all failed deliveries.
pub(crate) fn redeliver(state: &mut State, number: u8) {
    for failed in std::mem::take(&mut state.webhooks[usize::from(number)].failed) {
        state.push(Work::Delivery(Delivery { attempt: 1, redelivery: failed.redelivery + 1, ..failed }));
    }
}
