//! Checks README's table of keys against the keys in Redis.

use redis::AsyncCommands;
use serde_json::json;

use crate::support::*;
use lynkhook::{
    access::{ApiKeys, NewKey, NewLink, Portal},
    config::Settings,
    domain::{api_key::Scope, portal::PortalAccess, webhook::WebhookId},
    producer::{Keyed, NewEvent, Producer},
    webhooks::NewAuthentication,
};
use secrecy::ExposeSecret;

const README: &str = include_str!("../../../README.md");

/// A row of the table: the beginning of the key, whether more follows, and the type as Redis names it.
#[derive(Debug)]
struct Row {
    begins: String,
    continues: bool,
    redis_type: &'static str,
}

impl Row {
    fn describes(&self, key: &str) -> bool {
        key.strip_prefix(&self.begins).is_some_and(|rest| rest.is_empty() != self.continues)
    }
}

/// The table's rows, for this prefix and each of these partitions.
fn rows(prefix: &str, partitions: u16) -> Vec<Row> {
    let mut rows = Vec::new();
    for line in README.lines().filter_map(|line| line.strip_prefix("| `lynkhook:")) {
        let mut cells = line.split('|').map(str::trim);
        let key = format!("{prefix}:{}", cells.next().unwrap().trim_end_matches('`'));
        let key = key.replace("{lynkhook:", &format!("{{{prefix}:"));
        let redis_type = match cells.next().unwrap().split(',').next().unwrap() {
            "stream" => "stream",
            "sorted set" => "zset",
            "hash" => "hash",
            "list" => "list",
            "string" => "string",
            other => panic!("{other} is not a type of Redis"),
        };
        let of_each = if key.contains("{p}") { partitions } else { 1 };
        for partition in 0..of_each {
            let key = key.replace("{p}", &format!("{{{partition}}}"));
            let begins = key.split('<').next().unwrap().to_owned();
            rows.push(Row { continues: begins != key, begins, redis_type });
        }
    }
    rows
}

/// The parts of a used partition that the test needs later.
struct Used {
    account: String,
    /// A webhook of this partition with a failed delivery.
    failed: WebhookId,
    /// An account to purge.
    purged: String,
}

/// Uses one partition for everything that a worker does by itself.
async fn use_well(here: &Installation, receiver: &Receiver, partition: u16) -> Used {
    // The same four accounts in each partition, with other names.
    let account = |role: &str| {
        let mut names = (0..).map(|number| format!("{role}-{number}"));
        names.find(|name| here.store.keys().partition(&account_id(name)) == partition).expect("one of them")
    };
    let [acme, other, nobody, purged] = ["acme", "other", "nobody", "purged"].map(account);
    let good = here.add(&acme, &receiver.url("/good")).await;
    here.add_with(&acme, &receiver.url("/good"), NewAuthentication::None, false).await;
    let gone = here.add(&other, &receiver.url("/gone")).await;
    here.add(&other, &receiver.url("/down")).await;
    here.add(&purged, &receiver.url("/gone")).await;
    here.add_with(&purged, &receiver.url("/good"), NewAuthentication::None, false).await;
    let queue = here.store.keys().queue(partition);
    let mut redis = here.redis_of(&queue).await;
    for (account, envelope) in [
        (&acme, TRANSCRIPT),
        (&other, TRANSCRIPT),
        (&nobody, TRANSCRIPT),
        (&purged, TRANSCRIPT),
        (&acme, "no envelope"),
    ] {
        let fields = [("account", account.as_str()), ("envelope", envelope)];
        let _: String = redis.xadd(&queue, "*", &fields).await.unwrap();
    }
    here.program.run(["webhook", "test", "--account", &acme, &good.to_string()]).await;
    // As if an endpoint had no room. Releases planned for other reasons are soon done, and the key disappears.
    let releases = here.store.keys().releases(partition);
    let _: () = redis.zadd(releases, format!("{acme}/{good}"), i64::MAX >> 12).await.unwrap();
    use_keys(here, &nobody, partition).await;
    Used { account: other, failed: gone, purged }
}

