//! Audits: entries that nobody holds come back, and what somebody took out of the queue is noticed once.

use std::collections::HashSet;

use lynkhook::{
    config::Settings,
    store::{Audit, Store},
};

use super::*;

const LEASE: Duration = Duration::from_secs(30);
const LARGEST: &str = "18446744073709551615-18446744073709551615";

impl Bench {
    /// An audit as `b`, whoever looked before.
    async fn audit(&self) -> Audit {
        self.store.audit(0, "b", LEASE, true).await.unwrap().expect("there is a group")
    }

    /// Only a look.
    async fn look(&self) -> Audit {
        self.store.look_at_group(0).await.unwrap().expect("there is a group")
    }

    /// Pushes so many events; answers their entries.
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

    /// What is pending: entry, consumer, delivery count.
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
    assert_eq!(bench.take_some("alive", 100).await.len(), 10, "what nobody has read is still to be read");
    assert_eq!((bench.counted("trims_seen").await, bench.counted("entries_trimmed").await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_looked_just_now_spares_the_others_the_look() {
    let bench = Bench::new().await;
    let audit = async |due| bench.store.audit(0, "b", LEASE, due).await.unwrap().is_some();
    assert_eq!([audit(false).await, audit(false).await, audit(true).await], [true, false, true]);
    bench.look().await;
    bench.cli::<()>(&format!("HSET {} at 99999999999999", bench.key("audit"))).await;
    assert!(audit(false).await, "a clock that was set back stops nobody");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_before_a_position_that_was_set_is_found_wherever_it_was_set_to() {
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
        assert_eq!(read, [&ids[claimed.len()..], &next].concat(), "what comes later is read as ever: {to}");
        assert!(!bench.look().await.is_beyond, "{to}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_are_looked_at_in_short_steps() {
    let bench = Bench::new().await;
    let ids = bench.push_many(1300).await;
    bench.take_some("alive", 1300).await;
    let queue = bench.key("queue");
    // Every other one, and all of the last 300.
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
async fn what_was_trimmed_unread_is_noticed_once_with_how_many() {
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
        // Those that were in hand are counted when their leases are renewed.
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
        assert_eq!((seen.trimmed, seen.unheld), (false, 0), "what was left is read, and nothing is missing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trim_before_any_worker_is_noticed_too_and_a_group_made_anew_is_no_trim() {
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
        assert!(!bench.store.ensure_group(0).await.unwrap(), "it is there");
        bench.push_many(9).await;
        assert_eq!(bench.look().await.trimmed, !flushed);
        assert_eq!(bench.audit().await.trimmed, !flushed);
        assert!(!bench.audit().await.trimmed && !bench.look().await.trimmed, "once");
    }
}

/// Another server goes on with what it knows of the group, which may be old: that is no trim, and a trim is counted all the same.
#[tokio::test(flavor = "multi_thread")]
async fn neither_a_restart_after_a_rewrite_nor_a_failover_is_told_as_a_trim_and_a_trim_afterwards_is_counted() {
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

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_id_leaves_the_queue_open_and_its_entry_is_delivered_under_another() {
    for in_hand in [false, true] {
        let bench = Bench::new().await;
        let ids = bench.push_many(3).await;
        bench.audit().await;
        let queue = bench.key("queue");
        bench.cli::<String>(&format!("XADD {queue} {LARGEST} account acme envelope {{}}")).await;
        let push = async || {
            let mut push = redis::cmd("XADD");
            push.arg(&queue).arg("*").arg("account").arg("acme").arg("envelope").arg("{}");
            push.query_async::<String>(&mut bench.redis.clone()).await
        };
        push().await.unwrap_err();
        assert!(bench.look().await.is_exhausted);
        if in_hand {
            assert_eq!(bench.take_some("a", 10).await.len(), 4);
            assert!(bench.audit().await.is_exhausted);
            push().await.unwrap_err();
            let held = Fence { partition: 0, entry: lynkhook::store::EntryId(LARGEST.to_owned()), deliveries: 1 };
            let webhook = bench.webhook("acme", true).await;
            let attempt = attempted(&held, &first("acme", webhook, "e1"), Next::Delivered);
            assert_eq!(bench.settle(&[attempt]).await, [StepAnswer::Done]);
        }
        let seen = bench.audit().await;
        assert!(seen.is_exhausted && !seen.trimmed && seen.unheld == 0, "{seen:?}");
        if !in_hand && !sets_ids_back(&bench).await {
            // It is worked off under its id.
            assert_eq!(bench.take_some("a", 10).await.len(), 4);
            continue;
        }
        if in_hand && !sets_ids_back(&bench).await {
            // The queue begins anew when it is empty.
            for entry in &ids {
                bench.cli::<u64>(&format!("XACK {queue} workers {entry}")).await;
                bench.cli::<u64>(&format!("XDEL {queue} {entry}")).await;
            }
            bench.audit().await;
        }
        let pushed = push().await.unwrap();
        let seen = bench.look().await;
        assert!(!seen.is_exhausted && !seen.is_beyond && seen.unheld == 0, "{seen:?}");
        let read = bench.take_some("a", 10).await;
        if in_hand {
            assert_eq!(read, [pushed]);
        } else {
            assert_eq!((&read[..3], &read[4..]), (&ids[..], &[pushed][..]), "the one between them is the largest's");
        }
        let seen = bench.audit().await;
        assert!(!seen.trimmed && seen.unheld == 0, "{seen:?}");
        assert_eq!(bench.counted("entries_trimmed").await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_entries_under_the_largest_ms_get_new_ids_once_none_of_them_is_in_hand() {
    let bench = Bench::new().await;
    let ids = bench.push_many(3).await;
    let queue = bench.key("queue");
    let ms = u64::MAX;
    for sequence in [ms - 7, ms - 1, ms] {
        bench.cli::<String>(&format!("XADD {queue} {ms}-{sequence} account acme envelope {sequence}")).await;
    }
    let seen = bench.audit().await;
    assert!(seen.is_exhausted && !seen.trimmed, "{seen:?}");
    if !sets_ids_back(&bench).await {
        return assert_eq!(bench.take_some("a", 10).await.len(), 6, "they are worked off under their ids");
    }
    let pushed = bench.push_many(1).await;
    let entries = bench.entries("queue").await;
    let envelopes: Vec<_> = entries[3..6].iter().map(|(_, fields)| fields[1].1.clone()).collect();
    assert_eq!(envelopes, [ms - 7, ms - 1, ms].map(|sequence| sequence.to_string()), "in their order");
    assert_eq!(bench.take_some("a", 4).await[..3], ids);
    bench.cli::<redis::Value>(&format!("XADD {queue} {LARGEST} account acme envelope {{}}")).await;
    bench.take_some("a", 10).await;
    let seen = bench.audit().await;
    assert!(seen.is_exhausted && bench.entries("queue").await.iter().any(|(id, _)| id == LARGEST), "{seen:?}");
    assert!(bench.leases().await.iter().any(|(id, ..)| *id == pushed[0]) && !seen.trimmed && seen.unheld == 0);
}

/// Whether this Redis sets a stream's last id back behind one that was deleted.
async fn sets_ids_back(bench: &Bench) -> bool {
    let info: redis::InfoDict = redis::cmd("INFO").query_async(&mut bench.redis.clone()).await.unwrap();
    let version: String = info.get("redis_version").unwrap();
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap());
    (parts.next(), parts.next()) < (Some(7), Some(2))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_event_is_fanned_out_to_waits_among_the_retries_while_the_queue_takes_nothing() {
    let bench = Bench::new().await;
    let queue = bench.key("queue");
    let mut push = redis::cmd("XADD");
    push.arg(&queue).arg(LARGEST).arg(&["account", "acme", "envelope", TRANSCRIPT]);
    let _: String = push.query_async(&mut bench.redis.clone()).await.unwrap();
    let held = bench.take("a").await.remove(0);
    let deliveries: Vec<Delivery> = (0..3).map(|_| first("acme", WebhookId::new(uuid::Uuid::now_v7()), "e1")).collect();
    for _ in 0..2 {
        let answer = bench.store.fan_out("a", &held, &deliveries[..2], true).await.unwrap();
        assert_eq!((answer, bench.pending().await), (StepAnswer::Rest, 1), "the event is not done");
    }
    assert_eq!(bench.store.fan_out("a", &held, &deliveries[2..], false).await.unwrap(), StepAnswer::Done);
    assert_eq!(bench.len("queue").await, 0);
    assert!(bench.audit().await.is_exhausted);
    assert!(!bench.look().await.is_exhausted);
    assert_eq!(bench.store.promote(0, &KnownClock::default()).await.unwrap().moved, 3);
    let queued: Vec<_> = bench.entries("queue").await.into_iter().map(|(_, fields)| fields[0].1.clone()).collect();
    let mut expected: Vec<_> = deliveries.iter().map(|delivery| text(delivery, TRANSCRIPT)).collect();
    expected.sort();
    let mut sorted = queued.clone();
    sorted.sort();
    assert_eq!(sorted, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_whose_queue_was_lost_is_settled_in_full_and_once() {
    let ways = ["DEL {}", "XGROUP DESTROY {} workers"];
    for next in [Next::Delivered, Next::Retry { after: Duration::from_secs(2) }, Next::Failed] {
        for (how, renewed) in ways.into_iter().flat_map(|how| [(how, false), (how, true)]) {
            let bench = Bench::new().await;
            let webhook = bench.webhook("acme", true).await;
            let delivery = first("acme", webhook, "e1");
            bench.queue(&delivery).await;
            let mut held = bench.take("a").await.remove(0);
            let (queue, other) = (bench.key("queue"), Fence { partition: 0, ..held.clone() });
            bench.cli::<redis::Value>(&how.replace("{}", &queue)).await;
            bench.cli::<u64>(&format!("XTRIM {queue} MAXLEN 0")).await;
            bench.store.ensure_group(0).await.unwrap();
            // Others go on in the queue, which begins its ids anew: not in the same millisecond, or they would have this one's.
            let (taken_ms, _) = held.entry.order().unwrap();
            eventually(SOON, "the next millisecond", async || {
                (bench.store.now(0).await.unwrap().timestamp_millis() > taken_ms.cast_signed()).then_some(())
            })
            .await;
            bench.push_many(3).await;
            bench.take_some("b", 2).await;
            let mut attempt = attempted(&held, &delivery, next);
            if renewed {
                let [lost, trimmed, vanished] = bench.store.renew(0, "a", &[other]).await.unwrap();
                assert_eq!((lost, trimmed, vanished), (vec![], vec![], vec![held.entry.clone()]));
            } else {
                assert_eq!(bench.settle(std::slice::from_ref(&attempt)).await, [StepAnswer::Vanished]);
                assert_eq!(bench.log(webhook).await.len(), 0);
            }
            held.deliveries = 0;
            attempt = Attempted { fence: held, trimmed: Some(TRANSCRIPT.into()), ..attempt };
            for _ in 0..2 {
                assert_eq!(bench.settle(std::slice::from_ref(&attempt)).await, [StepAnswer::Done]);
            }
            let retries: Vec<String> = bench.cli(&format!("ZRANGE {} 0 -1", bench.key("retries"))).await;
            let expected = text(&delivery.next_attempt(), TRANSCRIPT);
            assert_eq!(retries, if matches!(next, Next::Retry { .. }) { vec![expected] } else { vec![] });
            let failed = bench.entries(&format!("failed:{webhook}")).await.len();
            assert_eq!((failed, bench.log(webhook).await.len()), (usize::from(next == Next::Failed), 1));
            assert_eq!((bench.counted("entries_trimmed").await, bench.pending().await), (0, 2));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_whose_entry_another_took_over_or_settled_stays_lost_though_the_group_is_made_anew() {
    let bench = Bench::new().await;
    let webhook = bench.webhook("acme", true).await;
    let delivery = first("acme", webhook, "e1");
    bench.queue(&delivery).await;
    let held = bench.take("a").await.remove(0);
    let (queue, attempt) = (bench.key("queue"), attempted(&held, &delivery, Next::Delivered));
    let (entry, lost) = (&held.entry.0, [StepAnswer::Lost]);
    for again in [format!("XCLAIM {queue} workers b 0 {entry}"), format!("XGROUP DESTROY {queue} workers")] {
        bench.cli::<redis::Value>(&again).await;
        bench.store.ensure_group(0).await.unwrap();
        assert_eq!(bench.settle(std::slice::from_ref(&attempt)).await, lost, "{again}");
    }
    let taken = bench.take("b").await.remove(0);
    let by_other = attempted(&taken, &delivery, Next::Delivered);
    assert_eq!(
        (&taken.entry, bench.settle(std::slice::from_ref(&attempt)).await),
        (&held.entry, vec![StepAnswer::Lost])
    );
    let settled = bench.store.settle(0, "b", &[by_other], &HashSet::new()).await.unwrap();
    assert_eq!(
        (settled, bench.settle(std::slice::from_ref(&attempt)).await),
        (vec![StepAnswer::Done], vec![StepAnswer::Lost])
    );
    assert_eq!((bench.counted("entries_trimmed").await, bench.log(webhook).await.len()), (0, 1));

    // An entry that came after the group was made, and is settled.
    bench.queue(&delivery).await;
    let held = bench.take("a").await.remove(0);
    let before = held.entry.order().unwrap().0 - 1;
    bench.cli::<u64>(&format!("HSET {} lost_before {before}-0", bench.key("audit"))).await;
    let attempt = attempted(&held, &delivery, Next::Delivered);
    assert_eq!(bench.settle(std::slice::from_ref(&attempt)).await, [StepAnswer::Done]);
    assert_eq!(bench.settle(&[attempt]).await, [StepAnswer::Lost], "as after an answer that was lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_of_thousands_of_fields_under_the_largest_id_is_kept() {
    let bench = Bench::new().await;
    let mut push = redis::cmd("XADD");
    push.arg(bench.key("queue")).arg(LARGEST).arg(vec!["x"; 10_000]);
    let _: String = push.query_async(&mut bench.redis.clone()).await.unwrap();
    assert!(bench.audit().await.is_exhausted);
    assert_eq!(bench.take_some("a", 10).await, [LARGEST]);
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

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_whose_entry_was_taken_out_is_settled_in_full_and_once() {
    for next in [Next::Delivered, Next::Retry { after: Duration::from_secs(2) }, Next::Failed] {
        for renewed in [false, true] {
            let bench = Bench::new().await;
            let webhook = bench.webhook("acme", true).await;
            let delivery = first("acme", webhook, "e1");
            bench.queue(&delivery).await;
            let mut held = bench.take("a").await.remove(0);
            bench.cli::<u64>(&format!("XTRIM {} MAXLEN 0", bench.key("queue"))).await;
            if renewed {
                let [_, trimmed, _] = bench.store.renew(0, "a", std::slice::from_ref(&held)).await.unwrap();
                assert_eq!(trimmed, [held.entry.clone()]);
            } else if next != Next::Delivered {
                let before = bench.state().await;
                assert_eq!(bench.settle(&[attempted(&held, &delivery, next)]).await, [StepAnswer::Trimmed]);
                assert_eq!(changed(&before, &bench.state().await), [] as [String; 0]);
            }
            let mut attempt = attempted(&held, &delivery, next);
            if renewed || next != Next::Delivered {
                held.deliveries = 0;
                attempt = Attempted { fence: held, trimmed: Some(TRANSCRIPT.into()), ..attempt };
                assert_eq!(bench.settle(std::slice::from_ref(&attempt)).await, [StepAnswer::Done]);
            }
            assert_eq!(bench.settle(&[attempt]).await, [StepAnswer::Done], "an answer that was lost");
            let retries: Vec<String> = bench.cli(&format!("ZRANGE {} 0 -1", bench.key("retries"))).await;
            let expected = text(&delivery.next_attempt(), TRANSCRIPT);
            assert_eq!(retries, if matches!(next, Next::Retry { .. }) { vec![expected] } else { vec![] });
            let failed = bench.entries(&format!("failed:{webhook}")).await;
            assert_eq!(failed.len(), usize::from(next == Next::Failed));
            assert!(failed.iter().all(|(_, fields)| fields[0].1 == text(&delivery, TRANSCRIPT)));
            assert_eq!((bench.log(webhook).await.len(), bench.pending().await), (1, 0), "{next:?} {renewed}");
            assert_eq!(bench.counted("entries_trimmed").await, 1);
        }
    }
}
