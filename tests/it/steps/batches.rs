//! What one script moves is bounded: 50 entries and 4 MiB, at least one entry; the oldest first.

use lynkhook::store::Fate;

use super::*;

const MIB: usize = 1 << 20;

/// Steps that move a stretch of entries from one key to another.
#[derive(Clone, Copy, Debug)]
enum Move {
    Promote,
    Visit,
    Requeue,
}

impl Move {
    /// Puts deliveries of these sizes, in bytes, to where the step takes them from, oldest first.
    async fn fill(self, bench: &Bench, webhook: WebhookId, sizes: &[usize]) {
        for (number, size) in sizes.iter().enumerate() {
            let delivery = format!("{}{number:4}", " ".repeat(size - 4));
            let mut redis = bench.redis.clone();
            match self {
                Self::Promote => redis.zadd(bench.key("retries"), delivery, number).await.unwrap(),
                Self::Visit => drop(bench.append(&format!("held:{webhook}"), &[("delivery", &delivery)]).await),
                Self::Requeue => {
                    // With its names and the other fields it has exactly this size.
                    let delivery = &delivery["reasonrentry1-0delivery".len()..];
                    let fields = [("reason", "r"), ("entry", "1-0"), ("delivery", delivery)];
                    bench.append("rejected", &fields).await;
                }
            }
        }
    }

    /// Moves once; answers how many.
    async fn once(self, bench: &Bench, webhook: WebhookId) -> usize {
        match self {
            Self::Promote => bench.store.promote(0).await.unwrap().moved,
            Self::Visit => bench.visit("acme", webhook).await,
            Self::Requeue => {
                let Some((span, _)) = bench.store.rejected_span(0).await.unwrap() else { return 0 };
                let batch = bench.store.settle_rejected(0, &span, Fate::Requeue).await.unwrap();
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
    for step in [Move::Promote, Move::Visit, Move::Requeue] {
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
            assert!(queued.iter().all(|(_, fields)| fields.len() == 1 && fields[0].0 == "delivery"), "{step:?}");
            bench.cli::<()>(&format!("XTRIM {} MAXLEN 0", bench.key("queue"))).await;
        }
    }
}

/// The number that a delivery of this test ends with, behind blanks.
fn number(delivery: &str) -> usize {
    delivery.trim_start().parse().unwrap()
}
