//! No command that a worker sends to Redis while it delivers, retries, fails, holds and visits costs more if more
//! waits.
//!
//! Two installations do the same work: one with nothing else in Redis, the other among everything that may pile up.
//! Redis records every command, including those inside scripts, with its arguments and its time (`SLOWLOG`, from 0 µs
//! on). The test checks two things:
//!
//! - each command is on the list of allowed commands, in an allowed form ([`allowed`]). A new command, or one that lost
//!   its `COUNT` or its `LIMIT`, fails the test, however quick it was;
//! - no script takes much longer when much waits. This catches a command that looks harmless but reads a long key: a
//!   loop in Lua over pages of a webhook's held deliveries made visits twenty times as long.

mod allowed;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use lynkhook::{
    domain::{delivery::Delivery, webhook::WebhookId},
    store,
    webhooks::NewAuthentication,
};
use redis::{AsyncCommands, aio::MultiplexedConnection};

use crate::support::*;

/// The other data in Redis.
struct Besides {
    queued: usize,
    retries: usize,
    held: usize,
    failed: usize,
    webhooks: usize,
    logged: usize,
}

const NOTHING: Besides = Besides { queued: 0, retries: 0, held: 0, failed: 0, webhooks: 0, logged: 0 };
const MUCH: Besides = Besides { queued: 20_000, retries: 10_000, held: 5000, failed: 800, webhooks: 5000, logged: 50 };

/// The number of events of each kind: delivered, to be retried, failed for good, for a webhook that is off, for two
/// webhooks.
const EACH: usize = 100;
/// Due retries, and held deliveries of a webhook that is on again: as many as a new endpoint gets at once.
const DUE: usize = 50;
const DUE_HELD: usize = 3;
/// Events whose endpoint does not answer, so that their leases are renewed.
const SILENT: usize = 4;
/// Each installation is set up this many times, in turns, and the times are combined.
const ROUNDS: usize = 3;
/// A script may take this many times as long when much waits …
const TIMES: u64 = 3;
/// … and this much more, which a busy machine adds even to a script that does almost nothing. Reading 5,000 entries
/// takes several times as long.
const BESIDES_US: u64 = 300;

/// Settings that make a worker do its other work often enough to be seen.
const QUICK: [(&str, &str); 4] = [
    ("LYNKHOOK_WORKER__CONCURRENCY", "256"),
    ("LYNKHOOK_WORKER__CLAIM_EVERY", "300ms"),
    ("LYNKHOOK_WORKER__RENEW_EVERY", "300ms"),
    // The second delay is as long as that of the retries that wait in the background.
    ("LYNKHOOK_DELIVERY__RETRY_DELAYS", "2s,2h"),
];

/// The scripts that run again and again while a worker works.
const HOT: [&str; 13] = [
    "claim",
    "fan_out",
    "hold",
    "leave",
    "mend_times",
    "promote",
    "publish",
    "reject",
    "release",
    "renew",
    "settle",
    "sweep",
    "visit",
];

/// An answer of `SLOWLOG GET`: number, time, µs, words, the client's address and name.
type Line = (u64, u64, u64, Vec<Vec<u8>>, String, String);

/// A command as Redis recorded it: µs, and its words (shortened if they are long or many).
struct Recorded {
    us: u64,
    words: Vec<String>,
}

