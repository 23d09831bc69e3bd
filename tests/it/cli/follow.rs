//! `webhook logs --follow`.

use std::time::Duration;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn following_prints_each_entry_once_as_one_object_a_line_until_ctrl_c() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(200)]);
    let here = Installation::new(&receiver).await;
    let webhook_id = add(&here.program, "acme", &receiver.url("/hook")).await.to_string();
    let test = async || {
        let entry = here.program.json(webhook("acme", &["test", &webhook_id])).await;
        entry["deliveryId"].as_str().unwrap().to_owned()
    };
    let mut expected = vec![test().await, test().await];
    let json = here.program.start(webhook("acme", &["logs", &webhook_id, "--follow", "--json"]));
    let human = here.program.start(webhook("acme", &["logs", &webhook_id, "--follow"]));
    json.wait_for_line(&expected[1]).await;
    // Each time, the follower reads the new entry together with all that it has already printed.
    for _ in 0..2 {
        expected.push(test().await);
        json.wait_for_line(expected.last().unwrap()).await;
    }
    json.sigint();
    let output = json.output(SOON).await;
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    let entries: Vec<Value> = output.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    entries.iter().for_each(assert_log_entry);
    let printed: Vec<_> = entries.iter().map(|entry| entry["deliveryId"].as_str().unwrap()).collect();
    assert_eq!(printed, expected, "oldest first, each once");

    eventually(SOON, "four lines", async || (human.stdout().lines().count() == 4).then_some(())).await;
    assert!(human.stdout().lines().all(|line| line.contains("webhook.test") && line.contains("attempt 1")));
    here.program.json(webhook("acme", &["delete", &webhook_id])).await;
    let output = human.output(SOON).await;
    assert_eq!((output.code, output.stdout.lines().count()), (Some(3), 4), "a log that is gone is not found");
    assert!(output.stderr.contains("has no webhook"), "{output:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn following_outlasts_a_restart_of_redis_and_ends_with_0_on_sigterm() {
    let mut redis = RedisServer::start(AppendFsync::Always);
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(200)]);
    let here = Installation::on(&redis, &receiver).await;
    let webhook_id = add(&here.program, "acme", &receiver.url("/hook")).await.to_string();
    let test = async || here.program.json(webhook("acme", &["test", &webhook_id])).await;
    let first = test().await;
    let follow = here.program.start(webhook("acme", &["logs", &webhook_id, "--follow", "--json"]));
    follow.wait_for_line(first["deliveryId"].as_str().unwrap()).await;
    redis.kill9();
    follow.wait_for_line("following continues when it is back").await;
    redis.restart();
    let second = test().await;
    follow.wait_for_line(second["deliveryId"].as_str().unwrap()).await;
    follow.sigterm();
    let output = follow.output(Duration::from_secs(10)).await;
    assert_eq!((output.code, output.stdout.lines().count()), (Some(0), 2), "{output:#?}");
}
