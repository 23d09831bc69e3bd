//! A Redis that takes no writes for a while: at `maxmemory` producers are told and workers drain on; without its
//! replicas everybody waits.

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_redis_tells_producers_and_is_drained_by_workers_that_start_only_then() {
    const EVENTS: usize = 300;
    let receiver = Receiver::start().await;
    let redis = RedisServer::start(AppendFsync::No);
    let here = Installation::on(&redis, &receiver).await;
    receiver.plan("/hook", [Answer::Status(200)]);
    receiver.plan("/fails", [Answer::Status(404)]);
    let [good, bad] = [here.add("acme", &receiver.url("/hook")).await, here.add("acme", &receiver.url("/fails")).await];
    let off = here.add("other", &receiver.url("/off")).await;
    here.program.run(["webhook", "disable", "--account", "other", &off.to_string()]).await;
    // A worker has run before, as always except on the first day.
    here.store.ensure_group(0).await.unwrap();
    for _ in 0..EVENTS {
        here.push("acme", TRANSCRIPT).await;
    }
    here.push("other", TRANSCRIPT).await;
    let mut full = redis::cmd("CONFIG");
    full.arg("SET").arg("maxmemory").arg("1mb");
    let _: () = full.query_async(&mut here.redis.clone()).await.unwrap();

    let refused = here.program.run_with_input(["enqueue", "--account", "acme", "-"], TRANSCRIPT).await;
    assert_eq!(refused.code, Some(5), "{refused:#?}");
    for words in ["maxmemory", "let workers drain the queue, or raise"] {
        assert!(refused.stderr.contains(words), "{refused:#?}");
    }

    let _workers = [here.program.worker([]), here.program.worker([])];
    here.drained().await;
    assert_eq!(receiver.requests("/hook").len(), EVENTS);
    assert_eq!(receiver.requests("/fails").len(), EVENTS);
    let status = here.program.json(["queue", "status"]).await;
    assert_eq!((&status["failed"]["entries"], &status["held"]["entries"]), (&EVENTS.into(), &1.into()));
    assert_eq!(here.log(good).await.len(), 50);
    assert_eq!(here.log(bad).await.len(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_replicas_are_missing_finished_attempts_wait_and_none_is_made_again() {
    let receiver = Receiver::start().await;
    let redis = RedisServer::start(AppendFsync::No);
    let here = Installation::on(&redis, &receiver).await;
    let gate = Gate::new();
    receiver.plan("/hook", [gate.before(Answer::Status(200))]);
    let worker = here.program.worker([("LYNKHOOK_LOG__FILTER", "debug")]);
    for number in 0..20 {
        here.add(&format!("a{number}"), &receiver.url("/hook")).await;
        here.push(&format!("a{number}"), TRANSCRIPT).await;
    }
    receiver.wait_for("/hook", 20, SOON).await;
    let replicas = async |wanted: u8| {
        let mut configure = redis::cmd("CONFIG");
        configure.arg("SET").arg("min-replicas-to-write").arg(wanted);
        let _: () = configure.query_async(&mut here.redis.clone()).await.unwrap();
    };
    replicas(1).await;
    gate.open();
    worker.wait_for_line("no answer from Redis, repeating").await;
    replicas(0).await;
    here.drained().await;
    assert_eq!(receiver.requests("/hook").len(), 20);
}