#[tokio::test(flavor = "multi_thread")]
async fn no_command_of_a_worker_reads_all_that_waits_and_no_script_takes_longer_if_much_waits() {
    let receiver = Receiver::start().await;
    let (few, many) = (RedisServer::start(AppendFsync::No), RedisServer::start(AppendFsync::No));
    let mut forbidden = BTreeSet::new();
    // By script, round by round.
    let mut times = [BTreeMap::new(), BTreeMap::new()];
    let scripts: BTreeMap<_, _> = store::script_names().into_iter().collect();
    for number in 0..=ROUNDS {
        for (times, (redis, besides)) in times.iter_mut().zip([(&few, NOTHING), (&many, MUCH)]) {
            let mut round = BTreeMap::new();
            for Recorded { us, words } in work(redis, &receiver, &besides).await {
                if let Err(why) = allowed::check(&words) {
                    forbidden.insert(why);
                }
                if words[0].eq_ignore_ascii_case("EVALSHA") {
                    let script = scripts.get(&words[1]).expect("it is one of the program's");
                    round.entry((*script).to_owned()).or_insert_with(Vec::new).push(us);
                }
            }
            // Round 0 loads the scripts, and calls of scripts that are not yet loaded take no time.
            for (script, us) in round.into_iter().filter(|_| number > 0) {
                times.entry(script).or_insert_with(Vec::new).push(us);
            }
        }
    }
    assert!(forbidden.is_empty(), "not on the list of commands that a working worker may send: {forbidden:#?}");
    let [mut alone, mut among] = times;
    for script in HOT {
        let [alone_us, among_us] = [&mut alone, &mut among].map(|times| {
            calm_us(
                script,
                times.get_mut(script).unwrap_or_else(|| panic!("`{script}` was to be seen at work, and was not")),
            )
        });
        println!("{script}: {alone_us} µs alone, {among_us} µs where much waits");
        assert!(
            among_us <= TIMES * alone_us + BESIDES_US,
            "`{script}` takes {among_us} µs where much waits, and {alone_us} µs where nothing does"
        );
    }
}

/// The time of a script in the calmest round, such that a quarter of the calls are quicker; the slower calls are shared
/// by many entries or were interrupted. For visits it is the slowest call: they go to one webhook after another, and
/// only one webhook holds much.
fn calm_us(script: &str, rounds: &mut [Vec<u64>]) -> u64 {
    let of_round = |times: &mut Vec<u64>| {
        times.sort_unstable();
        times[if script == "visit" { times.len() - 1 } else { times.len() / 4 }]
    };
    rounds.iter_mut().map(of_round).min().expect("there was a round")
}

/// Sets up an installation and lets a worker do the work. Answers the commands that it sent to Redis.
async fn work(redis: &RedisServer, receiver: &Receiver, besides: &Besides) -> Vec<Recorded> {
    for (path, answer) in [
        ("/ok", Answer::Status(200)),
        ("/retry", Answer::Status(503)),
        ("/final", Answer::Status(404)),
        ("/silent", Answer::Silence),
    ] {
        receiver.plan(path, [answer]);
    }
    let scene = Scene::set(redis, receiver, besides).await;
    let own = own_address(&scene.here.redis).await;
    for (setting, value) in [("slowlog-log-slower-than", 0), ("slowlog-max-len", 1_000_000)] {
        scene.ask(redis::cmd("CONFIG").arg("SET").arg(setting).arg(value)).await;
    }
    scene.ask(redis::cmd("SLOWLOG").arg("RESET")).await;
    scene.ask(redis::cmd("CONFIG").arg("RESETSTAT")).await;
    let worker = scene.here.program.worker(QUICK);
    eventually(SOON * 2, "all is done except waiting entries", async || scene.is_done().await.then_some(())).await;
    eventually(SOON, "leases are renewed", async || (scene.claims().await > 1).then_some(())).await;
    drop(worker);
    let mut get = redis::cmd("SLOWLOG");
    let lines: Vec<Line> = get.arg("GET").arg(-1).query_async(&mut scene.here.redis.clone()).await.unwrap();
    let waits: usize = scene.here.redis.clone().xlen(scene.here.key("queue")).await.unwrap();
    assert!(waits >= besides.queued / 4, "of {} events that were to wait, {waits} are left", besides.queued);
    scene.ask(redis::cmd("CONFIG").arg("SET").arg("slowlog-log-slower-than").arg(-1)).await;
    scene.ask(&mut redis::cmd("FLUSHALL")).await;
    let of_worker = lines.into_iter().filter(|(.., address, _)| *address != own);
    let text = |words: Vec<Vec<u8>>| words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    of_worker.map(|(_, _, us, words, ..)| Recorded { us, words: text(words) }).collect()
}

