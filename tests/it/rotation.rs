//! Replacing the key that seals secrets while everything runs.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use lynkhook::{
    domain::webhook::WebhookId,
    secrets::Vault,
    webhooks::{Edit, NewAuthentication, NewWebhook, Webhooks},
};
use redis::AsyncCommands;
use serde_json::{Value, json};

use crate::support::*;

/// The reason in the log for an attempt that was not made.
const NOT_SENT: &str =
    "nothing was sent: this webhook's credentials could not be used; ask the operator of this service";

/// An old and a new key, as a process has them during a rotation, and their ids.
struct Keys {
    new: String,
    both: String,
    old_id: String,
    new_id: String,
}

impl Keys {
    fn new() -> Self {
        let new = Vault::new_key().to_string();
        let id = |key: &str| Vault::new(Some(&key.into())).unwrap().sealing_key().unwrap().to_owned();
        let (old_id, new_id) = (id(SECRETS_KEY), id(&new));
        Self { both: format!("{new}\n{SECRETS_KEY}"), new, old_id, new_id }
    }
}

fn bearer(token: &str) -> NewAuthentication {
    NewAuthentication::Bearer(token.into())
}

/// A webhook as stored in Redis.
async fn stored(here: &Installation, account: &str, webhook: WebhookId) -> Value {
    let key = here.store.keys().webhooks(&account_id(account));
    let json: String = here.redis.clone().hget(key, webhook.to_string()).await.unwrap();
    serde_json::from_str(&json).unwrap()
}

