//! API keys: added, used, revoked, rotated, ended.

use std::time::{Duration, Instant};

use lynkhook::access::{AccessError, Denied, NewKey};
use serde_json::{Value, json};

use super::*;

/// A revocation is felt within 5 s; the rest is for a busy machine.
const FELT: Duration = Duration::from_millis(6500);

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_works_at_once_in_every_process_and_a_revocation_is_felt_within_5_seconds() {
    let scene = Scene::set().await;
    let (here, elsewhere) = (scene.keys(), scene.keys());
    let added = here.add(new_key(&[Scope::EventsWrite], Some("acme"))).await.unwrap();
    let caller = elsewhere.authenticate(text(&added)).await.unwrap();
    assert_eq!((&caller.id, caller.name.as_str()), (&added.view.id, "backend"));
    assert!(caller.may(Scope::EventsWrite) && !caller.may(Scope::WebhooksRead));
    assert!(caller.may_touch(&acme()) && !caller.may_touch(&account_id("other")));
    let json = json!({ "id": caller.id, "name": "backend", "scopes": ["events:write"], "account": "acme" });
    assert_eq!(serde_json::to_value(&*caller).unwrap(), json);
    here.authenticate(text(&added)).await.unwrap();

    here.revoke(&added.view.id).await.unwrap();
    let revoked = Instant::now();
    assert!(matches!(here.authenticate(text(&added)).await, Err(Denied::Unknown)), "at once in this process");
    eventually(SOON, "a refusal", async || elsewhere.authenticate(text(&added)).await.err()).await;
    assert!(revoked.elapsed() < FELT, "{:?}", revoked.elapsed());
    assert!(matches!(elsewhere.authenticate(text(&added)).await, Err(Denied::Unknown)));
    assert!(matches!(here.revoke(&added.view.id).await, Err(AccessError::NotFound(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_secret_is_refused_like_a_key_that_never_was() {
    let scene = Scene::set().await;
    let keys = scene.keys();
    let added = keys.add(new_key(&[Scope::Admin], None)).await.unwrap();
    let forged = KeyToken::new(added.view.id.clone(), Token::new(&[1; 32]));
    let wrong = keys.authenticate(forged.text().expose_secret()).await.unwrap_err();
    let none = keys.authenticate(&made_up()).await.unwrap_err();
    assert_eq!((wrong.to_string(), matches!(wrong, Denied::Unknown)), (none.to_string(), true));
    keys.authenticate(text(&added)).await.unwrap();
    assert_eq!(keys.refusals().of(lynkhook::access::Cause::Unknown), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_ends_at_its_time_by_the_clock_of_redis_and_is_listed_as_expired() {
    let scene = Scene::set().await;
    let keys = scene.keys();
    let new = NewKey { expires: Some(Duration::from_secs(1)), ..new_key(&[Scope::LogsRead], None) };
    let added = keys.add(new).await.unwrap();
    keys.authenticate(text(&added)).await.unwrap();
    let denied = eventually(SOON, "its end", async || keys.authenticate(text(&added)).await.err()).await;
    assert!(matches!(denied, Denied::Expired), "{denied}");
    let end = chrono::DateTime::parse_from_rfc3339(&added.view.expires_at.unwrap()).unwrap();
    let now = scene.store.now(0).await.unwrap();
    let late = (now - end.to_utc()).num_milliseconds();
    assert!((-500..5000).contains(&late), "it ended at {end}, and now it is {now}");
    assert!(matches!(scene.keys().authenticate(added.key.expose_secret()).await, Err(Denied::Expired)));
    let listed = keys.list().await.unwrap();
    assert!(listed[0].expired, "{listed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_key_has_a_successor_with_the_same_rights_and_works_for_the_overlap() {
    let scene = Scene::set().await;
    let keys = scene.keys();
    let life = Duration::from_secs(90 * 24 * 60 * 60);
    let new = NewKey { expires: Some(life), ..new_key(&[Scope::Portal, Scope::EventsWrite], Some("acme")) };
    let old = keys.add(new).await.unwrap();
    keys.authenticate(text(&old)).await.unwrap();
    let next = keys.rotate(&old.view.id, Duration::from_secs(60 * 60)).await.unwrap();
    let (one, other) = (keys.authenticate(text(&old)).await.unwrap(), keys.authenticate(text(&next)).await.unwrap());
    assert_eq!((&one.name, &one.scopes, &one.account), (&other.name, &other.scopes, &other.account));
    assert_ne!(text(&old), text(&next));
    let time = |text: &Option<String>| chrono::DateTime::parse_from_rfc3339(text.as_deref().unwrap()).unwrap();
    let lasts = time(&other.expires_at) - time(&one.expires_at);
    assert!(
        (lasts.num_hours() - (90 * 24 - 1)).abs() <= 1,
        "the old one ends in an hour, the new one in 90 days: {lasts}"
    );

    let last = keys.rotate(&next.view.id, Duration::ZERO).await.unwrap();
    let denied = keys.authenticate(text(&next)).await.unwrap_err();
    assert!(matches!(denied, Denied::Expired), "{denied}");
    keys.authenticate(text(&last)).await.unwrap();
    assert_eq!(keys.list().await.unwrap().len(), 3);
    assert!(matches!(keys.rotate(&KeyId::new(&[9; 12]), Duration::ZERO).await, Err(AccessError::NotFound(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_faults_of_a_new_key_are_told_at_once_and_nothing_is_stored() {
    let scene = Scene::set().await;
    let keys = scene.keys();
    let new = NewKey {
        name: "a\nb".to_owned(),
        scopes: [Scope::QueueRead].into_iter().collect(),
        account: Some(acme()),
        expires: Some(Duration::ZERO),
    };
    let Err(AccessError::Input(faults)) = keys.add(new).await else { panic!("it was accepted") };
    assert_eq!(faults.iter().map(|fault| fault.field).collect::<Vec<_>>(), ["name", "scopes", "expires"]);
    for scope in [Scope::Admin, Scope::QueueRead] {
        let refused = keys.add(new_key(&[scope], Some("acme"))).await.unwrap_err();
        assert!(refused.to_string().contains("concerns all accounts"), "{refused}");
    }
    assert_eq!(keys.list().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_at_most_1000_keys() {
    let scene = Scene::set().await;
    let keys = scene.keys();
    let mut fill = redis::cmd("HSET");
    fill.arg(scene.store.keys().api_keys());
    for number in 0..999 {
        fill.arg(format!("{number:012}")).arg("{}");
    }
    fill.query_async::<()>(&mut scene.redis.clone()).await.unwrap();
    let last = keys.add(new_key(&[Scope::Admin], None)).await.unwrap();
    assert!(matches!(keys.add(new_key(&[Scope::Admin], None)).await, Err(AccessError::TooManyKeys)));
    let rotated = keys.rotate(&last.view.id, Duration::from_secs(60)).await;
    assert!(matches!(rotated, Err(AccessError::TooManyKeys)), "a rotation adds one too");
    assert_eq!(keys.authenticate(text(&last)).await.unwrap().expires_at, None, "and changed nothing");
    // Values that nobody can read hide no key.
    assert_eq!(keys.list().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_day_of_the_last_use_is_noted_and_goes_with_the_key() {
    let scene = Scene::set().await;
    let keys = scene.keys();
    let added = keys.add(new_key(&[Scope::Admin], None)).await.unwrap();
    assert_eq!(keys.list().await.unwrap()[0].last_used, None);
    for _ in 0..10 {
        keys.authenticate(text(&added)).await.unwrap();
    }
    let day = eventually(SOON, "a day", async || keys.list().await.unwrap()[0].last_used.clone()).await;
    let today = scene.store.now(0).await.unwrap();
    let yesterday = today - chrono::TimeDelta::days(1);
    assert!([today, yesterday].iter().any(|time| time.format("%Y-%m-%d").to_string() == day), "{day}");
    keys.revoke(&added.view.id).await.unwrap();
    // A note that comes late, from a process that still knew the key.
    scene.store.note_use_of_api_key(&added.view.id, &day).await.unwrap();
    assert_eq!(scene.dump().await.matches(added.view.id.as_str()).count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_and_debug_have_nothing_of_a_key_but_its_hash() {
    let scene = Scene::set().await;
    let keys = scene.keys();
    let added = keys.add(new_key(&[Scope::EventsWrite], Some("acme"))).await.unwrap();
    let caller = keys.authenticate(text(&added)).await.unwrap();
    let secret = &text(&added)[18..61];
    let dump = scene.dump().await;
    assert!(dump.contains(added.view.id.as_str()) && dump.contains("events:write"), "{dump}");
    let shown = format!("{added:?} {caller:?} {:?}", KeyToken::parse(text(&added)).unwrap());
    for (place, found) in [("Redis", dump), ("Debug", shown)] {
        assert!(!found.contains(secret) && !found.contains(&secret[..12]), "{place}: {found}");
    }
    let stored: String = scene.redis.clone().hget(scene.store.keys().api_keys(), added.view.id.as_str()).await.unwrap();
    let stored: Value = serde_json::from_str(&stored).unwrap();
    assert_eq!(stored["hash"], Token::parse(secret).unwrap().hash().as_str());
}
