//! Redis's clock is a day ahead for some seconds, and then correct again.

use std::time::{Duration, Instant};

use lynkhook::{domain::webhook::WebhookId, webhooks::Edit};
use redis::AsyncCommands;

use crate::support::*;

const DAY_MS: i64 = 86_400_000;
/// A worker notices a step within about a second; a busy machine may take longer.
const MENDING: Duration = Duration::from_secs(4);

async fn counted(here: &Installation) -> usize {
    let counted: Option<usize> = here.redis.clone().hget(here.key("counts"), "times_brought_back").await.unwrap();
    counted.unwrap_or_default()
}

/// Entry, holder and delivery count of all pending entries.
async fn pending(here: &Installation) -> Vec<(String, String, u64)> {
    let mut look = redis::cmd("XPENDING");
    look.arg(here.key("queue")).arg("workers").arg("-").arg("+").arg(100);
    let pending: Vec<(String, String, u64, u64)> = look.query_async(&mut here.redis.clone()).await.unwrap();
    pending.into_iter().map(|(entry, holder, _, deliveries)| (entry, holder, deliveries)).collect()
}

/// The times in this sorted set, in ms from now by Redis's clock.
async fn times_in_ms(here: &Installation, key: &str) -> Vec<i64> {
    let now_ms = here.store.now(0).await.unwrap().timestamp_millis();
    let times: Vec<(Vec<u8>, i64)> = here.redis.clone().zrange_withscores(here.key(key), 0, -1).await.unwrap();
    times.into_iter().map(|(_, at_ms)| at_ms - now_ms).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_that_were_planned_a_day_ahead_come_when_the_clock_is_right_again() {
    const EVENTS: usize = 12;
    let (redis, receiver) = (RedisServer::start_with_a_clock(), Receiver::start().await);
    receiver.plan("/hook", [vec![Answer::Status(500); EVENTS], vec![Answer::Status(200)]].concat());
    let here = Installation::on(&redis, &receiver).await;
    for account in 0..EVENTS {
        here.add(&format!("a{account}"), &receiver.url("/hook")).await;
    }
    let worker = here.program.worker([]);
    worker.wait_for_line("worker started").await;
    redis.step_clock("+1d");
    worker.wait_for_line("Redis's clock stepped").await;
    for account in 0..EVENTS {
        here.push(&format!("a{account}"), TRANSCRIPT).await;
    }
    receiver.wait_for_ended("/hook", EVENTS, SOON).await;
    eventually(SOON, "all wait for their retries", async || {
        (times_in_ms(&here, "retries").await.len() == EVENTS).then_some(())
    })
    .await;
    redis.step_clock("+0");
    let right = Instant::now();
    receiver.wait_for("/hook", 2 * EVENTS, SOON).await;
    let took = right.elapsed();
    println!("all retries came {took:.1?} after the clock was right again");
    // The longest delay is 4 s, with jitter 4.2 s.
    assert!(took < Duration::from_millis(4200) + MENDING, "{took:?}");
    here.drained().await;
    let requests = receiver.requests("/hook");
    assert_eq!(requests.len(), 2 * EVENTS);
    for event in &requests[..EVENTS] {
        let id = event.header("webhook-id");
        let again = requests[EVENTS..].iter().filter(|request| request.header("webhook-id") == id);
        let [again] = again.collect::<Vec<_>>()[..] else { panic!("{id:?} came twice, or not again") };
        assert!(again.arrived - event.ended.unwrap() >= Duration::from_secs(2), "a retry came early");
    }
    // The visits of the logs were also planned a day ahead.
    eventually(SOON, "each time counted", async || (counted(&here).await == 2 * EVENTS).then_some(())).await;
    worker.wait_for_line("brought back retries").await;
    let visits = times_in_ms(&here, "visits").await;
    assert_eq!(visits.len(), EVENTS);
    assert!(visits.iter().all(|ms| (20 * 60_000..60 * 60_000).contains(ms)), "{visits:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_keep_their_waits_when_the_clock_steps_ahead_for_good() {
    tokio::join!(retries_keep_their_waits("+1d"), retries_keep_their_waits("+3s"));
}

async fn retries_keep_their_waits(step: &str) {
    let (redis, receiver) = (RedisServer::start_with_a_clock(), Receiver::start().await);
    let here = Installation::on(&redis, &receiver).await.with("LYNKHOOK_DELIVERY__RETRY_DELAYS", "8s").await;
    let wait = Duration::from_secs(8);
    for path in ["/before", "/since"] {
        receiver.plan(path, [Answer::Status(500), Answer::Status(200)]);
        here.add(&path[1..], &receiver.url(path)).await;
    }
    let worker = here.program.worker([]);
    worker.wait_for_line("worker started").await;
    here.push("before", TRANSCRIPT).await;
    receiver.wait_for_ended("/before", 1, SOON).await;
    eventually(SOON, "its retry is planned", async || (times_in_ms(&here, "retries").await.len() == 1).then_some(()))
        .await;
    redis.step_clock(step);
    worker.wait_for_line("Redis's clock stepped").await;
    here.push("since", TRANSCRIPT).await;
    for path in ["/before", "/since"] {
        receiver.wait_for(path, 2, SOON).await;
        let requests = receiver.requests(path);
        let waited = requests[1].arrived - requests[0].ended.unwrap();
        println!("{step} {path}: the retry came after {waited:.2?}");
        assert!(waited >= wait && waited < wait.mul_f64(1.05) + Duration::from_secs(2), "{step} {path}: {waited:?}");
    }
    here.drained().await;
    assert_eq!((receiver.requests("/before").len(), receiver.requests("/since").len()), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_a_dead_worker_read_while_the_clock_was_ahead_are_taken_over_within_a_lease() {
    const EVENTS: usize = 10;
    let (redis, receiver, gate) = (RedisServer::start_with_a_clock(), Receiver::start().await, Gate::new());
    receiver.plan("/hook", [vec![gate.before(Answer::Status(200)); EVENTS], vec![Answer::Status(200)]].concat());
    let here = Installation::on(&redis, &receiver).await;
    for account in 0..EVENTS {
        here.add(&format!("a{account}"), &receiver.url("/hook")).await;
    }
    let settings = [
        ("LYNKHOOK_WORKER__LEASE", "7s"),
        ("LYNKHOOK_WORKER__RENEW_EVERY", "500ms"),
        ("LYNKHOOK_WORKER__START_WITHIN", "2500ms"),
        ("LYNKHOOK_WORKER__CLAIM_EVERY", "500ms"),
        ("LYNKHOOK_DELIVERY__TIMEOUT", "2500ms"),
    ];
    let lease = Duration::from_secs(7);
    redis.step_clock("+1d");
    let mut first = here.program.worker(settings);
    for account in 0..EVENTS {
        here.push(&format!("a{account}"), TRANSCRIPT).await;
    }
    receiver.wait_for("/hook", EVENTS, SOON).await;
    first.kill9().await;
    redis.step_clock("+0");
    let (right, dead) = (Instant::now(), pending(&here).await);
    assert_eq!(dead.len(), EVENTS);
    gate.open();
    let _second = here.program.worker(settings);
    receiver.wait_for("/hook", 2 * EVENTS, SOON).await;
    let took = right.elapsed();
    println!("all was taken over {took:.1?} after the clock was right again; a lease lasts {lease:?}");
    assert!(took < lease + MENDING, "{took:?}");
    here.drained().await;
    assert_eq!(receiver.requests("/hook").len(), 2 * EVENTS, "each once more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_leaps_a_day_ahead_and_back_takes_nothing_from_a_living_worker_and_drops_nothing() {
    let (redis, receiver, gate) = (RedisServer::start_with_a_clock(), Receiver::start().await, Gate::new());
    receiver.plan("/slow", [gate.before(Answer::Status(200))]);
    let here = Installation::on(&redis, &receiver).await.with("LYNKHOOK_FAILED__RETENTION", "12h").await;
    let here = here.with("LYNKHOOK_HELD__RETENTION", "12h").await.with("LYNKHOOK_REJECTED__RETENTION", "12h").await;
    let webhook = here.add("acme", &receiver.url("/slow")).await;
    let off = here.add("off", &receiver.url("/slow")).await;
    let edit = Edit { active: Some(false), ..Edit::default() };
    here.webhooks.edit(&account_id("off"), off, edit).await.unwrap();
    let mut redis_now = here.redis.clone();
    let kept = |kind: &str, webhook: WebhookId| here.key(&format!("{kind}:{webhook}"));
    let keys = [kept("held", off), kept("failed", off), here.key("rejected")];
    for key in &keys {
        let held = text(&first("off", off, "waits"), TRANSCRIPT);
        let _: String = redis_now.xadd(key, "*", &[("delivery", held)]).await.unwrap();
    }
    // This visit is always due, whatever time the clock shows.
    let visit = format!("off/{off}");
    let workers = [here.program.worker([]), here.program.worker([])];
    for worker in &workers {
        worker.wait_for_line("worker started").await;
    }
    here.push("acme", TRANSCRIPT).await;
    receiver.wait_for("/slow", 1, SOON).await;
    let before = pending(&here).await;
    redis.step_clock("+1d");
    let _: () = redis_now.zadd(here.key("visits"), &visit, 1).await.unwrap();
    for worker in &workers {
        worker.wait_for_line("Redis's clock stepped").await;
    }
    // Until the lease was renewed with the new time, and for a while longer, so that claims and visits can happen.
    let stepped = Instant::now();
    eventually(SOON, "4 s ahead", async || (stepped.elapsed() > Duration::from_secs(4)).then_some(())).await;
    assert_eq!(pending(&here).await, before, "the living worker keeps its entry, with the same count");
    redis.step_clock("+0");
    gate.open();
    here.drained().await;
    assert_eq!(receiver.requests("/slow").len(), 1, "it was attempted once");
    let _: () = redis_now.zadd(here.key("visits"), &visit, 1).await.unwrap();
    eventually(SOON, "the webhook is visited again", async || {
        times_in_ms(&here, "visits").await.iter().all(|ms| (1..DAY_MS / 24).contains(ms)).then_some(())
    })
    .await;
    for key in &keys {
        assert_eq!(redis_now.xlen::<_, usize>(key).await.unwrap(), 1, "{key}: dropped for a time that was wrong");
    }
    assert_eq!(here.log(webhook).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_partition_has_a_clock_of_its_own_and_a_step_is_told_once() {
    let (redis, receiver) = (RedisServer::start_with_a_clock(), Receiver::start().await);
    receiver.plan("/hook", [vec![Answer::Status(500); 2], vec![Answer::Status(200)]].concat());
    let here = Installation::on(&redis, &receiver).await.with("LYNKHOOK_QUEUE__PARTITIONS", "2").await;
    let accounts = [0, 1].map(|partition| {
        let mut names = (0..).map(|number| format!("a{number}"));
        names.find(|name| here.store.keys().partition(&account_id(name)) == partition).unwrap()
    });
    for account in &accounts {
        here.add(account, &receiver.url("/hook")).await;
    }
    let worker = here.program.worker([]);
    worker.wait_for_line("worker started").await;
    redis.step_clock("+1d");
    worker.wait_for_line("Redis's clock stepped").await;
    for (partition, account) in (0..).zip(&accounts) {
        let fields = [("account", account.as_str()), ("envelope", TRANSCRIPT)];
        let _: String = here.redis.clone().xadd(here.store.keys().queue(partition), "*", &fields).await.unwrap();
    }
    for partition in [0, 1] {
        let retries = here.store.keys().retries(partition);
        eventually(SOON, "a retry in each partition", async || {
            (here.redis.clone().zcard::<_, u64>(&retries).await.unwrap() == 1).then_some(())
        })
        .await;
    }
    redis.step_clock("+0");
    let right = Instant::now();
    receiver.wait_for("/hook", 4, SOON).await;
    let took = right.elapsed();
    assert!(took < Duration::from_millis(4200) + MENDING, "{took:?}");
    here.drained().await;
    assert_eq!(receiver.requests("/hook").len(), 4);
    let told = worker.stderr().matches("Redis's clock stepped").count();
    assert_eq!(told, 2, "one line for each step: {}", worker.stderr());
}
