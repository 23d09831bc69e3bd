//! Queue entries. An entry from the stream is validated before a worker does anything with it.

use bytes::Bytes;
use chrono::TimeDelta;

use super::{
    account::{AccountId, NotAnAccount},
    delivery::{Delivery, DeliveryFault},
    event::{Catalogue, EnvelopeFacts, EnvelopeFault, EventId, NotAnEventId},
    traceparent::Traceparent,
    webhook::{Subscriptions, Webhook, WebhookId},
};

/// The field in which the rest of a fan-out notes its progress. All other names belong to producers; the colon keeps a
/// producer from using this one by accident.
const AFTER: &str = "lynkhook:after";
/// The time in the queue after which workers count as behind.
const BEHIND: TimeDelta = TimeDelta::seconds(3);

/// The work that an entry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// An event, as a producer pushed it.
    Event(Event),
    /// A delivery: it came from a fan-out, a retry, or from being held.
    Delivery(Delivery),
}

/// An event, as a producer pushed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The producer's id, or one made from entry and content.
    pub id: EventId,
    /// The account that the event belongs to.
    pub account: AccountId,
    /// The producer's trace context.
    pub traceparent: Option<Traceparent>,
    /// The progress of its fan-out: the webhooks up to this one have their deliveries.
    pub after: Option<WebhookId>,
}

/// A valid entry: its work, the envelope's bytes as they came, and the facts about them that delivering needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The work that it asks for.
    pub work: Work,
    /// The bytes to send.
    pub envelope: Bytes,
    /// Event type and identifiers.
    pub facts: EnvelopeFacts,
    /// Whether it was held before.
    pub was_held: bool,
    /// Whether it waited among the retries before, perhaps without an attempt.
    pub has_waited: bool,
}

