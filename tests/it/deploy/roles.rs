//! Each user of `deploy/redis/users.acl` does all that its role needs, and Redis refuses it nothing.

use std::{process::Command, time::Duration};

use chrono::Utc;
use lynkhook::{
    access::{ApiKeys, NewKey, NewLink, Portal, WhichSession},
    config::Settings,
    domain::api_key::Scope,
    producer::{NewEvent, Producer},
    store::Store,
};
use redis::AsyncCommands;
use secrecy::ExposeSecret;
use serde_json::Value;

use super::deployed::{Deployed, REJECTED};
use crate::{claim::QUICK, support::*};

/// Runs a command as a user. It has to succeed.
async fn run(deployed: &Deployed, user: &str, words: &str) -> String {
    let words: Vec<&str> = words.split(' ').collect();
    let output = deployed.program_of(user).run_with_input(&words, TRANSCRIPT.replace('\n', "")).await;
    assert_eq!(output.code, Some(0), "{user} {words:?}: {output:#?}");
    output.stdout
}

async fn add(deployed: &Deployed, path: &str) -> String {
    let words = format!("webhook add --json --account acme --url {}", deployed.receiver.url(path));
    let added: Value = serde_json::from_str(&run(deployed, "server", &words).await).unwrap();
    added["id"].as_str().unwrap().to_owned()
}

