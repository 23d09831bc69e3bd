//! While Redis is away, a scrape is answered, tells that, and has no old figures of the queue. While it is there, it is
//! not asked more often than it has to be.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use super::text::{Metrics, until};
use crate::{deploy::deployed::Deployed, health::Probed, support::*};

/// How often the script was run that reads a partition's figures. No other script of a worker counts what is due in
/// `visits` and `releases`.
async fn looks(here: &Installation) -> u64 {
    let text: String = here.cli("INFO commandstats").await;
    let calls = text.split("cmdstat_zcount:calls=").nth(1).and_then(|rest| rest.split(',').next());
    calls.map_or(0, |calls| calls.parse::<u64>().unwrap() / 3)
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_asked_once_in_five_seconds_for_each_partition_however_many_scrape() {
    let receiver = Receiver::start().await;
    let redis = RedisServer::start(AppendFsync::No);
    let here = Installation::on(&redis, &receiver).await.with("LYNKHOOK_QUEUE__PARTITIONS", "4").await;
    let worker = Arc::new(Probed::start(&here.program, None).await);
    let before = looks(&here).await;
    let began = Instant::now();
    let mut scrapes = JoinSet::new();
    for _ in 0..20 {
        let worker = worker.clone();
        scrapes.spawn(async move { Metrics::of(&worker).await });
    }
    for metrics in scrapes.join_all().await {
        assert_eq!(metrics.get("lynkhook_queue_depth{partition=\"3\"}"), 0);
    }
    assert!(began.elapsed() < Duration::from_secs(5), "the machine is too slow to tell");
    assert_eq!(looks(&here).await - before, 4);
    eventually(SOON, "another look", async || {
        Metrics::of(&worker).await;
        (looks(&here).await - before == 8).then_some(())
    })
    .await;
    assert!(began.elapsed() >= Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_of_the_queue_vanish_while_redis_is_away_and_come_back_with_it() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(200)]);
    let mut redis = RedisServer::start(AppendFsync::No);
    let here = Installation::on(&redis, &receiver).await;
    here.add("acme", &receiver.url("/hook")).await;
    let worker = Probed::start(&here.program, None).await;
    here.push("acme", TRANSCRIPT).await;
    receiver.wait_for_ended("/hook", 1, SOON).await;
    here.drained().await;
    let there = Metrics::of(&worker).await;
    assert_eq!(there.get("lynkhook_redis_up"), 1);
    let memory = ["used", "max"].map(|which| there.get(&format!("lynkhook_redis_memory_{which}_bytes")));
    assert!(0 < memory[0] && memory[0] < memory[1], "{memory:?}");

    for is_hanging in [true, false] {
        if is_hanging {
            redis.pause();
        } else {
            redis.kill9();
        }
        let away = until(&worker, "Redis to be away", |metrics| metrics.get("lynkhook_redis_up") == 0).await;
        let of_redis = |series: &String| series.contains("_queue_") || series.contains("_dropped_");
        assert_eq!(away.series().into_iter().filter(of_redis).collect::<Vec<_>>(), [""; 0]);
        assert_eq!(away.get("lynkhook_settled_total{next=\"delivered\"}"), 1, "its own counts stay");
        // A scrape waits for Redis no longer than three seconds, and others do not wait again.
        let began = Instant::now();
        Metrics::of(&worker).await;
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
        if is_hanging {
            redis.resume();
        } else {
            redis.restart();
        }
        until(&worker, "Redis to be back", |metrics| {
            metrics.get("lynkhook_redis_up") == 1 && metrics.find("lynkhook_queue_depth{partition=\"0\"}").is_some()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scraper_that_gives_up_while_redis_hangs_leaves_no_old_figures_for_the_next() {
    let receiver = Receiver::start().await;
    let mut redis = RedisServer::start(AppendFsync::No);
    let here = Installation::on(&redis, &receiver).await;
    let worker = Probed::start(&here.program, None).await;
    assert_eq!(Metrics::of(&worker).await.get("lynkhook_redis_up"), 1);
    redis.pause();
    eventually(SOON, "a scrape that asks Redis again", async || {
        let asking = tokio::time::timeout(Duration::from_millis(300), Metrics::of(&worker)).await;
        asking.is_err().then_some(())
    })
    .await;
    // The next one waits for the answer that the first one asked for.
    let began = Instant::now();
    let next = Metrics::of(&worker).await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert_eq!(next.get("lynkhook_redis_up"), 0);
    assert!(next.find("lynkhook_queue_depth{partition=\"0\"}").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn scrapers_that_give_up_while_all_is_well_change_nothing() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await.with("LYNKHOOK_QUEUE__PARTITIONS", "16").await;
    let worker = Probed::start(&here.program, None).await;
    for _ in 0..3 {
        let _ = tokio::time::timeout(Duration::from_millis(1), Metrics::of(&worker)).await;
        let next = Metrics::of(&worker).await;
        assert_eq!((next.get("lynkhook_redis_up"), next.get("lynkhook_queue_depth{partition=\"15\"}")), (1, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_whose_key_has_another_type_is_named_and_the_others_are_told() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await.with("LYNKHOOK_QUEUE__PARTITIONS", "2").await;
    here.cli::<()>(&format!("SET {} x", here.key("rejected"))).await;
    let worker = Probed::start(&here.program, None).await;
    let metrics = Metrics::of(&worker).await;
    let readable =
        [0, 1].map(|partition| metrics.get(&format!("lynkhook_queue_readable{{partition=\"{partition}\"}}")));
    assert_eq!((readable, metrics.get("lynkhook_redis_up")), ([0, 1], 1));
    assert_eq!(metrics.get("lynkhook_queue_depth{partition=\"1\"}"), 0);
    assert!(metrics.find("lynkhook_queue_depth{partition=\"0\"}").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_the_rights_of_its_role_has_all_figures_and_without_some_it_has_none_but_redis_is_up() {
    let deployed = Deployed::start().await;
    let worker = Probed::start(&deployed.program_of("worker"), None).await;
    let metrics = Metrics::of(&worker).await;
    assert_eq!(metrics.get("lynkhook_queue_depth{partition=\"0\"}"), 0);
    assert_eq!(deployed.refusals().await, [""; 0]);
    deployed.allow("worker -zcount").await;
    let metrics =
        until(&worker, "no figures", |metrics| metrics.find("lynkhook_queue_depth{partition=\"0\"}").is_none()).await;
    assert_eq!(metrics.get("lynkhook_redis_up"), 1);
    assert_eq!(metrics.get("lynkhook_queue_readable{partition=\"0\"}"), 0);
}
