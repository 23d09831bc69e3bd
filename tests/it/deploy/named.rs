//! A Redis user that lacks a permission: the exit code is 5, and the error names the command that Redis refused.

use redis::AsyncCommands;

use super::deployed::{Deployed, REJECTED};
use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_role_and_the_command_the_error_names_what_redis_refused() {
    let deployed = Deployed::start().await;
    let here = &deployed.here;
    let hook = here.add("acme", &deployed.receiver.url("/hook")).await.to_string();
    here.fail(hook.parse().unwrap(), "1-0", "f1", TRANSCRIPT).await;
    let () = here.redis.clone().xadd(here.key("rejected"), "1-0", &REJECTED).await.unwrap();
    // The user, rights that are taken away from it, the command, and the refused command of Redis.
    let cases = [
        // At the start of every command.
        ("worker", "-info", "worker", "info"),
        ("worker", "-hmget", "worker", "hmget"),
        ("worker", "-script|load", "worker", "script|load"),
        ("worker", "-evalsha", "worker", "evalsha"),
        ("server", "-info", "server", "info"),
        ("server", "-hmget", "server", "hmget"),
        ("producer", "-info", "enqueue --account acme -", "info"),
        // Besides.
        ("producer", "-xadd", "enqueue --account acme -", "xadd"),
        ("keda", "", "queue status", "info"),
        ("producer", "", "webhook list --account acme", "hgetall"),
        ("producer", "", "queue status", "time"),
        ("worker", "", "queue status", "key"),
        ("worker", "", "apikey list", "key"),
        // In a script. Redis 7.0 does not name these itself.
        ("operator", "", "webhook redeliver --account acme ID --all", "hexists"),
        ("operator", "+hexists", "webhook redeliver --account acme ID --all", "xadd"),
        ("operator", "", "webhook add --account acme --url https://example.com/", "hset"),
        ("operator", "", "webhook edit --account acme ID --description x", "hset"),
        ("operator", "", "webhook delete --account acme ID", "hdel"),
        ("operator", "", "apikey add --name x --scope admin", "hset"),
        ("operator", "", "queue rejected drop --all", "xdel"),
        ("operator", "", "queue rejected requeue --all", "xadd"),
        ("operator", "", "enqueue --account acme -", "xadd"),
        ("server", "-zcard", "queue status", "zcard"),
        ("worker", "-xgroup", "worker", "xgroup|create"),
        ("worker", "-lpushx", "worker", "lpushx"),
        ("server", "-rename", "server", "rename"),
    ];
    for (user, takes, words, refused) in cases {
        deployed.allow(&format!("someone reset on >secret {takes}")).await;
        let users = super::deployed::users(&here.prefix);
        let line = users.lines().find_map(|line| line.strip_prefix(&format!("user {user} on "))).unwrap();
        deployed.allow(&format!("someone reset on {line} {takes}")).await;
        let words: Vec<String> = words.split(' ').map(|word| word.replace("ID", &hook)).collect();
        let output = deployed.program_of("someone").run_with_input(&words, TRANSCRIPT.replace('\n', "")).await;
        let case = format!("{user} {takes} {words:?}: {output:#?}");
        assert_eq!(output.code, Some(5), "{case}");
        let last = output.stderr.lines().rfind(|line| line.contains("lacks a permission")).expect(&case);
        let is_named = [format!("'{refused}"), format!("+{refused}")].iter().any(|name| last.contains(name));
        assert!(is_named || (refused == "key" && last.contains("access")), "{refused}: {case}");
        assert!(last.contains("ACL SETUSER"), "{case}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn before_an_installation_has_begun_a_producer_and_an_operator_are_told_to_start_a_worker() {
    let deployed = Deployed::start().await;
    let () = deployed.here.redis.clone().del(format!("{}:meta", deployed.here.prefix)).await.unwrap();
    for (user, words) in [("producer", "enqueue --account acme -"), ("operator", "queue status")] {
        let output = deployed.program_of(user).run_with_input(words.split(' '), TRANSCRIPT.replace('\n', "")).await;
        assert_eq!(output.code, Some(5), "{output:#?}");
        assert!(
            output.stderr.contains("'hsetnx'") && output.stderr.contains("start a worker or a server"),
            "{output:#?}"
        );
        // Nothing is wrong with the user.
        let findings = deployed.program_of(user).run(["doctor", "--role", user]).await;
        assert!(findings.stdout.contains("nothing is stored under this prefix yet"), "{findings:#?}");
    }
}
