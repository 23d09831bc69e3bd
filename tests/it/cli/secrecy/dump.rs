//! Everything that Redis holds, as text, and everything that it ever wrote to its disk.

use std::{fmt::Write, path::Path};

use redis::aio::MultiplexedConnection;

use crate::support::*;

/// The contents of a Redis.
pub(crate) struct Dump {
    /// Every key with its value.
    pub(crate) text: String,
    /// The same without the webhooks' settings, which may contain a customer's URL.
    pub(crate) without_settings: String,
}

/// Reads every key of the server, type by type.
pub(crate) async fn read(redis: &mut MultiplexedConnection) -> Dump {
    let mut keys = Vec::new();
    let mut cursor = 0_u64;
    loop {
        let scan = redis::cmd("SCAN").arg(cursor).arg("COUNT").arg(1000).to_owned();
        let (next, found): (u64, Vec<String>) = scan.query_async(redis).await.unwrap();
        keys.extend(found);
        if next == 0 {
            break;
        }
        cursor = next;
    }
    let mut dump = Dump { text: String::new(), without_settings: String::new() };
    for key in keys {
        let value = read_key(redis, &key).await;
        dump.text += &value;
        if !key.contains(":webhooks:") {
            dump.without_settings += &value;
        }
    }
    dump
}

async fn read_key(redis: &mut MultiplexedConnection, key: &str) -> String {
    let kind: String = redis::cmd("TYPE").arg(key).query_async(redis).await.unwrap();
    let mut read = match kind.as_str() {
        "string" => redis::cmd("GET"),
        "hash" => redis::cmd("HGETALL"),
        "list" => redis::cmd("LRANGE"),
        "zset" => redis::cmd("ZRANGE"),
        "stream" => redis::cmd("XRANGE"),
        // The key was deleted in the meantime.
        "none" => return String::new(),
        other => panic!("{key} is a {other}, and no documented key is"),
    };
    match kind.as_str() {
        "list" | "zset" => read.arg(key).arg(0).arg(-1),
        "stream" => read.arg(key).arg("-").arg("+"),
        _ => read.arg(key),
    };
    let mut dump = format!("{key}\n");
    text(&read.query_async(redis).await.unwrap(), &mut dump);
    dump
}

fn text(value: &redis::Value, dump: &mut String) {
    match value {
        redis::Value::BulkString(bytes) => writeln!(dump, "{}", String::from_utf8_lossy(bytes)).unwrap(),
        redis::Value::Array(values) => values.iter().for_each(|value| text(value, dump)),
        other => writeln!(dump, "{other:?}").unwrap(),
    }
}

/// The content of every file of the server. The append-only file has each write since the start, including deleted
/// data.
pub(crate) fn written(redis: &RedisServer) -> String {
    fn read(path: &Path, all: &mut String) {
        if path.is_dir() {
            for entry in std::fs::read_dir(path).unwrap() {
                read(&entry.unwrap().path(), all);
            }
        } else {
            *all += &String::from_utf8_lossy(&std::fs::read(path).unwrap());
        }
    }
    let mut all = String::new();
    read(redis.directory(), &mut all);
    all
}
