//! Each script moves a limited number of entries: 50 and 4 MiB, but at least one, the oldest first. Each entry of a
//! batch has its own answer, whatever the other entries are and whatever lies between them.

use lynkhook::store::Fate;

use super::*;

const MIB: usize = 1 << 20;

/// Steps that move a range of entries from one key to another.
#[derive(Clone, Copy, Debug)]
enum Move {
    Promote,
    Release,
    Requeue,
}

impl Move {
    /// Puts deliveries of these sizes in bytes into the step's source, oldest first.
    async fn fill(self, bench: &Bench, webhook: WebhookId, sizes: &[usize]) {
        for (number, size) in sizes.iter().enumerate() {
            let delivery = format!("{}{number:4}", " ".repeat(size - 4));
            let mut redis = bench.redis.clone();
            match self {
                Self::Promote => redis.zadd(bench.key("retries"), delivery, number).await.unwrap(),
                Self::Release => drop(bench.append(&format!("held:{webhook}"), &[("delivery", &delivery)]).await),
                Self::Requeue => {
                    // With its names and the other fields, the entry has exactly this size.
                    let delivery = &delivery["reasonrentry1-0delivery".len()..];
                    let fields = [("reason", "r"), ("entry", "1-0"), ("delivery", delivery)];
                    bench.append("rejected", &fields).await;
                }
            }
        }
    }

