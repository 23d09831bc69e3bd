//! No secret is ever seen again: not printed, not logged at `trace`, not readable in Redis.

use std::fmt::Write;

use base64::{Engine, engine::general_purpose::STANDARD};
use redis::aio::MultiplexedConnection;

use super::*;

const TOKEN: &str = "tok-Zq8vN3xW7rT5-bearer";
const VALUE: &str = "val-Hy2kP9sL4mB6-header";
/// The path of a customer's URL may be a capability.
const CAPABILITY: &str = "/cap-Xw4jD8fG1nC3";

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_printed_logged_or_readable_in_redis() {
    let receiver = Receiver::start().await;
    receiver.plan(CAPABILITY, [Answer::Status(500), Answer::Status(200)]);
    let here = Installation::new(&receiver).await;
    let program = here.program.clone().env("LYNKHOOK_LOG__FILTER", "trace");
    let worker = program.worker([("LYNKHOOK_DELIVERY__RETRY_DELAYS", "50ms")]);
    let url = receiver.url(CAPABILITY);
    let mut printed = String::new();
    let mut logged = String::new();
    let mut webhooks = Vec::new();
    for (flag, input) in [("--bearer-token-file", TOKEN.to_owned()), ("--header-file", format!("X-Secret: {VALUE}"))] {
        let words = webhook("acme", &["add", "--url", &url, flag, "-", "--json"]);
        let output = program.run_with_input(words, input).await;
        webhooks.push(id(&serde_json::from_str(&output.stdout).unwrap()));
        printed += &output.stdout;
        logged += &output.stderr;
    }
    here.push("acme", TRANSCRIPT).await;
    for &webhook_id in &webhooks {
        here.finished(webhook_id).await;
        let target = webhook_id.to_string();
        for words in [
            vec!["test", &target],
            vec!["test", &target, "--json"],
            vec!["show", &target],
            vec!["show", &target, "--json"],
            vec!["edit", &target, "--description", "x"],
            vec!["logs", &target],
            vec!["list"],
            vec!["list", "--json"],
        ] {
            let output = program.run(webhook("acme", &words)).await;
            assert_eq!(output.code, Some(0), "{words:?}: {output:#?}");
            printed += &output.stdout;
            logged += &output.stderr;
        }
    }
    let dump = dump(&mut here.redis.clone(), &here.prefix).await;
    here.drained().await;
    worker.sigterm();
    let worker = worker.output(SOON).await;
    assert_eq!(worker.code, Some(0));
    logged += &worker.stderr;

    let sent = receiver.requests(CAPABILITY);
    let seen = |name, value: &str| sent.iter().any(|request| request.header(name) == Some(value));
    assert!(seen("authorization", &format!("Bearer {TOKEN}")) && seen("x-secret", VALUE), "the receiver has them");
    assert!(printed.contains("••••arer") && printed.contains("••••ader"), "masked: {printed}");
    assert!(worker.stderr.contains("\"level\":\"DEBUG\"") && dump.contains(CAPABILITY), "there was something to see");
    for secret in [TOKEN, VALUE] {
        for form in [secret.to_owned(), STANDARD.encode(secret), secret[4..16].to_owned()] {
            for (place, text) in [("stdout", &printed), ("the log", &logged), ("Redis", &dump)] {
                assert!(!text.contains(&form), "{form} in {place}");
            }
        }
    }
    assert!(!logged.contains(CAPABILITY), "the URL's path is in the log");
    assert!(!logged.contains("Hi, thanks for calling"), "the payload is in the log");
}

/// Everything that lies under the prefix, read type by type.
async fn dump(redis: &mut MultiplexedConnection, prefix: &str) -> String {
    let mut keys = Vec::new();
    let mut cursor = 0_u64;
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(format!("{prefix}*")).arg("COUNT").arg(1000);
        let (next, found): (u64, Vec<String>) = scan.query_async(redis).await.unwrap();
        keys.extend(found);
        if next == 0 {
            break;
        }
        cursor = next;
    }
    let mut dump = String::new();
    for key in keys {
        let kind: String = redis::cmd("TYPE").arg(&key).query_async(redis).await.unwrap();
        let mut read = match kind.as_str() {
            "string" => redis::cmd("GET"),
            "hash" => redis::cmd("HGETALL"),
            "list" => redis::cmd("LRANGE"),
            "zset" => redis::cmd("ZRANGE"),
            "stream" => redis::cmd("XRANGE"),
            // Gone meanwhile.
            "none" => continue,
            other => panic!("{key} is a {other}, and no documented key is"),
        };
        match kind.as_str() {
            "list" | "zset" => read.arg(&key).arg(0).arg(-1),
            "stream" => read.arg(&key).arg("-").arg("+"),
            _ => read.arg(&key),
        };
        dump += &key;
        text(&read.query_async(redis).await.unwrap(), &mut dump);
    }
    dump
}

fn text(value: &redis::Value, dump: &mut String) {
    match value {
        redis::Value::BulkString(bytes) => writeln!(dump, "{}", String::from_utf8_lossy(bytes)).unwrap(),
        redis::Value::Array(values) => values.iter().for_each(|value| text(value, dump)),
        other => writeln!(dump, "{other:?}").unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_one_line_of_32_bytes_in_base64_and_never_the_same() {
    let program = Program::new(RedisServer::shared(), "unused");
    let mut keys = Vec::new();
    for _ in 0..2 {
        let output = program.run(["secrets", "new-key"]).await;
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
        let key = output.stdout.strip_suffix('\n').unwrap();
        assert_eq!(STANDARD.decode(key).unwrap().len(), 32);
        keys.push(key.to_owned());
    }
    assert_ne!(keys[0], keys[1]);

    // As a mounted file, it serves.
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let key = file(&format!("{}\n", keys[0]));
    let sealed = here.program.env("LYNKHOOK_SECRETS__KEY", "").env("LYNKHOOK_SECRETS__KEY_FILE", key.path());
    let words = webhook("acme", &["add", "--url", "https://example.com/", "--bearer-token-file", "-"]);
    let added = sealed.json_with_input(words, TOKEN).await;
    assert_eq!(added["authentication"]["token"], "••••arer");
}