/// The address of this connection as Redis knows it.
async fn own_address(redis: &MultiplexedConnection) -> String {
    let mut ask = redis::cmd("CLIENT");
    let info: String = ask.arg("INFO").query_async(&mut redis.clone()).await.unwrap();
    info.split_whitespace().find_map(|word| word.strip_prefix("addr=")).unwrap().to_owned()
}

/// An installation with work to do, and the other data.
struct Scene {
    here: Installation,
    off: WebhookId,
    on: WebhookId,
    fails: WebhookId,
    held_before: usize,
    failed_before: usize,
    /// The last entry of the queue that is work; entries after it only wait.
    last: String,
}

impl Scene {
    async fn set(redis: &RedisServer, receiver: &Receiver, besides: &Besides) -> Self {
        let here = Installation::on(redis, receiver).await;
        let ok = here.add("ok", &receiver.url("/ok")).await;
        here.add("retry", &receiver.url("/retry")).await;
        here.add("silent", &receiver.url("/silent")).await;
        let on = here.add("on", &receiver.url("/ok")).await;
        let fails = here.add("final", &receiver.url("/final")).await;
        let off = here.add_with("off", &receiver.url("/ok"), NewAuthentication::None, false).await;
        here.add("both", &receiver.url("/ok")).await;
        here.add("both", &receiver.url("/ok")).await;
        let mut scene = Self {
            here,
            off,
            on,
            fails,
            held_before: besides.held,
            failed_before: besides.failed,
            last: String::new(),
        };
        scene.pile_up(besides, [ok, on, fails]).await;
        scene.give_work().await;
        for page in (0..besides.queued).collect::<Vec<_>>().chunks(5000) {
            let mut push = redis::pipe();
            for _ in page {
                let event = [("account", "ok"), ("envelope", TRANSCRIPT)];
                push.xadd(scene.here.key("queue"), "*", &event).ignore();
            }
            push.exec_async(&mut scene.here.redis.clone()).await.unwrap();
        }
        scene
    }

