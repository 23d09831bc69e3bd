//! All actions: of workers, of people, of time, and faults.

use crate::{
    protocol::Protocol,
    redis_steps::{self, Given},
    state::{Command, Consumer, Due, Entry, Event, Hand, Pending, Stage, State, Work},
    worker,
};

/// One action. `hand` is an index in a worker's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A producer's event is accepted.
    Accept,

    /// A worker reads one entry. If the answer is lost, Redis has given it the entry and it does not know.
    Read {
        worker: u8,
        answered: bool,
    },
    /// A worker reconnects, and takes back entries that it read without getting the answer.
    TakeBack {
        worker: u8,
    },
    /// A worker claims idle entries.
    Claim {
        worker: u8,
        room: u8,
        suspects: u8,
        answered: bool,
    },
    /// A worker looks up the account's webhooks and plans.
    LookUp {
        worker: u8,
        hand: u8,
    },
    /// A worker makes the request; the next step is decided.
    Request {
        worker: u8,
        hand: u8,
        answer: Receiver,
    },
    /// A worker finds that the endpoint has no room.
    PutOff {
        worker: u8,
        hand: u8,
    },
    /// A worker takes a leased step and gets the answer.
    Take {
        worker: u8,
        hand: u8,
    },
    /// A worker gives up an entry after a renewal said that another worker holds it.
    GiveUp {
        worker: u8,
        hand: u8,
    },
    Renew {
        worker: u8,
    },
    /// A worker stops, gives back its unstarted entries, and is succeeded by another.
    Leave {
        worker: u8,
    },
    Promote,
    /// A worker looks for entries without a holder.
    Audit,
    Release {
        webhook: u8,
    },
    Visit {
        webhook: u8,
    },

    Switch {
        webhook: u8,
        on: bool,
    },
    Delete {
        webhook: u8,
    },
    Redeliver {
        webhook: u8,
    },

    /// The lease of an entry ends that is in no worker's table.
    LeaseEnds {
        entry: u8,
    },
    /// The next retry becomes due.
    RetryDue {
        nth: u8,
    },
    ReleaseDue {
        webhook: u8,
    },

    /// A worker is killed, and succeeded by another.
    Crash {
        worker: u8,
    },
    /// A worker stalls until all its leases have ended, and then continues.
    Stall {
        worker: u8,
    },
    /// A leased step is sent, and its reply is lost.
    Lose {
        worker: u8,
        hand: u8,
    },
    /// The command on the wire takes effect.
    Arrive,
    /// The consumer group is destroyed and recreated.
    LoseGroup,
    /// A worker's consumer is deleted, so its entries have no holder.
    LoseConsumer {
        worker: u8,
    },
}

/// A receiver's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receiver {
    Accepts,
    /// A reason to retry.
    Unavailable,
    /// A final answer.
    Refuses,
}

impl Action {
    /// The worker of the action.
    pub(crate) fn worker_mut(&mut self) -> Option<&mut u8> {
        match self {
            Self::Read { worker, .. }
            | Self::TakeBack { worker }
            | Self::Claim { worker, .. }
            | Self::LookUp { worker, .. }
            | Self::Request { worker, .. }
            | Self::PutOff { worker, .. }
            | Self::Take { worker, .. }
            | Self::GiveUp { worker, .. }
            | Self::Renew { worker }
            | Self::Leave { worker }
            | Self::Crash { worker }
            | Self::Stall { worker }
            | Self::LoseConsumer { worker }
            | Self::Lose { worker, .. } => Some(worker),
            _ => None,
        }
    }

    /// Whether it must happen sooner or later if there are no more faults and every webhook that was switched off is
    /// switched on again.
    pub(crate) fn is_progress(self, state: &State) -> bool {
        match self {
            Self::Read { answered, .. } | Self::Claim { answered, .. } => answered,
            // The answer that leads to the longest history.
            Self::Request { answer, .. } => answer == Receiver::Unavailable,
            Self::LookUp { .. }
            | Self::Take { .. }
            | Self::GiveUp { .. }
            | Self::Promote
            | Self::Audit
            | Self::Release { .. }
            | Self::LeaseEnds { .. }
            | Self::RetryDue { .. } => true,
            Self::ReleaseDue { webhook } => !state.webhooks[usize::from(webhook)].held.is_empty(),
            Self::Switch { on, .. } => on,
            _ => false,
        }
    }
}

