//! The content of Redis, in the model's terms.

use std::collections::{BTreeMap, HashMap};

use lynkhook::{
    domain::{delivery, log_entry::LogEntry},
    store::EntryId,
};

use super::bench::{Bench, LEASE, envelope};
use crate::state::{Consumer, Counts, Delivery, Due, Entry, Event, Logged, Pending, State, Webhook, Work};

/// An entry's id, and its fields in order.
type StreamEntry = (String, Vec<(String, String)>);

impl Bench {
    /// The state according to Redis; for facts that Redis does not know, according to the model.
    pub(super) async fn look(&mut self, model: &State) -> State {
        let keys = self.store.keys().clone();
        let now = self.store.now(0).await.unwrap().timestamp_millis();
        let due = |score: i64| if score <= now { Due::Now } else { Due::Later };
        let retries: Vec<(String, i64)> = self.run("ZRANGE", &keys.retries(0), &["0", "-1", "WITHSCORES"]).await;
        let times =
            async |key: String| -> HashMap<String, i64> { self.run("ZRANGE", &key, &["0", "-1", "WITHSCORES"]).await };
        let (releases, visits) = (times(keys.releases(0)).await, times(keys.visits(0)).await);
        let mut webhooks = Vec::new();
        for &id in &self.webhooks {
            let found = self.store.webhook(&self.account, id).await.unwrap();
            let member = format!("{}/{id}", self.account);
            let held = self.deliveries(&keys.held(0, id)).await;
            let sum: Option<u64> = self.run("HGET", &keys.held_bytes(0), &[&id.to_string()]).await;
            assert_eq!(
                sum.is_some(),
                !held.is_empty(),
                "a sum of bytes exists if and only if deliveries are held: {id}"
            );
            webhooks.push(Webhook {
                deleted: found.is_none(),
                active: found.is_some_and(|webhook| webhook.active),
                held,
                failed: self.deliveries(&keys.failed(0, id)).await,
                log: self.log(&keys.logs(0, id)).await,
                release: releases.get(&member).map(|score| due(*score)),
                visit: visits.contains_key(&member),
            });
        }
        assert_eq!(visits.len(), webhooks.iter().filter(|webhook| webhook.visit).count(), "{visits:?}");
        assert_eq!(releases.len(), webhooks.iter().filter(|webhook| webhook.release.is_some()).count(), "{releases:?}");
        State {
            queue: self.queue().await,
            retries: retries.iter().map(|(text, score)| (self.parse(text), due(*score))).collect(),
            rejected: self.rejected().await,
            counts: self.counts().await,
            webhooks,
            next_id: u8::try_from(self.entries.len()).unwrap(),
            ..model.clone()
        }
    }

    /// The model's number of an entry that was seen before.
    pub(super) fn number(&self, id: &str) -> Option<u8> {
        self.entries.iter().position(|known| known.0 == id).map(|at| u8::try_from(at).unwrap())
    }

    /// The pending entries: entry, consumer, ms idle, delivery count.
    pub(super) async fn pending(&self) -> Vec<(String, String, u64, u8)> {
        self.run("XPENDING", &self.store.keys().queue(0), &["workers", "-", "+", "1000"]).await
    }

    async fn queue(&mut self) -> Vec<Entry> {
        let found: Vec<StreamEntry> = self.run("XRANGE", &self.store.keys().queue(0), &["-", "+"]).await;
        let pending = self.pending().await;
        assert!(
            pending.iter().all(|(id, ..)| found.iter().any(|(entry, _)| entry == id)),
            "an entry is pending and not in the queue"
        );
        let groups: Vec<BTreeMap<String, redis::Value>> =
            self.run("XINFO", "GROUPS", &[&self.store.keys().queue(0)]).await;
        let position: String = redis::from_redis_value(groups[0]["last-delivered-id"].clone()).unwrap();
        let position = EntryId(position).order();
        let nobodys = Pending { holder: Consumer::Nobody, deliveries: 0, idle: false };
        let mut queue = Vec::new();
        for (id, fields) in found {
            let was_read = EntryId(id.clone()).order() <= position;
            let number = self.number(&id).unwrap_or_else(|| {
                self.entries.push(EntryId(id.clone()));
                u8::try_from(self.entries.len() - 1).unwrap()
            });
            let pending = pending.iter().find(|(entry, ..)| *entry == id);
            let pending = pending.map(|(_, holder, idle_ms, deliveries)| Pending {
                holder: self.consumer(holder),
                deliveries: *deliveries,
                idle: u128::from(*idle_ms) >= LEASE.as_millis(),
            });
            let pending = pending.or(was_read.then_some(nobodys));
            queue.push(Entry { id: number, work: self.work(&fields), pending });
        }
        queue
    }