fn sealed_with(stored: &Value) -> &str {
    let authentication = &stored["authentication"];
    let sealed = authentication["token"].as_str().or(authentication["value"].as_str()).unwrap();
    sealed.split('.').nth(1).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_go_on_while_the_key_is_replaced_and_each_carries_its_secret() {
    const ACCOUNTS: usize = 12;
    let (receiver, keys, gate) = (Receiver::start().await, Keys::new(), Gate::new());
    let here = Arc::new(Installation::new(&receiver).await);
    let mut webhooks = Vec::new();
    for number in 0..ACCOUNTS {
        let (account, path) = (format!("a{number}"), format!("/{number}"));
        // The first attempt is answered after the rotation, and the second is made after it.
        receiver.plan(&path, [gate.before(Answer::Status(503)), Answer::Status(200)]);
        let authentication = match number % 2 {
            0 => bearer(&format!("token-{number}")),
            _ => NewAuthentication::Header { name: "X-Key".into(), value: format!("value-{number}").into() },
        };
        webhooks.push((account.clone(), here.add_with(&account, &receiver.url(&path), authentication, true).await));
    }
    let both = here.program.clone().env("LYNKHOOK_SECRETS__KEY", &keys.both);
    let worker = both.worker([("LYNKHOOK_DELIVERY__RETRY_DELAYS", "50ms,50ms")]);
    for (number, (account, _)) in webhooks.iter().enumerate() {
        here.push(account, TRANSCRIPT).await;
        receiver.wait_for(&format!("/{number}"), 1, SOON).await;
    }
    // More events follow during the rotation.
    let ended = Arc::new(AtomicBool::new(false));
    let pushing = tokio::spawn({
        let (here, ended) = (here.clone(), ended.clone());
        async move {
            let mut pushed = 0;
            while !ended.load(Relaxed) {
                here.push(&format!("a{}", pushed % ACCOUNTS), TRANSCRIPT).await;
                pushed += 1;
            }
            pushed
        }
    });
    let rotated = both.json(["secrets", "rotate"]).await;
    ended.store(true, Relaxed);
    let pushed = pushing.await.unwrap();
    gate.open();
    assert_eq!(
        rotated,
        json!({
            "key": keys.new_id, "dryRun": false, "resealed": ACCOUNTS, "already": 0, "withoutSecret": 0,
            "notResealed": 0, "failures": [],
        })
    );
    here.drained().await;
    let mut delivered = 0;
    for (number, (account, webhook)) in webhooks.iter().enumerate() {
        assert_eq!(sealed_with(&stored(&here, account, *webhook).await), keys.new_id);
        for request in receiver.requests(&format!("/{number}")) {
            let (name, value) = match number % 2 {
                0 => ("authorization", format!("Bearer token-{number}")),
                _ => ("x-key", format!("value-{number}")),
            };
            assert_eq!(request.header(name), Some(value.as_str()));
            delivered += 1;
        }
        let failed: u64 = here.redis.clone().xlen(here.key(&format!("failed:{webhook}"))).await.unwrap();
        assert_eq!(failed, 0, "{account}");
    }
    assert!(delivered >= 2 * ACCOUNTS + pushed, "{delivered} requests for {pushed} events");
    assert!(!worker.stderr().contains("credentials"), "the worker could open them all");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_rotation_the_new_key_delivers_and_with_the_old_one_alone_nothing_is_sent_and_nothing_lost() {
    let (receiver, keys) = (Receiver::start().await, Keys::new());
    receiver.plan("/hook", [Answer::Status(200)]);
    let here = Installation::new(&receiver).await;
    let webhook = here.add_with("acme", &receiver.url("/hook"), bearer("t0ken-of-acme"), true).await;
    let rotated = here.program.clone().env("LYNKHOOK_SECRETS__KEY", &keys.both).run(["secrets", "rotate"]).await;
    assert_eq!(rotated.code, Some(0), "{rotated:#?}");
    let says = format!("Re-sealed 1 secret with the key {}; 0 already sealed", keys.new_id);
    assert!(rotated.stdout.contains(&says) && rotated.stdout.contains("Nothing is sealed with another key."));

    let old = here.program.worker([("LYNKHOOK_DELIVERY__RETRY_DELAYS", "10ms")]);
    here.push("acme", TRANSCRIPT).await;
    let log = here.finished(webhook).await;
    assert_eq!(log.len(), 2, "it is attempted again: another worker may have the key");
    assert_eq!((&log[1]["error"], &log[1]["httpStatus"]), (&json!(NOT_SENT), &json!("Network Error")));
    let line = old.wait_for_line("a webhook's credentials cannot be used").await;
    for words in [&keys.new_id, &keys.old_id, &webhook.to_string()] {
        assert!(line.contains(words), "{words}: {line}");
    }
    assert!(receiver.all_requests().is_empty(), "no request goes without its authentication");
    old.sigterm();
    old.output(SOON).await;

    let new = here.program.clone().env("LYNKHOOK_SECRETS__KEY", &keys.new);
    let _worker = new.worker([]);
    let target = webhook.to_string();
    let again = new.json(["webhook", "redeliver", "--account", "acme", &target, "--all"]).await;
    assert_eq!(again["redelivered"], 1, "it was kept, whole");
    here.push("acme", TRANSCRIPT).await;
    for request in receiver.wait_for("/hook", 2, SOON).await {
        assert_eq!(request.header("authorization"), Some("Bearer t0ken-of-acme"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_no_key_opens_fails_at_once_without_a_request() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let webhook = here.add_with("acme", &receiver.url("/hook"), bearer("t0ken"), true).await;
    let other = here.add_with("acme", &receiver.url("/hook"), bearer("other"), false).await;
    // The sealed secret of another webhook, moved here by hand.
    let mut moved = stored(&here, "acme", webhook).await;
    moved["authentication"] = stored(&here, "acme", other).await["authentication"].clone();
    let key = here.key("webhooks:acme");
    let _: () = here.redis.clone().hset(key, webhook.to_string(), moved.to_string()).await.unwrap();
    let _worker = here.program.worker([]);
    here.push("acme", TRANSCRIPT).await;
    let log = here.finished(webhook).await;
    assert_eq!((log.len(), &log[0]["error"]), (1, &json!(NOT_SENT)));
    assert!(receiver.all_requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_rotations_at_once_and_editors_lose_nothing() {
    const ACCOUNTS: usize = 40;
    const EDITS: u64 = 5;
    let (receiver, keys) = (Receiver::start().await, Keys::new());
    let here = Arc::new(Installation::new(&receiver).await);
    let mut webhooks = Vec::new();
    for number in 0..ACCOUNTS {
        let number = 1000 + number;
        let account = format!("a{number}");
        let authentication = bearer(&format!("token-of-account-{number}"));
        webhooks.push((here.add_with(&account, &receiver.url("/hook"), authentication, true).await, account));
    }
    let processes: [Arc<Webhooks>; 3] = [0, 1, 2].map(|_| Arc::new(here.webhooks_with(&keys.both)));
    let editing = tokio::spawn({
        let (editor, webhooks) = (processes[2].clone(), webhooks.clone());
        async move {
            for edit in 1..=EDITS {
                for (webhook, account) in &webhooks {
                    let edit = Edit { description: Some(format!("edit {edit}")), ..Edit::default() };
                    editor.edit(&account_id(account), *webhook, edit).await.unwrap();
                }
            }
        }
    });
    let (one, other) = tokio::join!(processes[0].rotate(false, |_| {}), processes[1].rotate(false, |_| {}));
    let (one, other) = (one.unwrap(), other.unwrap());
    editing.await.unwrap();
    assert_eq!((one.not_resealed, other.not_resealed), (0, 0), "{one:?} {other:?}");
    assert_eq!(one.resealed + other.resealed, ACCOUNTS as u64, "each once");
    assert_eq!(one.webhooks() + other.webhooks(), 2 * ACCOUNTS as u64);
    let new_alone = here.webhooks_with(&keys.new);
    for (webhook, account) in &webhooks {
        let stored = stored(&here, account, *webhook).await;
        assert_eq!(sealed_with(&stored), keys.new_id, "no editor brings the old sealing back");
        assert_eq!(stored["description"], format!("edit {EDITS}"));
        assert_eq!(stored["revision"], 1 + EDITS + 1, "{account}");
        let view = serde_json::to_value(new_alone.show(&account_id(account), *webhook).await.unwrap()).unwrap();
        assert_eq!(view["authentication"]["token"], format!("••••{}", &account[1..]), "the secret is the same");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_webhook_or_secret_is_named_and_stops_no_other() {
    let (receiver, keys) = (Receiver::start().await, Keys::new());
    let here = Installation::new(&receiver).await.with("LYNKHOOK_QUEUE__PARTITIONS", "4").await;
    let mut redis = here.redis.clone();
    let hash = |account: &str| here.store.keys().webhooks(&account_id(account));
    let strange = Vault::new_key().to_string();
    let strange_id = Vault::new(Some(&strange.as_str().into())).unwrap().sealing_key().unwrap().to_owned();
    let url = receiver.url("/hook");
    let new = |authentication| NewWebhook {
        url: url.clone(),
        events: None,
        authentication,
        description: String::new(),
        active: true,
    };
    let lost = here.webhooks_with(&strange).add(&account_id("lost"), new(bearer("l0st-t0ken"))).await.unwrap().id;
    let beside = here.add_with("lost", &url, bearer("beside-it"), true).await;
    let plain = here.add("plain", &url).await;
    let nobodys = "wh_019a1b2c-3d4e-7f00-8000-0123456789ab";
    let _: () = redis.hset(hash("broken"), nobodys, r#"{"id":"gar8age"}"#).await.unwrap();
    let _: () = redis.set(hash("wrong-type"), "x").await.unwrap();
    let twin: String = redis.hget(hash("plain"), plain.to_string()).await.unwrap();
    let _: () = redis.hset(hash("plain"), nobodys, &twin).await.unwrap();
    let before = stored(&here, "lost", beside).await;

    let program = here.program.clone().env("LYNKHOOK_SECRETS__KEY", &keys.both);
    let looked = program.run(["secrets", "rotate", "--dry-run", "--json"]).await;
    assert_eq!(looked.code, Some(1), "{looked:#?}");
    assert_eq!(stored(&here, "lost", beside).await, before, "a dry run changes nothing");
    let output = program.run(["secrets", "rotate", "--json"]).await;
    assert_eq!(output.code, Some(1), "{output:#?}");
    let rotated: Value = serde_json::from_str(&output.stdout).unwrap();
    let mut expected: Value = serde_json::from_str(&looked.stdout).unwrap();
    assert_eq!(expected["dryRun"], true);
    expected["dryRun"] = json!(false);
    let sorted = |value: &Value| {
        let mut failures: Vec<String> = value["failures"].as_array().unwrap().iter().map(Value::to_string).collect();
        failures.sort();
        failures
    };
    assert_eq!(sorted(&rotated), sorted(&expected), "a dry run reports the same result");
    for (count, number) in [("resealed", 1), ("already", 0), ("withoutSecret", 1), ("notResealed", 4)] {
        assert_eq!(rotated[count], number, "{count}: {rotated}");
    }
    let failures = rotated["failures"].as_array().unwrap();
    let of = |account: &str| failures.iter().find(|failure| failure["account"] == account).unwrap();
    assert_eq!((&of("lost")["webhook"], &of("lost")["missingKey"]), (&json!(lost), &json!(strange_id)));
    assert_eq!((&of("broken")["webhook"], &of("broken")["missingKey"]), (&json!(nobodys), &Value::Null));
    assert_eq!(of("plain")["webhook"], nobodys, "it is stored under another's id");
    assert_eq!(of("wrong-type")["webhook"], Value::Null);

    let after = stored(&here, "lost", beside).await;
    assert_eq!((sealed_with(&before), sealed_with(&after)), (keys.old_id.as_str(), keys.new_id.as_str()));
    assert_eq!((&after["revision"], &after["updatedAt"]), (&json!(2), &before["updatedAt"]));
    let shown = program.run(["secrets", "rotate"]).await;
    assert_eq!(shown.code, Some(1));
    for words in [&strange_id, &lost.to_string(), "wrong-type", nobodys] {
        assert!(shown.stdout.contains(words), "{words}: {shown:#?}");
    }
    for output in [&looked, &output, &shown] {
        for secret in ["l0st-t0ken", "beside-it", "gar8age", &keys.new, &strange, SECRETS_KEY] {
            assert!(!format!("{}{}", output.stdout, output.stderr).contains(secret), "{secret}: {output:#?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_accounts_are_met_however_many_pages_there_are() {
    const ACCOUNTS: u64 = 2500;
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await.with("LYNKHOOK_QUEUE__PARTITIONS", "3").await;
    let webhook = here.add("template", &receiver.url("/hook")).await;
    let template = stored(&here, "template", webhook).await.to_string();
    let mut fill = redis::pipe();
    for number in 1..ACCOUNTS {
        fill.hset(here.store.keys().webhooks(&account_id(&format!("a{number}"))), webhook.to_string(), &template);
    }
    let _: () = fill.ignore().query_async(&mut here.redis.clone()).await.unwrap();
    let mut heard = 0;
    let rotation = here.webhooks.rotate(false, |rotation| heard = rotation.webhooks()).await.unwrap();
    assert_eq!((rotation.without_secret, heard), (ACCOUNTS, ACCOUNTS));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_key_there_is_nothing_to_rotate_with() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let output = here.program.env("LYNKHOOK_SECRETS__KEY", "").run(["secrets", "rotate"]).await;
    assert_eq!((output.code, output.stdout.as_str()), (Some(4), ""), "{output:#?}");
    assert!(output.stderr.contains("lynkhook secrets new-key"), "{output:#?}");
}