/// Enqueues two events under idempotency keys, a day and more apart.
async fn use_keys(here: &Installation, account: &str, partition: u16) {
    let settings = Settings::load(None, here.variables.clone()).unwrap();
    let producer = Producer::new(here.store.clone(), settings.catalogue());
    for key in ["first", "second"] {
        let (key, event) = (key.parse().unwrap(), NewEvent::from_envelope(TRANSCRIPT));
        let keyed = Keyed { key: &key, body: TRANSCRIPT.as_bytes(), places: None };
        producer.accept(&account_id(account), &[event], Some(keyed)).await.unwrap();
        let a_day_ago = here.store.now(partition).await.unwrap().timestamp_millis() - 86_400_000;
        let notes = format!("{a_day_ago} 500");
        let keys = here.store.keys().idempotency(partition);
        let _: u64 = here.redis_of(&keys).await.hset(&keys, "", notes).await.unwrap();
    }
}

/// Uses an API key, and makes links to the portals of two accounts of each partition; the second account is purged later.
async fn use_access(here: &Installation, used: &[Used]) {
    let keys = ApiKeys::new(here.store.clone());
    let new =
        NewKey { name: "backend".into(), scopes: [Scope::Admin].into_iter().collect(), account: None, expires: None };
    let key = keys.add(new).await.unwrap().key;
    let caller = keys.authenticate(key.expose_secret()).await.unwrap();
    let portal = Portal::new(&Settings::load(None, here.variables.clone()).unwrap().portal, here.store.clone());
    for account in used.iter().flat_map(|used| [&used.account, &used.purged]) {
        let new = NewLink {
            access: PortalAccess::Read,
            payloads: false,
            user: None,
            embed_origin: None,
            return_url: None,
            theme: None,
        };
        portal.new_link(&caller, &account_id(account), new).await.unwrap();
    }
}

/// Waits until each row has a key, and answers the installation's keys. By then no other key that a step writes can be
/// missing.
async fn keys_of_all(here: &Installation, rows: &[Row]) -> Vec<String> {
    eventually(SOON, "a key for each row", async || {
        let keys = here.keys().await;
        rows.iter().all(|row| keys.iter().any(|key| row.describes(key))).then_some(keys)
    })
    .await
}

async fn until_queues_are_empty(here: &Installation) {
    for partition in 0..here.store.keys().partitions() {
        let queue = here.store.keys().queue(partition);
        let mut redis = here.redis_of(&queue).await;
        eventually(SOON, "an empty queue", async || (redis.xlen::<_, u64>(&queue).await.unwrap() == 0).then_some(()))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_well_used_installation_has_the_keys_of_the_readme_and_no_other() {
    let receiver = Receiver::start().await;
    receiver.plan("/good", [Answer::Status(200)]);
    receiver.plan("/gone", [Answer::Status(410)]);
    receiver.plan("/down", [Answer::Status(503)]);
    let here = Installation::new(&receiver).await.with("LYNKHOOK_QUEUE__PARTITIONS", "2").await;
    let _worker = here.program.worker([("LYNKHOOK_DELIVERY__RETRY_DELAYS", "1h,1h")]);
    let mut used = Vec::new();
    for partition in 0..2 {
        used.push(use_well(&here, &receiver, partition).await);
    }
    use_access(&here, &used).await;
    here.program.run(["queue", "status"]).await;
    let rows = rows(&here.prefix, 2);
    assert!(rows.len() >= 2 * 13 + 2, "{rows:?}");
    keys_of_all(&here, &rows).await;
    until_queues_are_empty(&here).await;

    // The actions of people: redeliver, requeue, purge.
    for Used { account, failed, purged } in used {
        let redeliver = ["webhook", "redeliver", "--all", "--account", &account, &failed.to_string()];
        assert_eq!(here.program.json(redeliver).await["redelivered"], 1);
        let purge = here.program.json(["account", "purge", "--account", &purged, "--yes"]).await;
        assert_eq!(purge["dropped"], json!({ "held": 1, "failed": 1 }));
    }
    let requeued = here.program.json(["queue", "rejected", "requeue", "--all"]).await;
    assert_eq!(requeued["requeued"], 2);
    until_queues_are_empty(&here).await;
    for key in keys_of_all(&here, &rows).await {
        let described: Vec<&Row> = rows.iter().filter(|row| row.describes(&key)).collect();
        let [row] = described[..] else { panic!("README has {} rows for the key {key}", described.len()) };
        let redis_type: String =
            redis::cmd("TYPE").arg(&key).query_async(&mut here.redis_of(&key).await).await.unwrap();
        assert_eq!(redis_type, row.redis_type, "{key}");
        assert!(!key.contains("purged"), "{key} outlived its account");
    }
}
