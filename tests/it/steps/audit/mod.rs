//! Audits: entries without a holder come back, and entries that were removed from the queue by hand are noticed once.

mod largest_id;
mod settled;
mod trims;

use lynkhook::store::Audit;

use super::*;

const LEASE: Duration = Duration::from_secs(30);
const LARGEST: &str = "18446744073709551615-18446744073709551615";

impl Bench {
    /// An audit by `b`, even if another worker has just looked.
    async fn audit(&self) -> Audit {
        self.store.audit(0, "b", LEASE, true).await.unwrap().expect("there is a group")
    }

    /// Only looks.
    async fn look(&self) -> Audit {
        self.store.look_at_group(0).await.unwrap().expect("there is a group")
    }

    /// Pushes `count` events. Answers their entries.
    async fn push_many(&self, count: usize) -> Vec<String> {
        let mut ids = Vec::new();
        for _ in 0..count {
            ids.push(self.push("acme", TRANSCRIPT).await);
        }
        ids
    }

    async fn take_some(&self, consumer: &str, most: usize) -> Vec<String> {
        let mut reader = self.reader(0, consumer, Duration::from_secs(1)).await;
        reader.read(most).await.unwrap().into_iter().map(|entry| entry.id.0).collect()
    }

    /// The pending entries: entry, consumer, delivery count.
    async fn leases(&self) -> Vec<(String, String, u32)> {
        let all: Vec<(String, String, u64, u32)> =
            self.cli(&format!("XPENDING {} workers - + 10000", self.key("queue"))).await;
        all.into_iter().map(|(entry, consumer, _, count)| (entry, consumer, count)).collect()
    }

