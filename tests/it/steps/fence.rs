//! Only the holder of the lease moves an entry: its consumer, with the present delivery count.

use std::collections::HashSet;

use lynkhook::store::EntryId;

use super::*;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    FanOut,
    FanOutInSteps,
    FanOutToNone,
    Delivered,
    Retry,
    Failed,
    Hold,
    HoldBusy,
    HoldAgain,
    Reject,
    Renew,
    Leave,
}

/// Every leased step, and the queue after its holder took it: the number of entries, and of pending ones.
const STEPS: [(Step, usize, usize); 12] = [
    (Step::FanOut, 2, 0),
    (Step::FanOutInSteps, 2, 0),
    (Step::FanOutToNone, 0, 0),
    (Step::Delivered, 0, 0),
    (Step::Retry, 0, 0),
    (Step::Failed, 0, 0),
    (Step::Hold, 0, 0),
    (Step::HoldBusy, 0, 0),
    (Step::HoldAgain, 0, 0),
    (Step::Reject, 0, 0),
    (Step::Renew, 1, 1),
    (Step::Leave, 1, 0),
];

impl Step {
    fn is_for_events(self) -> bool {
        matches!(self, Self::FanOut | Self::FanOutInSteps | Self::FanOutToNone)
    }

    /// Takes the step. Answers `Done`, `Lost` or `Vanished`, in whatever form the step says it.
    async fn take(self, bench: &Bench, consumer: &str, held: &Fence, delivery: &Delivery) -> StepAnswer {
        let store = &bench.store;
        let settle = async |next| {
            let attempt = attempted(held, delivery, next);
            store.settle(0, consumer, &[attempt], &HashSet::new()).await.unwrap().remove(0)
        };
        let put_aside = async |reason| {
            let waiting = bench.waiting(held, delivery, reason).await;
            store.hold(0, consumer, &[waiting]).await.unwrap().remove(0)
        };
        let done = |done: bool| if done { StepAnswer::Done } else { StepAnswer::Lost };
        match self {
            Self::FanOut => store.fan_out(consumer, held, &[delivery.clone(), delivery.clone()], false).await.unwrap(),
            Self::FanOutInSteps => store.fan_out(consumer, held, std::slice::from_ref(delivery), true).await.unwrap(),
            Self::FanOutToNone => store.fan_out(consumer, held, &[], false).await.unwrap(),
            Self::Delivered => settle(Next::Delivered).await,
            Self::Retry => settle(Next::Retry { after: Duration::from_secs(2) }).await,
            Self::Failed => settle(Next::Failed).await,
            Self::Hold => put_aside(Reason::Off).await,
            Self::HoldBusy => put_aside(Reason::Busy { release_in: PACE, is_new: true }).await,
            Self::HoldAgain => put_aside(Reason::Again { after: PACE }).await,
            Self::Reject => store.reject(consumer, held, "no event", None).await.unwrap(),
            Self::Renew => {
                let [lost, trimmed, vanished] = store.renew(0, consumer, std::slice::from_ref(held)).await.unwrap();
                assert!(trimmed.is_empty() && lost.len() + vanished.len() <= 1, "{lost:?} {vanished:?}");
                match (lost.is_empty(), vanished.is_empty()) {
                    (false, _) => StepAnswer::Lost,
                    (_, false) => StepAnswer::Vanished,
                    _ => StepAnswer::Done,
                }
            }
            Self::Leave => {
                let given = store.leave(0, consumer, false, &[(held.clone(), String::new())]).await.unwrap();
                done(given == 1)
            }
        }
    }

    /// Takes a step, and checks that it answers `Lost` and changes nothing.
    async fn assert_lost(self, bench: &Bench, consumer: &str, held: &Fence, delivery: &Delivery) {
        let before = bench.state().await;
        let answer = self.take(bench, consumer, held, delivery).await;
        assert_eq!(answer, StepAnswer::Lost, "{self:?} by {consumer} with count {}", held.deliveries);
        let changed = changed(&before, &bench.state().await);
        assert!(changed.is_empty(), "{self:?} by {consumer} with count {} changed {changed:?}", held.deliveries);
    }
}

