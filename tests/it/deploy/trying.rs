//! A worker and a server try their rights before they start, if they can, and quickly.

use std::time::{Duration, Instant};

use lynkhook::{
    config::Settings,
    store::{Store, UserRole},
};
use redis::AsyncCommands;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use super::deployed::Deployed;
use crate::support::*;

/// Runs a worker and a server until both have started.
async fn start_both(program: &Program) {
    let worker = program.worker([]);
    worker.wait_for_line("worker started").await;
    let server = program.clone().env("LYNKHOOK_SERVER__BIND", "127.0.0.1:0").start(["server"]);
    server.wait_for_line("the API is served").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_and_a_server_start_on_a_redis_without_multi() {
    let redis = RedisServer::start_with_arguments(&["--rename-command", "MULTI", ""]);
    let receiver = Receiver::start().await;
    let here = Installation::on(&redis, &receiver).await;
    let refusal = redis::cmd("MULTI").query_async::<()>(&mut here.redis.clone()).await.unwrap_err();
    assert!(refusal.to_string().contains("unknown command"), "{refusal}");
    start_both(&here.program).await;
    let findings = here.program.run(["doctor"]).await;
    assert_eq!(findings.code, Some(0), "{findings:#?}");
    assert!(findings.stdout.contains("could not try") && findings.stdout.contains("has no MULTI"), "{findings:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_and_a_server_start_as_a_user_without_the_right_to_multi() {
    let deployed = Deployed::start().await;
    deployed.allow("someone on >secret ~* +@all -multi").await;
    start_both(&deployed.program_of("someone")).await;
}

/// Passes bytes on, each this long after it came.
async fn pass_on(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin + Send + 'static, late: Duration) {
    let (sender, mut waiting) = mpsc::unbounded_channel::<(tokio::time::Instant, Vec<u8>)>();
    tokio::spawn(async move {
        while let Some((due, bytes)) = waiting.recv().await {
            tokio::time::sleep_until(due).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    let mut bytes = vec![0; 65536];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        let due = tokio::time::Instant::now() + late;
        if sender.send((due, bytes[..count].to_vec())).is_err() {
            return;
        }
    }
}

/// A port at which the server is this far away.
async fn distant(port: u16, round_trip: Duration) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let here = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (from_client, to_client) = client.into_split();
            let (from_redis, to_redis) = TcpStream::connect(("127.0.0.1", port)).await.unwrap().into_split();
            tokio::spawn(pass_on(from_client, to_redis, round_trip / 2));
            tokio::spawn(pass_on(from_redis, to_client, round_trip / 2));
        }
    });
    here
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rights_on_1024_partitions_of_a_distant_redis_are_tried_in_a_few_round_trips() {
    const ROUND_TRIP: Duration = Duration::from_millis(100);
    let deployed = Deployed::start().await;
    let _: () = deployed.here.redis.clone().del(deployed.here.store.keys().meta()).await.unwrap();
    let port = distant(deployed.redis.port(), ROUND_TRIP).await;
    for (user, role) in [("worker", UserRole::Worker), ("server", UserRole::Server)] {
        let variables = [
            ("LYNKHOOK_REDIS__URL", format!("redis://{user}:secret@127.0.0.1:{port}/")),
            ("LYNKHOOK_REDIS__PREFIX", deployed.here.prefix.clone()),
            ("LYNKHOOK_QUEUE__PARTITIONS", "1024".to_owned()),
        ];
        let store = Store::unchecked(&Settings::load(None, variables).unwrap()).await.unwrap();
        let started = Instant::now();
        store.require_rights(role).await.unwrap();
        let took = started.elapsed();
        // One for each partition would take 102 s. A slow machine takes its own time besides.
        assert!(took > 3 * ROUND_TRIP && took < 100 * ROUND_TRIP, "{user}: {took:?}");
    }
}
