//! The model's actions on a real Redis, taken through the store like a worker's.

mod step;

use std::{collections::HashMap, time::Duration};

use lynkhook::{
    config::Settings,
    domain::{
        account::AccountId,
        delivery,
        event::EventId,
        log_entry::{LOG_RETENTION, timestamp},
        webhook::{Webhook, WebhookId},
    },
    store::{EntryId, EntryRange, Fence, KnownClock, Put, Reader, Redelivered, Store, Untold, Visited},
};
use redis::{FromRedisValue, aio::MultiplexedConnection};
use serde_json::json;

use crate::{
    actions::{Action, command, leases},
    protocol::Protocol,
    redis_steps::{self, Given, HELD_LIMIT},
    state::{Consumer, Delivery, State, Work},
    support::RedisServer,
};

pub(super) const LEASE: Duration = Duration::from_secs(60);
const LONG_IDLE_MS: u64 = 3_600_000;
const TYPE: &str = "transcript.created";

/// An installation of its own, and the real names of the model's numbers.
pub(super) struct Bench {
    pub(super) store: Store,
    pub(super) redis: MultiplexedConnection,
    pub(super) account: AccountId,
    pub(super) webhooks: Vec<WebhookId>,
    /// By the model's number, from 0.
    pub(super) entries: Vec<EntryId>,
    /// The workers' present names.
    pub(super) names: Vec<String>,
    /// The name of an ended worker whose command is still on its way.
    pub(super) departed: Option<String>,
    readers: HashMap<String, Reader>,
    names_given: usize,
}

impl Bench {
    pub(super) async fn new(state: &State) -> Self {
        let server = RedisServer::shared();
        let variables = [
            ("LYNKHOOK_REDIS__URL", server.url()),
            ("LYNKHOOK_REDIS__PREFIX", server.unique_prefix()),
            ("LYNKHOOK_HELD__LIMIT", HELD_LIMIT.to_string()),
        ];
        let store = Store::open(&Settings::load(None, variables).unwrap()).await.unwrap();
        store.ensure_group(0).await.unwrap();
        let webhooks = (0..state.webhooks.len())
            .map(|number| format!("wh_019a1b2c-0000-7000-8000-00000000000{number}").parse().unwrap())
            .collect();
        let mut bench = Self {
            store,
            redis: server.connection().await,
            account: "acme".parse().unwrap(),
            webhooks,
            entries: Vec::new(),
            names: Vec::new(),
            departed: None,
            readers: HashMap::new(),
            names_given: 0,
        };
        for worker in 0..state.workers.len() {
            bench.names.push(String::new());
            bench.rename_worker(worker);
        }
        for webhook in bench.webhooks.clone() {
            let put = bench.store.put_webhook(&bench.account, &settings(webhook), None, 9).await.unwrap();
            assert_eq!(put, Put::Done);
        }
        bench.run::<()>("DEL", &bench.store.keys().releases(0), &[]).await;
        bench
    }

    /// A command on one key.
    pub(super) async fn run<T: FromRedisValue>(&self, command: &str, key: &str, arguments: &[&str]) -> T {
        let mut connection = self.redis.clone();
        let typed = redis::cmd(command).arg(key).arg(arguments).query_async(&mut connection).await;
        typed.unwrap_or_else(|error| panic!("{command} {key} {arguments:?}: {error}"))
    }

    /// Takes one action, and checks that its answer is the model's.
    pub(super) async fn take(&mut self, action: Action, before: &State, after: &State) {
        match action {
            Action::Accept => self.accept(before.accepted).await,
            Action::Read { worker, .. } => {
                let given = redis_steps::read(&mut before.clone(), Consumer::Worker(worker));
                let read = self.read(worker.into()).await;
                self.assert_given(&given, &read);
            }
            Action::TakeBack { worker } => {
                let given = redis_steps::take_back(&mut before.clone(), Consumer::Worker(worker));
                let name = &self.names[usize::from(worker)];
                let taken = self.store.take_back(0, name, Untold::Read(None), 50).await.unwrap();
                let taken: Vec<_> = taken.into_iter().map(|entry| (entry.id, entry.deliveries)).collect();
                self.assert_given(&given, &taken);
            }
            Action::Claim { worker, room, suspects, .. } => {
                let (room, suspects) = (room.into(), suspects.into());
                let given = redis_steps::claim(&mut before.clone(), Consumer::Worker(worker), room, suspects);
                let name = &self.names[usize::from(worker)];
                let claimed = self.store.claim(0, name, LEASE, (room, suspects)).await.unwrap();
                let claimed: Vec<_> = claimed.entries.into_iter().map(|entry| (entry.id, entry.deliveries)).collect();
                self.assert_given(&given, &claimed);
            }
            Action::LookUp { worker, hand } => {
                let hand = usize::from(hand);
                let (planned, judged) = (after, before.workers[usize::from(worker)][hand]);
                if !judged.buried {
                    self.assert_planned(judged.work, planned.workers[usize::from(worker)][hand].stage).await;
                }
            }
            Action::Take { worker, hand } => self.step(command(before, worker, hand), before).await,
            Action::Arrive => {
                self.step(before.wire.unwrap(), before).await;
                self.departed = None;
            }
            Action::Renew { worker } => self.renew(worker, before).await,
            Action::Leave { worker } => self.leave(worker, before).await,
            Action::Promote => {
                let moved = self.store.promote(0, &KnownClock::default()).await.unwrap().moved;
                assert_eq!(moved, after.queue.len() - before.queue.len());
            }
            Action::Audit => drop(self.store.audit(0, "auditor", LEASE, true).await.unwrap()),
            Action::Release { webhook } => {
                let webhook = self.webhooks[usize::from(webhook)];
                let room = (50, usize::MAX, Duration::from_millis(50));
                let moved = self.store.release(&self.account, webhook, room, false).await.unwrap().moved;
                assert_eq!(moved, after.queue.len() - before.queue.len());
            }
            Action::Visit { webhook } => {
                let oldest_log = timestamp(self.store.now(0).await.unwrap() - LOG_RETENTION);
                let planned = before.webhooks[usize::from(webhook)].visit;
                let webhook = self.webhooks[usize::from(webhook)];
                let member = format!("{}/{webhook}", self.account);
                self.run::<()>("ZADD", &self.store.keys().visits(0), &["XX", "0", &member]).await;
                let visited = self.store.visit(&self.account, webhook, &oldest_log).await.unwrap();
                assert_eq!(visited, if planned { Visited::Made } else { Visited::NotDue });
            }
            Action::Switch { webhook, on } => self.switch(self.webhooks[usize::from(webhook)], on).await,
            Action::Delete { webhook } => self.delete(webhook, before).await,
            Action::Redeliver { webhook } => self.redeliver(self.webhooks[usize::from(webhook)]).await,
            other => self.suffer(other, before).await,
        }
    }

