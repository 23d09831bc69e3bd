//! The deliveries held for a webhook that is off are limited by their bytes.

use std::time::Instant;

use lynkhook::webhooks::NewAuthentication;
use redis::AsyncCommands;

use super::*;

const MIB: u64 = 1 << 20;
const EVENTS: usize = 200;
/// The default of `held.max_bytes`, and how far held deliveries may exceed it for a second.
const MAX_BYTES: u64 = 64 * MIB;
const PASSED_BY: u64 = 16 * MIB;
const FOR_A_MOMENT: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_off_never_holds_much_more_than_it_may_for_longer_than_a_second() {
    // Two hundred large events would disturb other tests.
    let (redis, receiver) = (RedisServer::start(AppendFsync::No), Receiver::start().await);
    let here = Installation::on(&redis, &receiver).await;
    let webhook = here.add_with("acme", &receiver.url("/off"), NewAuthentication::None, false).await;
    let _worker = here.program.worker([]);
    let held = here.key(&format!("held:{webhook}"));
    let large = envelope_of((1 << 20) - 100);
    let push = async {
        for _ in 0..EVENTS {
            here.push("acme", &large).await;
        }
    };
    let watch = async {
        let (mut above_since, mut quiet_since, mut longest, mut most) = (None, None, Duration::ZERO, 0);
        loop {
            let weigh = redis::cmd("MEMORY").arg("USAGE").arg(&held).arg("SAMPLES").arg(0).to_owned();
            let bytes: Option<u64> = weigh.query_async(&mut here.redis.clone()).await.unwrap();
            most = most.max(bytes.unwrap_or(0));
            let now = Instant::now();
            above_since = (bytes > Some(MAX_BYTES + PASSED_BY)).then(|| above_since.unwrap_or(now));
            longest = longest.max(above_since.map_or(Duration::ZERO, |since| now - since));
            let queued: u64 = here.redis.clone().xlen(here.key("queue")).await.unwrap();
            let overflowed: Option<usize> = here.redis.clone().hget(here.key("counts"), "held_overflow").await.unwrap();
            let kept: usize = here.redis.clone().xlen(&held).await.unwrap();
            let is_quiet = queued == 0 && kept + overflowed.unwrap_or(0) == EVENTS && bytes < Some(MAX_BYTES + MIB);
            quiet_since = is_quiet.then(|| quiet_since.unwrap_or(now));
            if quiet_since.is_some_and(|since| now - since > FOR_A_MOMENT) {
                return (longest, most, kept);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let watched = async { tokio::join!(push, watch).1 };
    let (longest, most, kept) = tokio::time::timeout(Duration::from_secs(25), watched).await.expect("it comes to rest");
    println!("at most {} MiB, above for {longest:?}, {kept} kept", most / MIB);
    assert!(
        longest <= FOR_A_MOMENT,
        "{longest:?} above {} MiB, at most {} MiB",
        (MAX_BYTES + PASSED_BY) / MIB,
        most / MIB
    );
    assert!((40..=64).contains(&kept), "{kept} are kept");
}
