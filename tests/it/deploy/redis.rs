//! `deploy/redis`: Redis with the configuration and the users of a deployment.

use serde_json::Value;

use super::{
    deployed::{Deployed, users},
    files::{path_of, text},
};
use crate::support::*;

/// All users, and the tests' own.
const USERS: [&str; 10] =
    ["admin", "backup", "cluster", "default", "keda", "operator", "producer", "replica", "server", "worker"];

#[tokio::test(flavor = "multi_thread")]
async fn doctor_has_nothing_to_say_as_any_of_the_users_that_may_run_it_and_redis_refuses_it_nothing() {
    let deployed = Deployed::start().await;
    let worker = deployed.program_of("worker").worker([]);
    worker.wait_for_line("worker started").await;
    for role in ["worker", "server", "operator", "producer"] {
        let program = deployed.program_of(role);
        let findings = eventually(SOON, "all checks passed", async || {
            let output = program.run(["doctor", "--json", "--role", role]).await;
            let findings: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:#?}"));
            let passed = findings.as_array().unwrap().iter().all(|finding| finding["verdict"] == "pass");
            if !passed {
                eprintln!("{role}: {findings:#}");
            }
            (output.code == Some(0) && passed).then_some(findings)
        })
        .await;
        let found = |check: &str| {
            let finding = findings.as_array().unwrap().iter().find(|finding| finding["check"] == check);
            finding.map(|finding| finding["found"].as_str().unwrap().to_owned())
        };
        assert!(found("persistence").unwrap().contains("is not seen: this user may not ask"), "{findings:#}");
        let unseen = match role {
            "worker" => Some("a worker may not see queue, webhooks: "),
            "producer" => Some("a producer may not see clock, group, queue, webhooks: "),
            _ => None,
        };
        assert_eq!(found("unseen").is_some(), unseen.is_some(), "{findings:#}");
        assert!(unseen.is_none_or(|words| found("unseen").unwrap().starts_with(words)), "{findings:#}");
    }
    assert_eq!(deployed.refusals().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_still_asks_for_settings_if_its_user_may() {
    let deployed = Deployed::start().await;
    let output = deployed.here.program.run(["doctor"]).await;
    assert!(output.stdout.contains("synced every second"), "{output:#?}");
    assert!(!output.stdout.contains("unseen"), "{output:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_snapshot_is_ever_planned_beside_the_append_only_file() {
    let redis = RedisServer::start_configured(&path_of("redis/redis.conf"), "");
    let mut ask = ::redis::cmd("CONFIG");
    let save: Vec<String> = ask.arg("GET").arg("save").query_async(&mut redis.connection().await).await.unwrap();
    assert_eq!(save, ["save", ""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_starts_with_the_users_of_the_file_and_nobody_else_logs_in() {
    let redis = RedisServer::start_configured(&path_of("redis/redis.conf"), &users("lynkhook"));
    let ping = async |user: &str| {
        let client = ::redis::Client::open(format!("redis://{user}127.0.0.1:{}/", redis.port())).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await?;
        ::redis::cmd("PING").query_async::<String>(&mut connection).await
    };
    for user in ["producer", "server", "keda", "backup", "cluster", "replica"] {
        assert_eq!(ping(&format!("{user}:secret@")).await.unwrap(), "PONG", "{user}");
    }
    for user in ["", ":secret@", "default:secret@", "worker:other@", "nobody:secret@"] {
        assert!(ping(user).await.is_err(), "{user}");
    }
    let all: Vec<String> = ::redis::cmd("ACL").arg("USERS").query_async(&mut redis.connection().await).await.unwrap();
    assert_eq!(all, USERS);
}

/// The append-only file has a script's writes as a transaction. Redis 7.0 loads it as the user `default`, and passes over
/// each transaction with a command that this user may not run.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_what_scripts_wrote_although_nobody_logs_in_as_the_user_default() {
    let mut redis = RedisServer::start_configured(&path_of("redis/redis.conf"), &users("lynkhook"));
    let script = "redis.call('LPUSH', KEYS[1], 'entry') redis.call('ZADD', KEYS[2], 1, 'member')
                  redis.call('XADD', KEYS[3], '*', 'field', 'value') redis.call('EXPIRE', KEYS[1], 1000)";
    let keys = ["lynkhook:{0}:logs:wh_1", "lynkhook:{0}:retries", "lynkhook:{0}:held:wh_1"];
    let mut write = ::redis::cmd("EVAL");
    let () = write.arg(script).arg(3).arg(&keys).query_async(&mut redis.connection().await).await.unwrap();
    redis.stop();
    redis.restart();
    let kept: u64 = ::redis::cmd("EXISTS").arg(&keys).query_async(&mut redis.connection().await).await.unwrap();
    assert_eq!(kept, 3, "{}", redis.log());
}

#[test]
fn redis_does_not_start_while_a_placeholder_of_a_password_is_left() {
    let directory = tempfile::tempdir().unwrap();
    let server = std::env::var("LYNKHOOK_TEST_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
    let mut redis = std::process::Command::new(server);
    redis.arg(path_of("redis/redis.conf")).args(["--bind", "127.0.0.1", "--port", &unused_port().to_string()]);
    redis.arg("--dir").arg(directory.path()).arg("--aclfile").arg(path_of("redis/users.acl"));
    let output = redis.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("users.acl:2: The password hash must be exactly 64 characters"), "{said}");
}

#[test]
fn no_user_has_a_right_that_tells_or_changes_passwords() {
    for line in text("redis/users.acl").lines().filter(|line| line.contains(" on ")) {
        let mut rights = line.split(' ').filter(|word| word.starts_with(['+', '-', '@', '&', '(']));
        assert_eq!(rights.next(), Some("-@all"), "{line}");
        for right in rights {
            let name = right.strip_prefix('+').unwrap_or_else(|| panic!("{right} in {line}"));
            assert!(
                !name.contains('@') && !["config", "acl", "eval"].contains(&name.split('|').next().unwrap()),
                "{line}"
            );
        }
    }
}
