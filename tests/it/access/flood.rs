//! Floods, hostile texts, and a Redis that is away.

use std::time::{Duration, Instant};

use lynkhook::access::{ApiKeys, Cause, Denied};

use super::*;

/// Requests with made-up keys, thousands a second, until this is dropped.
fn flood(keys: &ApiKeys) -> tokio::task::JoinSet<()> {
    let mut flood = tokio::task::JoinSet::new();
    for _ in 0..250 {
        let keys = keys.clone();
        flood.spawn(async move {
            loop {
                let denied = keys.authenticate(&made_up()).await.unwrap_err();
                assert!(matches!(denied, Denied::Unknown), "{denied}");
            }
        });
    }
    flood
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_made_up_keys_costs_20_looks_a_second_and_keeps_no_key_out() {
    let redis = RedisServer::start(AppendFsync::No);
    let scene = Scene::on(&redis, &[]).await;
    let elsewhere = scene.keys();
    let old = elsewhere.add(new_key(&[Scope::EventsWrite], None)).await.unwrap();
    // A process that starts in the flood knows no key.
    for start in 0..2 {
        let (keys, before, started) = (scene.keys(), calls(&redis, "hgetall").await, Instant::now());
        let mut flood = flood(&keys);
        let refused = || keys.refusals().of(Cause::Unknown);
        eventually(SOON, "the flood", async || (refused() > 500).then_some(())).await;
        for number in 0..20 {
            let new = elsewhere.add(new_key(&[Scope::EventsWrite], None)).await.unwrap();
            for key in [&old, &new] {
                let came = Instant::now();
                keys.authenticate(text(key)).await.unwrap();
                assert!(came.elapsed() < Duration::from_secs(1), "{number} of {start}: {:?}", came.elapsed());
            }
        }
        let (refused, looks) = (refused(), calls(&redis, "hgetall").await - before);
        // The process before may have planned one more.
        let most = started.elapsed().as_millis() / 50 + 2;
        assert!(flood.try_join_next().is_none(), "the flood goes on");
        assert!((2..=most).contains(&u128::from(looks)), "{looks} looks in {:?}", started.elapsed());
        assert!(refused > 50 * looks, "{refused} made-up keys shared {looks} looks");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_requests_with_one_new_key_share_a_look() {
    let redis = RedisServer::start(AppendFsync::No);
    let scene = Scene::on(&redis, &[]).await;
    let added = scene.keys().add(new_key(&[Scope::EventsWrite], None)).await.unwrap();
    let (keys, before) = (scene.keys(), calls(&redis, "hgetall").await);
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (keys, key) = (keys.clone(), text(&added).to_owned());
        requests.spawn(async move { keys.authenticate(&key).await.map(|_| ()) });
    }
    for answer in requests.join_all().await {
        answer.unwrap();
    }
    // A request that comes while the first look is under way plans another one.
    assert!((1..=2).contains(&(calls(&redis, "hgetall").await - before)));
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_texts_are_refused_without_a_panic_and_without_redis() {
    let redis = RedisServer::start(AppendFsync::No);
    let scene = Scene::on(&redis, &[]).await;
    let keys = scene.keys();
    let good = made_up();
    let mut wrong_checksum = good.clone();
    wrong_checksum.replace_range(good.len() - 1.., if good.ends_with('0') { "1" } else { "0" });
    let before = calls(&redis, "hgetall").await;
    let long = "lynk_".repeat(2048);
    let wide = "é".repeat(34);
    let texts = ["", " ", "lynk_", "\0", "Bearer", &long, &wide, &"\u{1f511}".repeat(17), &wrong_checksum, "*", "{}"];
    for text in texts {
        assert!(matches!(keys.authenticate(text).await, Err(Denied::Malformed(_))), "{text:?}");
    }
    assert_eq!(keys.refusals().of(Cause::Malformed), u64::try_from(texts.len()).unwrap());
    assert_eq!(calls(&redis, "hgetall").await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_redis_is_away_a_key_passes_only_if_it_was_looked_up_before() {
    let mut redis = RedisServer::start(AppendFsync::Always);
    let scene = Scene::on(&redis, &[("LYNKHOOK_REDIS__CONNECT_TIMEOUT", "500ms")]).await;
    let keys = scene.keys();
    let known = keys.add(new_key(&[Scope::EventsWrite], None)).await.unwrap();
    let looked_up = Instant::now();
    keys.authenticate(text(&known)).await.unwrap();
    let other = keys.add(new_key(&[Scope::EventsWrite], None)).await.unwrap();
    redis.kill9();
    let denied = keys.authenticate(text(&other)).await.unwrap_err();
    assert!(matches!(denied, Denied::Store(_)), "{denied}");
    // Longer than the table holds while Redis answers. `known.rs` tests when it ends.
    while looked_up.elapsed() < Duration::from_secs(6) {
        keys.authenticate(text(&known)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    redis.restart();
    for key in [&known, &other] {
        eventually(SOON, "Redis is back", async || keys.authenticate(text(key)).await.ok()).await;
    }
}
