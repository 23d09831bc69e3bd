//! The faults of a cluster, with the time that each may cost. Run with `--nocapture` to see the times that it took.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::scene::{Gaps, PARTITIONS, Scene};
use crate::support::*;

const NO_LOSS: BTreeMap<u16, String> = BTreeMap::new();

/// Full coverage is Redis's default: while a slot has no master, no master serves.
const PARTIAL: [&str; 2] = ["--cluster-require-full-coverage", "no"];

/// Prints the times, and asserts their limits.
fn assert_within(fault: &str, gaps: Gaps, lost: Duration, others: Duration) {
    println!("{fault}: {:.2} s, other partitions {:.2} s", gaps.lost.as_secs_f64(), gaps.others.as_secs_f64());
    assert!(gaps.lost <= lost && gaps.others <= others, "{fault}: {gaps:?}, allowed {lost:?} and {others:?}");
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs apart: make test"]
async fn serial_a_planned_failover_loses_nothing_and_no_producer_sees_it() {
    let mut scene = Scene::start(1, &[]).await;
    let (master, lost) = scene.a_master().await;
    let replica = scene.cluster.replicas_of(master).await[0];
    let from = Instant::now();
    scene.cluster.failover(replica).await;
    scene.flows_everywhere().await;
    assert_within("CLUSTER FAILOVER", scene.gaps(from, &lost), seconds(1.0), seconds(0.5));
    assert_eq!(scene.partitions_at(replica).await, lost);
    scene.told(|books| {
        assert!(books.unknown.is_empty() && books.refused.is_empty(), "{:?} {:?}", books.unknown, books.refused);
    });
    assert_eq!(scene.balance(&NO_LOSS).await, 0);
    assert_eq!(scene.repeated(), BTreeMap::new());
}

/// Kills a master, and checks the books.
async fn kill(fault: &str, arguments: &[&str], others: Duration) {
    let mut scene = Scene::start(1, arguments).await;
    let (master, lost) = scene.a_master().await;
    let replica = scene.cluster.replicas_of(master).await[0];
    let from = Instant::now();
    scene.cluster.kill9(master);
    // The replica is promoted seconds later. Until then it shows what it has.
    let last_known = scene.last_known_at(replica, &lost).await;
    scene.cluster.promoted_after(master).await;
    scene.flows_everywhere().await;
    assert_within(fault, scene.gaps(from, &lost), seconds(10.0), others);
    let never_there = scene.balance(&last_known).await;
    println!("{fault}: {never_there} accepted events were not replicated");
    // An attempt is repeated if its end was not replicated, so only where the master was lost.
    let repeated = scene.repeated();
    assert!(repeated.keys().all(|partition| lost.contains(partition)), "{repeated:?}, lost {lost:?}");
    assert!(repeated.values().all(|&times| times <= 5), "{repeated:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs apart: make test"]
async fn serial_after_a_kill_the_replica_serves_and_nothing_that_it_has_is_lost() {
    kill("SIGKILL of a master", &[], seconds(3.0)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs apart: make test"]
async fn serial_attempts_whose_end_a_promoted_replica_never_had_are_repeated_after_a_lease() {
    const SHORT_LEASE: [(&str, &str); 5] = [
        ("LYNKHOOK_WORKER__LEASE", "4s"),
        ("LYNKHOOK_WORKER__RENEW_EVERY", "400ms"),
        ("LYNKHOOK_WORKER__START_WITHIN", "1s"),
        ("LYNKHOOK_WORKER__CLAIM_EVERY", "1s"),
        ("LYNKHOOK_DELIVERY__TIMEOUT", "1s"),
    ];
    let mut scene = Scene::start_with(RedisCluster::start().await, &SHORT_LEASE).await;
    let (master, lost) = scene.a_master().await;
    let replica = scene.cluster.replicas_of(master).await[0];
    // Entries that are in flight now are settled while the replica does not listen.
    scene.receiver.plan("/hook", [Answer::Delay(Duration::from_millis(300), Box::new(Answer::Status(200)))]);
    scene.flows_everywhere().await;
    scene.cluster.pause(replica);
    // Otherwise the data would wait for it in its socket.
    let mut redis = scene.cluster.connection(master).await;
    let cut: u64 = redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("REPLICA").query_async(&mut redis).await.unwrap();
    assert_eq!(cut, 1);
    // Attempts that are in flight now end after 300 ms, and are settled at the master alone.
    tokio::time::sleep(Duration::from_secs(1)).await;
    scene.flows_everywhere().await;
    scene.cluster.kill9(master);
    scene.cluster.resume(replica);
    let last_known = scene.last_known_at(replica, &lost).await;
    scene.cluster.promoted_after(master).await;
    scene.flows_everywhere().await;
    let never_there = scene.balance(&last_known).await;
    // They are pending again under workers that have finished them, so nobody renews them.
    let repeated = eventually(SOON, "attempts whose end was not replicated are repeated", async || {
        let repeated = scene.repeated();
        (!repeated.is_empty()).then_some(repeated)
    })
    .await;
    println!("a lagging replica: {never_there} accepted events were not replicated, attempts repeated: {repeated:?}");
    assert!(repeated.keys().all(|partition| lost.contains(partition)), "{repeated:?}, lost {lost:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs apart: make test"]
async fn serial_without_full_coverage_other_masters_do_not_notice_a_kill() {
    kill("SIGKILL of a master, without full coverage", &PARTIAL, seconds(0.5)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs apart: make test"]
async fn serial_a_master_that_hangs_is_replaced_and_changes_nothing_when_it_wakes() {
    let mut scene = Scene::start(1, &[]).await;
    let (master, lost) = scene.a_master().await;
    let replica = scene.cluster.replicas_of(master).await[0];
    let from = Instant::now();
    scene.cluster.pause(master);
    let last_known = scene.last_known_at(replica, &lost).await;
    scene.cluster.promoted_after(master).await;
    scene.flows_everywhere().await;
    assert_within("SIGSTOP of a master", scene.gaps(from, &lost), seconds(10.0), seconds(3.0));
    tokio::time::sleep(seconds(15.0).saturating_sub(from.elapsed())).await;
    let before = scene.repeated();
    scene.cluster.resume(master);
    scene.flows_everywhere().await;
    assert_eq!(scene.partitions_at(replica).await, lost);
    scene.balance(&last_known).await;
    assert_eq!(scene.repeated(), before, "the woken master's answers led to attempts");
    assert!(before.keys().all(|partition| lost.contains(partition)), "{before:?}, lost {lost:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs apart: make test"]
async fn serial_while_a_slot_moves_events_are_accepted_and_are_delivered_after_it() {
    let mut scene = Scene::start(0, &[]).await;
    let slot = slot_of(&scene.key(0, "queue"));
    let from = scene.cluster.master_of(slot).await;
    let to = (from + 1) % 3;
    let mut redis = scene.cluster.connection(from).await;
    let mut fill = redis::pipe();
    for number in 0..10_000 {
        fill.cmd("SET").arg(scene.key(0, &format!("filler:{number}"))).arg(number).ignore();
    }
    let () = fill.query_async(&mut redis).await.unwrap();
    let began = Instant::now();
    scene.cluster.move_slot(slot, to, seconds(2.0)).await;
    let moved = Instant::now();
    scene.flows_everywhere().await;
    let (gaps, after) = (scene.gaps(began, &[0]), scene.gaps(moved, &[0]));
    println!("a slot with 10,000 keys moved in {:.2} s", (moved - began).as_secs_f64());
    assert_within("after a slot has moved", Gaps { lost: after.lost, others: gaps.others }, seconds(3.0), seconds(0.5));
    scene.told(|books| {
        assert!(books.unknown.is_empty() && books.refused.is_empty(), "{:?} {:?}", books.unknown, books.refused);
    });
    assert_eq!(scene.balance(&NO_LOSS).await, 0);
    assert_eq!(scene.repeated(), BTreeMap::new());
    assert!(scene.partitions_at(to).await.contains(&0) && PARTITIONS == 16);
}
