//! No secret is ever shown again: not printed, not logged at any level, in no error, not readable in Redis.
//!
//! The secrets here are canaries: texts that occur nowhere else. The tests look for them, in several spellings, in
//! everything that the program prints and logs, and in all that Redis holds or ever wrote to its disk.

pub(crate) mod canary;
pub(crate) mod dump;
mod errors;

use base64::{Engine, engine::general_purpose::STANDARD};

use self::canary::{CAPABILITY, PASSWORD, QUERY, Seen, TOKEN, VALUE, assert_hidden};
use super::*;

/// All levels, and by name the libraries that see requests; no filter may let these libraries log.
pub(crate) const LOUDEST: &str = "trace,h2=trace,h2::codec=trace,hyper::proto=trace,hyper_util::client=trace,reqwest=trace,\
                       rustls::client=trace,redis=trace,hickory_resolver=trace";

/// A program whose Redis requires a password, and that logs as much as possible.
async fn loud(here: &Installation, redis: &RedisServer) -> Program {
    let set = redis::cmd("CONFIG").arg("SET").arg("requirepass").arg(PASSWORD).clone();
    let _: () = set.query_async(&mut here.redis.clone()).await.unwrap();
    let url = redis.url().replace("redis://", &format!("redis://:{PASSWORD}@"));
    here.program.clone().env("LYNKHOOK_REDIS__URL", url).env("LYNKHOOK_LOG__FILTER", LOUDEST)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_printed_logged_or_readable_in_redis() {
    let (old, new) = (Receiver::start().await, Receiver::start().await);
    old.plan(CAPABILITY, [Answer::Status(500), Answer::Status(200)]);
    new.plan(CAPABILITY, [Answer::Status(404), Answer::Status(200)]);
    let redis = RedisServer::start(AppendFsync::Always);
    let here = Installation::on(&redis, &old).await;
    let program = loud(&here, &redis).await;
    let mut seen = Seen::default();
    let mut webhooks = Vec::new();
    for (receiver, flag, input) in
        [(&old, "--bearer-token-file", TOKEN.to_owned()), (&new, "--header-file", format!("X-Secret: {VALUE}"))]
    {
        let url = receiver.url(&format!("{CAPABILITY}?key={QUERY}"));
        let words = webhook("acme", &["add", "--url", &url, flag, "-", "--json"]);
        let output = program.run_with_input(words, input).await;
        webhooks.push(id(&serde_json::from_str(&output.stdout).unwrap()).to_string());
        seen.answer(&output);
    }
    let worker = program.worker([("LYNKHOOK_DELIVERY__RETRY_DELAYS", "50ms")]);
    seen.take(&program.run_with_input(["enqueue", "--account", "acme", "-"], one_line(TRANSCRIPT)).await);
    for webhook_id in &webhooks {
        here.finished(webhook_id.parse().unwrap()).await;
    }
    here.push("acme", "no envelope").await;
    here.drained().await;
    every_command(&program, &webhooks, &mut seen).await;
    here.drained().await;

    // Before the account is purged; the rest is read afterwards.
    let held = dump::read(&mut here.redis.clone()).await;
    let purge = ["account", "purge", "--account", "acme", "--yes"];
    assert_eq!(seen.take(&program.run(purge).await), Some(0));
    worker.sigterm();
    let worker = worker.output(SOON).await;
    assert_eq!(worker.code, Some(0));
    let written = dump::written(&redis);

    let sent = |receiver: &Receiver, name, value: &str| {
        receiver.requests(CAPABILITY).iter().all(|request| request.header(name) == Some(value))
    };
    assert!(sent(&old, "authorization", &format!("Bearer {TOKEN}")), "the receiver has the token");
    assert!(sent(&new, "x-secret", VALUE), "the other has its header");
    assert!(seen.answered.contains("••••arer") && seen.answered.contains("••••ader"), "masked: {}", seen.answered);
    assert!(worker.stderr.contains("\"level\":\"TRACE\"") || worker.stderr.contains("\"level\":\"DEBUG\""));
    for place in [&held.text, &written] {
        assert!(place.contains(CAPABILITY), "the text has the webhooks");
    }
    seen.take(&worker);
    let Seen { answered, printed, logged } = &seen;
    let everywhere = [
        ("answers", answered),
        ("tables", printed),
        ("the log", logged),
        ("Redis", &held.text),
        ("its files", &written),
    ];
    let keys = [SECRETS_KEY, ROTATED_KEY];
    for (place, text) in everywhere {
        assert_hidden(place, text, [TOKEN, VALUE, PASSWORD].into_iter().chain(keys));
    }
    // Only the webhook's own settings show its URL.
    for (place, text) in [("tables", printed), ("the log", logged), ("Redis beside settings", &held.without_settings)] {
        assert_hidden(place, text, [CAPABILITY, QUERY]);
    }
    assert!(!logged.contains("Hi, thanks for calling"), "the payload is in the log");
    for library in ["h2", "hyper", "reqwest", "rustls", "redis", "hickory_resolver"] {
        assert!(!logged.contains(&format!("\"target\":\"{library}")), "{library} speaks below info");
    }
}

/// The new key for sealing: 32 bytes that protect no real secrets.
const ROTATED_KEY: &str = "dGhlIG5leHQga2V5LCBmb3IgdGVzdHMgb25seSwgMzI=";

/// Every question about the webhooks of `acme`, in both output forms.
async fn every_command(program: &Program, webhooks: &[String], seen: &mut Seen) {
    for target in webhooks {
        for words in [
            &["test", target][..],
            &["show", target],
            &["edit", target, "--description", "x"],
            &["disable", target],
            &["enable", target],
            &["logs", target],
            &["held", target],
            &["failed", target],
            &["list"],
        ] {
            for words in [words.to_vec(), [words, &["--json"]].concat()] {
                let shows_url = ["show", "edit", "disable", "enable", "list"].contains(&words[0])
                    || words[0] == "test" && words.contains(&"--json");
                let output = program.run(webhook("acme", &words)).await;
                assert_eq!(output.code, Some(0), "{words:?}: {output:#?}");
                if shows_url {
                    seen.answer(&output)
                } else {
                    seen.take(&output)
                };
            }
        }
        let following = program.start(webhook("acme", &["logs", target, "--follow", "--json"]));
        following.wait_for_line("\"deliveryId\"").await;
        following.sigint();
        seen.take(&following.output(SOON).await);
        let words = ["redeliver", target, "--all", "--json"];
        assert_eq!(seen.take(&program.run(webhook("acme", &words)).await), Some(0));
    }
    let both = program.clone().env("LYNKHOOK_SECRETS__KEY", format!("{ROTATED_KEY},{SECRETS_KEY}"));
    for words in [
        &["queue", "status"][..],
        &["queue", "status", "--json"],
        &["queue", "rejected", "list"],
        &["queue", "rejected", "list", "--json"],
        &["queue", "rejected", "requeue", "--all"],
        &["queue", "rejected", "drop", "--all", "--json"],
        &["secrets", "rotate", "--dry-run"],
        // And back, because the worker has only the old key.
        &["secrets", "rotate"],
    ] {
        assert_eq!(seen.take(&both.run(words).await), Some(0), "{words:?}");
    }
    let back = program.clone().env("LYNKHOOK_SECRETS__KEY", format!("{SECRETS_KEY} {ROTATED_KEY}"));
    let rotated = back.json(["secrets", "rotate"]).await;
    assert_eq!(rotated["resealed"], webhooks.len(), "{rotated}");
}

/// An envelope as a line of NDJSON.
fn one_line(envelope: &str) -> String {
    serde_json::from_str::<Value>(envelope).unwrap().to_string()
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

    // The key works as a mounted file.
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let key = file(&format!("{}\n", keys[0]));
    let sealed = here.program.env("LYNKHOOK_SECRETS__KEY", "").env("LYNKHOOK_SECRETS__KEY_FILE", key.path());
    let words = webhook("acme", &["add", "--url", "https://example.com/", "--bearer-token-file", "-"]);
    let added = sealed.json_with_input(words, TOKEN).await;
    assert_eq!(added["authentication"]["token"], "••••arer");
}