const ENQUEUE: &str = "enqueue --account acme -";

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_delivers_repeats_fails_holds_releases_visits_and_stops() {
    let deployed = Deployed::start().await;
    let Deployed { receiver, here, .. } = &deployed;
    receiver.plan("/flaky", [Answer::Status(503), Answer::Status(200)]);
    receiver.plan("/gone", [Answer::Status(404)]);
    let mut worker = deployed.program_of("worker").worker(QUICK);
    worker.wait_for_line("worker started").await;
    let (flaky, gone) = (add(&deployed, "/flaky").await, add(&deployed, "/gone").await);
    // Two webhooks: the event is divided.
    run(&deployed, "producer", ENQUEUE).await;
    here.drained().await;
    let statuses = |log: Vec<Value>| log.iter().map(|entry| entry["httpStatus"].clone()).collect::<Vec<_>>();
    assert_eq!(statuses(here.log(flaky.parse().unwrap()).await), [200, 503]);
    assert_eq!(statuses(here.log(gone.parse().unwrap()).await), [404]);
    run(&deployed, "server", &format!("webhook disable --account acme {flaky}")).await;
    run(&deployed, "producer", ENQUEUE).await;
    here.push("acme", "no event").await;
    here.drained().await;
    // A visit that is due now, with something to drop: the log is too long.
    let mut redis = here.redis.clone();
    let entry = here.log(gone.parse().unwrap()).await[0].to_string();
    for _ in 0..60 {
        let () = redis.rpush(here.key(&format!("logs:{gone}")), &entry).await.unwrap();
    }
    let () = redis.zadd(here.key("visits"), format!("acme/{gone}"), 0).await.unwrap();
    eventually(SOON, "a visit", async || {
        let next: f64 = redis.zscore(here.key("visits"), format!("acme/{gone}")).await.unwrap();
        (next > 0.0).then_some(())
    })
    .await;
    run(&deployed, "server", &format!("webhook enable --account acme {flaky}")).await;
    receiver.wait_for("/flaky", 3, SOON).await;
    here.drained().await;
    assert_eq!(here.rejected().await.len(), 1);
    worker.sigterm();
    assert_eq!(worker.wait().await, Some(0));
    let said = worker.stderr();
    for word in ["permission", "reads cannot be ended early", "NOPERM"] {
        assert!(!said.contains(word), "{word} in {said}");
    }
    assert_eq!(deployed.refusals().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_takes_over_what_a_killed_one_had_and_repairs_a_lost_group() {
    let deployed = Deployed::start().await;
    let Deployed { receiver, here, .. } = &deployed;
    receiver.plan("/hook", [Answer::Silence, Answer::Status(200)]);
    let webhook = here.add("acme", &receiver.url("/hook")).await;
    let mut dying = deployed.program_of("worker").worker(QUICK);
    run(&deployed, "producer", ENQUEUE).await;
    receiver.wait_for("/hook", 1, SOON).await;
    dying.kill9().await;
    let mut worker = deployed.program_of("worker").worker(QUICK);
    assert_eq!(here.finished(webhook).await.last().unwrap()["httpStatus"], 200);
    let () = here.cli(&format!("XGROUP DESTROY {} workers", here.key("queue"))).await;
    worker.wait_for_line("is created again").await;
    run(&deployed, "producer", ENQUEUE).await;
    receiver.wait_for("/hook", 3, SOON).await;
    here.drained().await;
    worker.sigterm();
    assert_eq!(worker.wait().await, Some(0));
    assert_eq!(deployed.refusals().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_enqueues_by_command_by_library_and_as_any_redis_client() {
    let deployed = Deployed::start().await;
    run(&deployed, "producer", ENQUEUE).await;
    let variables = [
        ("LYNKHOOK_REDIS__URL", deployed.url_of("producer")),
        ("LYNKHOOK_REDIS__PREFIX", deployed.here.prefix.clone()),
    ];
    let producer = Producer::connect(&Settings::load(None, variables).unwrap()).await.unwrap();
    let event = NewEvent::new("transcript.created", Utc::now(), &serde_json::json!({})).unwrap();
    for _ in 0..2 {
        producer.enqueue(&account_id("acme"), &event).await.unwrap();
        // A later event is preceded by a question whether the connection still serves.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    deployed.ask("producer", "XADD KEY:{0}:queue * account acme envelope {}").await.unwrap();
    let length: u64 = deployed.here.redis.clone().xlen(deployed.here.key("queue")).await.unwrap();
    assert_eq!(length, 4);
    assert_eq!(deployed.refusals().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_that_changes_something_runs_as_the_server() {
    let deployed = Deployed::start().await;
    let here = &deployed.here;
    let hook = add(&deployed, "/hook").await;
    here.fail(hook.parse().unwrap(), "1-0", "f1", TRANSCRIPT).await;
    deployed.receiver.plan("/hook", [Answer::Status(200)]);
    run(&deployed, "server", ENQUEUE).await;
    for words in [
        "edit --account acme ID --description new",
        "disable --account acme ID",
        "enable --account acme ID --discard-held",
        "test --account acme ID",
        "redeliver --account acme ID --all",
    ] {
        run(&deployed, "server", &format!("webhook {}", words.replace("ID", &hook))).await;
    }
    let () = here.redis.clone().xadd(here.key("rejected"), "1-0", &REJECTED).await.unwrap();
    let () = here.redis.clone().xadd(here.key("rejected"), "2-0", &REJECTED).await.unwrap();
    let key = run(&deployed, "server", "apikey add --json --name backend --scope admin").await;
    let key: Value = serde_json::from_str(&key).unwrap();
    for words in [
        "queue rejected drop --id 1-0",
        "queue rejected requeue --all",
        "secrets rotate",
        &format!("apikey rotate {} --overlap 1h", key["id"].as_str().unwrap()),
        &format!("apikey revoke {}", key["id"].as_str().unwrap()),
        &format!("webhook delete --account acme {hook}"),
        "account purge --account acme --yes",
    ] {
        run(&deployed, "server", words).await;
    }
    assert_eq!(deployed.refusals().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_judges_keys_and_opens_the_portal() {
    let deployed = Deployed::start().await;
    let variables =
        [("LYNKHOOK_REDIS__URL", deployed.url_of("server")), ("LYNKHOOK_REDIS__PREFIX", deployed.here.prefix.clone())];
    let settings = Settings::load(None, variables).unwrap();
    let store = Store::open(&settings).await.unwrap();
    let (keys, portal) = (ApiKeys::new(store.clone()), Portal::new(&settings.portal, store));
    let scopes = [Scope::Admin].into_iter().collect();
    let new = NewKey { name: "backend".to_owned(), scopes, account: None, expires: None };
    let caller = keys.authenticate(keys.add(new).await.unwrap().key.expose_secret()).await.unwrap();
    eventually(SOON, "the day of the last use", async || keys.list().await.unwrap()[0].last_used.clone()).await;
    let new: NewLink = serde_json::from_str(r#"{"access":"manage"}"#).unwrap();
    let link = portal.new_link(&caller, &account_id("acme"), new).await.unwrap();
    let entered = portal.enter(&account_id("acme"), link.token.expose_secret()).await.unwrap();
    assert!(entered.is_some() && portal.end(&account_id("acme"), WhichSession::All).await.unwrap() == 1);
    keys.rotate(&caller.id, SOON).await.unwrap();
    keys.revoke(&caller.id).await.unwrap();
    assert_eq!(deployed.refusals().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_everything_with_lynkhook_and_with_the_examples_of_redis_cli() {
    let deployed = Deployed::start().await;
    let here = &deployed.here;
    here.store.ensure_group(0).await.unwrap();
    let hook = here.add("acme", &deployed.receiver.url("/hook")).await;
    here.fail(hook, "1-0", "f1", TRANSCRIPT).await;
    let () = here.redis.clone().xadd(here.key("rejected"), "1-0", &REJECTED).await.unwrap();
    for words in [
        "queue status",
        "queue rejected list",
        "apikey list",
        "webhook list --account acme",
        "webhook show --account acme ID",
        "webhook logs --account acme ID",
        "webhook failed --account acme ID",
        "webhook held --account acme ID",
        "doctor --role operator",
    ] {
        run(&deployed, "operator", &words.replace("ID", &hook.to_string())).await;
    }
    let read =
        |name: &str| std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
    let (readme, deploy) = (read("README.md"), read("deploy/README.md"));
    let examples: Vec<&str> = [&readme, &deploy]
        .into_iter()
        .flat_map(|text| text.lines())
        .filter(|line| {
            line.starts_with("redis-cli ") && !["ACL ", "EVAL ", "XADD "].iter().any(|word| line.contains(word))
        })
        .collect();
    assert!(examples.len() >= 6, "{examples:?}");
    let more = ["redis-cli --scan", "redis-cli CLIENT LIST", "redis-cli SLOWLOG GET", "redis-cli TYPE lynkhook:meta"];
    for line in examples.into_iter().chain(more) {
        let with_url = format!("redis-cli -u {} --no-auth-warning -e", deployed.url_of("operator"));
        let line = line.replacen("redis-cli", &with_url, 1).replace("lynkhook:", &format!("{}:", here.prefix));
        let output = Command::new("sh").args(["-c", &line]).output().unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
    }
    assert_eq!(deployed.refusals().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_autoscaler_reads_the_length_of_a_queue_and_the_backup_copies_everything() {
    let deployed = Deployed::start().await;
    deployed.here.push("acme", TRANSCRIPT).await;
    deployed.ask("keda", "PING").await.unwrap();
    assert_eq!(deployed.ask("keda", "XLEN KEY:{0}:queue").await.unwrap(), redis::Value::Int(1));
    let copy = deployed.redis.directory().join("copy.rdb");
    let mut dump = Command::new("redis-cli");
    dump.args(["-u", &deployed.url_of("backup"), "--no-auth-warning", "--rdb"]).arg(&copy);
    let output = dump.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let copied = std::fs::read(&copy).unwrap();
    let queue = deployed.here.key("queue");
    assert!(copied.starts_with(b"REDIS") && copied.windows(queue.len()).any(|bytes| bytes == queue.as_bytes()));
    assert_eq!(deployed.refusals().await, [""; 0]);
}
