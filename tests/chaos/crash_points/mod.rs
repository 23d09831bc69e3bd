//! Kills the process before and after every step in Redis and every request. Each time the books balance, with at most
//! one repetition of each attempt in flight.

mod accepting;
mod commands;
mod scene;

use lynkhook::failpoint::STEPS;
use tokio::task::JoinSet;

use self::scene::Scene;
use crate::{
    proxy::{Proxy, Weather},
    support::*,
};

/// A lease that ends soon, and enough time for an answer on a busy machine: here only a crash may repeat an attempt.
const PATIENT: [(&str, &str); 6] = [
    ("LYNKHOOK_WORKER__LEASE", "4200ms"),
    ("LYNKHOOK_WORKER__RENEW_EVERY", "200ms"),
    ("LYNKHOOK_WORKER__START_WITHIN", "700ms"),
    ("LYNKHOOK_WORKER__CLAIM_EVERY", "300ms"),
    ("LYNKHOOK_DELIVERY__TIMEOUT", "1500ms"),
    ("LYNKHOOK_DELIVERY__RETRY_DELAYS", "400ms,800ms"),
];

/// The number of points tried at a time; most of the time is spent waiting for leases to end.
const AT_A_TIME: usize = 8;

/// Steps that no command takes and no worker. A crash at one of them leaves a link, a session or a note of a use that
/// nobody was told of, and that ends by itself; a crash at one that only reads leaves nothing.
const OF_THE_PORTAL: [&str; 4] = ["overview", "portal_enter", "portal_link", "use_api_key"];

/// One run that must end in a crash at `side`-`step`, and the cleanup after it. A worker is killed again and again
/// while it still reaches that point, at most `times` times.
async fn crash_at(side: &'static str, step: &'static str, times: usize) {
    match step {
        "read" | "request" | "audit" | "claim" | "fan_out" | "group" | "hold" | "ids" | "mend_times" | "promote"
        | "publish" | "reject" | "release" | "renew" | "settle" | "sweep" | "visit" => {
            a_worker_is_killed(&format!("{side}-{step}"), times).await;
        }
        "accept" => accepting::a_backend_is_killed(side).await,
        "take_back" => a_worker_that_connects_is_killed(side).await,
        "leave" => a_leaving_worker_is_killed(side).await,
        _ => commands::a_command_is_killed(side, step).await,
    }
}

/// Gives a worker every situation at once. It dies at the point, and a clean worker does the rest.
async fn a_worker_is_killed(point: &str, times: usize) {
    let scene = Scene::set().await;
    let armed = scene.here.program.clone().env("LYNKHOOK_FAILPOINT", point);
    let mut killed = 0;
    while killed < times {
        let mut worker = armed.worker(PATIENT);
        tokio::select! {
            code = worker.wait() => assert_eq!(code, None, "{point} was not reached"),
            () = scene.finished(), if killed > 0 => break,
        }
        killed += 1;
    }
    let _clean = scene.here.program.worker(PATIENT);
    scene.assert_balanced(point, killed).await;
}

/// A worker whose reads lost their answers dies while it takes the entries back.
async fn a_worker_that_connects_is_killed(side: &str) {
    let scene = Scene::empty().await;
    let proxy = Proxy::start(RedisServer::shared().port()).await;
    let program = scene.here.program.clone().env("LYNKHOOK_REDIS__URL", proxy.url());
    // The first connection makes the first pass.
    let mut armed = program.env("LYNKHOOK_FAILPOINT", format!("{side}-take_back@2")).worker(PATIENT);
    // Once the sweep at the start is seen, the worker is connected; later reads lose their answers.
    eventually(SOON, "the sweep at the start", async || (scene.count("rejected_expired").await == 1).then_some(()))
        .await;
    scene.push("solo", "read").await;
    scene.drained().await;
    proxy.set(Weather::Withheld);
    scene.push("solo", "taken-0").await;
    eventually(SOON, "the entry taken", async || (scene.pending().await == 1).then_some(())).await;
    proxy.cut_and_clear().await;
    assert_eq!(armed.wait().await, None, "{side}-take_back was not reached");
    let _clean = scene.here.program.worker(PATIENT);
    scene.drained().await;
    assert_eq!(scene.requests("/solo", "taken-0"), 1, "{side}-take_back");
}

/// A worker that took entries while it was already stopping dies while it gives them back.
async fn a_leaving_worker_is_killed(side: &str) {
    let scene = Scene::empty().await;
    let proxy = Proxy::start(RedisServer::shared().port()).await;
    // The sweep at the start makes the first pass.
    let program = scene.here.program.clone().env("LYNKHOOK_REDIS__URL", proxy.url());
    let mut armed = program.env("LYNKHOOK_FAILPOINT", format!("{side}-leave@2")).worker(PATIENT);
    eventually(SOON, "the sweep at the start", async || (scene.count("rejected_expired").await == 1).then_some(()))
        .await;
    // The worker learns of entries that it takes from now on only when it is already stopping.
    proxy.set(Weather::Slow(std::time::Duration::from_millis(1500)));
    for event in ["taken-0", "taken-1", "taken-2"] {
        scene.push("solo", event).await;
    }
    eventually(SOON, "entries taken", async || (scene.pending().await == 3).then_some(())).await;
    armed.sigterm();
    armed.wait_for_line("stopping").await;
    proxy.set(Weather::Fair);
    assert_eq!(armed.wait().await, None, "{side}-leave was not reached");
    let _clean = scene.here.program.worker(PATIENT);
    scene.drained().await;
    for event in ["taken-0", "taken-1", "taken-2"] {
        let requests = scene.requests("/solo", event);
        assert!((1..=2).contains(&requests), "{side}-leave: {event} came {requests} times");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_before_or_after_any_step_loses_nothing() {
    let steps = STEPS.iter().filter(|step| !OF_THE_PORTAL.contains(step));
    let mut points = steps.flat_map(|step| [("before", *step), ("after", *step)]);
    let (mut running, mut crashes) = (JoinSet::new(), 0);
    let times = if std::env::var_os("LYNKHOOK_CHAOS_SECONDS").is_some() { 4 } else { 1 };
    // All on one thread: these futures lend captured values to others, and the compiler cannot prove that they are
    // `Send`.
    let all = async {
        loop {
            while running.len() < AT_A_TIME
                && let Some((side, step)) = points.next()
            {
                running.spawn_local(crash_at(side, step, times));
            }
            let Some(balanced) = running.join_next().await else { return };
            balanced.expect("its books balance");
            crashes += 1;
        }
    };
    tokio::task::LocalSet::new().run_until(all).await;
    println!("{crashes} crash points, none lost anything");
    assert_eq!(crashes, 2 * (STEPS.len() - OF_THE_PORTAL.len()));
}

#[test]
fn every_script_of_the_store_has_crash_points() {
    let scripts = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/lua")).unwrap();
    for script in scripts.map(|file| file.unwrap().path()) {
        let name = script.file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(name == "prelude" || STEPS.contains(&&*name), "{name} is missing from failpoint::STEPS");
    }
}
