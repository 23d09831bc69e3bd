//! The number of partitions is noted in Redis. Processes that leave `queue.partitions` unset use that number.

use lynkhook::store::Store;
use redis::AsyncCommands;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};

use super::*;

/// An account of partition 13 of 16.
const ACCOUNT: &str = "customer-1";

/// The number that is noted.
async fn noted(here: &Installation) -> Option<u16> {
    here.redis.clone().hget(here.store.keys().meta(), "partitions").await.unwrap()
}

/// The line of `doctor` for this check.
async fn finding(program: &Program, check: &str) -> String {
    let output = program.run(["doctor"]).await;
    let line = output.stdout.lines().find(|line| line.split_whitespace().nth(1) == Some(check));
    line.unwrap_or_else(|| panic!("{output:?}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_installation_begins_with_one_partition_and_doctor_says_so_before() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let _: () = here.redis.clone().del(here.store.keys().meta()).await.unwrap();
    for (set, begins_with) in [("0", "1"), ("16", "16")] {
        let said = finding(&here.program.clone().env("LYNKHOOK_QUEUE__PARTITIONS", set), "schema").await;
        assert!(
            said.starts_with("pass") && said.ends_with(&format!("partitions at the start: {begins_with}")),
            "{said}"
        );
        assert_eq!(noted(&here).await, None, "doctor changes nothing");
    }
    assert_eq!(here.program.run(["queue", "status"]).await.code, Some(0));
    assert_eq!(noted(&here).await, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_a_server_a_producer_and_commands_use_the_number_that_is_noted() {
    let receiver = Receiver::start().await;
    receiver.plan_each("/hook", |_| Answer::Status(200));
    let here = Installation::new(&receiver).await;
    let _: () = here.redis.clone().hset(here.store.keys().meta(), "partitions", 16).await.unwrap();
    assert_eq!(account_id(ACCOUNT).partition(16), 13);

    let url = receiver.url("/hook");
    here.program.json(["webhook", "add", "--account", ACCOUNT, "--url", &url]).await;
    let worker = here.program.worker([]);
    let started: serde_json::Value = serde_json::from_str(&worker.wait_for_line("worker started").await).unwrap();
    assert_eq!(started["partitions"], 16);

    // By HTTP, by the library and by the command line.
    let server = here.program.clone().env("LYNKHOOK_SERVER__BIND", "127.0.0.1:0").start(["server"]);
    let line: serde_json::Value = serde_json::from_str(&server.wait_for_line("the API is served").await).unwrap();
    let key = here.program.json(["apikey", "add", "--name", "test", "--scope", "admin"]).await;
    let events = format!("http://{}/v1/accounts/{ACCOUNT}/events", line["address"].as_str().unwrap());
    // Only the first test of this process installs it.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.post(events).header(AUTHORIZATION, format!("Bearer {}", key["key"].as_str().unwrap()));
    let answer = request.header(CONTENT_TYPE, "application/json").body(TRANSCRIPT).send().await.unwrap();
    assert_eq!(answer.status(), 202);
    let producer = Producer::connect(&Settings::load(None, here.variables.clone()).unwrap()).await.unwrap();
    producer.enqueue(&account_id(ACCOUNT), &NewEvent::from_envelope(TRANSCRIPT)).await.unwrap();
    let output = here.program.run_with_input(["enqueue", "--account", ACCOUNT], TRANSCRIPT).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    receiver.wait_for("/hook", 3, SOON).await;

    let status = here.program.json(["queue", "status"]).await;
    assert_eq!(status["partitions"].as_array().unwrap().len(), 16, "{status:#}");
    let shown = here.program.run(["queue", "status"]).await.stdout;
    assert!(shown.lines().any(|line| line.split_whitespace().eq(["Partitions", "16"])), "{shown}");
    let said = finding(&here.program, "schema").await;
    assert!(said.starts_with("pass") && said.ends_with("partitions: 16"), "{said}");
    // A connection for each partition, and one for short commands.
    let said = finding(&here.program, "clients").await;
    assert!(said.ends_with("needs 17"), "{said}");
    assert_eq!(noted(&here).await, Some(16));
}

/// All of them find nothing noted, and only then may they write.
#[tokio::test(flavor = "multi_thread")]
async fn processes_that_begin_a_new_installation_at_the_same_moment_agree_on_its_partitions() {
    const EACH: usize = 4;
    let (redis, receiver) = (RedisServer::start(AppendFsync::No), Receiver::start().await);
    let here = Installation::on(&redis, &receiver).await;
    let mut control = here.redis.clone();
    let _: () = control.del(here.store.keys().meta()).await.unwrap();
    let _: () = redis::cmd("CLIENT").arg("PAUSE").arg(60_000).arg("WRITE").query_async(&mut control).await.unwrap();
    let opening: Vec<_> = ["0", "2", "16"]
        .repeat(EACH)
        .into_iter()
        .map(|set| {
            let variables = here.variables.iter().cloned().chain([("LYNKHOOK_QUEUE__PARTITIONS", set.to_owned())]);
            let settings = Settings::load(None, variables).unwrap();
            tokio::spawn(async move { (set, Store::open(&settings).await) })
        })
        .collect();
    eventually(SOON, "all of them wait to write", async || {
        let clients: String = redis::cmd("INFO").arg("clients").query_async(&mut control.clone()).await.unwrap();
        clients.contains(&format!("blocked_clients:{}\r\n", 3 * EACH)).then_some(())
    })
    .await;
    let _: () = redis::cmd("CLIENT").arg("UNPAUSE").query_async(&mut control).await.unwrap();

    let mut opened = Vec::new();
    for opening in opening {
        let (set, store) = opening.await.unwrap();
        opened.push((set, store.map(|store| store.keys().partitions()).map_err(|error| error.to_string())));
    }
    let agreed = noted(&here).await.unwrap();
    for (set, store) in opened {
        match store {
            Ok(partitions) => assert_eq!(partitions, agreed, "set to {set}"),
            Err(error) => {
                assert_ne!(set, "0", "it leaves the number open: {error}");
                assert_ne!(set, agreed.to_string(), "{error}");
                assert!(error.contains(&format!("set queue.partitions = {agreed}")), "{error}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_note_that_is_not_a_number_of_partitions_is_refused_and_doctor_says_so() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    for wrong in ["0", "1025", "many"] {
        let _: () = here.redis.clone().hset(here.store.keys().meta(), "partitions", wrong).await.unwrap();
        let output = here.program.run(["webhook", "list", "--account", "acme"]).await;
        assert_eq!(output.code, Some(5), "{output:?}");
        assert!(output.stderr.contains("not a number from 1 to 1024"), "{output:?}");
        let said = finding(&here.program, "schema").await;
        assert!(said.starts_with("FAIL") && said.contains("not a number from 1 to 1024"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs apart: make test"]
async fn serial_a_new_installation_on_a_cluster_begins_with_16_partitions_and_doctor_says_so_before() {
    let cluster = RedisCluster::start_with(3, 0, &[]).await;
    let prefix = cluster.unique_prefix();
    let program = Program::new(cluster.server(0), &prefix).env("LYNKHOOK_REDIS__URL", cluster.url());
    let said = finding(&program, "schema").await;
    assert!(said.ends_with("partitions at the start: 16"), "{said}");
    let worker = program.worker([]);
    let started: serde_json::Value = serde_json::from_str(&worker.wait_for_line("worker started").await).unwrap();
    assert_eq!(started["partitions"], 16);
    let meta = format!("{prefix}:meta");
    let noted: Option<u16> = cluster.connection_of(&meta).await.hget(&meta, "partitions").await.unwrap();
    assert_eq!(noted, Some(16));
    let said = finding(&program, "schema").await;
    assert!(said.ends_with("partitions: 16"), "{said}");
}
