//! Floods, hostile texts, and a Redis that is away.

use std::time::{Duration, Instant};

use lynkhook::access::{Cause, Denied};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn made_up_ids_cause_20_lookups_a_second_and_keep_no_known_key_out() {
    let redis = RedisServer::start(AppendFsync::No);
    let scene = Scene::on(&redis, &[]).await;
    let keys = scene.keys();
    let added = keys.add(new_key(&[Scope::EventsWrite], None)).await.unwrap();
    keys.authenticate(text(&added)).await.unwrap();
    let (before, started) = (calls(&redis, "hget").await, Instant::now());
    let mut turned_away = 0;
    for _ in 0..1000 {
        match keys.authenticate(&made_up()).await {
            Err(Denied::Unknown) => {}
            Err(Denied::TooManyLookups) => turned_away += 1,
            other => panic!("{other:?}"),
        }
        keys.authenticate(text(&added)).await.unwrap();
    }
    let (took, asked) = (started.elapsed(), calls(&redis, "hget").await - before);
    let most = 20 * (took.as_secs() + 1) + took.as_secs() / 5 + 1;
    // The known key's own look-up was one of the first 20.
    assert!((19..=most).contains(&asked), "{asked} look-ups in {took:?}");
    assert!(turned_away > 0 && turned_away == keys.refusals().of(Cause::TooManyLookups), "{turned_away}");
    // A key that is new to this process waits for a look-up, and works.
    let other = scene.keys().add(new_key(&[Scope::EventsWrite], None)).await.unwrap();
    eventually(SOON, "a look-up", async || keys.authenticate(text(&other)).await.ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_requests_with_one_new_key_share_one_lookup() {
    let redis = RedisServer::start(AppendFsync::No);
    let scene = Scene::on(&redis, &[]).await;
    let added = scene.keys().add(new_key(&[Scope::EventsWrite], None)).await.unwrap();
    let (keys, before) = (scene.keys(), calls(&redis, "hget").await);
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (keys, key) = (keys.clone(), text(&added).to_owned());
        requests.spawn(async move { keys.authenticate(&key).await.map(|_| ()) });
    }
    for answer in requests.join_all().await {
        answer.unwrap();
    }
    assert_eq!(calls(&redis, "hget").await - before, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_texts_are_refused_without_a_panic_and_without_redis() {
    let redis = RedisServer::start(AppendFsync::No);
    let scene = Scene::on(&redis, &[]).await;
    let keys = scene.keys();
    let good = made_up();
    let mut wrong_checksum = good.clone();
    wrong_checksum.replace_range(good.len() - 1.., if good.ends_with('0') { "1" } else { "0" });
    let before = calls(&redis, "hget").await;
    let long = "lynk_".repeat(2048);
    let wide = "é".repeat(34);
    let texts = ["", " ", "lynk_", "\0", "Bearer", &long, &wide, &"\u{1f511}".repeat(17), &wrong_checksum, "*", "{}"];
    for text in texts {
        assert!(matches!(keys.authenticate(text).await, Err(Denied::Malformed(_))), "{text:?}");
    }
    assert_eq!(keys.refusals().of(Cause::Malformed), u64::try_from(texts.len()).unwrap());
    assert_eq!(calls(&redis, "hget").await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_redis_is_away_a_key_passes_only_if_it_was_looked_up_in_the_last_5_seconds() {
    let mut redis = RedisServer::start(AppendFsync::Always);
    let scene = Scene::on(&redis, &[("LYNKHOOK_REDIS__CONNECT_TIMEOUT", "500ms")]).await;
    let keys = scene.keys();
    let known = keys.add(new_key(&[Scope::EventsWrite], None)).await.unwrap();
    let other = keys.add(new_key(&[Scope::EventsWrite], None)).await.unwrap();
    let looked_up = Instant::now();
    keys.authenticate(text(&known)).await.unwrap();
    redis.kill9();
    let denied = keys.authenticate(text(&other)).await.unwrap_err();
    assert!(matches!(denied, Denied::Store(_)), "{denied}");
    let still = keys.authenticate(text(&known)).await;
    assert!(still.is_ok() || looked_up.elapsed() >= Duration::from_secs(5), "{still:?}");
    let denied = eventually(SOON, "a refusal", async || keys.authenticate(text(&known)).await.err()).await;
    assert!(matches!(denied, Denied::Store(_)), "{denied}");
    assert!(looked_up.elapsed() >= Duration::from_secs(5), "{:?}", looked_up.elapsed());
    redis.restart();
    for key in [&known, &other] {
        eventually(SOON, "Redis is back", async || keys.authenticate(text(key)).await.ok()).await;
    }
}
