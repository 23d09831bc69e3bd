//! A worker's side: its table of entries that it believes it holds (`worker/parts/leases.rs`) and the path of one entry
//! (`worker/deliver.rs`).

use std::time::Duration;

use lynkhook::domain::{outcome::Outcome, retry};

use crate::{
    actions::{self, Receiver},
    protocol::Protocol,
    redis_steps::{self, Answer, Given},
    state::{Consumer, Delivery, Entry, Event, Hand, Next, Pending, Reason, Stage, State, Step, Work},
};

/// An entry that was lost more often than this is set aside. A setting, 5 by default; small here, so that it is
/// reached.
pub(crate) const MAX_LOSSES: u8 = 2;

/// The most deliveries that one fan-out step makes. In the program it is 50, or fewer for large events; small here, so
/// that a fan-out takes several steps.
pub(crate) const FAN_OUT_MAX: usize = 1;

/// Records entries that arrived. Entries already in hand continue with their newest token.
pub(crate) fn begin(state: &mut State, worker: u8, given: Given) {
    let hands = &mut state.workers[usize::from(worker)];
    for (entry, deliveries, work) in given {
        if let Some(known) = hands.iter_mut().find(|hand| hand.entry == entry) {
            (known.deliveries, known.lost) = (deliveries, false);
        } else {
            let buried = deliveries > MAX_LOSSES;
            hands.push(Hand { entry, work, deliveries, buried, lost: false, stage: Stage::Taken });
        }
    }
}

/// Looks up the current webhooks, and plans.
pub(crate) fn look_up(state: &mut State, worker: u8, hand: u8) {
    let Hand { buried, work, .. } = state.workers[usize::from(worker)][usize::from(hand)];
    let planned = match work {
        _ if !buried => plan(state, work),
        Work::Event(_) => Stage::Ready(Step::Reject),
        Work::Delivery(delivery) => Stage::Ready(Step::Settle(delivery, Next::Failed)),
    };
    state.workers[usize::from(worker)][usize::from(hand)].stage = planned;
}

/// Like `Work::plan`, if every webhook wants every event.
fn plan(state: &State, work: Work) -> Stage {
    let delivery = match work {
        Work::Delivery(delivery) => delivery,
        Work::Event(Event { number, after }) => {
            let there = (0u8..).zip(&state.webhooks).filter(|(_, webhook)| !webhook.deleted);
            let left: Vec<u8> = there
                .map(|(webhook, _)| webhook)
                .filter(|webhook| after.is_none_or(|after| *webhook > after))
                .collect();
            match left[..] {
                [webhook] if after.is_none() => Delivery { event: number, webhook, redelivery: 0, attempt: 1 },
                _ => {
                    let webhooks = left.iter().take(FAN_OUT_MAX).map(|webhook| 1 << webhook).sum();
                    return Stage::Ready(Step::FanOut { webhooks, more: left.len() > FAN_OUT_MAX });
                }
            }
        }
    };
    let webhook = &state.webhooks[usize::from(delivery.webhook)];
    if webhook.active { Stage::Attempt(delivery) } else { Stage::Ready(Step::Hold(delivery, Reason::Off)) }
}

/// Finds that the endpoint has no room.
pub(crate) fn put_off(state: &mut State, worker: u8, hand: u8) {
    let hand = &mut state.workers[usize::from(worker)][usize::from(hand)];
    let Stage::Attempt(delivery) = hand.stage else { panic!("no attempt is planned") };
    let reason = match delivery {
        Delivery { attempt: 2.., .. } => Reason::Again,
        Delivery { redelivery: 1.., .. } => Reason::Known,
        _ => Reason::New,
    };
    hand.stage = Stage::Ready(Step::Hold(delivery, reason));
    state.put_off += 1;
}

/// Makes the request; the policy of `domain/retry.rs` decides the next step.
pub(crate) fn request(state: &mut State, worker: u8, hand: u8, answer: Receiver) {
    let hand = &mut state.workers[usize::from(worker)][usize::from(hand)];
    let Stage::Attempt(delivery) = hand.stage else { panic!("no attempt is planned") };
    hand.stage = Stage::Ready(Step::Settle(delivery, decide(answer, delivery.attempt)));
    *state.requests.entry(delivery).or_default() += 1;
}

fn decide(answer: Receiver, attempt: u8) -> Next {
    let status = match answer {
        Receiver::Accepts => 200,
        Receiver::Unavailable => 503,
        Receiver::Refuses => 404,
    };
    let schedule = retry::Schedule::new(vec![Duration::from_secs(2), Duration::from_secs(4)]);
    match schedule.decide(&Outcome::Response { status }, attempt, 0.0) {
        retry::Next::Delivered => Next::Delivered,
        retry::Next::Retry { .. } => Next::Retry,
        retry::Next::Failed => Next::Failed,
    }
}

/// Acts on the answer to a leased step.
pub(crate) fn hear(state: &mut State, worker: u8, hand: u8, answer: Answer) {
    let hands = &mut state.workers[usize::from(worker)];
    match answer {
        Answer::Active => hands[usize::from(hand)].stage = Stage::Taken,
        Answer::Full => {
            let full = &mut hands[usize::from(hand)];
            let Stage::Ready(Step::Hold(delivery, _)) = full.stage else { panic!("only holding finds no room") };
            // Without a request.
            full.stage = Stage::Ready(Step::Settle(delivery, Next::Failed));
        }
        Answer::Done | Answer::Lost | Answer::Gone => drop(hands.remove(hand.into())),
    }
}

/// Renews the entries that the worker believes it holds, and marks those that another worker holds.
pub(crate) fn renew(protocol: Protocol, state: &mut State, worker: u8) {
    let leases = actions::leases(state, worker);
    let lost = redis_steps::renew(protocol, state, Consumer::Worker(worker), &leases);
    for hand in &mut state.workers[usize::from(worker)] {
        hand.lost |= lost.contains(&hand.entry);
    }
}

/// A worker's process ends. Its successor has nothing in hand, and another name.
pub(crate) fn end(state: &mut State, worker: u8) {
    let name = Consumer::Worker(worker);
    let departs = state.wire.is_some_and(|command| command.consumer == name);
    let anew = if departs { Consumer::Departed } else { Consumer::Dead };
    let pending = state.queue.iter_mut().filter_map(|entry| entry.pending.as_mut());
    pending.filter(|pending| pending.holder == name).for_each(|pending| pending.holder = anew);
    state.wire.iter_mut().filter(|_| departs).for_each(|command| command.consumer = anew);
    state.workers[usize::from(worker)].clear();
}

impl State {
    /// Whether a renewal would change nothing.
    pub(crate) fn is_fresh(&self, worker: u8, hand: &Hand) -> bool {
        let pending = Pending { holder: Consumer::Worker(worker), deliveries: hand.deliveries, idle: false };
        self.queue.iter().any(|entry| entry.id == hand.entry && entry.pending == Some(pending))
    }

    /// Whether its holder knows that it holds the entry, and so renews it.
    pub(crate) fn is_in_hand(&self, entry: &Entry) -> bool {
        let Some(pending) = entry.pending else { return false };
        let Consumer::Worker(worker) = pending.holder else { return false };
        let mut hands = self.workers[usize::from(worker)].iter();
        hands.any(|hand| hand.entry == entry.id && hand.deliveries == pending.deliveries && !hand.lost)
    }
}