/// The state after an action.
pub(crate) fn after(protocol: Protocol, before: &State, action: Action) -> State {
    let mut state = before.clone();
    match action {
        Action::Accept => {
            state.push(Work::Event(Event { number: state.accepted, after: None }));
            state.accepted += 1;
        }
        Action::Read { worker, answered } => {
            let given = redis_steps::read(&mut state, Consumer::Worker(worker));
            given_to(&mut state, worker, given, answered);
        }
        Action::TakeBack { worker } => {
            let given = redis_steps::take_back(&mut state, Consumer::Worker(worker));
            given_to(&mut state, worker, given, true);
        }
        Action::Claim { worker, room, suspects, answered } => {
            let room = if protocol.claims { room } else { 0 };
            let given = redis_steps::claim(&mut state, Consumer::Worker(worker), room.into(), suspects.into());
            given_to(&mut state, worker, given, answered);
        }
        Action::LookUp { worker, hand } => worker::look_up(&mut state, worker, hand),
        Action::Request { worker, hand, answer } => worker::request(&mut state, worker, hand, answer),
        Action::PutOff { worker, hand } => worker::put_off(&mut state, worker, hand),
        Action::Take { worker, hand } => {
            let command = command(&state, worker, hand);
            let answer = protocol.take(&mut state, command);
            worker::hear(&mut state, worker, hand, answer);
        }
        Action::GiveUp { worker, hand } => drop(state.workers[usize::from(worker)].remove(hand.into())),
        Action::Renew { worker } => worker::renew(protocol, &mut state, worker),
        Action::Leave { worker } => {
            let unstarted = leases(&state, worker);
            redis_steps::leave(protocol, &mut state, Consumer::Worker(worker), &unstarted);
            worker::end(&mut state, worker);
        }
        Action::Promote => protocol.promote(&mut state),
        Action::Audit => protocol.audit(&mut state),
        Action::Release { webhook } => redis_steps::release(&mut state, webhook),
        Action::Visit { webhook } => redis_steps::visit(&mut state, webhook),
        Action::Switch { .. } | Action::Delete { .. } | Action::Redeliver { .. } => decided(&mut state, action),
        Action::LeaseEnds { .. } | Action::RetryDue { .. } | Action::ReleaseDue { .. } => passed(&mut state, action),
        _ => failed(protocol, &mut state, action),
    }
    state.forget_departed();
    state
}

/// An action of people.
fn decided(state: &mut State, action: Action) {
    match action {
        Action::Switch { webhook, on } => {
            redis_steps::switch(state, webhook, on);
            state.switched_off += u8::from(!on);
        }
        Action::Delete { webhook } => {
            redis_steps::delete(state, webhook);
            state.deletions += 1;
        }
        Action::Redeliver { webhook } => {
            redis_steps::redeliver(state, webhook);
            state.redeliveries += 1;
        }
        other => unreachable!("{other:?}"),
    }
}

/// An effect of time.
fn passed(state: &mut State, action: Action) {
    match action {
        Action::LeaseEnds { entry } => ends(state, |found| found.id == entry),
        Action::RetryDue { nth } => *state.retries.values_mut().nth(nth.into()).expect("there is one") = Due::Now,
        Action::ReleaseDue { webhook } => state.webhooks[usize::from(webhook)].release = Some(Due::Now),
        other => unreachable!("{other:?}"),
    }
}

/// A fault.
fn failed(protocol: Protocol, state: &mut State, action: Action) {
    match action {
        Action::Crash { worker } => {
            worker::end(state, worker);
            state.happened.crashes += 1;
        }
        Action::Stall { worker } => {
            let holder = Consumer::Worker(worker);
            ends(state, |found| found.pending.is_some_and(|pending| pending.holder == holder));
            state.happened.stalls += 1;
        }
        Action::Lose { worker, hand } => {
            state.wire = Some(command(state, worker, hand));
            state.happened.losses += 1;
        }
        Action::Arrive => {
            let command = state.wire.take().expect("a command is on its way");
            protocol.take(state, command);
        }
        Action::LoseGroup => {
            state.queue.iter_mut().for_each(|entry| entry.pending = None);
            state.happened.groups += 1;
        }
        Action::LoseConsumer { worker } => {
            let pending = state.queue.iter_mut().filter_map(|entry| entry.pending.as_mut());
            for pending in pending.filter(|pending| pending.holder == Consumer::Worker(worker)) {
                *pending = Pending { holder: Consumer::Nobody, deliveries: 0, idle: false };
            }
            state.happened.consumers += 1;
        }
        other => unreachable!("{other:?}"),
    }
}

/// The leased step that a worker takes next.
pub(crate) fn command(state: &State, worker: u8, hand: u8) -> Command {
    let Hand { entry, deliveries, stage, .. } = state.workers[usize::from(worker)][usize::from(hand)];
    let Stage::Ready(step) = stage else { panic!("no step is ready") };
    Command { consumer: Consumer::Worker(worker), entry, deliveries, step }
}

/// The leases that a worker believes it has: entry, delivery count.
pub(crate) fn leases(state: &State, worker: u8) -> Vec<(u8, u8)> {
    let hands = state.workers[usize::from(worker)].iter().filter(|hand| !hand.lost);
    hands.map(|hand| (hand.entry, hand.deliveries)).collect()
}

fn given_to(state: &mut State, worker: u8, given: Given, answered: bool) {
    if answered {
        worker::begin(state, worker, given);
    } else {
        state.happened.losses += 1;
    }
}

fn ends(state: &mut State, whose: impl Fn(&Entry) -> bool) {
    for entry in state.queue.iter_mut().filter(|entry| whose(entry)) {
        if let Some(pending) = &mut entry.pending {
            pending.idle = true;
        }
    }
}
