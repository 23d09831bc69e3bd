//! A storm from its start to its books.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    attempts::{Clocks, logged},
    lateness::Watch,
    ledger::{Books, Seen, leftovers},
    nemesis::{ALL, Nemesis},
    plan::{ACCOUNTS, HOOKS, Plan},
    support::*,
    takeovers,
    traffic::{self, DEEDS},
    world::{Wire, World},
};

/// The time that the calm after a storm has for the remaining work: leases, retries, suspects one at a time.
const FINISHING: Duration = Duration::from_secs(90);
/// The part of a storm's time that is reserved for starting and finishing.
const ENDING: Duration = Duration::from_secs(15);
/// The storm of the ordinary test suite, with every kind of fault; and a seed whose faults are over soon.
const SHORT: Duration = Duration::from_secs(12);
const VARIED: u64 = 164;
/// The length of a storm of `make chaos`, its end included.
const STORM: Duration = Duration::from_secs(120);

/// Runs a storm and closes its books.
async fn pass(plan: &Plan) -> Books {
    let (books, said) = pass_with(plan, |_| ()).await;
    if !books.wrong.is_empty() {
        keep_evidence(plan, &books, &said);
    }
    books
}

/// The same, with the books falsified before they are closed. Also answers the workers' standard error.
async fn pass_with(plan: &Plan, falsify: impl FnOnce(&World)) -> (Books, Vec<String>) {
    let clocks = Clocks::read();
    let redis = RedisServer::start(AppendFsync::Always);
    let world = Arc::new(World::new(&redis, plan).await);
    let mut nemesis = Nemesis::new(world.clone(), redis);
    nemesis.workers_are_ready().await;
    // Start watching only now: workers that start slow each other down.
    let watch_lateness = Watch::start(&world.redis_url, &world.here.prefix);
    let storm = async { tokio::join!(nemesis.run(plan), traffic::run(&world, plan)) };
    tokio::select! {
        ((), ()) = storm => {}
        never = watch(&world) => match never {},
    }
    eprintln!("\nseed {}: the storm is over, finishing", plan.seed);
    let mut wire = world.wire();
    for hook in 0..HOOKS.len() {
        traffic::switch(&world, hook, true).await;
    }
    let finished = finish(&world, &mut wire).await;
    nemesis.dismiss().await;
    falsify(&world);
    let (watched, histories) = (watch_lateness.watched(), logged(&nemesis.said, clocks));
    let seen = Seen { world: &world, plan, happened: &nemesis.happened, watched, histories };
    let mut books = seen.enter(&mut wire).await;
    books.wrong.extend(finished.err());
    books.wrong.extend(takeovers::unexplained(&nemesis.said, clocks, &nemesis.happened));
    leftovers(&world, &mut wire, &mut books).await;
    (books, nemesis.said)
}

