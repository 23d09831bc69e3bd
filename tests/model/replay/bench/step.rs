//! The plan for an entry and the next step, in the program and in the model.

use std::{collections::HashSet, time::Duration};

use lynkhook::{
    domain::{
        delivery,
        entry::{self, Plan},
        event::EventId,
        log_entry::{LogEntry, timestamp},
        retry,
    },
    store::{Attempted, Known, Reason, StepAnswer, ToHold},
};
use serde_json::json;

use super::{Bench, TYPE, envelope, event_id};
use crate::{
    protocol::Protocol,
    redis_steps::Answer,
    state::{self, Command, Consumer, Next, Stage, State, Step, Work},
    worker::FAN_OUT_MAX,
};

impl Bench {
    /// Checks that the program's own plan, from the webhooks in Redis, is the model's.
    pub(super) async fn assert_planned(&self, work: Work, stage: Stage) {
        let looked_up =
            self.store.subscriptions(std::slice::from_ref(&self.account), &Known::default()).await.unwrap().remove(0);
        let account = looked_up.unwrap();
        let work = match work {
            Work::Event(event) => entry::Work::Event(entry::Event {
                id: event_id(event.number),
                account: self.account.clone(),
                traceparent: None,
                after: event.after.map(|webhook| self.webhooks[usize::from(webhook)]),
            }),
            Work::Delivery(delivery) => entry::Work::Delivery(self.delivery(delivery)),
        };
        let planned = match work.plan(TYPE, &account, FAN_OUT_MAX) {
            Plan::Attempt(delivery, _) => ("attempt", vec![delivery]),
            Plan::Hold(delivery) => ("hold", vec![delivery]),
            Plan::FanOut { deliveries, more } => (if more { "fan out, more are left" } else { "fan out" }, deliveries),
            Plan::Unreadable(_) => panic!("all entries are readable"),
        };
        let expected = match stage {
            Stage::Attempt(delivery) => ("attempt", vec![self.delivery(delivery)]),
            Stage::Ready(Step::Hold(delivery, _)) => ("hold", vec![self.delivery(delivery)]),
            Stage::Ready(Step::FanOut { webhooks, more }) => {
                let entry::Work::Event(event) = &work else { panic!("only events are fanned out") };
                (if more { "fan out, more are left" } else { "fan out" }, self.fan(&event.id, webhooks))
            }
            other => panic!("{other:?} is not a plan"),
        };
        assert_eq!(planned, expected);
    }

    fn fan(&self, event: &EventId, webhooks: u8) -> Vec<delivery::Delivery> {
        let wanted = self.webhooks.iter().enumerate().filter(|(number, _)| webhooks & 1 << number != 0);
        wanted.map(|(_, webhook)| delivery::Delivery::first(event, &self.account, *webhook, None)).collect()
    }

    /// Takes a leased step.
    pub(super) async fn step(&self, command: Command, before: &State) {
        let expected = Protocol::WHOLE.take(&mut before.clone(), command);
        let name = match command.consumer {
            Consumer::Worker(worker) => &self.names[usize::from(worker)],
            _ => self.departed.as_ref().expect("its name is kept"),
        };
        let held = self.held(command.entry, command.deliveries);
        let answer = match command.step {
            Step::FanOut { webhooks, more } => {
                let deliveries = self.fan(&event_id(before.event_of(command)), webhooks);
                self.store.fan_out(name, &held, &deliveries, more).await.unwrap()
            }
            Step::Hold(delivery, reason) => {
                let later = Duration::from_hours(1);
                let reason = match reason {
                    state::Reason::Off => Reason::Off,
                    state::Reason::New => Reason::Busy { release_in: later, is_new: true },
                    state::Reason::Known => Reason::Busy { release_in: later, is_new: false },
                    state::Reason::Again => Reason::Again { after: later },
                };
                let waiting = ToHold {
                    fence: held,
                    delivery: self.delivery(delivery),
                    envelope: envelope(delivery.event).into(),
                    reason,
                };
                self.store.hold(0, name, &[waiting]).await.unwrap().remove(0)
            }
            Step::Settle(delivery, next) => {
                let delivery = self.delivery(delivery);
                let log = log_of(&delivery, next);
                let next = match next {
                    Next::Delivered => retry::Next::Delivered,
                    Next::Retry => retry::Next::Retry { after: Duration::from_hours(1) },
                    Next::Failed => retry::Next::Failed,
                };
                self.store
                    .settle(
                        0,
                        name,
                        &[Attempted { fence: held, delivery: delivery.into(), next, log: log.into(), trimmed: None }],
                        &HashSet::new(),
                    )
                    .await
                    .unwrap()
                    .remove(0)
            }
            Step::Reject => {
                let event = event_id(before.event_of(command));
                self.store.reject(name, &held, "lost too often", Some(&event)).await.unwrap()
            }
        };
        let expected = match expected {
            Answer::Done => StepAnswer::Done,
            Answer::Lost => StepAnswer::Lost,
            Answer::Gone => StepAnswer::Gone,
            Answer::Active => StepAnswer::Active,
            Answer::Full => StepAnswer::Full,
        };
        // An entry that was settled before the group was recreated is as gone as one that was taken out. Its worker,
        // whose lease must not have ended, can tell the difference.
        let is_gone = answer == StepAnswer::Vanished && !before.queue.iter().any(|entry| entry.id == command.entry);
        let answer = if is_gone { StepAnswer::Lost } else { answer };
        assert_eq!(answer, expected, "{command:?}");
    }
}

fn log_of(delivery: &delivery::Delivery, next: Next) -> LogEntry {
    serde_json::from_value(json!({
        "status": if next == Next::Delivered { "success" } else { "failed" }, "event": TYPE, "httpStatus": 200,
        "attempt": delivery.attempt, "durationMs": 1, "error": null, "identifiers": {}, "deliveryId": delivery.id,
        "redelivery": delivery.redelivery, "final": next != Next::Retry, "time": timestamp(chrono::Utc::now()),
    }))
    .unwrap()
}
