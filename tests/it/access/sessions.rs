//! Sessions of the portal: what they know, how they end, and how many there are.

use lynkhook::{
    access::{LinkNow, NewLink, NewTheme, Portal, WhichSession},
    domain::{
        origin::WebOrigin,
        portal::{Colour, ThemeMode},
    },
};

use super::{
    links::{APP, portal, view},
    *,
};

/// Enters the portal of `acme`; answers the session's token.
async fn entered(portal: &Portal, caller: &Caller) -> String {
    let link = portal.new_link(caller, &acme(), view()).await.unwrap();
    let (_, token) = portal.enter(&acme(), link.token.expose_secret()).await.unwrap().unwrap();
    token.expose_secret().to_owned()
}

/// The entries of `acme`'s portal.
async fn stored(scene: &Scene) -> Vec<(String, String)> {
    scene.redis.clone().hgetall(scene.store.keys().portal(&acme())).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_has_all_that_its_link_said_and_redis_has_no_token() {
    let (scene, portal) = portal().await;
    let caller = caller(&scene, &[Scope::Admin], None).await;
    let theme = NewTheme {
        mode: Some(ThemeMode::Dark),
        accent: Some("#3366FF".into()),
        radius: Some(8),
        gutters: Some(0),
        product_name: Some("TalentLynk".into()),
        ..NewTheme::default()
    };
    let new = NewLink {
        payloads: true,
        user: Some("Jo \"x\",\"until\":1}".to_owned()),
        embed_origin: Some(APP.to_owned()),
        return_url: Some(format!("{APP}/back")),
        theme: Some(theme),
        ..view()
    };
    let link = portal.new_link(&caller, &acme(), new).await.unwrap();
    let (session, token) = portal.enter(&acme(), link.token.expose_secret()).await.unwrap().unwrap();
    assert_eq!(session.grant.user.as_deref(), Some("Jo \"x\",\"until\":1}"));
    assert_eq!(session.grant.embed.as_ref().map(WebOrigin::as_str), Some(APP));
    assert_eq!(session.grant.return_url.as_deref(), Some("https://app.example.com/back"));
    let theme = session.grant.theme.as_ref().unwrap();
    assert_eq!(theme.accent.as_ref().map(Colour::as_str), Some("#3366ff"));
    assert_eq!((theme.mode, theme.radius, theme.gutters), (ThemeMode::Dark, Some(8), Some(0)));
    assert_eq!((theme.accent_dark.as_ref(), theme.product_name.as_deref()), (None, Some("TalentLynk")));
    let sessions = portal.sessions(&acme()).await.unwrap();
    let json = serde_json::json!([{
        "id": session.id, "access": "read", "payloads": true, "user": "Jo \"x\",\"until\":1}", "embedOrigin": APP,
        "expiresAt": session.expires_at,
    }]);
    assert_eq!(serde_json::to_value(&sessions).unwrap(), json);
    let places = [scene.dump().await, format!("{link:?} {session:?} {sessions:?} {token:?}")];
    for hidden in [link.token.expose_secret(), token.expose_secret()] {
        assert!(places.iter().all(|place| !place.contains(hidden)), "{places:?}");
    }
    let hash = Token::parse(token.expose_secret()).unwrap().hash();
    assert!(!places[1].contains(hash.as_str()) && hash.as_str().starts_with(&session.id));
}

#[tokio::test(flavor = "multi_thread")]
async fn links_and_sessions_end_at_their_time_and_the_key_with_the_newest() {
    let (scene, portal) = portal().await;
    let caller = caller(&scene, &[Scope::Portal], None).await;
    let key = scene.store.keys().portal(&acme());
    let link = portal.new_link(&caller, &acme(), view()).await.unwrap();
    let left: i64 = scene.redis.clone().pttl(&key).await.unwrap();
    assert!((240_000..=300_000).contains(&left), "{left} ms of 5 min");
    // Moves an end into the past, as if time had passed.
    let end = async |kind: &str| {
        for (token, value) in stored(&scene).await {
            if value.contains(kind) {
                let (before, _) = value.rsplit_once(':').unwrap();
                let _: () = scene.redis.clone().hset(&key, token, format!("{before}:1}}")).await.unwrap();
            }
        }
    };
    assert!(matches!(portal.link(&acme(), link.token.expose_secret()).await.unwrap(), LinkNow::Living(_)));
    end("link").await;
    assert!(matches!(portal.link(&acme(), link.token.expose_secret()).await.unwrap(), LinkNow::Spent(_)));
    assert!(portal.enter(&acme(), link.token.expose_secret()).await.unwrap().is_none());
    let token = entered(&portal, &caller).await;
    let left: i64 = scene.redis.clone().pttl(&key).await.unwrap();
    assert!((28_740_000..=28_800_000).contains(&left), "{left} ms of 8 h");
    portal.new_link(&caller, &acme(), view()).await.unwrap();
    let after: i64 = scene.redis.clone().pttl(&key).await.unwrap();
    assert!(after > 28_000_000, "a link does not shorten the life of the key: {after}");
    let used = scene.redis.clone().hvals::<_, Vec<String>>(&key).await.unwrap();
    let used: Vec<_> = used.iter().filter(|value| value.contains("\"used\"")).collect();
    let until: i64 = used[0].rsplit(':').next().unwrap().trim_end_matches('}').parse().unwrap();
    let left = until - scene.store.now(0).await.unwrap().timestamp_millis();
    assert!(used.len() == 1 && (240_000..=300_000).contains(&left), "a used link stays until its own end: {left} ms");
    end("session").await;
    end("used").await;
    assert_eq!(portal.session(&acme(), &token).await.unwrap(), None);
    assert_eq!(portal.sessions(&acme()).await.unwrap(), []);
    portal.new_link(&caller, &acme(), view()).await.unwrap();
    assert_eq!(stored(&scene).await.len(), 2, "what has ended is swept with the next link");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_has_at_most_100_links_100_used_ones_and_100_sessions_and_the_oldest_go() {
    let (scene, portal) = portal().await;
    let caller = caller(&scene, &[Scope::Portal], None).await;
    let mut tokens = Vec::new();
    for _ in 0..101 {
        tokens.push(entered(&portal, &caller).await);
        // Ends that differ, so that it is certain which is the oldest.
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    assert_eq!(portal.session(&acme(), &tokens[0]).await.unwrap(), None, "the oldest is gone");
    assert!(portal.session(&acme(), &tokens[1]).await.unwrap().is_some());
    assert_eq!(portal.sessions(&acme()).await.unwrap().len(), 100);
    let mut links = Vec::new();
    for _ in 0..101 {
        links.push(portal.new_link(&caller, &acme(), view()).await.unwrap());
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    let stored = stored(&scene).await;
    let of =
        |kind: &str| stored.iter().filter(|(_, value)| value.starts_with(&format!("{{\"kind\":\"{kind}\""))).count();
    assert_eq!((of("link"), of("used"), of("session")), (100, 100, 100));
    assert!(portal.enter(&acme(), links[0].token.expose_secret()).await.unwrap().is_none());
    assert!(portal.session(&acme(), &tokens[100]).await.unwrap().is_some(), "links displace no session");
    assert!(portal.enter(&acme(), links[1].token.expose_secret()).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_session_is_refused_at_once_and_all_ends_links_too() {
    let (scene, portal) = portal().await;
    let caller = caller(&scene, &[Scope::Portal], None).await;
    let (one, other) = (entered(&portal, &caller).await, entered(&portal, &caller).await);
    let id = portal.session(&acme(), &one).await.unwrap().unwrap().id;
    for (which, ended) in [("", 0), ("*", 0), ("000000000000", 0), (&id[..11], 0), (&*id, 1), (&*id, 0)] {
        assert_eq!(portal.end(&acme(), WhichSession::One(which.to_owned())).await.unwrap(), ended, "{which}");
    }
    assert_eq!(portal.session(&acme(), &one).await.unwrap(), None);
    assert!(portal.session(&acme(), &other).await.unwrap().is_some());
    let link = portal.new_link(&caller, &acme(), view()).await.unwrap();
    assert_eq!(portal.end(&account_id("other"), WhichSession::All).await.unwrap(), 0);
    assert_eq!(portal.end(&acme(), WhichSession::All).await.unwrap(), 1);
    assert_eq!(portal.session(&acme(), &other).await.unwrap(), None);
    assert!(portal.enter(&acme(), link.token.expose_secret()).await.unwrap().is_none());
    assert_eq!(stored(&scene).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_of_the_account_ends_its_sessions() {
    let (scene, portal) = portal().await;
    let caller = caller(&scene, &[Scope::Portal], None).await;
    let token = entered(&portal, &caller).await;
    let vault = lynkhook::secrets::Vault::new(None).unwrap();
    let webhooks = lynkhook::webhooks::Webhooks::new(&scene.settings, scene.store.clone(), vault).unwrap();
    webhooks.purge(&acme()).await.unwrap();
    assert_eq!(portal.session(&acme(), &token).await.unwrap(), None);
    assert_eq!(stored(&scene).await, []);
}