/// Waits until nothing is queued, waiting or held.
async fn finish(world: &World, wire: &mut Wire) -> Result<(), String> {
    let started = Instant::now();
    loop {
        let mut lengths = redis::pipe();
        lengths.atomic();
        for account in 0..ACCOUNTS {
            lengths.xlen(world.key(account, "queue")).zcard(world.key(account, "retries"));
        }
        for (hook, (account, _)) in HOOKS.iter().enumerate() {
            lengths.xlen(world.key(*account, &format!("held:{}", world.webhook(hook))));
        }
        let lengths: Vec<u64> = wire.ask_all(&lengths).await;
        if lengths.iter().all(|length| *length == 0) {
            return Ok(());
        }
        if started.elapsed() > FINISHING {
            return Err(format!("left after {FINISHING:?} (queue, retries by account; held by hook): {lengths:?}"));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// During the storm, no log exceeds its limits, and every webhook with held deliveries has a visit planned.
async fn watch(world: &World) -> std::convert::Infallible {
    let mut wire = world.wire();
    loop {
        for (hook, (account, _)) in HOOKS.iter().enumerate() {
            let webhook = world.webhook(hook);
            let mut look = redis::pipe();
            look.atomic().llen(world.key(*account, &format!("logs:{webhook}")));
            look.xlen(world.key(*account, &format!("held:{webhook}")));
            look.zscore(world.key(*account, "visits"), format!("{}/{webhook}", world.accounts[*account]));
            let (logged, held, visit): (u64, u64, Option<f64>) = wire.ask_all(&look).await;
            assert!(logged <= 50, "{logged} log entries of {webhook}");
            assert!(held == 0 || visit.is_some(), "{held} held for {webhook}, and no visit");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn keep_evidence(plan: &Plan, books: &Books, said: &[String]) {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("chaos-{}", plan.seed));
    std::fs::create_dir_all(&folder).expect("a folder for the evidence");
    for (number, stderr) in said.iter().enumerate() {
        std::fs::write(folder.join(format!("worker-{number}.log")), stderr).expect("a log can be written");
    }
    let steps: Vec<String> = plan.steps.iter().map(|step| format!("{step:?}")).collect();
    std::fs::write(folder.join("plan"), steps.join("\n")).expect("the plan can be written");
    std::fs::write(folder.join("wrong"), books.wrong.join("\n")).expect("the faults can be written");
    eprintln!("seed {}: the books do not balance; the evidence is in {}", plan.seed, folder.display());
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_accepted_event_is_delivered_failed_or_counted_whatever_crashes() {
    let seed = from_environment("LYNKHOOK_CHAOS_SEED").unwrap_or(VARIED);
    let seconds = from_environment("LYNKHOOK_CHAOS_SECONDS").map(Duration::from_secs);
    let plans: Vec<Plan> = match seconds {
        None => vec![Plan::new(seed, SHORT, [400, 800])],
        Some(seconds) => {
            let storms = (seconds.as_secs() / STORM.as_secs()).max(1);
            let share = seconds / u32::try_from(storms).expect("few storms");
            let length = share.saturating_sub(ENDING).max(ENDING);
            (seed..seed + storms).map(|seed| Plan::new(seed, length, [2000, 4000])).collect()
        }
    };
    let (storms, mut total) = (plans.len(), Books::default());
    for plan in &plans {
        let seed = plan.seed;
        eprintln!("seed {seed}: {} faults planned in {:?}", plan.steps.len(), plan.length);
        let books = pass(plan).await;
        println!("seed {seed}\n{books}");
        total.add(books);
    }
    if storms > 1 {
        println!("{storms} seeds\n{total}");
    }
    let first: Vec<&str> = total.wrong.iter().map(String::as_str).take(20).collect();
    assert!(
        first.is_empty(),
        "the books do not balance; seeds from {seed}:
{}",
        first.join(
            "
"
        )
    );
    let missing: Vec<&str> = ALL.into_iter().filter(|fault| !total.faults.contains_key(fault)).collect();
    assert!(missing.is_empty(), "{missing:?} did not happen:\n{total}");
    let missing: Vec<&str> = DEEDS.into_iter().filter(|deed| !total.deeds.contains_key(deed)).collect();
    assert!(missing.is_empty(), "no customer {missing:?}:\n{total}");
    assert!(total.delivered > 0 && total.failed > 0 && total.dropped.values().sum::<u64>() > 0, "{total}");
}

/// The books are useless if they always balance.
#[tokio::test(flavor = "multi_thread")]
async fn the_books_name_a_lost_event_a_low_count_and_a_late_attempt() {
    let (mut plan, length) = (Plan::new(1, Duration::from_secs(2), [400, 800]), Duration::from_secs(2));
    plan.steps.clear();
    plan.deeds.retain(|(at, _)| *at < length);
    let (books, _) = pass_with(&plan, |world| {
        let mut notes = world.notes.lock().unwrap();
        // The producer noted these as accepted, and there is no trace of them.
        notes.accepted[0].push("lost".to_owned());
        notes.accepted[2].extend((0..1000).map(|number| format!("lost-{number}")));
        // Accepted long before their first attempt, although the workers had nothing else to do.
        for event in notes.accepted[1].clone() {
            *notes.accepted_at.get_mut(&event).unwrap() -= Duration::from_secs(20);
        }
    })
    .await;
    let (late, others): (Vec<&String>, Vec<&String>) = books.wrong.iter().partition(|wrong| wrong.contains(" late"));
    let expected = ["lost for /hook-0 is missing", "lost for /hook-1 is missing", "account 2: "];
    assert!(others.iter().zip(expected).all(|(wrong, expected)| wrong.starts_with(expected)), "{:#?}", books.wrong);
    assert_eq!(others.len(), 3, "{:#?}", books.wrong);
    assert!(late.iter().any(|late| late.starts_with("attempt 1 of ")), "{:#?}", books.wrong);
}