/// A bench with one entry that `a` has taken, and the delivery of the step.
async fn taken(step: Step) -> (Bench, Fence, Delivery) {
    let bench = Bench::new().await;
    let webhook = bench.webhook("acme", false).await;
    let delivery = first("acme", webhook, "e1");
    if step.is_for_events() {
        bench.push("acme", TRANSCRIPT).await;
    } else {
        bench.queue(&delivery).await;
    }
    let held = bench.take("a").await.remove(0);
    (bench, held, delivery)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_by_another_consumer_or_with_another_count_changes_nothing_and_the_holders_succeeds_once() {
    for (step, entries, pending) in STEPS {
        let (bench, held, delivery) = taken(step).await;
        let claim = format!("XCLAIM {} workers b 0", bench.key("queue"));
        bench.cli::<redis::Value>(&format!("{claim} {}", held.entry.0)).await;
        // A neighbour after it, held by the same consumer with the same count.
        let neighbour = bench.queue(&delivery).await;
        bench.take("b").await;
        bench.cli::<redis::Value>(&format!("{claim} {neighbour}")).await;
        for (consumer, deliveries) in [("a", 1), ("a", 2), ("b", 1), ("b", 3), ("nobody", 2)] {
            step.assert_lost(&bench, consumer, &Fence { deliveries, ..held.clone() }, &delivery).await;
        }
        let held = Fence { deliveries: 2, ..held };
        assert_eq!(step.take(&bench, "b", &held, &delivery).await, StepAnswer::Done, "{step:?}");
        assert_eq!((bench.len("queue").await, bench.pending().await), (entries + 1, pending + 1), "{step:?}");
        if step != Step::Renew {
            step.assert_lost(&bench, "b", &held, &delivery).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_group_or_the_entry_there_is_no_holder() {
    for (step, ..) in STEPS {
        let (bench, held, delivery) = taken(step).await;
        let unknown = Fence { entry: EntryId("1-1".to_owned()), ..held.clone() };
        if step == Step::Renew {
            // A worker that has not settled the entry knows that no other worker did.
            assert_eq!(step.take(&bench, "a", &unknown, &delivery).await, StepAnswer::Vanished);
        } else {
            step.assert_lost(&bench, "a", &unknown, &delivery).await;
        }
        bench.cli::<()>(&format!("XGROUP DESTROY {} workers", bench.key("queue"))).await;
        step.assert_lost(&bench, "a", &held, &delivery).await;
        bench.cli::<()>(&format!("DEL {}", bench.key("queue"))).await;
        if matches!(step, Step::Delivered | Step::Retry | Step::Failed | Step::Renew) {
            assert_eq!(step.take(&bench, "a", &held, &delivery).await, StepAnswer::Vanished, "{step:?}");
        } else {
            step.assert_lost(&bench, "a", &held, &delivery).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_was_deleted_under_its_holder_is_done_and_moves_nothing() {
    for (step, ..) in STEPS.into_iter().filter(|(step, ..)| *step != Step::Renew) {
        let (bench, held, delivery) = taken(step).await;
        bench.cli::<()>(&format!("XDEL {} {}", bench.key("queue"), held.entry.0)).await;
        // An attempt that was made must still be settled, by another form of the step.
        let attempted = matches!(step, Step::Retry | Step::Failed);
        let answer = if attempted { StepAnswer::Trimmed } else { StepAnswer::Done };
        assert_eq!(step.take(&bench, "a", &held, &delivery).await, answer, "{step:?}");
        assert_eq!((bench.len("queue").await, bench.pending().await), (0, usize::from(attempted)), "{step:?}");
        assert_eq!(bench.counted("entries_trimmed").await, u64::from(!attempted), "{step:?}");
        let (held, failed) = (format!("held:{}", delivery.webhook), format!("failed:{}", delivery.webhook));
        for rest in [&held, &failed, "rejected"] {
            assert_eq!(bench.len(rest).await, 0, "{step:?} wrote to {rest}");
        }
        assert_eq!(bench.held_bytes(delivery.webhook).await, None, "{step:?}");
        assert_eq!(bench.cli::<usize>(&format!("ZCARD {}", bench.key("retries"))).await, 0, "{step:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn renewing_counts_the_lease_from_now_and_not_the_delivery() {
    let (bench, held, _) = taken(Step::Renew).await;
    let queue = bench.key("queue");
    let age = format!("XCLAIM {queue} workers a 0 {} IDLE 60000 JUSTID", held.entry.0);
    bench.cli::<redis::Value>(&age).await;
    assert_eq!(bench.store.renew(0, "a", std::slice::from_ref(&held)).await.unwrap(), [vec![], vec![], vec![]]);
    let pending: Vec<(String, String, u64, u32)> = bench.cli(&format!("XPENDING {queue} workers - + 10")).await;
    assert_eq!(pending.len(), 1);
    let (entry, consumer, idle_ms, deliveries) = &pending[0];
    assert_eq!((entry, consumer.as_str(), *deliveries), (&held.entry.0, "a", 1));
    assert!(*idle_ms < 60_000, "{idle_ms}");
}
