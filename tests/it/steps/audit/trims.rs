//! A trim, a deleted queue and a lost installation are told apart, and each is noticed once.

use lynkhook::{config::Settings, store::Store};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn entries_trimmed_unread_are_noticed_once_with_their_number() {
    for read_before in [0, 5] {
        let bench = Bench::new().await;
        bench.push_many(30).await;
        bench.audit().await;
        let read = if read_before > 0 { bench.take_some("a", read_before).await } else { Vec::new() };
        let queue = bench.key("queue");
        bench.cli::<u64>(&format!("XTRIM {queue} MAXLEN 10")).await;
        let seen = bench.look().await;
        assert_eq!((seen.trimmed, seen.entries_trimmed), (true, 20 - read.len() as u64), "{read_before} were read");
        let seen = bench.audit().await;
        assert_eq!((seen.trimmed, seen.entries_trimmed), (true, 20 - read.len() as u64));
        let seen = bench.audit().await;
        assert_eq!((seen.trimmed, seen.entries_trimmed), (false, 0), "once");
        assert!(seen.trim_noticed.is_some_and(|ago| ago < SOON), "{seen:?}");
        assert_eq!(bench.counted("trims_seen").await, 1);
        // Entries that were in hand are counted when their leases are renewed.
        let leases: Vec<Fence> = read
            .iter()
            .map(|id| Fence { partition: 0, entry: lynkhook::store::EntryId(id.clone()), deliveries: 1 })
            .collect();
        if !leases.is_empty() {
            let [lost, trimmed, _] = bench.store.renew(0, "a", &leases).await.unwrap();
            assert_eq!((lost.len(), trimmed.len()), (0, 5));
            assert!(bench.audit().await.trimmed);
        }
        assert_eq!(bench.counted("entries_trimmed").await, 20);
        assert_eq!(bench.take_some("a", 100).await.len(), 10);
        let seen = bench.audit().await;
        assert_eq!((seen.trimmed, seen.unheld), (false, 0), "the remaining entries are read, and none is missing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trim_before_any_worker_is_noticed_as_well_and_a_recreated_group_is_no_trim() {
    let bench = Bench::new().await;
    bench.push_many(30).await;
    let queue = bench.key("queue");
    bench.cli::<u64>(&format!("XTRIM {queue} MAXLEN 10")).await;
    assert_eq!(bench.look().await.entries_trimmed, 20);
    assert_eq!(bench.audit().await.entries_trimmed, 20);

    let bench = Bench::new().await;
    bench.push_many(30).await;
    bench.audit().await;
    let webhook = bench.webhook("acme", true).await;
    let delivery = first("acme", webhook, "e1");
    for id in bench.take_some("a", 12).await {
        let held = Fence { partition: 0, entry: lynkhook::store::EntryId(id), deliveries: 1 };
        assert_eq!(bench.settle(&[attempted(&held, &delivery, Next::Delivered)]).await, [StepAnswer::Done]);
    }
    bench.audit().await;
    let queue = bench.key("queue");
    for round in 0..2 {
        bench.cli::<u64>(&format!("XGROUP DESTROY {queue} workers")).await;
        assert_eq!(bench.store.audit(0, "b", LEASE, true).await.unwrap(), None, "there is no group");
        bench.store.ensure_group(0).await.unwrap();
        let seen = bench.audit().await;
        assert_eq!((seen.trimmed, seen.unheld), (false, 0), "{seen:?}");
        assert_eq!(bench.take_some("a", 5 + round).await.len(), 5 + round);
        assert!(!bench.audit().await.trimmed);
    }
    assert_eq!(bench.take_some("a", 100).await.len(), 12);
    assert!(!bench.audit().await.trimmed);
    assert_eq!(bench.counted("trims_seen").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_deleted_is_noticed_once_whatever_was_in_it_at_the_last_look() {
    for left in [0, 5] {
        let bench = Bench::new().await;
        let webhook = bench.webhook("acme", true).await;
        bench.push_many(20).await;
        for id in bench.take_some("a", 20 - left).await {
            let held = Fence { partition: 0, entry: lynkhook::store::EntryId(id), deliveries: 1 };
            let attempt = attempted(&held, &first("acme", webhook, "e1"), Next::Delivered);
            assert_eq!(bench.settle(&[attempt]).await, [StepAnswer::Done]);
        }
        assert!(!bench.audit().await.trimmed);
        bench.cli::<u64>(&format!("DEL {}", bench.key("queue"))).await;
        bench.store.ensure_group(0).await.unwrap();
        bench.push_many(1).await;
        assert!(bench.look().await.trimmed, "{left}");
        assert!(bench.audit().await.trimmed, "{left}");
        assert!(!bench.audit().await.trimmed, "once");
        assert_eq!(bench.counted("trims_seen").await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_was_filled_and_deleted_before_the_first_look_is_noticed_and_a_lost_installation_is_not() {
    for flushed in [false, true] {
        let bench = Bench::new().await;
        bench.push_many(5).await;
        bench.cli::<()>(&format!("DEL {}", bench.key("queue"))).await;
        if flushed {
            bench.cli::<()>(&format!("DEL {}", bench.key("audit"))).await;
        }
        assert!(bench.store.ensure_group(0).await.unwrap());
        assert!(!bench.store.ensure_group(0).await.unwrap(), "the group exists");
        bench.push_many(9).await;
        assert_eq!(bench.look().await.trimmed, !flushed);
        assert_eq!(bench.audit().await.trimmed, !flushed);
        assert!(!bench.audit().await.trimmed && !bench.look().await.trimmed, "once");
    }
}

/// Another server continues with its own data about the group, which may be old. That is no trim, and a real trim is
/// still counted.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_after_a_rewrite_and_a_failover_are_no_trims_and_a_later_trim_is_counted() {
    for fails_over in [false, true] {
        let mut redis = RedisServer::start(AppendFsync::Always);
        let replica = RedisServer::start(AppendFsync::Always);
        let receiver = Receiver::start().await;
        let bench = Bench::of(Installation::on(&redis, &receiver).await).await;
        if fails_over {
            let mut follow = redis::cmd("REPLICAOF");
            follow.arg("127.0.0.1").arg(redis.port());
            let _: () = follow.query_async(&mut replica.connection().await).await.unwrap();
        }
        let info = async |server: &RedisServer| -> redis::InfoDict {
            redis::cmd("INFO").query_async(&mut server.connection().await).await.unwrap()
        };
        eventually(SOON, "the replica follows", async || {
            let linked = info(&replica).await.get::<String>("master_link_status");
            (!fails_over || linked.as_deref() == Some("up")).then_some(())
        })
        .await;
        let webhook = bench.webhook("acme", true).await;
        let attempt = |entry: String| {
            let held = Fence { partition: 0, entry: lynkhook::store::EntryId(entry), deliveries: 1 };
            attempted(&held, &first("acme", webhook, "e1"), Next::Delivered)
        };
        bench.push_many(60).await;
        bench.audit().await;
        if !fails_over {
            bench.cli::<redis::Value>("BGREWRITEAOF").await;
            eventually(SOON, "a rewritten file", async || {
                let info = info(&redis).await;
                let busy = ["aof_rewrite_in_progress", "aof_rewrite_scheduled"].map(|name| info.get::<u8>(name));
                (busy == [Some(0), Some(0)]).then_some(())
            })
            .await;
        }
        for entry in bench.take_some("a", 40).await {
            assert_eq!(bench.settle(&[attempt(entry)]).await, [StepAnswer::Done]);
        }
        bench.audit().await;
        let (queue, prefix) = (bench.key("queue"), bench.prefix.clone());
        let url = if fails_over {
            eventually(SOON, "the replica has all", async || {
                let left = redis::cmd("XLEN").arg(&queue).query_async::<usize>(&mut replica.connection().await).await;
                (left.unwrap() == 20).then_some(())
            })
            .await;
            redis.kill9();
            let mut lead = redis::cmd("REPLICAOF");
            let _: () = lead.arg("NO").arg("ONE").query_async(&mut replica.connection().await).await.unwrap();
            replica.url()
        } else {
            redis.kill9();
            redis.restart();
            redis.url()
        };
        let settings = [("LYNKHOOK_REDIS__URL", url), ("LYNKHOOK_REDIS__PREFIX", prefix)];
        let store = Store::open(&Settings::load(None, settings).unwrap()).await.unwrap();
        let server = if fails_over { &replica } else { &redis };
        assert!(!store.look_at_group(0).await.unwrap().unwrap().trimmed, "{fails_over}");
        for _ in 0..2 {
            let seen = store.audit(0, "b", LEASE, true).await.unwrap().unwrap();
            assert_eq!((seen.trimmed, seen.entries_trimmed, seen.unheld), (false, 0, 0), "{fails_over}");
        }
        let mut trim = redis::cmd("XTRIM");
        let taken: u64 =
            trim.arg(&queue).arg("MAXLEN").arg(13).query_async(&mut server.connection().await).await.unwrap();
        let seen = store.audit(0, "b", LEASE, true).await.unwrap().unwrap();
        assert_eq!((taken, seen.trimmed, seen.entries_trimmed), (7, true, 7), "{fails_over}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_redis_forgets_how_many_were_read_and_a_trim_is_seen_nevertheless() {
    let mut redis = RedisServer::start(AppendFsync::Always);
    let receiver = Receiver::start().await;
    let here = Installation::on(&redis, &receiver).await;
    let bench = Bench::of(here).await;
    bench.push_many(30).await;
    bench.take_some("a", 5).await;
    bench.audit().await;
    let (queue, store) = (bench.key("queue"), bench.store.clone());
    redis.kill9();
    redis.restart();
    let again =
        async || eventually(SOON, "an answer", async || store.audit(0, "b", LEASE, true).await.ok().flatten()).await;
    let seen = again().await;
    assert_eq!((seen.trimmed, seen.unheld), (false, 0), "a restart is no trim");
    let mut trim = redis::cmd("XTRIM");
    let _: u64 = trim.arg(&queue).arg("MAXLEN").arg(10).query_async(&mut redis.connection().await).await.unwrap();
    assert!(again().await.trimmed);
    assert!(!again().await.trimmed, "once");
}
