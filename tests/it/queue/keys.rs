//! README's table of keys, held against what lies in Redis.

use redis::AsyncCommands;

use crate::support::*;
use lynkhook::webhooks::NewAuthentication;

const README: &str = include_str!("../../../README.md");

/// A row of the table: what the key begins with, whether something follows, and its type as Redis names it.
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

/// The table's rows, for one partition and this prefix.
fn rows(prefix: &str) -> Vec<Row> {
    let rows = README.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `lynkhook:")?.split('|');
        let key = format!("{prefix}:{}", cells.next()?.trim().trim_end_matches('`').replace("{p}", "{0}"));
        let redis_type = match cells.next()?.trim().split(',').next()? {
            "stream" => "stream",
            "sorted set" => "zset",
            "hash" => "hash",
            "list" => "list",
            "string" => "string",
            other => panic!("{other} is no type of Redis"),
        };
        let begins = key.split('<').next()?.to_owned();
        Some(Row { continues: begins != key, begins, redis_type })
    });
    rows.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_well_used_installation_has_the_keys_of_the_readme_and_no_other() {
    let receiver = Receiver::start().await;
    receiver.plan("/good", [Answer::Status(200)]);
    receiver.plan("/gone", [Answer::Status(410)]);
    receiver.plan("/down", [Answer::Status(503)]);
    let here = Installation::new(&receiver).await;
    let good = here.add("acme", &receiver.url("/good")).await;
    here.add_with("acme", &receiver.url("/good"), NewAuthentication::None, false).await;
    here.add("other", &receiver.url("/gone")).await;
    here.add("other", &receiver.url("/down")).await;
    let _worker = here.program.worker([("LYNKHOOK_DELIVERY__RETRY_DELAYS", "1h,1h")]);
    for account in ["acme", "other", "nobody"] {
        here.push(account, TRANSCRIPT).await;
    }
    here.push("acme", "no envelope").await;
    here.program.run(["webhook", "test", "--account", "acme", &good.to_string()]).await;
    here.program.run(["queue", "status"]).await;

    let rows = rows(&here.prefix);
    assert!(rows.len() >= 11, "{rows:?}");
    let mut redis = here.redis.clone();
    // All of the table is in use: then nothing that a step writes besides can be missing.
    let keys = eventually(SOON, "a key for each row", async || {
        let keys: Vec<String> = redis.keys(format!("{}*", here.prefix)).await.unwrap();
        let mut ours: Vec<String> =
            keys.into_iter().filter(|key| key.starts_with(&format!("{}:", here.prefix))).collect();
        ours.sort();
        rows.iter().all(|row| ours.iter().any(|key| row.describes(key))).then_some(ours)
    })
    .await;
    for key in keys {
        let described: Vec<&Row> = rows.iter().filter(|row| row.describes(&key)).collect();
        let [row] = described[..] else { panic!("README has {} rows for the key {key}", described.len()) };
        let redis_type: String = redis::cmd("TYPE").arg(&key).query_async(&mut redis).await.unwrap();
        assert_eq!(redis_type, row.redis_type, "{key}");
    }
}
