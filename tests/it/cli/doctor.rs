//! `lynkhook doctor`, and the refusal of a Redis that may evict accepted events.

use redis::AsyncCommands;
use serde_json::json;

use super::*;

/// The verdict and the text of a check.
fn finding<'a>(findings: &'a Value, check: &str) -> (&'a str, String) {
    let found = findings.as_array().unwrap().iter().find(|finding| finding["check"] == check);
    let found = found.unwrap_or_else(|| panic!("no check {check} in {findings}"));
    (found["verdict"].as_str().unwrap(), format!("{} {}", found["found"], found["advice"]))
}

async fn examine(program: &Program) -> (Option<i32>, Value) {
    let output = program.run(["doctor", "--json"]).await;
    (output.code, serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:#?}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fit_redis_with_a_worker_passes_every_check() {
    let redis = RedisServer::start(AppendFsync::Always);
    let receiver = Receiver::start().await;
    let here = Installation::on(&redis, &receiver).await;
    let worker = here.program.worker([]);
    worker.wait_for_line("worker started").await;
    eventually(SOON, "all checks passed", async || {
        let (code, findings) = examine(&here.program).await;
        let passed = findings.as_array().unwrap().iter().all(|finding| finding["verdict"] == "pass");
        (code == Some(0) && passed).then_some(())
    })
    .await;
    let people = here.program.run(["doctor"]).await;
    assert_eq!(people.code, Some(0));
    assert!(people.stdout.lines().all(|line| line.starts_with("pass  ")), "{}", people.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn stuck_late_rejected_and_missing_things_are_reported_with_advice() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let mut redis = here.redis.clone();
    let (_, findings) = examine(&here.program).await;
    assert_eq!(finding(&findings, "group").0, "warn", "no worker has created it");
    assert_eq!(finding(&findings, "workers").0, "warn");

    here.store.ensure_group(0).await.unwrap();
    here.push("acme", TRANSCRIPT).await;
    let mut reader = here.reader(0, "gone", std::time::Duration::from_millis(10)).await;
    let [entry] = reader.read(1).await.unwrap().try_into().unwrap();
    let mut age = redis::cmd("XCLAIM");
    age.arg(here.key("queue"))
        .arg("workers")
        .arg("gone")
        .arg(0)
        .arg(&entry.id.0)
        .arg("IDLE")
        .arg(120_000)
        .arg("JUSTID");
    let _: Vec<String> = age.query_async(&mut redis).await.unwrap();
    let _: () = redis.zadd(here.key("retries"), "late", 0).await.unwrap();
    let _: String = redis.xadd(here.key("rejected"), "*", &[("reason", "x"), ("entry", "1-0")]).await.unwrap();
    let (code, findings) = examine(&here.program).await;
    assert_eq!(code, Some(5), "{findings}");
    for (check, verdict, words) in [
        ("leases", "fail", "1 of 1 entries"),
        ("retries", "fail", "1 late"),
        ("rejected", "warn", "lynkhook queue rejected list"),
        ("group", "pass", "exists"),
        ("eviction", "pass", "noeviction"),
        ("schema", "pass", "version 1"),
    ] {
        let (found, text) = finding(&findings, check);
        assert!(found == verdict && text.contains(words), "{check}: {found} {text}");
    }
    let other = here.program.clone().env("LYNKHOOK_QUEUE__PARTITIONS", "4");
    let (code, findings) = examine(&other).await;
    assert_eq!(
        (code, finding(&findings, "schema").0),
        (Some(5), "fail"),
        "doctor runs its checks although a worker would not start"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_backlog_is_a_failure_without_a_reader_and_a_warning_with_one() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let mut redis = here.redis.clone();
    here.store.ensure_group(0).await.unwrap();
    let now = here.store.now(0).await.unwrap().timestamp_millis();
    for number in 0..3 {
        let id = format!("{}-{number}", now - 600_000);
        let event = [("account", "acme"), ("envelope", TRANSCRIPT)];
        let _: String = redis.xadd(here.key("queue"), id, &event).await.unwrap();
    }
    let (code, findings) = examine(&here.program).await;
    let (verdict, text) = finding(&findings, "age");
    assert_eq!((code, verdict), (Some(5), "fail"), "{findings}");
    assert!(text.contains("of 3, 0 in flight, arrived 10m") && text.contains("no worker has ever read"), "{text}");

    let mut reader = here.reader(0, "here", std::time::Duration::from_millis(10)).await;
    let [entry] = reader.read(1).await.unwrap().try_into().unwrap();
    let (_, findings) = examine(&here.program).await;
    let (verdict, text) = finding(&findings, "age");
    assert!(verdict == "warn" && text.contains("of 3, 1 in flight, arrived 10m"), "{verdict} {text}");

    // An entry that was lost twice and is idle for a day waits for its turn.
    for (deliveries, verdict) in [(1, "fail"), (2, "warn")] {
        let mut lost = redis::cmd("XCLAIM");
        lost.arg(here.key("queue")).arg("workers").arg("here").arg(0).arg(&entry.id.0).arg("IDLE").arg(86_400_000);
        lost.arg("RETRYCOUNT").arg(deliveries).arg("JUSTID");
        lost.query_async::<()>(&mut redis).await.unwrap();
        let (_, findings) = examine(&here.program).await;
        assert_eq!(finding(&findings, "leases").0, verdict, "{findings}");
    }

    let _: () = redis.del(here.key("queue")).await.unwrap();
    here.store.ensure_group(0).await.unwrap();
    let ahead = format!("{}-0", now + 7_200_000);
    let _: String = redis.xadd(here.key("queue"), ahead, &[("account", "acme")]).await.unwrap();
    let (_, findings) = examine(&here.program).await;
    let (verdict, text) = finding(&findings, "age");
    assert!(verdict == "warn" && text.contains("from the future, 1h 59m"), "{verdict} {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_out_of_reach_is_one_failed_check() {
    let program = Program::new(RedisServer::shared(), "unused").env("LYNKHOOK_REDIS__URL", "redis://127.0.0.1:1/");
    let (code, findings) = examine(&program).await;
    assert_eq!((code, findings.as_array().unwrap().len()), (Some(5), 1));
    let (verdict, text) = finding(&findings, "connection");
    assert!(verdict == "fail" && text.contains("start Redis"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_in_the_url_that_is_none_or_none_of_whose_nodes_answers_is_one_failed_check() {
    let redis = RedisServer::shared();
    for (nodes, words) in [
        (format!("127.0.0.1:{}", redis.port()), "this Redis is no node of a cluster"),
        ("127.0.0.1:1,127.0.0.1:2".to_owned(), "start Redis, or correct redis.url"),
    ] {
        let url = format!("redis+cluster://{nodes}");
        let (code, findings) = examine(&Program::new(redis, "unused").env("LYNKHOOK_REDIS__URL", url)).await;
        let (verdict, text) = finding(&findings, "connection");
        assert!(verdict == "fail" && text.contains(words), "{text}");
        assert_eq!((code, findings.as_array().unwrap().len()), (Some(5), 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_reported_as_one_and_all_other_checks_run_there() {
    let (primary, replica) =
        (RedisServer::start(AppendFsync::EverySecond), RedisServer::start(AppendFsync::EverySecond));
    let receiver = Receiver::start().await;
    let here = Installation::on(&primary, &receiver).await;
    let id = here.add("acme", &receiver.url("/hook")).await;
    here.store.ensure_group(0).await.unwrap();
    let mut follow = redis::cmd("REPLICAOF");
    follow.arg("127.0.0.1").arg(primary.port());
    let _: () = follow.query_async(&mut replica.connection().await).await.unwrap();
    let there = here.program.clone().env("LYNKHOOK_REDIS__URL", replica.url());
    let findings = eventually(SOON, "the replica has the group", async || {
        let (code, findings) = examine(&there).await;
        assert_eq!(code, Some(5), "{findings}");
        let all = findings.as_array().unwrap();
        (all.iter().any(|finding| finding["check"] == "group" && finding["verdict"] == "pass")).then_some(findings)
    })
    .await;
    let (verdict, text) = finding(&findings, "role");
    assert!(verdict == "fail" && text.contains("name the primary"), "{text}");
    for check in ["version", "persistence", "eviction", "memory", "clock", "schema", "leases", "retries", "limits"] {
        assert_eq!(finding(&findings, check).0, "pass", "{check} in {findings}");
    }
    let output = there.run(["doctor"]).await;
    assert!(output.stdout.contains("FAIL  role") && !output.stdout.contains("start Redis"), "{output:#?}");
    assert_eq!(there.json(["queue", "status"]).await["depth"], json!(0), "a replica answers commands that only read");
    let id = id.to_string();
    assert_eq!(there.json(webhook("acme", &["failed", &id])).await, json!([]), "and lists failed deliveries");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_kind_fails_its_own_check_and_leaves_the_others() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let _: () = here.redis.clone().set(here.key("retries"), "x").await.unwrap();
    let (code, findings) = examine(&here.program).await;
    assert_eq!(code, Some(5), "{findings}");
    let (verdict, text) = finding(&findings, "queue");
    assert!(verdict == "fail" && text.contains("WRONGTYPE") && text.contains("not written by Lynkhook"), "{text}");
    for check in ["version", "role", "eviction", "clock", "schema", "leases"] {
        assert_eq!(finding(&findings, check).0, "pass", "{check} in {findings}");
    }
    let _: () = here.redis.clone().del(here.key("retries")).await.unwrap();
    let _: () = here.redis.clone().hset(here.key("counts"), "cause", "many").await.unwrap();
    let (_, text) = finding(&examine(&here.program).await.1, "queue");
    assert!(text.contains("not written by Lynkhook"), "a value that is no number: {text}");
    let _: () = here.redis.clone().set(here.key("queue"), "x").await.unwrap();
    let (code, findings) = examine(&here.program).await;
    assert_eq!((code, finding(&findings, "group").0), (Some(5), "fail"), "{findings}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_settings_or_a_wrong_type_are_named_and_never_quoted() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let webhook = here.add("good", &receiver.url("/hook")).await;
    let (_, findings) = examine(&here.program).await;
    let (verdict, text) = finding(&findings, "webhooks");
    assert!(verdict == "pass" && text.contains("the settings of 1 accounts can be read"), "{text}");
    let mut redis = here.redis.clone();
    let _: () = redis.set(here.key("webhooks:string"), "secret-1").await.unwrap();
    let _: () = redis.hset(here.key("webhooks:junk"), webhook.to_string(), "secret-2").await.unwrap();
    let _: () = redis.hset(here.key("webhooks:good"), "wh_no_id", r#"{"id":"secret-3"}"#).await.unwrap();
    let (code, findings) = examine(&here.program).await;
    let (verdict, text) = finding(&findings, "webhooks");
    assert_eq!((code, verdict), (Some(5), "fail"));
    for named in ["of 3 accounts", "3: ", "webhooks:string` is no hash", "webhooks:junk wh_", "webhooks:good wh_no_id"]
    {
        assert!(text.contains(named), "{named} in {text}");
    }
    assert!(!text.contains("secret"), "{text}");
    for number in 0..20 {
        let _: () = redis.set(here.key(&format!("webhooks:more-{number}")), "x").await.unwrap();
    }
    let text = finding(&examine(&here.program).await.1, "webhooks").1;
    assert!(text.contains("23: ") && text.contains("and 20 more"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_permissions_is_told_which_are_missing_and_never_to_start_redis() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let port = RedisServer::shared().port();
    let as_user = |user: &str, password: &str| {
        let url = format!("redis://{user}:{password}@127.0.0.1:{port}/");
        here.program.clone().env("LYNKHOOK_REDIS__URL", url)
    };
    for (name, takes, check, says) in [
        ("blind", "-info", "connection", "'info'"),
        ("scriptless", "-@scripting", "group", "'evalsha'"),
        ("timeless", "-time", "clock", "'time'"),
    ] {
        let user = format!("{}-{name}", here.prefix);
        let mut allow = redis::cmd("ACL");
        allow.arg("SETUSER").arg(&user).arg(["on", ">secret", "~*", "&*", "+@all", takes].as_slice());
        let _: () = allow.query_async(&mut here.redis.clone()).await.unwrap();
        let (code, findings) = examine(&as_user(&user, "secret")).await;
        let (verdict, text) = finding(&findings, check);
        assert!(code == Some(5) && verdict == "fail" && text.contains(says), "{name}: {findings}");
        assert!(text.contains("ACL SETUSER") && !text.contains("start Redis"), "{name}: {text}");
        let all = findings.as_array().unwrap();
        assert!(check == "connection" || all.len() > 6, "{name}: the server's checks are reported: {findings}");
    }
    let (code, findings) = examine(&as_user("nobody", "wrong")).await;
    let (verdict, text) = finding(&findings, "connection");
    assert!(code == Some(5) && verdict == "fail" && text.contains("password"), "{findings}");
    assert!(!text.contains("start Redis"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_may_evict_is_refused_unless_its_policy_is_accepted_by_name() {
    let redis = RedisServer::start(AppendFsync::No);
    let receiver = Receiver::start().await;
    let here = Installation::on(&redis, &receiver).await;
    let mut configure = redis::cmd("CONFIG");
    configure.arg("SET").arg("maxmemory-policy").arg("volatile-lru");
    let _: () = configure.query_async(&mut here.redis.clone()).await.unwrap();
    let envelope = file(TRANSCRIPT);
    for words in
        [vec!["worker"], vec!["enqueue", "--account", "acme", "--file", path(&envelope)], vec!["queue", "status"]]
    {
        let output = here.program.run(&words).await;
        let says = ["maxmemory-policy volatile-lru", "noeviction", "redis.accept_eviction = \"volatile-lru\""];
        assert_refused(&format!("{words:?}"), &output, 5, &says);
    }
    let other = here.program.clone().env("LYNKHOOK_REDIS__ACCEPT_EVICTION", "allkeys-lru");
    assert_eq!(other.run(["queue", "status"]).await.code, Some(5), "the accepted policy is another one");
    let (code, findings) = examine(&here.program).await;
    assert_eq!((code, finding(&findings, "eviction").0), (Some(5), "fail"));

    let accepting = here.program.clone().env("LYNKHOOK_REDIS__ACCEPT_EVICTION", "volatile-lru");
    assert_eq!(accepting.json(["queue", "status"]).await["depth"], json!(0));
    assert_eq!(finding(&examine(&accepting).await.1, "eviction").0, "warn");
}
