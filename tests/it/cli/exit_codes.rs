//! Exit codes 1 to 5, each with a text that says what to change. Other tests cover 0 and 6.

use std::time::{Duration, Instant};

use redis::AsyncCommands;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_command_line_or_setting_is_2() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let url = receiver.url("/hook");
    let add = |account, more: &[&'static str]| {
        let words: Vec<&str> = ["add", "--url", &url].into_iter().chain(more.iter().copied()).collect();
        webhook(account, &words).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let long = file(&"a".repeat(16 * 1024 + 1));
    let settings = file("[delivery]\ntimeuot = \"9s\"\n");
    let broken = file("[delivery\n");
    let strings = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let rows: Vec<(Vec<String>, &[&str])> = vec![
        (strings(&["--no-such-flag"]), &["--no-such-flag"]),
        (strings(&["wroker"]), &["worker"]),
        (strings(&["webhook", "list"]), &["--account"]),
        (strings(&["webhook", "show", "--account", "acme"]), &["<ID>"]),
        (strings(&["webhook", "list", "--account", "a b"]), &["a b", "1 to 128 of"]),
        (strings(&["webhook", "show", "--account", "acme", "wh_1"]), &["wh_1", "wh_019a1b2c"]),
        (strings(&["webhook", "add", "--account", "acme"]), &["--url"]),
        (add("acme", &["--bearer-token-file", "/nowhere/token"]), &["cannot read /nowhere/token", "No such file"]),
        (add("acme", &["--header-file", "/nowhere"]), &["cannot read /nowhere"]),
        (
            add("acme", &["--bearer-token-file", "-", "--header-file", "-"]),
            &["--bearer-token-file", "--header-file", "cannot be used with"],
        ),
        (add("acme", &["--header-file", "-"]), &["standard input must hold one line, `Name: value`"]),
        (strings(&["webhook", "edit", "--account", "acme", NOBODYS]), &["nothing to change", "--description"]),
        (
            strings(&["webhook", "edit", "--account", "acme", NOBODYS, "--active", "--inactive"]),
            &["cannot be used with"],
        ),
        (strings(&["--config", "/nowhere.toml", "worker"]), &["/nowhere.toml", "--config"]),
        (
            strings(&["--config", path(&settings), "worker"]),
            &["delivery.timeuot", "line 2", "did you mean `delivery.timeout`?"],
        ),
        (strings(&["--config", path(&broken), "worker"]), &["line 1", "is not TOML"]),
        (
            strings(&["webhook", "add", "--account", "acme", "--url", &url, "--bearer-token-file", path(&long)]),
            &["longer than 16384 bytes"],
        ),
        (strings(&["completions", "tcsh"]), &["tcsh"]),
    ];
    for (arguments, says) in rows {
        assert_refused(&format!("{arguments:?}"), &here.program.run(&arguments).await, 2, says);
    }
    for (name, value, says) in [
        ("LYNKHOOK_REDIS__URLL", "x", &["LYNKHOOK_REDIS__URLL", "did you mean `LYNKHOOK_REDIS__URL`?"][..]),
        ("LYNKHOOK_NO__SUCH", "x", &["LYNKHOOK_NO__SUCH", "names no setting"]),
        ("LYNKHOOK_WORKER__CONCURRENCY", "many", &["worker.concurrency", "many", "whole number from 1 to 65536"]),
        ("LYNKHOOK_DELIVERY__TIMEOUT", "10", &["delivery.timeout", "10", "10s"]),
        ("LYNKHOOK_WORKER__LEASE", "19s", &["worker.lease", "20s"]),
        ("LYNKHOOK_LOG__FILTER", "lynkhook=loud", &["log.filter", "lynkhook=loud"]),
        ("LYNKHOOK_EGRESS__ALLOW", "10.0.0.0/99", &["10.0.0.0/99"]),
        ("LYNKHOOK_EGRESS__EXTRA_CA", "/nowhere.pem", &["/nowhere.pem"]),
        ("LYNKHOOK_SECRETS__KEY", "c2hvcnQ=", &["secrets.key", "lynkhook secrets new-key"]),
    ] {
        let output = here.program.clone().env(name, value).run(["worker"]).await;
        assert_refused(&format!("{name}={value}"), &output, 2, says);
    }
    assert_eq!(here.program.json(webhook("acme", &["list"])).await, serde_json::json!([]), "nothing was added");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_does_not_exist_is_3() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let others = add(&here.program, "other", &receiver.url("/hook")).await.to_string();
    for target in [NOBODYS, &others] {
        for words in [
            vec!["show", target],
            vec!["edit", target, "--description", "x"],
            vec!["enable", target],
            vec!["disable", target],
            vec!["delete", target],
            vec!["test", target],
            vec!["logs", target],
            vec!["logs", target, "--follow"],
        ] {
            let output = here.program.run(webhook("acme", &words)).await;
            let says = [&format!("account acme has no webhook {target}"), "lynkhook webhook list --account acme"];
            assert_refused(&format!("{words:?}"), &output, 3, &says);
        }
    }
    assert!(receiver.all_requests().is_empty(), "another account's webhook is not tested");
    assert_eq!(here.program.json(webhook("other", &["show", &others])).await["revision"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_a_rule_or_limit_forbids_is_4() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let own = receiver.url("/hook");
    for (url, says) in [
        ("http://example.com/", "https://"),
        ("https://93.184.216.34/", "IP address"),
        ("https://0x5db8d822/", "IP address"),
        ("https://[2606:2800:220:1::1]/", "IP address"),
        ("https://hooks.internal/", "not a public host name"),
        ("https://printer/", "not a public host name"),
        ("https://user:hunter2@example.com/", "credentials"),
        ("no url", ""),
    ] {
        let output = here.program.run(webhook("acme", &["add", "--url", url])).await;
        assert_refused(url, &output, 4, &[says]);
        assert!(!output.stderr.contains("hunter2"), "{output:#?}");
    }
    let strict = here.program.clone().env("LYNKHOOK_EGRESS__ALLOW", "");
    let output = strict.run(webhook("acme", &["add", "--url", &own])).await;
    assert_refused("localhost, not allowed", &output, 4, &["localhost is not a public host name"]);
    let long = "x".repeat(201);
    for (words, input, says) in [
        (vec!["--event", "no.such"], "", "transcript.created"),
        (vec!["--description", &long], "", "200 characters"),
        (vec!["--header-file", "-"], "X Y: b", ""),
        (vec!["--header-file", "-"], ": b", ""),
        (vec!["--header-file", "-"], "Content-Length: 5", ""),
        (vec!["--bearer-token-file", "-"], "two\nlines\n", ""),
        (vec!["--bearer-token-file", "-"], "\n", ""),
    ] {
        let words: Vec<&str> = ["add", "--url", &own].into_iter().chain(words).collect();
        let output = here.program.run_with_input(webhook("acme", &words), input).await;
        assert_refused(&format!("{words:?} {input:?}"), &output, 4, &[says]);
    }
    let words = ["add", "--url", "http://example.com/", "--event", "no.such", "--description", &long];
    let output = here.program.run(webhook("acme", &words)).await;
    let lines: Vec<&str> = output.stderr.lines().collect();
    assert_eq!((output.code, lines.len()), (Some(4), 3), "a line for each fault: {output:#?}");
    for (line, says) in
        lines.iter().zip(["https://", "events[0]: this event type is not in the catalogue", "200 characters"])
    {
        assert!(line.starts_with("error: ") && line.contains(says), "{output:#?}");
    }
    let keyless = here.program.clone().env("LYNKHOOK_SECRETS__KEY", "");
    let words = webhook("acme", &["add", "--url", &own, "--bearer-token-file", "-"]);
    let output = keyless.run_with_input(words, "t0ken-of-nobody").await;
    assert_refused("no key", &output, 4, &["lynkhook secrets new-key", "LYNKHOOK_SECRETS__KEY_FILE"]);
    assert!(!output.stderr.contains("t0ken"), "{output:#?}");

    for _ in 0..2 {
        add(&keyless, "acme", &own).await;
    }
    let output = here.program.run(webhook("acme", &["add", "--url", &own])).await;
    assert_refused("third webhook", &output, 4, &["already has 2 webhooks", "delete one first"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_away_or_does_not_answer_is_5_within_10_seconds() {
    // The kernel accepts connections, and the server never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("redis://{}/", silent.local_addr().unwrap());
    let refused = format!("redis://127.0.0.1:{}/", refused_port());
    let started = Instant::now();
    let run = async |url: &str, arguments: Vec<&'static str>| {
        let program = Program::new(RedisServer::shared(), "unused").env("LYNKHOOK_REDIS__URL", url);
        let output = program.run(&arguments).await;
        assert_refused(&format!("{arguments:?}"), &output, 5, &["Redis is unreachable", "LYNKHOOK_REDIS__URL"]);
    };
    let list = || webhook("acme", &["list"]);
    tokio::join!(
        run(&silent, list()),
        run(&silent, vec!["worker"]),
        run(&refused, list()),
        run(&refused, vec!["worker"]),
    );
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_does_not_fit_is_5() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let commands = [webhook("acme", &["list"]), vec!["worker"]];
    let two = here.program.clone().env("LYNKHOOK_QUEUE__PARTITIONS", "2");
    for arguments in &commands {
        let says = ["1 partition(s)", "queue.partitions = 1"];
        assert_refused(&format!("{arguments:?}"), &two.run(arguments).await, 5, &says);
    }
    let _: () = here.redis.clone().hset(format!("{}:meta", here.prefix), "schema", "9").await.unwrap();
    for arguments in &commands {
        assert_refused(&format!("{arguments:?}"), &here.program.run(arguments).await, 5, &["schema 9", "schema 1"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_wants_another_password_or_any_is_5() {
    let redis = RedisServer::start(AppendFsync::No);
    let set = redis::cmd("CONFIG").arg("SET").arg("requirepass").arg("r3dis-pass").clone();
    let _: () = set.query_async(&mut redis.connection().await).await.unwrap();
    let program = Program::new(&redis, "unused");
    for (password, says) in [("", "password"), (":wr0ng-pass@", "password")] {
        let url = redis.url().replace("redis://", &format!("redis://{password}"));
        let program = program.clone().env("LYNKHOOK_REDIS__URL", url);
        for arguments in [webhook("acme", &["list"]), vec!["worker"]] {
            let output = program.run(&arguments).await;
            assert_refused(&format!("{password} {arguments:?}"), &output, 5, &[says]);
            assert!(!output.stderr.contains("wr0ng"), "{output:#?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_lynkhook_never_wrote_is_1_and_is_named_but_not_quoted() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let key = here.key("webhooks:acme");
    let _: () = here.redis.clone().hset(&key, NOBODYS, r#"{"id":"gar8age"}"#).await.unwrap();
    for words in [vec!["list"], vec!["show", NOBODYS], vec!["test", NOBODYS], vec!["enable", NOBODYS]] {
        let output = here.program.run(webhook("acme", &words)).await;
        assert_refused(&format!("{words:?}"), &output, 1, &[&key, "not what Lynkhook writes there"]);
        assert!(!output.stderr.contains("gar8age"), "{output:#?}");
    }
    let output = here.program.run(webhook("acme", &["delete", NOBODYS])).await;
    assert_eq!(output.code, Some(0), "and the webhook can still be deleted: {output:#?}");
}