    async fn claim_all(&self) -> Vec<(String, u32)> {
        let claimed = self.store.claim(0, "c", LEASE, (10_000, 0)).await.unwrap().entries;
        claimed.into_iter().map(|entry| (entry.id.0, entry.deliveries)).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_of_a_consumer_that_was_deleted_come_back_once_and_those_of_others_stay_as_they_are() {
    let bench = Bench::new().await;
    bench.push_many(60).await;
    let (mut lost, kept) = (bench.take_some("dead", 20).await, bench.take_some("alive", 20).await);
    lost.extend(bench.take_some("dead", 10).await);
    let queue = bench.key("queue");
    assert_eq!(bench.look().await.unheld, 0);
    assert_eq!(bench.cli::<u64>(&format!("XGROUP DELCONSUMER {queue} workers dead")).await, 30);
    let before = bench.state().await;
    assert_eq!(bench.look().await.unheld, 30);
    assert_eq!(changed(&before, &bench.state().await), [] as [String; 0], "a look changes nothing");

    let seen = bench.audit().await;
    assert_eq!(seen, Audit { unheld: 30, oldest: seen.oldest, ..Audit::default() });
    assert_eq!(bench.claim_all().await, lost.iter().map(|id| (id.clone(), 1)).collect::<Vec<_>>());
    let alive: Vec<_> = bench.leases().await.into_iter().filter(|(_, consumer, _)| consumer == "alive").collect();
    assert_eq!(alive, kept.iter().map(|id| (id.clone(), "alive".to_owned(), 1)).collect::<Vec<_>>());
    assert_eq!((bench.audit().await.unheld, bench.look().await.unheld, bench.claim_all().await.len()), (0, 0, 0));
    assert_eq!(bench.take_some("alive", 100).await.len(), 10, "unread entries are still unread");
    assert_eq!((bench.counted("trims_seen").await, bench.counted("entries_trimmed").await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recent_audit_by_one_worker_spares_the_others() {
    let bench = Bench::new().await;
    let audit = async |due| bench.store.audit(0, "b", LEASE, due).await.unwrap().is_some();
    assert_eq!([audit(false).await, audit(false).await, audit(true).await], [true, false, true]);
    bench.look().await;
    bench.cli::<()>(&format!("HSET {} at 99999999999999", bench.key("audit"))).await;
    assert!(audit(false).await, "a clock that was set back stops no audit");
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_before_a_position_set_by_hand_are_found() {
    for (to, behind) in [("$", 30), ("middle", 15), (LARGEST, 30), ("99999999999999-0", 30), ("0", 0)] {
        let bench = Bench::new().await;
        let ids = bench.push_many(30).await;
        let to = if to == "middle" { &ids[14] } else { to };
        bench.cli::<()>(&format!("XGROUP SETID {} workers {to}", bench.key("queue"))).await;
        let seen = bench.look().await;
        assert_eq!((seen.unheld, seen.is_beyond), (behind, to.starts_with("99") || to == LARGEST), "{to}");
        let seen = bench.audit().await;
        assert_eq!((seen.unheld, seen.trimmed), (behind, false), "{to}");
        let claimed: Vec<String> = bench.claim_all().await.into_iter().map(|(id, _)| id).collect();
        assert_eq!(claimed, ids[..usize::try_from(behind).unwrap()], "{to}");
        let next = bench.push_many(1).await;
        let read = bench.take_some("a", 100).await;
        assert_eq!(read, [&ids[claimed.len()..], &next].concat(), "later entries are read as before: {to}");
        assert!(!bench.look().await.is_beyond, "{to}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_entries_are_audited_in_short_steps() {
    let bench = Bench::new().await;
    let ids = bench.push_many(1300).await;
    bench.take_some("alive", 1300).await;
    let queue = bench.key("queue");
    // Every other entry, and all of the last 300.
    let lost: Vec<&String> =
        ids.iter().enumerate().filter(|(n, _)| n % 2 == 0 || *n >= 1000).map(|(_, id)| id).collect();
    let (consumer, mut give) = ("dead", redis::cmd("XCLAIM"));
    give.arg(&queue).arg("workers").arg(consumer).arg(0).arg(&lost).arg("JUSTID");
    let _: Vec<String> = give.query_async(&mut bench.redis.clone()).await.unwrap();
    bench.cli::<u64>(&format!("XGROUP DELCONSUMER {queue} workers {consumer}")).await;
    assert_eq!(bench.look().await.unheld, 800);
    let seen = bench.audit().await;
    assert_eq!((seen.unheld, seen.trimmed), (800, false));
    assert_eq!(bench.leases().await.len(), 1300);
    let pending: Vec<_> = bench.leases().await.into_iter().filter(|(_, consumer, _)| consumer == "b").collect();
    assert_eq!(pending.iter().map(|(id, ..)| id).collect::<Vec<_>>(), lost);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_was_set_back_or_a_group_made_by_hand_is_no_trim() {
    for by_hand in ["XGROUP SETID {} workers 0", "XGROUP DESTROY {} workers"] {
        let bench = Bench::new().await;
        bench.push_many(1).await;
        bench.audit().await;
        let id = bench.take_some("a", 1).await.remove(0);
        bench.push_many(1).await;
        let webhook = bench.webhook("acme", true).await;
        let held = Fence { partition: 0, entry: lynkhook::store::EntryId(id), deliveries: 1 };
        let attempt = attempted(&held, &first("acme", webhook, "e1"), Next::Delivered);
        let queue = bench.key("queue");
        if by_hand.contains("SETID") {
            bench.cli::<redis::Value>(&by_hand.replace("{}", &queue)).await;
            assert_eq!(bench.settle(&[attempt]).await, [StepAnswer::Done]);
        } else {
            assert_eq!(bench.settle(&[attempt]).await, [StepAnswer::Done]);
            bench.cli::<redis::Value>(&by_hand.replace("{}", &queue)).await;
            bench.cli::<redis::Value>(&format!("XGROUP CREATE {queue} workers 0")).await;
        }
        let seen = bench.audit().await;
        assert!(!seen.trimmed && seen.entries_trimmed == 0, "{by_hand}: {seen:?}");
    }
}
