//! The limits of each user of `deploy/redis/users.acl`, in one table.

use super::deployed::Deployed;
use crate::support::*;

/// Refused to every user.
const TO_ALL: [&str; 14] = [
    "CONFIG GET requirepass",
    "CONFIG SET appendonly no",
    "ACL SETUSER worker +@all",
    "ACL LIST",
    "FLUSHALL",
    "FLUSHDB",
    "DEBUG SLEEP 0",
    "SHUTDOWN",
    "EVAL return(1) 0",
    "FUNCTION FLUSH",
    "KEYS *",
    "CLIENT KILL TYPE normal",
    "REPLICAOF NO ONE",
    "MONITOR",
];

/// Refused to one user each, besides keys of another prefix.
const TO_ONE: [(&str, &[&str]); 6] = [
    (
        "producer",
        &[
            "XLEN KEY:{0}:queue",
            "XRANGE KEY:{0}:queue - +",
            "XREADGROUP GROUP workers x STREAMS KEY:{0}:queue >",
            "XDEL KEY:{0}:queue 0-1",
            "XTRIM KEY:{0}:queue MAXLEN 0",
            "XADD KEY:{0}:rejected * a b",
            "XADD KEY:{0}:held:wh_1 * a b",
            "XADD other:{0}:queue * a b",
            "HSETNX KEY:meta schema 2",
            "HMGET KEY:apikeys a",
            "HGETALL KEY:{0}:webhooks:acme",
            "SCAN 0",
            "EVALSHA 0 1 KEY:{0}:queue",
            "SCRIPT LOAD return",
        ],
    ),
    (
        "worker",
        &[
            "HGETALL KEY:apikeys",
            "HSET KEY:apikeys a b",
            "EVALSHA 0 1 KEY:apikeys",
            "HSET KEY:{KEY:apikeys}:used a b",
            "HGETALL KEY:{0}:portal:acme",
            "HSET KEY:{0}:portal:acme a b",
            "EVALSHA 0 1 KEY:{0}:portal:acme",
            "HSET KEY:{0}:idempotency a b",
            "HSET KEY:{0}:idempotency:before a b",
            "SET KEY:{0}:other b",
            "XADD other:{0}:queue * a b",
            "HGETALL other:{0}:webhooks:acme",
            "SCAN 0",
            "RENAME KEY:meta KEY:{0}:x",
            "SCRIPT FLUSH",
            "SCRIPT KILL",
            "XGROUP DESTROY KEY:{0}:queue workers",
            "SLOWLOG GET",
            "SYNC",
        ],
    ),
    (
        "server",
        &[
            "XREADGROUP GROUP workers x STREAMS KEY:{0}:queue >",
            "XACK KEY:{0}:queue workers 0-1",
            "XCLAIM KEY:{0}:queue workers x 0 0-1",
            "XGROUP DESTROY KEY:{0}:queue workers",
            "XGROUP SETID KEY:{0}:queue workers 0",
            "XTRIM KEY:{0}:queue MAXLEN 0",
            "XADD other:{0}:queue * a b",
            "HGETALL other:{0}:webhooks:acme",
            "SET KEY:workers:x 1",
            "SCRIPT FLUSH",
            "SYNC",
        ],
    ),
    (
        "operator",
        &[
            "XADD KEY:{0}:queue * a b",
            "XDEL KEY:{0}:queue 0-1",
            "XACK KEY:{0}:queue workers 0-1",
            "XGROUP CREATE KEY:{0}:queue workers 0 MKSTREAM",
            "HSET KEY:apikeys a b",
            "HDEL KEY:meta schema",
            "DEL KEY:meta",
            "UNLINK KEY:meta",
            "RENAME KEY:meta KEY:x",
            "EXPIRE KEY:meta 1",
            "ZADD KEY:{0}:visits 0 acme/wh_1",
            "HGETALL other:{0}:webhooks:acme",
            "SCRIPT FLUSH",
            "SCRIPT KILL",
            "SYNC",
        ],
    ),
    (
        "keda",
        &[
            "XRANGE KEY:{0}:queue - +",
            "XADD KEY:{0}:queue * a b",
            "XDEL KEY:{0}:queue 0-1",
            "XLEN KEY:{0}:rejected",
            "XLEN other:{0}:queue",
            "HGETALL KEY:{0}:webhooks:acme",
            "HMGET KEY:meta schema",
            "SCAN 0",
            "INFO",
            "SCRIPT LOAD return",
        ],
    ),
    (
        "backup",
        &[
            "GET KEY:meta",
            "HGETALL KEY:{0}:webhooks:acme",
            "XADD KEY:{0}:queue * a b",
            "DEL KEY:meta",
            "SCAN 0",
            "INFO",
            "BGSAVE",
            "BGREWRITEAOF",
            "XLEN KEY:{0}:queue",
            "SCRIPT LOAD return",
        ],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_user_is_refused_at_least_ten_things_that_are_not_its_own() {
    let deployed = Deployed::start().await;
    let before: Vec<u8> = redis::cmd("DUMP")
        .arg(format!("{}:meta", deployed.here.prefix))
        .query_async(&mut deployed.here.redis.clone())
        .await
        .unwrap();
    for (user, own) in TO_ONE {
        assert!(own.len() >= 10, "{user}");
        for command in own.iter().chain(&TO_ALL) {
            let answer = deployed.ask(user, command).await;
            let code = answer.as_ref().err().and_then(|error| error.code());
            // Redis refuses DEBUG to all users, unless its configuration allows it.
            let expected = if command.starts_with("DEBUG") { ["NOPERM", "ERR"] } else { ["NOPERM"; 2] };
            assert!(code.is_some_and(|code| expected.contains(&code)), "{user}: {command}: {answer:?}");
        }
    }
    let after: Vec<u8> = redis::cmd("DUMP")
        .arg(format!("{}:meta", deployed.here.prefix))
        .query_async(&mut deployed.here.redis.clone())
        .await
        .unwrap();
    assert_eq!(before, after);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_may_do_no_more_than_its_user() {
    let deployed = Deployed::start().await;
    for (user, script) in [
        ("operator", "return redis.call('XADD', KEYS[1], '*', 'a', 'b')"),
        ("worker", "return redis.call('HGETALL', string.match(KEYS[1], '^[^:]*') .. ':apikeys')"),
        ("server", "return redis.call('FLUSHALL')"),
    ] {
        let mut client = deployed.client_of(user).await;
        let hash: String = redis::cmd("SCRIPT").arg("LOAD").arg(script).query_async(&mut client).await.unwrap();
        let answer = deployed.ask(user, &format!("EVALSHA {hash} 1 KEY:{{0}}:queue")).await;
        let said = answer.as_ref().unwrap_err().to_string();
        // The texts of Redis 7.0 and of later versions.
        let is_refused = said.contains("The user executing the script can't") || said.contains("ACL failure in script");
        assert!(is_refused, "{user}: {script}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_ends_a_script_with_which_another_user_keeps_redis_busy() {
    let deployed = Deployed::start().await;
    let mut configure = redis::cmd("CONFIG");
    configure.arg("SET").arg("busy-reply-threshold").arg(50);
    configure.query_async::<()>(&mut deployed.here.redis.clone()).await.unwrap();
    let mut client = deployed.client_of("operator").await;
    let endless = "while true do end";
    let hash: String = redis::cmd("SCRIPT").arg("LOAD").arg(endless).query_async(&mut client).await.unwrap();
    let command = format!("EVALSHA {hash} 1 KEY:{{0}}:queue");
    let busy = async {
        // The client gives up after half a second. The script does not.
        assert!(deployed.ask("operator", &command).await.is_err());
    };
    let ended = async {
        eventually(SOON, "Redis is busy", async || {
            let answer = deployed.ask("server", "PING").await;
            answer.is_err_and(|error| error.code() == Some("BUSY")).then_some(())
        })
        .await;
        let refused = deployed.ask("operator", "SCRIPT KILL").await.unwrap_err();
        assert_eq!(refused.code(), Some("NOPERM"), "{refused}");
        deployed.ask("server", "SCRIPT KILL").await.unwrap();
        eventually(SOON, "Redis serves again", async || deployed.ask("server", "PING").await.ok()).await;
    };
    tokio::join!(busy, ended);
}