    /// Causes a fault, lets time pass, or does nothing if Redis does not notice the action.
    async fn suffer(&mut self, action: Action, before: &State) {
        match action {
            Action::LeaseEnds { entry } => self.age(|_, id, _| id == entry, before).await,
            Action::Stall { worker } => self.age(|_, _, holder| holder == Consumer::Worker(worker), before).await,
            Action::RetryDue { nth } => {
                let due = *before.retries.keys().nth(nth.into()).unwrap();
                self.make_due(due).await;
            }
            Action::ReleaseDue { webhook } => {
                let member = format!("{}/{}", self.account, self.webhooks[usize::from(webhook)]);
                self.run::<()>("ZADD", &self.store.keys().releases(0), &["XX", "0", &member]).await;
            }
            Action::Crash { worker } => self.end(worker, before),
            Action::LoseGroup => self.lose_group().await,
            Action::LoseConsumer { worker } => {
                let consumer = &self.names[usize::from(worker)];
                self.run::<()>("XGROUP", "DELCONSUMER", &[&self.store.keys().queue(0), "workers", consumer]).await;
            }
            Action::Request { .. } | Action::PutOff { .. } | Action::GiveUp { .. } | Action::Lose { .. } => {}
            other => panic!("{other:?} is not a fault"),
        }
    }

    async fn accept(&self, event: u8) {
        let fields = ["*", "account", "acme", "envelope", &envelope(event), "id", &event_id(event).to_string()];
        self.run::<()>("XADD", &self.store.keys().queue(0), &fields).await;
    }

    async fn read(&mut self, worker: usize) -> Vec<(EntryId, u32)> {
        let name = self.names[worker].clone();
        if !self.readers.contains_key(&name) {
            let reader = self.store.reader(0, &name, Duration::from_secs(5), std::sync::Arc::default()).await.unwrap();
            self.readers.insert(name.clone(), reader);
        }
        let read = self.readers.get_mut(&name).unwrap().read(1).await.unwrap();
        read.into_iter().map(|entry| (entry.id, entry.deliveries)).collect()
    }

    fn assert_given(&self, expected: &Given, given: &[(EntryId, u32)]) {
        let real = |&(id, count, _): &(u8, u8, Work)| (self.entries[usize::from(id)].clone(), u32::from(count));
        assert_eq!(given, expected.iter().map(real).collect::<Vec<_>>());
    }

    async fn renew(&self, worker: u8, before: &State) {
        let renewed = leases(before, worker);
        let lost = redis_steps::renew(Protocol::WHOLE, &mut before.clone(), Consumer::Worker(worker), &renewed);
        let leases: Vec<Fence> = renewed.iter().map(|&(entry, count)| self.held(entry, count)).collect();
        let lost: Vec<EntryId> = lost.into_iter().map(|id| self.entries[usize::from(id)].clone()).collect();
        let [mut found, _, vanished] = self.store.renew(0, &self.names[usize::from(worker)], &leases).await.unwrap();
        let is_gone = |id: &EntryId| !before.queue.iter().any(|entry| self.entries[usize::from(entry.id)] == *id);
        assert!(vanished.iter().all(is_gone), "{vanished:?}");
        found.extend(vanished);
        found.sort_by_key(|id| leases.iter().position(|held| held.entry == *id));
        assert_eq!(found, lost);
    }

