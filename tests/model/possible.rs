//! The actions that can come next in a state, within bounds.

use crate::{
    actions::{Action, Receiver},
    bounds::Bounds,
    state::{Consumer, Due, Entry, GONE, Hand, Pending, Stage, State},
};

/// All actions that are possible within bounds and change the state. Actions on entries in hand come first, so that the
/// first one that [is progress](Action::is_progress) leads to an end.
pub(crate) fn possible(state: &State, bounds: &Bounds) -> Vec<Action> {
    let mut found = Vec::new();
    for (worker, hands) in (0..).zip(&state.workers) {
        for (hand, held) in (0..).zip(hands) {
            of_hand(worker, hand, held, state.put_off < bounds.put_off, &mut found);
        }
    }
    let is_nobodys = |entry: &Entry| entry.pending.is_some_and(|p| p.holder == Consumer::Nobody);
    let ended =
        |entry: &&Entry| entry.pending.is_some_and(|p| !p.idle) && !is_nobodys(entry) && !state.is_in_hand(entry);
    found.extend(state.queue.iter().filter(ended).map(|entry| Action::LeaseEnds { entry: entry.id }));
    let is_unread = state.queue.iter().any(|entry| entry.pending.is_none());
    for (worker, hands) in (0..).zip(&state.workers) {
        let room = u8::try_from(usize::from(bounds.hands).saturating_sub(hands.len())).unwrap();
        if room > 0 {
            let suspects = u8::from(!hands.iter().any(|hand| hand.deliveries > 2));
            if state.queue.iter().any(|entry| entry.pending.is_some_and(|pending| pending.idle)) {
                found.push(Action::Claim { worker, room, suspects, answered: true });
            }
            if is_unread {
                found.push(Action::Read { worker, answered: true });
            }
        }
        let untold = |entry: &Entry| {
            let new = |p: Pending| p.holder == Consumer::Worker(worker) && p.deliveries == 1;
            entry.pending.is_some_and(new) && !state.is_in_hand(entry)
        };
        if room > 0 && state.queue.iter().any(untold) {
            found.push(Action::TakeBack { worker });
        }
    }
    if state.queue.iter().any(is_nobodys) {
        found.push(Action::Audit);
    }
    if !state.retries.is_empty() {
        found.push(Action::Promote);
    }
    found.extend(
        (0..)
            .zip(state.retries.values())
            .filter(|(_, due)| **due == Due::Later)
            .map(|(nth, _)| Action::RetryDue { nth }),
    );
    for (webhook, of) in (0..).zip(&state.webhooks) {
        match of.release {
            Some(Due::Now) => found.push(Action::Release { webhook }),
            Some(Due::Later) => found.push(Action::ReleaseDue { webhook }),
            None => {}
        }
        if of.visit {
            found.push(Action::Visit { webhook });
        }
    }
    people(state, bounds, &mut found);
    if state.accepted < bounds.events {
        found.push(Action::Accept);
    }
    for (worker, hands) in (0..).zip(&state.workers) {
        if hands.iter().any(|hand| !hand.lost && !state.is_fresh(worker, hand)) {
            found.push(Action::Renew { worker });
        }
        if bounds.leaving && !hands.is_empty() && hands.iter().all(|hand| hand.stage == Stage::Taken) {
            found.push(Action::Leave { worker });
        }
    }
    faults(state, bounds, &mut found);
    found
}

fn of_hand(worker: u8, hand: u8, held: &Hand, may_be_put_off: bool, found: &mut Vec<Action>) {
    match held.stage {
        Stage::Taken => found.push(Action::LookUp { worker, hand }),
        Stage::Attempt(_) if held.lost => found.push(Action::GiveUp { worker, hand }),
        Stage::Attempt(_) => {
            let answers = [Receiver::Unavailable, Receiver::Accepts, Receiver::Refuses];
            found.extend(answers.map(|answer| Action::Request { worker, hand, answer }));
            if may_be_put_off {
                found.push(Action::PutOff { worker, hand });
            }
        }
        Stage::Ready(_) => found.push(Action::Take { worker, hand }),
    }
}

fn people(state: &State, bounds: &Bounds, found: &mut Vec<Action>) {
    for (webhook, of) in (0..).zip(&state.webhooks).filter(|(_, of)| !of.deleted) {
        if !of.active {
            found.push(Action::Switch { webhook, on: true });
        } else if state.switched_off < bounds.switched_off {
            found.push(Action::Switch { webhook, on: false });
        }
        if state.deletions < bounds.deletions {
            found.push(Action::Delete { webhook });
        }
        if state.redeliveries < bounds.redeliveries && !of.failed.is_empty() {
            found.push(Action::Redeliver { webhook });
        }
    }
}

fn faults(state: &State, bounds: &Bounds, found: &mut Vec<Action>) {
    if state.wire.is_some() {
        found.push(Action::Arrive);
    }
    let (so_far, most) = (state.happened, bounds.faults);
    if so_far.sum() >= bounds.faults_in_all {
        return;
    }
    for (worker, hands) in (0..).zip(&state.workers) {
        let holds = |entry: &Entry| entry.pending.is_some_and(|p| p.holder == Consumer::Worker(worker));
        if so_far.losses < most.losses {
            let lost = (0..).zip(hands).filter(|(_, hand)| matches!(hand.stage, Stage::Ready(_)) && hand.entry != GONE);
            found.extend(lost.filter(|_| state.wire.is_none()).map(|(hand, _)| Action::Lose { worker, hand }));
            if state.queue.iter().any(|entry| entry.pending.is_none()) && hands.len() < usize::from(bounds.hands) {
                found.push(Action::Read { worker, answered: false });
            }
        }
        if so_far.crashes < most.crashes && !hands.is_empty() {
            found.push(Action::Crash { worker });
        }
        if so_far.stalls < most.stalls && state.queue.iter().any(holds) {
            found.push(Action::Stall { worker });
        }
        if so_far.consumers < most.consumers && state.queue.iter().any(holds) {
            found.push(Action::LoseConsumer { worker });
        }
    }
    if so_far.groups < most.groups && state.queue.iter().any(|entry| entry.pending.is_some()) {
        found.push(Action::LoseGroup);
    }
}
