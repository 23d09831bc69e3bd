//! The abstract state: the content of Redis, the beliefs of each worker, the command on its way between them, and the
//! books.
//!
//! Small numbers stand for names: of an event, a webhook, a worker, a queue entry. Everything is ordered, so that equal
//! situations are equal values.

use std::collections::{BTreeMap, BTreeSet};

/// An entry that is no longer in the queue. Every step on such an entry does nothing, so all of them are equal.
pub(crate) const GONE: u8 = u8::MAX;

/// One event for one webhook, before an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Delivery {
    pub(crate) event: u8,
    pub(crate) webhook: u8,
    /// The number of redeliveries by hand.
    pub(crate) redelivery: u8,
    pub(crate) attempt: u8,
}

/// An event, and how far its fan-out has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Event {
    pub(crate) number: u8,
    /// The webhooks up to this one have their deliveries.
    pub(crate) after: Option<u8>,
}

/// The content of a queue entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Work {
    Event(Event),
    Delivery(Delivery),
}

/// A name in the consumer group. A process that ends never comes back under its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Consumer {
    Worker(u8),
    /// The process ended, and a command from it is still on its way.
    Departed,
    /// The process ended, and no command from it will arrive.
    Dead,
    /// The consumer that had the entry was deleted.
    Nobody,
}

/// Redis's record of an entry's holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Pending {
    pub(crate) holder: Consumer,
    pub(crate) deliveries: u8,
    /// Idle for longer than a lease.
    pub(crate) idle: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) id: u8,
    pub(crate) work: Work,
    /// `None`: no consumer has taken it yet.
    pub(crate) pending: Option<Pending>,
}

/// The content of Redis for one webhook.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Webhook {
    pub(crate) deleted: bool,
    pub(crate) active: bool,
    /// Oldest first.
    pub(crate) held: Vec<Delivery>,
    /// Oldest first.
    pub(crate) failed: Vec<Delivery>,
    /// The number of log entries of each attempt.
    pub(crate) log: BTreeMap<Logged, u8>,
    /// Its place in `releases`, and whether the release is due.
    pub(crate) release: Option<Due>,
    /// Whether it has a place in `visits`. The visit's due time makes no difference.
    pub(crate) visit: bool,
}

/// Whether an item that waits for a time may proceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Due {
    Now,
    Later,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Logged {
    pub(crate) delivery: Delivery,
    /// No attempt follows it.
    pub(crate) last: bool,
}

/// `counts`: the dropped deliveries, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(clippy::struct_field_names, reason = "they are the names in Redis")]
pub(crate) struct Counts {
    pub(crate) deliveries_of_deleted_webhook: u8,
    pub(crate) failed_of_deleted_webhook: u8,
    pub(crate) events_without_webhook: u8,
    pub(crate) held_overflow: u8,
}

/// The decision after an attempt, as `settle` takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Next {
    Delivered,
    Retry,
    Failed,
}

/// The reason why a delivery waits beside the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Reason {
    Off,
    /// Its endpoint has no room, and the delivery counts against the limit of held deliveries.
    New,
    /// Its endpoint has no room, and the delivery always fits.
    Known,
    /// Its endpoint has no room, and the delivery is a due retry: it goes back to the retries.
    Again,
}

/// A leased step that a worker wants to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Step {
    /// One delivery for each webhook whose bit is set. `more`: others follow after them.
    FanOut {
        webhooks: u8,
        more: bool,
    },
    Hold(Delivery, Reason),
    Settle(Delivery, Next),
    Reject,
}

/// A leased step with its fence, as it travels to Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Command {
    pub(crate) consumer: Consumer,
    pub(crate) entry: u8,
    pub(crate) deliveries: u8,
    pub(crate) step: Step,
}

/// How far a worker has come with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Stage {
    Taken,
    /// Its webhook was on at the lookup; the request comes next.
    Attempt(Delivery),
    /// The step is repeated until Redis answers.
    Ready(Step),
}

/// An entry in the table of entries that a worker believes it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Hand {
    pub(crate) entry: u8,
    pub(crate) work: Work,
    pub(crate) deliveries: u8,
    /// It was lost too often, so it is set aside instead of attempted.
    pub(crate) buried: bool,
    /// A renewal said that another worker holds it.
    pub(crate) lost: bool,
    pub(crate) stage: Stage,
}

/// The fate of one event for one webhook: the books, which no program keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Ended {
    pub(crate) delivered: u8,
    pub(crate) dropped: u8,
}