    /// Sent twice, as if the first reply was lost.
    async fn delete(&self, webhook: u8, before: &State) {
        let (id, of) = (self.webhooks[usize::from(webhook)], &before.webhooks[usize::from(webhook)]);
        let deleted = self.store.delete_webhook(&self.account, id).await.unwrap().expect("it was there");
        assert_eq!((deleted.held, deleted.failed), (of.held.len() as u64, of.failed.len() as u64));
        assert!(self.store.delete_webhook(&self.account, id).await.unwrap().is_none());
    }

    async fn lose_group(&self) {
        let mut destroy = redis::cmd("XGROUP");
        destroy.arg("DESTROY").arg(self.store.keys().queue(0)).arg("workers");
        destroy.query_async::<()>(&mut self.redis.clone()).await.unwrap();
        self.store.ensure_group(0).await.unwrap();
    }

    async fn leave(&mut self, worker: u8, before: &State) {
        let unstarted: Vec<(Fence, String)> = before.workers[usize::from(worker)]
            .iter()
            .filter(|hand| !hand.lost)
            .map(|hand| {
                let event = match hand.work {
                    Work::Event(event) => event_id(event.number).to_string(),
                    Work::Delivery(_) => String::new(),
                };
                (self.held(hand.entry, hand.deliveries), event)
            })
            .collect();
        self.store.leave(0, &self.names[usize::from(worker)], true, &unstarted).await.unwrap();
        self.end(worker, before);
    }

    fn end(&mut self, worker: u8, before: &State) {
        if before.wire.is_some_and(|command| command.consumer == Consumer::Worker(worker)) {
            self.departed = Some(self.names[usize::from(worker)].clone());
        }
        self.rename_worker(worker.into());
    }

    fn rename_worker(&mut self, worker: usize) {
        self.names_given += 1;
        self.names[worker] = format!("worker-{}", self.names_given);
    }

    /// Sent twice, as if the first reply was lost.
    async fn switch(&self, webhook: WebhookId, on: bool) {
        let present = self.store.webhook(&self.account, webhook).await.unwrap().expect("it is there");
        let revision = present.revision;
        let switched = Webhook { active: on, revision: revision + 1, ..present };
        for _ in 0..2 {
            let put = self.store.put_webhook(&self.account, &switched, Some(revision), 9).await.unwrap();
            assert_eq!(put, Put::Done);
        }
    }

    async fn redeliver(&self, webhook: WebhookId) {
        let last = self.store.newest_failed(&self.account, webhook).await.unwrap().expect("some failed");
        let span = EntryRange { first: EntryId("-".to_owned()), last };
        let redelivered = self.store.redeliver(&self.account, webhook, span).await.unwrap();
        assert!(matches!(redelivered, Redelivered::Moved(1.., None)), "{redelivered:?}");
    }

    /// Lets leases end.
    async fn age(&self, whose: impl Fn(&Self, u8, Consumer) -> bool, before: &State) {
        let queue = self.store.keys().queue(0);
        for (id, holder, _, _) in self.pending().await {
            let number = self.number(&id).expect("it was seen");
            let model = before.queue.iter().find(|entry| entry.id == number).and_then(|entry| entry.pending);
            if whose(self, number, model.expect("it is pending").holder) {
                let idle = LONG_IDLE_MS.to_string();
                let aged = ["workers", &holder, "0", &id, "IDLE", &idle, "JUSTID"];
                self.run::<redis::Value>("XCLAIM", &queue, &aged).await;
            }
        }
    }

    async fn make_due(&self, due: Delivery) {
        let retries = self.store.keys().retries(0);
        let member = format!("{}\n{}", self.delivery(due).line(), envelope(due.event));
        let Delivery { event, webhook, redelivery, attempt } = due;
        // In the model's order.
        let score = format!("{event}{webhook}{redelivery:02}{attempt}");
        self.run::<()>("ZADD", &retries, &["XX", &score, &member]).await;
    }

    pub(super) fn delivery(&self, of: Delivery) -> delivery::Delivery {
        let webhook = self.webhooks[usize::from(of.webhook)];
        let first = delivery::Delivery::first(&event_id(of.event), &self.account, webhook, None);
        let redelivery = (of.redelivery > 0).then_some(of.redelivery.into());
        delivery::Delivery { attempt: of.attempt, redelivery, ..first }
    }

    fn held(&self, entry: u8, deliveries: u8) -> Fence {
        Fence { partition: 0, entry: self.entries[usize::from(entry)].clone(), deliveries: deliveries.into() }
    }
}

pub(super) fn event_id(event: u8) -> EventId {
    format!("e{event}").parse().unwrap()
}

pub(super) fn envelope(event: u8) -> String {
    format!(r#"{{"event":"{TYPE}","timestamp":"2026-03-26T14:32:00Z","data":{{"number": {event}}}}}"#)
}

fn settings(id: WebhookId) -> Webhook {
    serde_json::from_value(json!({
        "id": id.to_string(), "url": "https://example.com/", "events": [TYPE], "authentication": {"type": "none"},
        "description": "", "active": true, "revision": 1, "createdAt": "", "updatedAt": "",
    }))
    .unwrap()
}