    /// Moves once. Answers the number of moved entries.
    async fn once(self, bench: &Bench, webhook: WebhookId) -> usize {
        match self {
            Self::Promote => bench.store.promote(0, &KnownClock::default()).await.unwrap().moved,
            Self::Release => bench.release("acme", webhook).await,
            Self::Requeue => {
                let Some((range, _)) = bench.store.rejected_range(0).await.unwrap() else { return 0 };
                let batch = bench.store.dispose_rejected(0, &range, Fate::Requeue).await.unwrap();
                usize::try_from(batch.moved).unwrap()
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_moves_at_most_50_entries_and_4_mib_and_at_least_one_oldest_first() {
    let rows: [(&[usize], &[usize]); 7] = [
        (&[40; 50], &[50]),
        (&[40; 51], &[50, 1]),
        (&[40; 120], &[50, 50, 20]),
        (&[1_500_000; 5], &[2, 2, 1]),
        (&[2 * MIB, 2 * MIB, 40], &[2, 1]),
        (&[2 * MIB, 2 * MIB + 1], &[1, 1]),
        (&[5_000_000, 5_000_000, 40], &[1, 1, 1]),
    ];
    let bench = Bench::new().await;
    let webhook = bench.webhook("acme", true).await;
    for step in [Move::Promote, Move::Release, Move::Requeue] {
        let names: &[&str] = match step {
            Move::Promote => &["delivery", "waited"],
            Move::Release => &["delivery", "held"],
            Move::Requeue => &["delivery"],
        };
        for (sizes, expected) in rows {
            step.fill(&bench, webhook, sizes).await;
            let mut moved = Vec::new();
            while moved.last() != Some(&0) {
                moved.push(step.once(&bench, webhook).await);
            }
            assert_eq!(moved, [expected, &[0]].concat(), "{step:?} of {} × {}", sizes.len(), sizes[0]);
            let queued = bench.entries("queue").await;
            let order: Vec<usize> = queued.iter().map(|(_, fields)| number(&fields[0].1)).collect();
            assert_eq!(order, (0..sizes.len()).collect::<Vec<_>>(), "{step:?}");
            assert!(queued.iter().all(|(_, fields)| fields.iter().map(|(name, _)| name).eq(names)), "{step:?}");
            bench.cli::<()>(&format!("XTRIM {} MAXLEN 0", bench.key("queue"))).await;
        }
    }
}

/// The number at the end of this test's delivery, after blanks.
fn number(delivery: &str) -> usize {
    delivery.trim_start().parse().unwrap()
}

/// The leased steps that are taken for many entries at once.
#[derive(Clone, Copy, Debug)]
enum Together {
    Settle,
    Hold,
    Renew,
}

impl Together {
    /// Takes the step as consumer `a`.
    async fn take(self, bench: &Bench, entries: &[(Fence, Delivery)]) -> Vec<StepAnswer> {
        match self {
            Self::Settle => {
                let attempts: Vec<_> =
                    entries.iter().map(|(held, delivery)| attempted(held, delivery, Next::Delivered)).collect();
                bench.settle(&attempts).await
            }
            Self::Hold => {
                let reason = Reason::Busy { release_in: PACE, is_new: true };
                let mut waiting = Vec::new();
                for (held, delivery) in entries {
                    waiting.push(bench.waiting(held, delivery, reason).await);
                }
                bench.store.hold(0, "a", &waiting).await.unwrap()
            }
            Self::Renew => {
                let leases: Vec<_> = entries.iter().map(|(held, _)| held.clone()).collect();
                let [lost, ..] = bench.store.renew(0, "a", &leases).await.unwrap();
                let answer =
                    |held: &Fence| if lost.contains(&held.entry) { StepAnswer::Lost } else { StepAnswer::Done };
                leases.iter().map(answer).collect()
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_entry_of_a_batch_gets_its_own_answer_at_any_distance_and_with_any_holder() {
    for step in [Together::Settle, Together::Hold, Together::Renew] {
        // One in `sparse` entries is in the batch.
        for sparse in [1, 2, 7, 50] {
            let bench = Bench::new().await;
            let webhooks = [bench.webhook("acme", true).await, bench.webhook("other", true).await];
            let accounts = ["acme", "other"];
            let delivery = |number: usize| first(accounts[number % 2], webhooks[number % 2], &format!("e{number}"));
            for number in 0..8 * sparse {
                // The first entry has waited for a very long time.
                let id = if number == 0 { "1000-0" } else { "*" };
                let fields = [("delivery", text(&delivery(number), TRANSCRIPT))];
                let _: String = bench.redis.clone().xadd(bench.key("queue"), id, &fields).await.unwrap();
            }
            let all: Vec<_> = bench.take("a").await.into_iter().zip((0..).map(delivery)).collect();
            // Of every four entries of the batch, one is held by another consumer and one was taken again; the batch is
            // unordered.
            let mut batch: Vec<_> = (0..8).map(|index| all[index * sparse].clone()).collect();
            for (index, (held, _)) in batch.iter().enumerate() {
                let by = match index % 4 {
                    1 => "b",
                    2 => "a",
                    _ => continue,
                };
                let claim = format!("XCLAIM {} workers {by} 0 {}", bench.key("queue"), held.entry.0);
                bench.cli::<redis::Value>(&claim).await;
            }
            batch.rotate_left(3);
            batch.reverse();
            let expected: Vec<_> = batch
                .iter()
                .map(|(held, _)| {
                    let index = all.iter().position(|(other, _)| other.entry == held.entry).unwrap() / sparse;
                    if matches!(index % 4, 1 | 2) { StepAnswer::Lost } else { StepAnswer::Done }
                })
                .collect();
            assert_eq!(step.take(&bench, &batch).await, expected, "{step:?}, 1 of {sparse}");

            let done =
                batch.iter().zip(&expected).filter(|(_, answer)| **answer == StepAnswer::Done).map(|(one, _)| one);
            let done: Vec<_> = done.map(|(held, delivery)| (held.entry.clone(), delivery.clone())).collect();
            let left = if matches!(step, Together::Renew) { all.len() } else { all.len() - done.len() };
            assert_eq!((bench.len("queue").await, bench.pending().await), (left, left), "{step:?}, 1 of {sparse}");
            for webhook in webhooks {
                let of_it: Vec<_> =
                    done.iter().map(|(_, delivery)| delivery).filter(|d| d.webhook == webhook).collect();
                let (logged, held) = (bench.log(webhook).await, bench.entries(&format!("held:{webhook}")).await);
                match step {
                    Together::Settle => {
                        let ids: Vec<_> = logged.iter().rev().map(|entry| entry["deliveryId"].clone()).collect();
                        let expected: Vec<_> = of_it.iter().map(|delivery| json!(delivery.id)).collect();
                        assert_eq!(ids, expected, "1 of {sparse}");
                    }
                    Together::Hold => {
                        let texts: Vec<_> = held.into_iter().map(|(_, mut fields)| fields.remove(0).1).collect();
                        let expected: Vec<_> = of_it.iter().map(|delivery| text(delivery, TRANSCRIPT)).collect();
                        assert_eq!(texts, expected, "1 of {sparse}");
                    }
                    Together::Renew => assert!(logged.is_empty() && held.is_empty()),
                }
            }
        }
    }
}