/// The reason why an entry goes to `rejected`. The text names the fault and quotes no payload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The entry is neither an event nor a delivery.
    #[error("the entry has no field `{0}`")]
    Missing(&'static str),
    /// A field that may occur once occurs more often.
    #[error("the entry has the field `{0}` more than once")]
    Repeated(&'static str),
    /// The account is not valid.
    #[error("the entry's `account`: {0}")]
    Account(#[from] NotAnAccount),
    /// The event id is not valid.
    #[error("the entry's `id`: {0}")]
    EventId(#[from] NotAnEventId),
    /// The envelope is not valid.
    #[error("{0}")]
    Envelope(#[from] EnvelopeFault),
    /// The delivery is not valid.
    #[error("{0}")]
    Delivery(#[from] DeliveryFault),
    /// The account belongs to another partition.
    #[error("the account {account} belongs in the queue `{right_queue}`")]
    WrongPartition {
        /// The account.
        account: AccountId,
        /// The key of the right queue.
        right_queue: String,
    },
}

/// The place at which an entry was found.
pub struct Found<'a> {
    /// Its id in the stream.
    pub entry: &'a str,
    /// The stream's partition.
    pub partition: u16,
    /// The number of partitions.
    pub partitions: u16,
}

impl Judged {
    /// Validates an entry's fields. An entry with an `envelope` or an `account` is an event, any other a delivery.
    ///
    /// `queue_of` names the queue of a partition, for the reason of a rejection.
    pub fn parse(
        fields: &[(Bytes, Bytes)],
        found: &Found<'_>,
        catalogue: &Catalogue,
        queue_of: impl Fn(u16) -> String,
    ) -> Result<Self, Rejection> {
        let field = |name: &'static str| {
            let mut values = fields.iter().filter(|(n, _)| n == name.as_bytes()).map(|(_, value)| value);
            let value = values.next();
            if values.next().is_some() { Err(Rejection::Repeated(name)) } else { Ok(value) }
        };
        // Of a field that is ignored rather than refused, the last one counts, as in the scripts.
        let last = |name: &str| {
            let found = fields.iter().rfind(|(n, _)| n == name.as_bytes());
            found.map(|(_, value)| text(value))
        };
        let (account, envelope) = (field("account")?, field("envelope")?);
        let judged = if account.is_some() || envelope.is_some() {
            let account: AccountId = text(account.ok_or(Rejection::Missing("account"))?).parse()?;
            let envelope = envelope.ok_or(Rejection::Missing("envelope"))?.clone();
            let id = match field("id")? {
                Some(id) => text(id).parse()?,
                None => EventId::derive(found.partition, found.entry, account.as_str(), &envelope),
            };
            // A value that is no webhook id did not come from a fan-out. It is ignored, like any other field of a
            // producer.
            let after = last(AFTER).and_then(|after| after.parse().ok());
            let facts = catalogue.judge(&envelope)?;
            let traceparent = last("traceparent").and_then(Traceparent::read);
            Self {
                work: Work::Event(Event { id, account, traceparent, after }),
                envelope,
                facts,
                was_held: false,
                has_waited: false,
            }
        } else {
            let whole = field("delivery")?.ok_or(Rejection::Missing("account"))?;
            let (delivery, envelope) = Delivery::parse(whole)?;
            let envelope = whole.slice_ref(envelope);
            let facts = catalogue.read(&envelope)?;
            let (was_held, has_waited) = (field("held")?.is_some(), field("waited")?.is_some());
            Self { work: Work::Delivery(delivery), envelope, facts, was_held, has_waited }
        };
        let right = judged.account().partition(found.partitions);
        if right != found.partition {
            let (account, right_queue) = (judged.account().clone(), queue_of(right));
            return Err(Rejection::WrongPartition { account, right_queue });
        }
        Ok(judged)
    }

    /// Whether the limits of `held` apply to this delivery, after its entry was in the queue for `age`. They apply if
    /// it was neither held nor attempted before, nor waited for a name server. They do not apply after a long time in
    /// the queue: then workers were behind, which is not the endpoint's fault, and moving from `queue` to `held` takes
    /// no more of Redis's memory.
    pub fn is_new(&self, delivery: &Delivery, age: TimeDelta) -> bool {
        self.is_first(delivery) && age < BEHIND
    }

    /// Whether this delivery was neither attempted before nor put aside.
    pub fn is_first(&self, delivery: &Delivery) -> bool {
        delivery.attempt == 1 && delivery.redelivery.is_none() && !(self.was_held || self.has_waited)
    }

    /// The producer's trace context.
    pub fn traceparent(&self) -> Option<&Traceparent> {
        match &self.work {
            Work::Event(event) => event.traceparent.as_ref(),
            Work::Delivery(delivery) => delivery.traceparent.as_ref(),
        }
    }

    /// The account that the entry belongs to.
    pub fn account(&self) -> &AccountId {
        match &self.work {
            Work::Event(event) => &event.account,
            Work::Delivery(delivery) => &delivery.account,
        }
    }
}

/// The next step with an entry, now that its account's webhooks are known.
#[derive(Debug, PartialEq, Eq)]
pub enum Plan<'a> {
    /// Attempt this delivery to this webhook.
    Attempt(Delivery, &'a Webhook),
    /// Hold this delivery: its webhook is off or deleted. The script sees which of the two.
    Hold(Delivery),
    /// Fail this delivery: its webhook's settings cannot be read.
    Unreadable(Delivery),
    /// Fan an event out into these deliveries, in the order of their webhooks.
    FanOut {
        /// The deliveries. If there are none, no webhook is left and the event is done.
        deliveries: Vec<Delivery>,
        /// Whether more webhooks are left after the last of these.
        more: bool,
    },
}

impl Work {
    /// Plans the next step, from the account's webhooks as they are now. Only events are matched with subscriptions: a
    /// delivery that is queued for a webhook stays queued if the webhook unsubscribes. A fan-out makes at most `most`
    /// deliveries.
    ///
    /// An event that a single webhook wants is attempted directly. The rest of a fan-out never is: all its deliveries
    /// become entries, so that they are treated alike.
    pub fn plan<'a>(&self, event_type: &str, account: &'a Subscriptions, most: usize) -> Plan<'a> {
        let Subscriptions { webhooks, unreadable } = account;
        let delivery = match self {
            Self::Delivery(delivery) => delivery.clone(),
            Self::Event(event) => {
                let wanting = webhooks.iter().filter(|webhook| webhook.wants(event_type)).map(|webhook| webhook.id);
                let mut left: Vec<WebhookId> = wanting
                    .chain(unreadable.iter().copied())
                    .filter(|webhook| event.after.is_none_or(|after| *webhook > after))
                    .collect();
                left.sort_unstable();
                let first = |webhook| Delivery::first(&event.id, &event.account, webhook, event.traceparent.clone());
                match left[..] {
                    [webhook] if event.after.is_none() => first(webhook),
                    _ => {
                        let deliveries = left.iter().take(most).copied().map(first).collect();
                        return Plan::FanOut { deliveries, more: left.len() > most };
                    }
                }
            }
        };
        match webhooks.iter().find(|webhook| webhook.id == delivery.webhook) {
            Some(webhook) if webhook.active => Plan::Attempt(delivery, webhook),
            None if unreadable.contains(&delivery.webhook) => Plan::Unreadable(delivery),
            _ => Plan::Hold(delivery),
        }
    }
}

/// A field as text. Bytes that are not UTF-8 give a text that is no valid account or id, and are refused as such.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or("\u{fffd}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::{
        event::EventType,
        url::EndpointUrl,
        webhook::{Authentication, WebhookId},
    };

    const ENVELOPE: &str = r#"{"event":"a.b","timestamp":"2026-03-26T14:32:00Z","data":{}} "#;

    fn parse(fields: &[(&'static str, &[u8])], partition: u16) -> Result<Judged, Rejection> {
        let none = EventType::default();
        let catalogue = Catalogue::new(BTreeMap::from([("a.b".to_owned(), none)]), 1000);
        let fields: Vec<_> =
            fields.iter().map(|(n, v)| (Bytes::from_static(n.as_bytes()), Bytes::copy_from_slice(v))).collect();
        let found = Found { entry: "1-0", partition, partitions: 16 };
        Judged::parse(&fields, &found, &catalogue, |p| format!("lynkhook:{{{p}}}:queue"))
    }

    fn webhook(number: u8, active: bool, event: &str) -> Webhook {
        Webhook {
            id: id(number),
            url: EndpointUrl::from_saved("https://example.com/").unwrap(),
            events: vec![event.to_owned()],
            authentication: Authentication::None,
            description: String::new(),
            active,
            revision: 1,
            created_at: String::new(),
            updated_at: String::new(),
        }
    }

    fn readable(webhooks: &[Webhook]) -> Subscriptions {
        Subscriptions { webhooks: webhooks.to_vec(), unreadable: Vec::new() }
    }

    fn id(number: u8) -> WebhookId {
        format!("wh_019a1b2c-0000-7000-8000-0000000000{number:02}").parse().unwrap()
    }

    #[test]
    fn an_event_keeps_its_bytes_and_gets_an_id() {
        let judged = parse(&[("account", b"acme"), ("envelope", ENVELOPE.as_bytes()), ("other", b"\xff")], 14).unwrap();
        assert_eq!(judged.envelope, ENVELOPE);
        let Work::Event(event) = judged.work else { panic!("an event") };
        assert!(event.id.as_str().starts_with("14-1-0-"));
    }

    #[test]
    fn no_field_of_a_producers_own_keeps_a_webhook_from_its_delivery() {
        let last = id(99).to_string();
        for field in [
            &[("after", last.as_bytes())][..],
            &[("after", b"wh_1"), ("after", b"")],
            &[("delivery", b"x"), ("held", b"x"), ("held", b"y"), ("attempt", b"3")],
            &[(AFTER, b"yesterday")],
            &[(AFTER, b""), (AFTER, b"\xff")],
        ] {
            let fields = [&[("account", &b"acme"[..]), ("envelope", ENVELOPE.as_bytes())], field].concat();
            let judged = parse(&fields, 14).unwrap();
            let account = readable(&[webhook(1, true, "a.b"), webhook(2, true, "a.b")]);
            let Plan::FanOut { deliveries, more: false } = judged.work.plan("a.b", &account, 9) else {
                panic!("{field:?}")
            };
            assert_eq!(deliveries.len(), 2, "{field:?}");
            let Plan::Attempt(..) = judged.work.plan("a.b", &readable(&account.webhooks[..1]), 9) else {
                panic!("{field:?}")
            };
        }
    }

    #[test]
    fn an_invalid_entry_is_rejected_with_a_reason_that_names_the_fault() {
        let envelope = ("envelope", ENVELOPE.as_bytes());
        for (fields, partition, reason) in [
            (vec![], 14, "the entry has no field `account`"),
            (vec![("foo", &b"bar"[..])], 14, "the entry has no field `account`"),
            (vec![envelope], 14, "the entry has no field `account`"),
            (vec![("account", b"acme")], 14, "the entry has no field `envelope`"),
            (
                vec![("account", b"acme"), ("account", b"a"), envelope],
                14,
                "the entry has the field `account` more than once",
            ),
            (
                vec![("account", b"a b"), envelope],
                14,
                "the entry's `account`: an account is 1 to 128 of A-Z a-z 0-9 . _ : -",
            ),
            (
                vec![("account", b"\xff"), envelope],
                14,
                "the entry's `account`: an account is 1 to 128 of A-Z a-z 0-9 . _ : -",
            ),
            (
                vec![("account", b"acme"), envelope, ("id", b"a.b")],
                14,
                "the entry's `id`: an event id is 1 to 64 of A-Z a-z 0-9 _ -",
            ),
            (vec![("account", b"acme"), ("envelope", b"x")], 14, "the envelope is not JSON (line 1, column 1)"),
            (vec![("account", b"acme"), envelope], 13, "the account acme belongs in the queue `lynkhook:{14}:queue`"),
            (vec![("delivery", b"{}\n{}")], 14, "the delivery's first line is not a delivery: column 2"),
        ] {
            assert_eq!(parse(&fields, partition).unwrap_err().to_string(), reason, "{fields:?}");
        }
    }

    #[test]
    fn an_event_is_attempted_fanned_out_held_or_done_by_how_many_webhooks_want_it() {
        let judged = parse(&[("account", b"acme"), ("envelope", ENVELOPE.as_bytes())], 14).unwrap();
        let plan = |webhooks: &[Webhook]| match judged.work.plan("a.b", &readable(webhooks), 9) {
            Plan::Unreadable(_) => unreachable!("all can be read"),
            Plan::Attempt(delivery, _) => format!("attempt {}", delivery.webhook == id(1)),
            Plan::Hold(delivery) => format!("hold {}", delivery.webhook == id(1)),
            Plan::FanOut { deliveries, more } => format!("fan out {}{}", deliveries.len(), if more { "+" } else { "" }),
        };
        assert_eq!(plan(&[]), "fan out 0");
        assert_eq!(plan(&[webhook(2, true, "c.d")]), "fan out 0");
        assert_eq!(plan(&[webhook(1, true, "a.b"), webhook(2, true, "c.d")]), "attempt true");
        assert_eq!(plan(&[webhook(1, false, "a.b")]), "hold true");
        assert_eq!(plan(&[webhook(1, true, "a.b"), webhook(2, false, "a.b")]), "fan out 2");
    }

    #[test]
    fn a_fan_out_goes_on_behind_its_last_webhook_and_never_as_an_attempt() {
        let step = |after: Option<u8>, most: usize, wanting: &[u8]| {
            let after = after.map(|number| id(number).to_string());
            let mut fields = vec![("account", &b"acme"[..]), ("envelope", ENVELOPE.as_bytes())];
            fields.extend(after.as_ref().map(|after| (AFTER, after.as_bytes())));
            let judged = parse(&fields, 14).unwrap();
            // Every other webhook cannot be read.
            let (odd, even): (Vec<u8>, Vec<u8>) = wanting.iter().partition(|number| *number % 2 == 1);
            let webhooks = odd.iter().map(|number| webhook(*number, true, "a.b")).collect();
            let account = Subscriptions { webhooks, unreadable: even.into_iter().map(id).collect() };
            let Plan::FanOut { deliveries, more } = judged.work.plan("a.b", &account, most) else { return None };
            let numbers: Vec<u8> =
                wanting.iter().copied().filter(|n| deliveries.iter().any(|d| d.webhook == id(*n))).collect();
            assert!(deliveries.is_sorted_by_key(|delivery| delivery.webhook) && numbers.len() == deliveries.len());
            Some((numbers, more))
        };
        for (after, most, wanting, planned) in [
            (None, 2, &[1, 2, 3, 4, 5][..], Some((vec![1, 2], true))),
            (Some(2), 2, &[1, 2, 3, 4, 5], Some((vec![3, 4], true))),
            (Some(4), 2, &[1, 2, 3, 4, 5], Some((vec![5], false))),
            (None, 1, &[1, 2], Some((vec![1], true))),
            (None, 2, &[1, 2], Some((vec![1, 2], false))),
            // The webhook after which it continues may be gone, and others may have come.
            (Some(2), 9, &[1, 3, 4, 6], Some((vec![3, 4, 6], false))),
            (Some(5), 9, &[1, 2, 3], Some((vec![], false))),
            (Some(5), 9, &[], Some((vec![], false))),
            // If a single webhook wants the event, it is attempted at once, unless it is the rest of a fan-out.
            (None, 9, &[1], None),
            (Some(1), 9, &[1, 3], Some((vec![3], false))),
        ] {
            assert_eq!(step(after, most, wanting), planned, "{after:?} {most} {wanting:?}");
        }
    }

    #[test]
    fn a_queued_delivery_is_attempted_although_its_webhook_unsubscribed() {
        let delivery = Delivery::first(&"e1".parse().unwrap(), &"acme".parse().unwrap(), id(1), None);
        let text = format!("{}\n{ENVELOPE}", delivery.line());
        let judged = parse(&[("delivery", text.as_bytes())], 14).unwrap();
        assert_eq!(judged.envelope, ENVELOPE);
        let account = readable(&[webhook(1, true, "c.d")]);
        assert_eq!(judged.work.plan("a.b", &account, 9), Plan::Attempt(delivery.clone(), &account.webhooks[0]));
        assert_eq!(judged.work.plan("a.b", &readable(&[]), 9), Plan::Hold(delivery.clone()));
        let account = Subscriptions { unreadable: vec![id(1)], ..readable(&[]) };
        assert_eq!(judged.work.plan("a.b", &account, 9), Plan::Unreadable(delivery));
    }

    #[test]
    fn a_webhook_that_cannot_be_read_is_taken_to_want_every_event_and_holds_up_no_other() {
        let judged = parse(&[("account", b"acme"), ("envelope", ENVELOPE.as_bytes())], 14).unwrap();
        let plan = |webhooks: &[Webhook]| {
            let account = Subscriptions { unreadable: vec![id(9)], ..readable(webhooks) };
            match judged.work.plan("a.b", &account, 9) {
                Plan::FanOut { deliveries, .. } => deliveries.iter().map(|delivery| delivery.webhook).collect(),
                Plan::Unreadable(delivery) => vec![delivery.webhook],
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(plan(&[]), [id(9)]);
        assert_eq!(plan(&[webhook(1, true, "c.d")]), [id(9)]);
        assert_eq!(plan(&[webhook(1, true, "a.b")]), [id(1), id(9)]);
    }
}