/// Numbers of faults that happened, or that may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Faults {
    /// Of workers; another comes at once, under a new name.
    pub(crate) crashes: u8,
    /// A worker stalls until its leases have ended, and then continues.
    pub(crate) stalls: u8,
    /// A command arrives late, or its reply never does.
    pub(crate) losses: u8,
    /// The consumer group is destroyed and recreated.
    pub(crate) groups: u8,
    /// A worker's consumer is deleted.
    pub(crate) consumers: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct State {
    /// Oldest first.
    pub(crate) queue: Vec<Entry>,
    pub(crate) retries: BTreeMap<Delivery, Due>,
    pub(crate) rejected: Vec<Event>,
    pub(crate) counts: Counts,
    pub(crate) webhooks: Vec<Webhook>,

    /// Each worker's table.
    pub(crate) workers: Vec<Vec<Hand>>,
    /// A command whose reply is lost. It takes effect when it arrives, if ever.
    pub(crate) wire: Option<Command>,

    /// The number of accepted events.
    pub(crate) accepted: u8,
    /// Events that no webhook wanted.
    pub(crate) unmatched: Vec<u8>,
    /// Events whose fan-out has begun and not ended.
    pub(crate) begun: BTreeSet<u8>,
    /// By event and webhook, from the moment when it is decided that the webhook gets the event.
    pub(crate) books: BTreeMap<(u8, u8), Ended>,
    /// Requests made.
    pub(crate) requests: BTreeMap<Delivery, u8>,
    /// Retries that went to the queue before they were due.
    pub(crate) early: BTreeSet<Delivery>,
    /// A step passed the fence although its sender did not hold the entry with that count.
    pub(crate) trespassed: bool,

    pub(crate) happened: Faults,
    pub(crate) put_off: u8,
    pub(crate) switched_off: u8,
    pub(crate) deletions: u8,
    pub(crate) redeliveries: u8,
    pub(crate) next_id: u8,
}

impl State {
    /// Nothing has happened yet; all webhooks are on and want every event.
    pub(crate) fn new(workers: usize, webhooks: usize) -> Self {
        Self {
            workers: vec![Vec::new(); workers],
            webhooks: vec![Webhook { active: true, ..Webhook::default() }; webhooks],
            ..Self::default()
        }
    }

    /// Appends to the queue.
    pub(crate) fn push(&mut self, work: Work) {
        self.queue.push(Entry { id: self.next_id, work, pending: None });
        self.next_id += 1;
    }

    pub(crate) fn entry(&mut self, id: u8) -> Option<&mut Entry> {
        self.queue.iter_mut().find(|entry| entry.id == id)
    }

    /// Removes an entry from the queue.
    pub(crate) fn done(&mut self, id: u8) {
        self.queue.retain(|entry| entry.id != id);
    }

    /// The line in the books for a delivery; added if there is none.
    pub(crate) fn book(&mut self, delivery: Delivery) -> &mut Ended {
        self.books.entry((delivery.event, delivery.webhook)).or_default()
    }

    /// A departed consumer is dead once its last command is no longer on its way.
    pub(crate) fn forget_departed(&mut self) {
        if self.wire.is_none_or(|command| command.consumer != Consumer::Departed) {
            let pending = self.queue.iter_mut().filter_map(|entry| entry.pending.as_mut());
            let departed = pending.filter(|pending| pending.holder == Consumer::Departed);
            departed.for_each(|pending| pending.holder = Consumer::Dead);
        }
    }

    /// The same situation under canonical names: entries are numbered from the oldest on, and of two workers the one
    /// with less in hand comes first. Also answers whether they changed places.
    pub(crate) fn canonical(mut self) -> (Self, bool) {
        let ids: Vec<u8> = self.queue.iter().map(|entry| entry.id).collect();
        let number = |id: u8| ids.iter().position(|known| *known == id).map_or(GONE, |at| u8::try_from(at).unwrap());
        for entry in &mut self.queue {
            entry.id = number(entry.id);
        }
        for hand in self.workers.iter_mut().flatten() {
            hand.entry = number(hand.entry);
        }
        if let Some(command) = &mut self.wire {
            command.entry = number(command.entry);
        }
        // A command on an entry that is not in the queue moves nothing, so it is dropped.
        self.wire = self.wire.filter(|command| command.entry != GONE);
        self.forget_departed();
        self.next_id = u8::try_from(self.queue.len()).unwrap();
        for hands in &mut self.workers {
            hands.sort_unstable();
        }
        let swapped = self.workers.len() == 2 && self.workers[0] > self.workers[1];
        if swapped {
            self.workers.swap(0, 1);
            let swap = |consumer: &mut Consumer| {
                if let Consumer::Worker(number) = consumer {
                    *number = 1 - *number;
                }
            };
            self.queue.iter_mut().filter_map(|entry| entry.pending.as_mut()).for_each(|p| swap(&mut p.holder));
            self.wire.iter_mut().for_each(|command| swap(&mut command.consumer));
        }
        (self, swapped)
    }
}