    /// Adds full logs, later retries and visits, and webhooks' held and failed deliveries.
    async fn pile_up(&self, besides: &Besides, logged: [WebhookId; 3]) {
        let (here, mut put) = (&self.here, redis::pipe());
        let later = here.store.now(0).await.unwrap().timestamp_millis() + 3_600_000;
        for webhook in logged {
            for _ in 0..besides.logged {
                put.lpush(here.key(&format!("logs:{webhook}")), r#"{"time":"2999-01-01T00:00:00.000Z"}"#).ignore();
            }
        }
        for number in 0..besides.retries {
            put.zadd(here.key("retries"), delivery("ok", self.on, &format!("later-{number}")), later).ignore();
        }
        for number in 0..besides.held {
            let held = delivery("off", self.off, &format!("held-{number}"));
            put.hincr(here.key("held_bytes"), self.off.to_string(), held.len()).ignore();
            put.xadd(here.key(&format!("held:{}", self.off)), "*", &[("delivery", held)]).ignore();
        }
        for number in 0..besides.failed {
            let failed = delivery("final", self.fails, &format!("failed-{number}"));
            put.xadd(here.key(&format!("failed:{}", self.fails)), "*", &[("delivery", &*failed), ("log", "{}")])
                .ignore();
        }
        for number in 0..besides.webhooks {
            let webhook = WebhookId::new(uuid::Uuid::now_v7());
            put.hset(here.key(&format!("webhooks:a{number}")), webhook.to_string(), "{}").ignore();
            put.zadd(here.key("visits"), format!("a{number}/{webhook}"), later).ignore();
        }
        if !put.is_empty() {
            put.exec_async(&mut here.redis.clone()).await.unwrap();
        }
    }

    /// A worker's whole day: an orphan, due retries and visits, events of every kind, and an invalid entry.
    async fn give_work(&mut self) {
        let here = &self.here;
        here.store.ensure_group(0).await.unwrap();
        let orphan = here.push("ok", TRANSCRIPT).await;
        let mut reader = here.reader(0, "dead", Duration::from_millis(10)).await;
        assert_eq!(reader.read(1).await.unwrap().len(), 1);
        let mut work = redis::pipe();
        work.cmd("XCLAIM").arg(here.key("queue")).arg("workers").arg("dead").arg(0).arg(&orphan);
        work.arg("IDLE").arg(600_000).arg("JUSTID").ignore();
        for number in 0..DUE {
            work.zadd(here.key("retries"), delivery("on", self.on, &format!("due-{number}")), 1).ignore();
        }
        for number in 0..DUE_HELD {
            let held = delivery("on", self.on, &format!("on-{number}"));
            work.hincr(here.key("held_bytes"), self.on.to_string(), held.len()).ignore();
            work.xadd(here.key(&format!("held:{}", self.on)), "*", &[("delivery", held)]).ignore();
        }
        for (account, webhook) in [("on", self.on), ("off", self.off), ("final", self.fails)] {
            for times in ["releases", "visits"] {
                work.zadd(here.key(times), format!("{account}/{webhook}"), 1).ignore();
            }
        }
        work.exec_async(&mut here.redis.clone()).await.unwrap();
        for _ in 0..SILENT {
            here.push("silent", TRANSCRIPT).await;
        }
        let _: String = here.redis.clone().xadd(here.key("queue"), "*", &[("no", "event")]).await.unwrap();
        for _ in 0..EACH {
            for account in ["ok", "retry", "final", "off", "both"] {
                self.last = here.push(account, TRANSCRIPT).await;
            }
        }
    }

    /// Whether the work is done: nothing is due, and of the events only those without an answer are left.
    async fn is_done(&self) -> bool {
        let key = |rest: &str| self.here.key(rest);
        let mut look = redis::pipe();
        look.xlen(key(&format!("held:{}", self.off))).xlen(key(&format!("failed:{}", self.fails)));
        look.xlen(key(&format!("held:{}", self.on))).zcount(key("retries"), "-inf", 1).xlen(key("rejected"));
        look.cmd("XRANGE").arg(key("queue")).arg("-").arg(&self.last).arg("COUNT").arg(SILENT + 1);
        let figures: (usize, usize, usize, usize, usize, Vec<redis::Value>) =
            look.query_async(&mut self.here.redis.clone()).await.unwrap();
        let (off, failed, on, due, rejected, left) = figures;
        // Most of the deliveries that fail for good are held early, and come back one by one.
        (off, on, due, rejected) == (self.held_before + EACH, 0, 0, 1)
            && failed > self.failed_before
            && left.len() <= SILENT
    }

    /// The number of leases taken over or renewed: first the orphan's, then those of events without an answer.
    async fn claims(&self) -> u64 {
        let mut ask = redis::cmd("INFO");
        let info: String = ask.arg("commandstats").query_async(&mut self.here.redis.clone()).await.unwrap();
        let calls = info.lines().find_map(|line| line.strip_prefix("cmdstat_xclaim:calls="));
        calls.map_or(0, |calls| calls.split(',').next().unwrap().parse().unwrap())
    }

    async fn ask(&self, command: &mut redis::Cmd) {
        command.exec_async(&mut self.here.redis.clone()).await.unwrap();
    }
}

/// A delivery as Redis stores it.
fn delivery(account: &str, webhook: WebhookId, event: &str) -> String {
    let first = Delivery::first(&event.parse().unwrap(), &account_id(account), webhook, None);
    format!("{}\n{TRANSCRIPT}", first.line())
}
