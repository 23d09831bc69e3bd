//! `lynkhook doctor --role` finds the rights that a Redis user lacks.

use redis::AsyncCommands;
use serde_json::Value;

use super::deployed::{Deployed, users};
use crate::support::*;

/// The finding about a role's rights, and the exit code.
async fn rights(program: &Program, role: &str) -> (Value, Option<i32>) {
    let output = program.run(["doctor", "--json", "--role", role]).await;
    let findings: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:#?}"));
    let found = findings.as_array().unwrap().iter().find(|finding| finding["check"] == "rights");
    (found.unwrap_or_else(|| panic!("{findings}")).clone(), output.code)
}

/// The patterns of keys that the file of users gives to a role.
fn keys_of(role: &str, prefix: &str) -> String {
    let users = users(prefix);
    let line = users.lines().find(|line| line.starts_with(&format!("user {role} "))).unwrap();
    line.split(' ').filter(|word| word.contains('~')).collect::<Vec<_>>().join(" ")
}

fn one(role: &str) -> String {
    if role == "operator" { "an operator".to_owned() } else { format!("a {role}") }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_advice_of_doctor_gives_every_missing_right_at_once() {
    let deployed = Deployed::start().await;
    for role in ["worker", "producer", "operator", "server"] {
        let user = format!("bare-{role}");
        deployed.allow(&format!("{user} on >secret +info +multi")).await;
        let program = deployed.program_of(&user);
        let before: u64 = redis::cmd("DBSIZE").query_async(&mut deployed.here.redis.clone()).await.unwrap();
        let (found, code) = rights(&program, role).await;
        assert_eq!((&found["verdict"], code), (&Value::from("fail"), Some(5)), "{role}: {found}");
        let advice = found["advice"].as_str().unwrap().strip_prefix("ACL SETUSER ").unwrap();
        let after: u64 = redis::cmd("DBSIZE").query_async(&mut deployed.here.redis.clone()).await.unwrap();
        assert_eq!(before, after, "{role}: nothing was written");
        // If the user may not run commands on any key, doctor finds the missing keys in the next run.
        deployed.allow(advice).await;
        let (found, _) = rights(&program, role).await;
        if found["verdict"] != "pass" {
            let keys = keys_of(role, &deployed.here.prefix);
            let needs = format!("{user} lacks permissions that {} needs: {keys}", one(role));
            assert_eq!(found["found"], needs, "{role}");
            deployed.allow(found["advice"].as_str().unwrap().strip_prefix("ACL SETUSER ").unwrap()).await;
        }
        let (found, code) = rights(&program, role).await;
        assert_eq!((&found["verdict"], code), (&Value::from("pass"), Some(0)), "{role}: {found}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_missing_right_is_found_and_only_an_optional_one_is_a_warning() {
    let deployed = Deployed::start().await;
    for (takes, role, verdict, says) in [
        ("-lpushx", "worker", "fail", "lacks permissions that a worker needs: +lpushx"),
        ("-xgroup|delconsumer", "worker", "fail", "needs: +xgroup|delconsumer"),
        ("-xadd -zadd", "worker", "fail", "needs: +xadd +zadd"),
        ("-client", "worker", "warn", "needs, but not all that help: +client|id +client|unblock +client|tracking"),
        ("-lpushx -xadd -hsetnx", "operator", "pass", "has all permissions"),
        ("-cluster -asking", "worker", "pass", "has all permissions"),
        ("-cluster -asking -command", "producer", "pass", "has all permissions"),
        ("-slowlog", "operator", "warn", "not all that help: +slowlog|get"),
        ("-zcard", "operator", "fail", "needs: +zcard"),
        ("-xadd", "producer", "fail", "needs: +xadd"),
        ("-pexpireat", "server", "fail", "lacks permissions that a server needs: +pexpireat"),
        ("-ping", "server", "warn", "not all that help: +ping"),
        ("-multi", "worker", "warn", "could not try"),
        ("resetkeys %R~* +@all", "worker", "fail", "needs: ~"),
        ("resetkeys %W~* +@all", "producer", "fail", "needs: %R~"),
    ] {
        deployed.allow(&format!("someone reset on >secret ~* +@all {takes}")).await;
        let (found, code) = rights(&deployed.program_of("someone"), role).await;
        let expected = if verdict == "fail" { 5 } else { 0 };
        assert_eq!((found["verdict"].as_str(), code), (Some(verdict), Some(expected)), "{takes}: {found}");
        assert!(found["found"].as_str().unwrap().contains(says), "{takes}: {found}");
    }
    let output = deployed.here.program.run(["doctor", "--role", "nobody"]).await;
    assert_eq!(output.code, Some(2), "{output:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_use_the_keys_of_some_partitions_alone_fails_and_is_told_of_the_others() {
    let deployed = Deployed::start().await;
    let prefix = &deployed.here.prefix;
    let () = deployed.here.redis.clone().hset(format!("{prefix}:meta"), "partitions", 3).await.unwrap();
    for (keys, role, of) in [
        (format!("~{prefix}:meta ~{prefix}:workers:* ~{prefix}:{{0}}:*"), "worker", " (keys of partition 1, 2)"),
        (
            format!("~{prefix}:meta ~{prefix}:*apikeys* ~{prefix}:workers:* ~{prefix}:{{0}}:*"),
            "operator",
            " (keys of partition 1, 2)",
        ),
        (format!("~{prefix}:meta ~{prefix}:{{0}}:queue ~{prefix}:{{2}}:queue"), "producer", " (keys of partition 1)"),
        (format!("~{prefix}:meta"), "producer", ""),
    ] {
        deployed.allow(&format!("someone reset on >secret +@all {keys}")).await;
        let program = deployed.program_of("someone").env("LYNKHOOK_QUEUE__PARTITIONS", "3");
        let (found, code) = rights(&program, role).await;
        assert_eq!((&found["verdict"], code), (&Value::from("fail"), Some(5)), "{keys}: {found}");
        let needs = keys_of(role, prefix);
        assert_eq!(
            found["found"],
            format!("someone lacks permissions that {} needs: {needs}{of}", one(role)),
            "{keys}"
        );
        deployed.allow(found["advice"].as_str().unwrap().strip_prefix("ACL SETUSER ").unwrap()).await;
        assert_eq!(rights(&program, role).await.0["verdict"], "pass", "{keys}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_refused_fail_a_check_for_a_role_that_needs_them_and_are_not_looked_at_for_a_producer() {
    let deployed = Deployed::start().await;
    let prefix = &deployed.here.prefix;
    // The user may use every key that doctor tries, except the settings of one account.
    let nobody = "wh_00000000-0000-0000-0000-000000000000";
    let partition = format!("{prefix}:{{0}}");
    let mut keys: Vec<String> = ["logs", "held", "failed"].map(|kind| format!("~{partition}:{kind}:{nobody}")).into();
    let more = ["idempotency", "idempotency:before", "portal:"];
    let kinds = ["queue", "retries", "releases", "visits", "rejected", "counts", "audit", "held_bytes", "webhooks:"];
    for kind in kinds.into_iter().chain(more) {
        keys.push(format!("~{partition}:{kind}"));
    }
    deployed
        .allow(&format!(
            "someone reset on >secret +@all ~{prefix}:meta ~{prefix}:*apikeys* ~{prefix}:workers:* {}",
            keys.join(" ")
        ))
        .await;
    deployed.here.add("acme", &deployed.receiver.url("/hook")).await;
    for (role, verdict) in [("worker", Some("fail")), ("operator", Some("fail")), ("producer", None)] {
        let output = deployed.program_of("someone").run(["doctor", "--json", "--role", role]).await;
        let findings: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:#?}"));
        let of = |check: &str| findings.as_array().unwrap().iter().find(|finding| finding["check"] == check);
        assert_eq!(of("rights").unwrap()["verdict"], "pass", "{role}: {findings}");
        let found = of("webhooks").map(|finding| finding["verdict"].as_str().unwrap());
        assert_eq!(found, verdict, "{role}: {findings}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_in_the_url_needs_the_right_to_select_and_doctor_names_it() {
    let deployed = Deployed::start().await;
    let url = format!("redis://operator:secret@127.0.0.1:{}/3", deployed.redis.port());
    let program = deployed.here.program.clone().env("LYNKHOOK_REDIS__URL", url);
    let output = program.run(["doctor", "--role", "operator"]).await;
    assert_eq!(output.code, Some(5), "{output:#?}");
    assert!(output.stdout.contains("+select") && !output.stdout.contains("start Redis"), "{output:#?}");
    deployed.allow("operator +select").await;
    let (found, code) = rights(&program, "operator").await;
    assert_eq!((&found["verdict"], code), (&Value::from("pass"), Some(0)), "{found}");
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/README.md")).unwrap();
    assert!(readme.contains("each needs `+select` as well"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_client_reads_delivers_says_so_once_and_stops_when_its_read_ends() {
    let deployed = Deployed::start().await;
    let Deployed { receiver, here, .. } = &deployed;
    receiver.plan("/hook", [Answer::Status(200)]);
    let webhook = here.add("acme", &receiver.url("/hook")).await;
    deployed.allow("deaf on >secret ~* +@all -client").await;
    let mut worker = deployed.program_of("deaf").worker([]);
    for _ in 0..3 {
        here.push("acme", TRANSCRIPT).await;
    }
    here.drained().await;
    assert_eq!(here.log(webhook).await.len(), 3);
    // Opens a second connection of the reader.
    let mut destroy = redis::cmd("XGROUP");
    destroy.arg("DESTROY").arg(here.key("queue")).arg("workers");
    destroy.query_async::<()>(&mut here.redis.clone()).await.unwrap();
    worker.wait_for_line("is created again").await;
    here.push("acme", TRANSCRIPT).await;
    here.drained().await;
    worker.sigterm();
    assert_eq!(worker.wait().await, Some(0));
    worker.wait_for_line("worker stopped").await;
    let said = worker.stderr();
    assert_eq!(said.matches("reads cannot be ended early").count(), 1, "{said}");
    assert!(!said.contains("the grace is over"), "{said}");
}
