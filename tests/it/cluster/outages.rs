//! A master that is away for long, and edits while the masters of slots change.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use lynkhook::{domain::new_event::NewEvent, webhooks::Edit};

use super::scene::{PARTITIONS, Scene, account_of, webhook_to};
use crate::support::*;

/// Longer than two leases.
const OUTAGE: Duration = Duration::from_secs(41);
/// A lease is renewed about every three seconds. One that was not for this long is on the way to its end.
const NOT_RENEWED_MS: usize = 7000;
const GRACE: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs apart: make test"]
async fn serial_an_outage_of_one_master_costs_its_partitions_alone_and_workers_go_on_when_it_is_back() {
    let cluster = RedisCluster::start_with(3, 0, &["--cluster-require-full-coverage", "no"]).await;
    let grace = format!("{}s", GRACE.as_secs());
    let mut scene = Scene::start_with(cluster, &[("LYNKHOOK_WORKER__SHUTDOWN_GRACE", &grace)]).await;
    let (master, lost) = scene.a_master().await;
    let healthy = (0..PARTITIONS).find(|partition| !lost.contains(partition)).unwrap();
    // Attempts of another master's partition that take long, so that there are leases to renew.
    let slow = account_of(healthy, "slow");
    scene.receiver.plan("/slow", [Answer::Delay(Duration::from_secs(9), Box::new(Answer::Status(200)))]);
    scene.webhooks.add(&slow, webhook_to(scene.receiver.url("/slow"))).await.unwrap();
    let mut redis = scene.cluster.connection_of(&scene.key(healthy, "queue")).await;
    let mut idle = redis::cmd("XPENDING");
    idle.arg(scene.key(healthy, "queue")).arg("workers").arg("IDLE").arg(NOT_RENEWED_MS).arg("-").arg("+").arg(10);

    let from = Instant::now();
    scene.cluster.pause(master);
    while from.elapsed() < OUTAGE {
        scene.producer.enqueue(&slow, &NewEvent::from_envelope(TRANSCRIPT)).await.unwrap();
        let idle: Vec<redis::Value> = idle.query_async(&mut redis).await.unwrap();
        assert!(idle.is_empty(), "leases at a healthy master were not renewed: {idle:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let gaps = scene.gaps(from, &lost);
    println!("41 s without a master: other partitions {:.2} s", gaps.others.as_secs_f64());
    assert!(gaps.others <= Duration::from_millis(500), "{gaps:?}");
    assert!(gaps.lost + Duration::from_secs(1) >= OUTAGE, "nothing was lost to begin with: {gaps:?}");

    // One worker is to stop meanwhile.
    let told = Instant::now();
    scene.workers[0].sigterm();
    assert_eq!(scene.workers[0].wait().await, Some(0));
    let took = told.elapsed();
    println!("a worker stopped in {:.2} s", took.as_secs_f64());
    assert!(took <= GRACE + Duration::from_secs(4), "{took:?}");

    scene.cluster.resume(master);
    let back = Instant::now();
    scene.flows_everywhere().await;
    println!("after the outage, deliveries went on within {:.2} s", back.elapsed().as_secs_f64());
    assert!(back.elapsed() <= Duration::from_secs(10), "{:?}", back.elapsed());
    assert_eq!(scene.balance(&BTreeMap::new()).await, 0);
    let repeated = scene.repeated();
    assert!(repeated.keys().all(|partition| lost.contains(partition)), "{repeated:?}, lost {lost:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs apart: make test"]
async fn serial_no_delivery_passes_over_an_edit_while_masters_change_and_slots_move() {
    let mut scene = Scene::start(1, &[]).await;
    let account = account_of(0, "edited");
    let webhook = scene.webhooks.add(&account, webhook_to(scene.receiver.url("/0"))).await.unwrap().id;
    let slot = slot_of(&scene.key(0, "queue"));
    let master = scene.cluster.master_of(slot).await;
    let (replica, other) = (scene.cluster.replicas_of(master).await[0], (master + 1) % 3);
    let edits = async {
        let mut number = 0;
        loop {
            number += 1;
            scene.receiver.plan(&format!("/{number}"), [Answer::Status(200)]);
            let edit = || Edit { url: Some(scene.receiver.url(&format!("/{number}"))), ..Edit::default() };
            // While the slot moves, an edit is refused and changes nothing.
            while scene.webhooks.edit(&account, webhook, edit()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let event = NewEvent::from_envelope(TRANSCRIPT).with_id(format!("edit-{number}").parse().unwrap());
            scene.producer.enqueue(&account, &event).await.unwrap();
        }
    };
    let changes = async {
        scene.cluster.failover(replica).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        scene.cluster.move_slot(slot, other, Duration::from_secs(2)).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    tokio::select! {
        () = changes => (),
        () = edits => unreachable!("the edits have no end"),
    }
    scene.flows_everywhere().await;
    scene.balance(&BTreeMap::new()).await;
    let mut edits = 0;
    for request in scene.receiver.all_requests() {
        let Some(number) = request.header("webhook-id").and_then(|id| id.strip_prefix("edit-")) else { continue };
        let (number, path): (usize, usize) = (number.parse().unwrap(), request.path[1..].parse().unwrap());
        assert!(path >= number, "event {number} came to /{path}, the URL before its edit");
        edits = edits.max(number);
    }
    println!("{edits} edits, each before an event");
    assert!(edits > 100, "{edits}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs apart: make test"]
async fn serial_while_the_master_of_meta_is_away_a_command_needs_the_number_of_partitions_in_its_settings() {
    let mut cluster = RedisCluster::start_with(3, 0, &["--cluster-require-full-coverage", "no"]).await;
    let receiver = Receiver::start().await;
    let here = Installation::on_cluster(&cluster, &receiver, 16).await;
    let master = cluster.master_of(slot_of(&format!("{}:meta", here.prefix))).await;
    let address = format!("127.0.0.1:{}", cluster.port(master));
    cluster.kill9(master);
    let status = here.program.json(["queue", "status"]).await;
    assert_eq!(status["away"][0]["master"], address, "{status}");
    let refused = here.program.clone().env("LYNKHOOK_QUEUE__PARTITIONS", "0").run(["queue", "status"]).await;
    assert_eq!(refused.code, Some(5), "{refused:#?}");
    for words in ["set queue.partitions", &address] {
        assert!(refused.stderr.contains(words), "{words}: {refused:#?}");
    }
}