    fn consumer(&self, name: &str) -> Consumer {
        match self.names.iter().position(|known| known == name) {
            Some(worker) => Consumer::Worker(u8::try_from(worker).unwrap()),
            None if self.departed.as_deref() == Some(name) => Consumer::Departed,
            None => Consumer::Dead,
        }
    }

    fn work(&self, fields: &[(String, String)]) -> Work {
        let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
        match (&names[..], fields) {
            (["delivery"] | ["delivery", "held" | "waited"], [(_, text), ..]) => Work::Delivery(self.parse(text)),
            (
                ["account", "envelope", "id"] | ["account", "envelope", "id", "lynkhook:after"],
                [(_, account), (_, text), (_, id), rest @ ..],
            ) => {
                let number = id[1..].parse().unwrap();
                assert_eq!((account.as_str(), text), (self.account.as_str(), &envelope(number)));
                let after = rest.first().map(|(_, webhook)| self.webhook(webhook));
                Work::Event(Event { number, after })
            }
            _ => panic!("not one of our entries: {fields:?}"),
        }
    }

    /// A delivery whose envelope is complete.
    fn parse(&self, text: &str) -> Delivery {
        let (delivery, bytes) = delivery::Delivery::parse(text.as_bytes()).unwrap();
        let event = delivery.event_id.as_str()[1..].parse().unwrap();
        let webhook = self.webhooks.iter().position(|known| *known == delivery.webhook).expect("one of ours");
        let redelivery = u8::try_from(delivery.redelivery.unwrap_or(0)).unwrap();
        let webhook = u8::try_from(webhook).unwrap();
        let parsed = Delivery { event, webhook, redelivery, attempt: delivery.attempt };
        assert_eq!((delivery, bytes), (self.delivery(parsed), envelope(event).as_bytes()));
        parsed
    }

    async fn deliveries(&self, key: &str) -> Vec<Delivery> {
        let found: Vec<StreamEntry> = self.run("XRANGE", key, &["-", "+"]).await;
        found.iter().map(|(_, fields)| self.parse(&fields[0].1)).collect()
    }

    async fn log(&self, key: &str) -> std::collections::BTreeMap<Logged, u8> {
        let found: Vec<String> = self.run("LRANGE", key, &["0", "-1"]).await;
        let mut log = std::collections::BTreeMap::new();
        for json in found {
            let entry: LogEntry = serde_json::from_str(&json).unwrap();
            let (event, webhook) = entry.delivery_id.split_once('.').unwrap();
            let delivery = Delivery {
                event: event[1..].parse().unwrap(),
                webhook: self.webhook(webhook),
                redelivery: u8::try_from(entry.redelivery.unwrap_or(0)).unwrap(),
                attempt: entry.attempt,
            };
            *log.entry(Logged { delivery, last: entry.last }).or_default() += 1;
        }
        log
    }

    /// The model's number of a webhook.
    fn webhook(&self, id: &str) -> u8 {
        u8::try_from(self.webhooks.iter().position(|known| known.to_string() == id).expect("one of ours")).unwrap()
    }

    async fn rejected(&self) -> Vec<Event> {
        let found: Vec<StreamEntry> = self.run("XRANGE", &self.store.keys().rejected(0), &["-", "+"]).await;
        let events = found.iter().map(|(_, fields)| match self.work(&fields[2..]) {
            Work::Event(event) => event,
            Work::Delivery(delivery) => panic!("the delivery {delivery:?} is rejected"),
        });
        events.collect()
    }

    async fn counts(&self) -> Counts {
        let mut found: HashMap<String, u8> = self.run("HGETALL", &self.store.keys().counts(0), &[]).await;
        let mut take = |cause: &str| found.remove(cause).unwrap_or_default();
        let counts = Counts {
            deliveries_of_deleted_webhook: take("deliveries_of_deleted_webhook"),
            failed_of_deleted_webhook: take("failed_of_deleted_webhook"),
            events_without_webhook: take("events_without_webhook"),
            held_overflow: take("held_overflow"),
        };
        assert!(found.is_empty(), "counted and not in the model: {found:?}");
        counts
    }
}

impl State {
    /// The event of a command. If its entry is gone from the queue, any event will do.
    pub(super) fn event_of(&self, command: crate::state::Command) -> u8 {
        let entry = self.queue.iter().find(|entry| entry.id == command.entry);
        entry.map_or(0, |entry| match entry.work {
            Work::Event(event) => event.number,
            Work::Delivery(_) => panic!("{command:?} is about events"),
        })
    }
}
