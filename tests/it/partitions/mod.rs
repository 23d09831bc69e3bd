//! Partitions: every producer puts an account's events into the partition that CRC-32 gives.

mod idle;
mod noted;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    process::{Command, Stdio},
};

use lynkhook::{
    config::Settings,
    producer::{NewEvent, Producer},
};
use redis::AsyncCommands;

use crate::support::*;

const ACCOUNTS: usize = 60;
/// For this many accounts the command line enqueues as well; each of these events starts a process.
const BY_COMMAND: usize = 8;

fn accounts() -> Vec<String> {
    (0..ACCOUNTS).map(|number| format!("Customer_{number}.eu:west-{}", number * 7919)).collect()
}

/// Runs a producer that uses only its language's standard library.
fn produce(interpreter: &str, script: &str, prefix: &str, partitions: u16) {
    let script = format!("{}/tests/clients/{script}", env!("CARGO_MANIFEST_DIR"));
    let port = RedisServer::shared().port().to_string();
    let mut child = Command::new(interpreter)
        .args([&script, &port, prefix, &partitions.to_string()])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{interpreter} is needed for this test (`make test` installs it): {error}"));
    child.stdin.take().unwrap().write_all(accounts().join("\n").as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{interpreter} {script}");
}

/// Pushes an event for each account with the Rust library, and for some with the command line.
async fn produce_in_rust(here: &Installation) {
    let producer = Producer::connect(&Settings::load(None, here.variables.clone()).unwrap()).await.unwrap();
    let event = NewEvent::from_envelope(TRANSCRIPT);
    let events: Vec<_> = accounts().iter().map(|account| (account_id(account), event.clone())).collect();
    for (answer, (account, _)) in producer.enqueue_all(&events).await.into_iter().zip(&events) {
        answer.unwrap_or_else(|error| panic!("{account}: {error}"));
    }
    for account in &accounts()[..BY_COMMAND] {
        let output = here.program.run_with_input(["enqueue", "--account", account], TRANSCRIPT).await;
        assert_eq!(output.code, Some(0), "{account}: {output:?}");
    }
}

/// The number of events of each account in each partition.
async fn queued(here: &Installation, partitions: u16) -> BTreeMap<(String, u16), usize> {
    let mut queued = BTreeMap::new();
    for partition in 0..partitions {
        let range = redis::cmd("XRANGE").arg(here.store.keys().queue(partition)).arg("-").arg("+").to_owned();
        let entries: Vec<(String, Vec<(String, String)>)> = range.query_async(&mut here.redis.clone()).await.unwrap();
        for (_, mut fields) in entries {
            assert_eq!(fields[0].0, "account");
            *queued.entry((fields.swap_remove(0).1, partition)).or_default() += 1;
        }
    }
    queued
}

#[tokio::test(flavor = "multi_thread")]
async fn every_producer_and_every_worker_agree_on_an_accounts_partition() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(200)]);
    for partitions in [1_u16, 2, 16] {
        let here = Installation::new(&receiver).await.with("LYNKHOOK_QUEUE__PARTITIONS", &partitions.to_string()).await;
        produce("python3", "produce.py", &here.prefix, partitions);
        produce("node", "produce.mjs", &here.prefix, partitions);
        let foreign = queued(&here, partitions).await;
        assert_eq!(foreign.len(), ACCOUNTS, "Python and Node agree: {foreign:?}");
        assert!(foreign.values().all(|&events| events == 2));
        let used: BTreeSet<u16> = foreign.keys().map(|(_, partition)| *partition).collect();
        assert_eq!(used.len(), usize::from(partitions), "these accounts use all partitions");
        produce_in_rust(&here).await;
        let all = queued(&here, partitions).await;
        assert!(all.keys().eq(foreign.keys()), "the library and the command line agree with them");
        assert_eq!(all.values().sum::<usize>(), 3 * ACCOUNTS + BY_COMMAND);
        let before = receiver.requests("/hook").len();
        for account in accounts() {
            here.add(&account, &receiver.url("/hook")).await;
        }
        let _worker = here.program.worker([]);
        receiver.wait_for("/hook", before + 3 * ACCOUNTS + BY_COMMAND, SOON).await;
        for partition in 0..partitions {
            let queue = here.store.keys().queue(partition);
            eventually(SOON, "an empty queue", async || {
                (here.redis.clone().xlen::<_, u64>(&queue).await.unwrap() == 0).then_some(())
            })
            .await;
            let rejected: u64 = here.redis.clone().xlen(here.store.keys().rejected(partition)).await.unwrap();
            assert_eq!(rejected, 0, "no event was in the wrong partition");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_with_another_number_of_partitions_refuses_to_start_and_says_why() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await.with("LYNKHOOK_QUEUE__PARTITIONS", "2").await;
    let other = here.program.clone().env("LYNKHOOK_QUEUE__PARTITIONS", "4");
    for args in [&["worker"][..], &["server"], &["webhook", "list", "--account", "acme"]] {
        let output = other.run(args).await;
        assert_eq!(output.code, Some(5), "{output:?}");
        for part in ["has 2 partition(s)", "queue.partitions is 4", "set queue.partitions = 2"] {
            assert!(output.stderr.contains(part), "{part:?} is missing: {output:?}");
        }
    }
    let doctor = other.run(["doctor"]).await;
    let says = "2 partitions in Redis, but queue.partitions is 4; set queue.partitions = 2";
    assert!(doctor.stdout.lines().any(|line| line.starts_with("FAIL") && line.ends_with(says)), "{doctor:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_in_the_wrong_partition_is_rejected_with_the_right_keys_name() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await.with("LYNKHOOK_QUEUE__PARTITIONS", "16").await;
    let right = account_id("acme").partition(16);
    let wrong = here.store.keys().queue((right + 1) % 16);
    let _: String =
        here.redis.clone().xadd(&wrong, "*", &[("account", "acme"), ("envelope", TRANSCRIPT)]).await.unwrap();
    let _worker = here.program.worker([]);
    let rejected = here.store.keys().rejected((right + 1) % 16);
    let reasons: Vec<(String, Vec<(String, String)>)> = eventually(SOON, "the rejection", async || {
        let found: Vec<(String, Vec<(String, String)>)> =
            redis::cmd("XRANGE").arg(&rejected).arg("-").arg("+").query_async(&mut here.redis.clone()).await.unwrap();
        (!found.is_empty()).then_some(found)
    })
    .await;
    let reason = format!("the account acme belongs in the queue `{}`", here.store.keys().queue(right));
    assert_eq!(reasons[0].1[0], ("reason".to_owned(), reason));
}
