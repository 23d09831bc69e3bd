//! A delivery that has to wait before its request uses its webhook's settings of the time after the wait.

use std::time::Duration;

use lynkhook::webhooks::Edit;
use redis::AsyncCommands;

use crate::support::*;

const EVENTS: usize = 20;
const START_WITHIN: Duration = Duration::from_millis(1500);

/// How long ago Redis last renewed each pending lease, in ms.
async fn idle_ms(here: &Installation) -> Vec<u64> {
    let mut look = redis::cmd("XPENDING");
    look.arg(here.key("queue")).arg("workers").arg("-").arg("+").arg(100);
    let pending: Vec<(String, String, u64, u64)> = look.query_async(&mut here.redis.clone()).await.unwrap();
    pending.into_iter().map(|(_, _, idle_ms, _)| idle_ms).collect()
}

/// The number of answers to this command since Redis's statistics were reset.
async fn answered(here: &Installation, command: &str) -> u64 {
    let statistics: String = redis::cmd("INFO").arg("commandstats").query_async(&mut here.redis.clone()).await.unwrap();
    let of_command = format!("cmdstat_{command}:calls=");
    let calls = statistics.lines().find_map(|line| line.strip_prefix(&*of_command));
    calls.map_or(0, |calls| calls.split(',').next().unwrap().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_switched_off_while_its_deliveries_wait_for_a_renewal_gets_none_of_them() {
    let (redis, receiver) = (RedisServer::start(AppendFsync::No), Receiver::start().await);
    receiver.plan("/hook", [Answer::Status(200)]);
    let mut admin = redis.connection().await;
    let mut user = async |rules: &[&str]| {
        let _: () = redis::cmd("ACL").arg("SETUSER").arg("worker").arg(rules).query_async(&mut admin).await.unwrap();
    };
    user(&["on", ">secret", "~*", "&*", "+@all"]).await;
    let url = format!("redis://worker:secret@127.0.0.1:{}/", redis.port());
    let here = Installation::on(&redis, &receiver).await.with("LYNKHOOK_REDIS__URL", &url).await;
    let webhook = here.add("acme", &receiver.url("/hook")).await;
    here.store.ensure_group(0).await.unwrap();

    let start_within = format!("{}ms", START_WITHIN.as_millis());
    let worker = here
        .program
        .worker([("LYNKHOOK_WORKER__START_WITHIN", &*start_within), ("LYNKHOOK_WORKER__RENEW_EVERY", "500ms")]);
    worker.wait_for_line("worker started").await;
    // An outage in two parts that end one after another: first look-ups are answered again, then renewals.
    user(&["-hgetall", "-xclaim"]).await;
    let _: () = redis::cmd("CONFIG").arg("RESETSTAT").query_async(&mut here.redis.clone()).await.unwrap();
    for _ in 0..EVENTS {
        here.push("acme", TRANSCRIPT).await;
    }
    eventually(SOON, "all leases too old to start on", async || {
        let idle_ms = idle_ms(&here).await;
        let old = idle_ms.iter().filter(|ms| Duration::from_millis(**ms) > START_WITHIN * 2).count();
        (old == EVENTS).then_some(())
    })
    .await;
    user(&["+hgetall"]).await;
    eventually(SOON, "the webhook is looked up", async || (answered(&here, "hgetall").await > 0).then_some(())).await;
    // The edit takes longer than the answers to the look-ups, which wait for nothing else.
    let off = Edit { active: Some(false), ..Edit::default() };
    here.webhooks.edit(&account_id("acme"), webhook, off).await.unwrap();
    user(&["+xclaim"]).await;

    let held = here.key(&format!("held:{webhook}"));
    eventually(SOON, "all deliveries are held", async || {
        (here.redis.clone().xlen::<_, usize>(&held).await.unwrap() == EVENTS).then_some(())
    })
    .await;
    assert_eq!(receiver.requests("/hook").len(), 0);
    assert_eq!(here.redis.clone().xlen::<_, usize>(here.key("queue")).await.unwrap(), 0);
}
