//! Rejected entries are listed by pages over all partitions, and requeued or dropped a part at a time.

use lynkhook::{
    domain::{failure::Failure, page::Page},
    queue::{Disposed, DisposedSome, Fate, Queue, RejectedEntry, RejectedError, WhichRejected},
};
use redis::AsyncCommands;

use crate::{
    shapes::{assert_page, assert_shape},
    support::*,
};

const ALL: WhichRejected = WhichRejected { id: None, partition: None };

struct Scene {
    here: Installation,
    queue: Queue,
}

impl Scene {
    /// Two partitions.
    async fn new() -> Self {
        let receiver = Receiver::start().await;
        let here = Installation::new(&receiver).await.with("LYNKHOOK_QUEUE__PARTITIONS", "2").await;
        let queue = Queue::new(here.store.clone());
        Self { here, queue }
    }

    /// Adds an entry as a worker rejects it, with this text among its own fields.
    async fn reject(&self, partition: u16, id: &str, text: &str) {
        let fields = [("reason", "test"), ("entry", "1-0"), ("own", text)];
        let key = self.here.store.keys().rejected(partition);
        let _: String = self.here.redis.clone().xadd(key, id, &fields).await.unwrap();
    }

    async fn page(&self, partition: Option<u16>, after: Option<&str>, limit: usize) -> Page<RejectedEntry> {
        let page = self.queue.rejected_page(partition, after, limit).await.unwrap();
        assert_page(&page, &page.items);
        page
    }

    async fn some(&self, fate: Fate, until: Option<&str>) -> DisposedSome {
        let some = self.queue.dispose_some(&ALL, fate, until).await.unwrap();
        assert_shape(&some);
        some
    }
}

fn places(page: &Page<RejectedEntry>) -> Vec<(u16, &str)> {
    page.items.iter().map(|entry| (entry.partition, entry.id.0.as_str())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_all_partitions_are_newest_first_and_survive_new_entries_and_removals() {
    let scene = Scene::new().await;
    for id in ["1-0", "2-0", "3-0", "4-0"] {
        scene.reject(0, id, "x").await;
        scene.reject(1, id, "x").await;
    }
    let first = scene.page(None, None, 3).await;
    assert_eq!(places(&first), [(0, "4-0"), (1, "4-0"), (0, "3-0")]);
    scene.reject(0, "5-0", "x").await;
    let key = scene.here.store.keys().rejected(0);
    let _: u64 = scene.here.redis.clone().xdel(key, &["3-0"]).await.unwrap();
    let second = scene.page(None, first.next.as_deref(), 3).await;
    assert_eq!(places(&second), [(1, "3-0"), (0, "2-0"), (1, "2-0")]);
    let third = scene.page(None, second.next.as_deref(), 3).await;
    assert_eq!((places(&third), &third.next), (vec![(0, "1-0"), (1, "1-0")], &None));
    assert_eq!(places(&scene.page(Some(1), Some("3-0/1"), 3).await), [(1, "2-0"), (1, "1-0")]);
    for bad in ["", "1-0", "1-0/", "1/0", "x/0"] {
        let refused = scene.queue.rejected_page(None, Some(bad), 3).await.unwrap_err();
        assert!(matches!(refused, RejectedError::Position(_)) && refused.failure() == Failure::Usage, "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_large_entries_ends_early_and_misses_none() {
    let scene = Scene::new().await;
    let large = "x".repeat(1_500_000);
    for number in 0..6 {
        scene.reject(number % 2, &format!("{number}-1"), &large).await;
    }
    let (mut found, mut after) = (Vec::new(), None);
    for _ in 0..3 {
        let page = scene.page(None, after.as_deref(), 100).await;
        assert_eq!(page.items.len(), 2, "three have over 4 MiB");
        found.extend(page.items.into_iter().map(|entry| entry.id.0));
        after = page.next;
    }
    assert_eq!((found, after), (["5-1", "4-1", "3-1", "2-1", "1-1", "0-1"].map(str::to_owned).to_vec(), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_series_requeues_each_entry_once_even_if_all_are_rejected_again_or_cannot_be_restored() {
    let scene = Scene::new().await;
    for number in 1..=700 {
        scene.reject(0, &format!("1-{number}"), "x").await;
        scene.reject(1, &format!("1-{number}"), "x").await;
    }
    // No worker set this one aside, so that it stays.
    let key = scene.here.store.keys().rejected(0);
    let _: String = scene.here.redis.clone().xadd(&key, "2-0", &[("own", "x")]).await.unwrap();
    let (mut all, mut calls, mut until) = ((0, 0), 0, None::<String>);
    loop {
        let some = scene.some(Fate::Requeue, until.as_deref()).await;
        let Disposed::Requeued { requeued, stayed } = some.disposed else { panic!("{some:?}") };
        assert!(requeued + stayed <= 1000, "{some:?}");
        (all, calls) = ((all.0 + requeued, all.1 + stayed), calls + 1);
        assert_eq!(some.more, some.until.is_some());
        // Some are rejected again, in both partitions.
        scene.reject(0, "*", "again").await;
        scene.reject(1, "*", "again").await;
        until = some.until;
        if until.is_none() {
            break;
        }
    }
    assert_eq!(all, (1400, 1));
    assert!(calls >= 2, "a call has a bound");
    let dropped = scene.some(Fate::Drop, None).await;
    assert_eq!((dropped.disposed, dropped.more), (Disposed::Dropped { dropped: 2 * calls + 1 }, false));
    for bad in ["", "x", "0/-/-", "2/-/1-0", "0/1-0/1-0", "0/-/1-0,"] {
        let refused = scene.queue.dispose_some(&ALL, Fate::Drop, Some(bad)).await.unwrap_err();
        assert!(matches!(refused, RejectedError::Position(_)), "{bad}: {refused}");
    }
}
