//! A Redis that answers but refuses its clients: the command shows Redis's own sentence, and the matching advice.

use std::net::UdpSocket;

use redis::aio::MultiplexedConnection;

use super::*;

async fn ask(connection: &mut MultiplexedConnection, words: &[&str]) {
    let mut command = redis::cmd(words[0]);
    let _: redis::Value = command.arg(&words[1..]).query_async(connection).await.unwrap();
}

/// Each kind of command prints these words, ends with 5, and does not advise to start Redis.
async fn assert_each_command_says(url: &str, says: &[&str]) {
    let program = Program::new(RedisServer::shared(), "unused").env("LYNKHOOK_REDIS__URL", url);
    let event = file(TRANSCRIPT);
    for words in
        [vec!["worker"], vec!["enqueue", "--account", "acme", "--file", path(&event)], webhook("acme", &["list"])]
    {
        let output = program.run(&words).await;
        assert_refused(&format!("{words:?}"), &output, 5, says);
        assert!(!output.stderr.contains("start Redis"), "{output:#?}");
    }
    let output = program.run(["doctor"]).await;
    assert_eq!(output.code, Some(5), "{output:#?}");
    for words in says {
        assert!(output.stdout.contains(words), "{words} in {output:#?}");
    }
    assert!(!output.stdout.contains("start Redis"), "{output:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_clients_are_named_with_and_without_a_password() {
    let redis = RedisServer::start(AppendFsync::No);
    let mut held = redis.connection().await;
    ask(&mut held, &["CONFIG", "SET", "maxclients", "1"]).await;
    let says = ["ERR max number of clients reached", "raise maxclients"];
    assert_each_command_says(&redis.url(), &says).await;
    assert_each_command_says(&format!("redis://:secret@127.0.0.1:{}/2", redis.port()), &says).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_wrong_or_needless_password_is_reported_in_the_servers_words() {
    let redis = RedisServer::start(AppendFsync::No);
    let at = |user: &str| format!("redis://{user}127.0.0.1:{}/", redis.port());
    let mut connection = redis.connection().await;
    let needless = ["without any password configured", "remove the password from redis.url"];
    assert_each_command_says(&at(":secret@"), &needless).await;
    assert_each_command_says(&format!("{}99", at("")), &["DB index is out of range", "a database that this Redis has"])
        .await;
    ask(&mut connection, &["CONFIG", "SET", "requirepass", "secret"]).await;
    assert_each_command_says(&at(""), &["NOAUTH Authentication required", "redis://user:password@host"]).await;
    let wrong = ["WRONGPASS invalid username-password pair", "correct the user name or the password"];
    assert_each_command_says(&at(":other@"), &wrong).await;
    assert_each_command_says(&at("nobody:secret@"), &wrong).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_replicas_get_the_advice_to_wait_or_to_do_without() {
    let redis = RedisServer::start(AppendFsync::No);
    ask(&mut redis.connection().await, &["CONFIG", "SET", "min-replicas-to-write", "1"]).await;
    let event = file(TRANSCRIPT);
    let output = Program::new(&redis, "few").run(["enqueue", "--account", "acme", "--file", path(&event)]).await;
    assert_refused("enqueue", &output, 5, &["NOREPLICAS", "lower min-replicas-to-write"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_the_user_lacks_is_named_by_redis() {
    let redis = RedisServer::start(AppendFsync::No);
    ask(&mut redis.connection().await, &["ACL", "SETUSER", "blind", "on", ">secret", "~*", "&*", "+@all", "-info"])
        .await;
    let url = format!("redis://blind:secret@127.0.0.1:{}/", redis.port());
    assert_each_command_says(&url, &["lacks a permission: NOPERM", "'info'", "ACL SETUSER", "lynkhook doctor --role"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_loads_its_data_gets_the_advice_to_wait_and_not_to_start_it() {
    // Each key takes 20 ms to load, and Redis answers clients in between.
    let redis = RedisServer::start_with_arguments(&[
        "--key-load-delay",
        "20000",
        "--loading-process-events-interval-bytes",
        "1024",
        "--rdbcompression",
        "no",
        "--enable-debug-command",
        "local",
    ]);
    let mut connection = redis.connection().await;
    let value = "x".repeat(2000);
    for number in 0..1000 {
        let () = redis::cmd("SET").arg(number).arg(&value).query_async(&mut connection).await.unwrap();
    }
    let loading = tokio::spawn(async move {
        let _: redis::RedisResult<()> = redis::cmd("DEBUG").arg("RELOAD").query_async(&mut connection).await;
    });
    let mut other = redis.connection().await;
    eventually(SOON, "Redis to load", async || {
        let answer: redis::RedisResult<String> = redis::cmd("GET").arg("0").query_async(&mut other).await;
        answer.is_err_and(|error| error.code() == Some("LOADING")).then_some(())
    })
    .await;
    assert_each_command_says(
        &redis.url(),
        &["LOADING", "is loading the dataset", "wait until Redis has loaded its data"],
    )
    .await;
    loading.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn protected_mode_is_named_if_the_machine_has_an_address_to_try_it_from() {
    let probe = UdpSocket::bind("0.0.0.0:0").unwrap();
    // Nothing is sent: this only asks which local address would be used.
    let Ok(()) = probe.connect("192.0.2.1:9") else { return };
    let own = probe.local_addr().unwrap().ip();
    if own.is_loopback() || own.is_unspecified() {
        return;
    }
    let redis = RedisServer::start(AppendFsync::No);
    ask(&mut redis.connection().await, &["CONFIG", "SET", "bind", &format!("127.0.0.1 {own}")]).await;
    let url = format!("redis://{own}:{}/", redis.port());
    assert_each_command_says(&url, &["DENIED", "unning in protected mode", "set a password in Redis"]).await;
}
