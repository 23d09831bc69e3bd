//! Links to the portal: what they may allow, and that each is used once.

use lynkhook::{
    access::{AccessError, LinkNow, NewLink, NewTheme, Portal, Refusal},
    domain::portal::PortalAccess,
};

use super::*;

pub(super) const APP: &str = "https://app.example.com";

pub(super) async fn portal() -> (Scene, Portal) {
    let origins = [("LYNKHOOK_PORTAL__EMBED_ORIGINS", "https://app.example.com,http://localhost:3000")];
    let scene = Scene::on(RedisServer::shared(), &origins).await;
    let portal = Portal::new(&scene.settings.portal, scene.store.clone());
    (scene, portal)
}

pub(super) fn view() -> NewLink {
    NewLink {
        access: PortalAccess::Read,
        payloads: false,
        user: None,
        embed_origin: None,
        return_url: None,
        theme: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_opens_one_session_even_if_20_use_it_at_the_same_moment() {
    let (scene, portal) = portal().await;
    let caller = caller(&scene, &[Scope::Portal], None).await;
    let link = portal.new_link(&caller, &acme(), view()).await.unwrap();
    let mut visitors = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (portal, token) = (portal.clone(), link.token.expose_secret().to_owned());
        visitors.spawn(async move { portal.enter(&acme(), &token).await.unwrap() });
    }
    let entered: Vec<_> = visitors.join_all().await.into_iter().flatten().collect();
    assert_eq!(entered.len(), 1);
    let (session, token) = &entered[0];
    assert_eq!(portal.session(&acme(), token.expose_secret()).await.unwrap().as_ref(), Some(session));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_shows_its_grant_until_it_is_used_and_its_look_afterwards_and_looking_spends_nothing() {
    let (scene, portal) = portal().await;
    let caller = caller(&scene, &[Scope::Admin], None).await;
    let back = format!("{APP}/settings");
    let theme = NewTheme { product_name: Some("\",\"until\":1}".into()), ..NewTheme::default() };
    let new = NewLink {
        payloads: true,
        embed_origin: Some(APP.to_owned()),
        return_url: Some(back.clone()),
        theme: Some(theme),
        ..view()
    };
    let link = portal.new_link(&caller, &acme(), new).await.unwrap();
    let link = link.token.expose_secret();
    let mut living = None;
    for _ in 0..2 {
        let LinkNow::Living(grant) = portal.link(&acme(), link).await.unwrap() else { panic!("it was not used") };
        assert_eq!((grant.payloads, grant.embed.as_ref()), (true, Some(&APP.parse().unwrap())));
        living = Some(grant);
    }
    assert_eq!(portal.link(&account_id("other"), link).await.unwrap(), LinkNow::Unknown);
    let (session, token) = portal.enter(&acme(), link).await.unwrap().unwrap();
    assert_eq!(Some(&session.grant), living.as_ref());
    assert!(portal.enter(&acme(), link).await.unwrap().is_none());
    for _ in 0..2 {
        let LinkNow::Spent(grant) = portal.link(&acme(), link).await.unwrap() else { panic!("it was used") };
        assert_eq!(grant.return_url.as_ref(), Some(&back));
        assert_eq!(Some(grant), living);
    }
    assert_eq!(portal.session(&acme(), link).await.unwrap(), None, "a used link opens nothing");
    assert_eq!(portal.sessions(&acme()).await.unwrap().len(), 1, "and is no session");
    for unknown in [token.expose_secret(), "", "\0", "*", &"A".repeat(43)] {
        assert_eq!(portal.link(&acme(), unknown).await.unwrap(), LinkNow::Unknown, "a session is no link: {unknown}");
    }
}

/// Servers of several versions run during an update. An older one deletes a used link, and answers the way in alone.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_of_another_version_breaks_nothing() {
    let (scene, portal) = portal().await;
    let caller = caller(&scene, &[Scope::Portal], None).await;
    let link = portal.new_link(&caller, &acme(), view()).await.unwrap();
    let (_, session) = portal.enter(&acme(), link.token.expose_secret()).await.unwrap().unwrap();
    let key = scene.store.keys().portal(&acme());
    let hash = |token: &secrecy::SecretString| Token::parse(token.expose_secret()).unwrap().hash();
    let _: () = scene.redis.clone().hdel(&key, hash(&link.token).as_str()).await.unwrap();
    assert_eq!(portal.link(&acme(), link.token.expose_secret()).await.unwrap(), LinkNow::Unknown);
    let newer = r#"{"kind":"later","access":"read","payloads":false,"more":{"a":1},"until":99999999999999}"#;
    let _: () = scene.redis.clone().hset(&key, hash(&link.token).as_str(), newer).await.unwrap();
    let token = link.token.expose_secret();
    assert_eq!(portal.link(&acme(), token).await.unwrap(), LinkNow::Unknown);
    assert_eq!(portal.session(&acme(), token).await.unwrap(), None);
    assert!(portal.enter(&acme(), token).await.unwrap().is_none());
    assert_eq!(portal.sessions(&acme()).await.unwrap().len(), 1);
    assert!(portal.session(&acme(), session.expose_secret()).await.unwrap().is_some());
    portal.new_link(&caller, &acme(), view()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_is_no_session_a_session_is_no_link_and_both_are_for_their_account_alone() {
    let (scene, portal) = portal().await;
    let caller = caller(&scene, &[Scope::Portal], None).await;
    let link = portal.new_link(&caller, &acme(), view()).await.unwrap();
    let (link, other) = (link.token.expose_secret(), account_id("other"));
    assert_eq!(portal.session(&acme(), link).await.unwrap(), None);
    assert!(portal.enter(&other, link).await.unwrap().is_none());
    let (_, session) = portal.enter(&acme(), link).await.unwrap().expect("another account's try spent nothing");
    let session = session.expose_secret();
    assert!(portal.enter(&acme(), session).await.unwrap().is_none());
    assert!(portal.session(&acme(), session).await.unwrap().is_some(), "that try ended nothing");
    assert_eq!(portal.session(&other, session).await.unwrap(), None);
    let long = "x".repeat(10_240);
    for hostile in ["", "\0", "*", "é", &long, &"A".repeat(43)] {
        assert!(portal.enter(&acme(), hostile).await.unwrap().is_none());
        assert_eq!(portal.session(&acme(), hostile).await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_never_allows_more_than_its_key() {
    let (scene, portal) = portal().await;
    let manage = || NewLink { access: PortalAccess::Manage, ..view() };
    let payloads = || NewLink { payloads: true, ..view() };
    let all = || NewLink { payloads: true, ..manage() };
    let exceeds = |scope| Refusal::Exceeds(scope);
    for (scopes, new, refused) in [
        (vec![Scope::Portal], manage(), vec![("access", exceeds(Scope::WebhooksWrite))]),
        (vec![Scope::Portal, Scope::WebhooksRead], payloads(), vec![("payloads", exceeds(Scope::PayloadsRead))]),
        (
            vec![Scope::Portal],
            all(),
            vec![("access", exceeds(Scope::WebhooksWrite)), ("payloads", exceeds(Scope::PayloadsRead))],
        ),
        (vec![Scope::Portal, Scope::WebhooksWrite], manage(), vec![]),
        (vec![Scope::Portal, Scope::PayloadsRead], payloads(), vec![]),
        (vec![Scope::Admin], all(), vec![]),
    ] {
        let caller = caller(&scene, &scopes, None).await;
        let faults = match portal.new_link(&caller, &acme(), new).await {
            Ok(_) => Vec::new(),
            Err(AccessError::Input(faults)) => faults.into_iter().map(|fault| (fault.field, fault.why)).collect(),
            Err(error) => panic!("{error}"),
        };
        assert_eq!(faults, refused, "{scopes:?}");
    }
    let writer = caller(&scene, &[Scope::WebhooksWrite], None).await;
    let error = portal.new_link(&writer, &acme(), view()).await.unwrap_err();
    assert!(matches!(error, AccessError::Lacks(Scope::Portal)), "{error}");
    let others = caller(&scene, &[Scope::Portal], Some("other")).await;
    let error = portal.new_link(&others, &acme(), view()).await.unwrap_err();
    assert!(matches!(error, AccessError::OtherAccount), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_faults_of_a_link_are_told_at_once_and_no_page_of_another_origin_is_led_to() {
    let (scene, portal) = portal().await;
    let caller = caller(&scene, &[Scope::Portal], None).await;
    let faults = async |new| match portal.new_link(&caller, &acme(), new).await {
        Ok(_) => Vec::new(),
        Err(AccessError::Input(faults)) => faults,
        Err(error) => panic!("{error}"),
    };
    let theme = NewTheme {
        mode: None,
        accent: Some("red".into()),
        accent_dark: Some("#12345".into()),
        radius: Some(33),
        gutters: Some(65),
        product_name: Some("Talent\u{202e}Lynk".into()),
    };
    let worst = NewLink {
        access: PortalAccess::Manage,
        payloads: true,
        user: Some("x".repeat(65)),
        embed_origin: Some("https://app.example.com/".into()),
        return_url: Some("javascript:alert(1)".into()),
        theme: Some(theme),
    };
    let found: Vec<_> = faults(worst).await.into_iter().map(|fault| fault.field).collect();
    let theme = ["accent", "accentDark", "radius", "gutters", "productName"].map(|field| format!("theme.{field}"));
    let fields = ["access", "payloads", "user", "embedOrigin", "returnUrl"].map(str::to_owned);
    assert_eq!(found, [&fields[..], &theme[..]].concat());
    for (origin, why) in
        [(APP, None), ("http://localhost:3000", None), ("https://evil.example", Some(Refusal::OtherOrigin))]
    {
        let new = NewLink { embed_origin: Some(origin.into()), ..view() };
        assert_eq!(faults(new).await.first().map(|fault| fault.why), why, "{origin}");
    }
    let refusal = faults(NewLink { embed_origin: Some("https://evil.example".into()), ..view() }).await.remove(0);
    assert!(refusal.to_string().contains("portal.embed_origins"), "{refusal}");
    for (url, good) in [
        ("https://app.example.com/settings?tab=1", true),
        ("http://localhost:3000/", true),
        ("https://app.example.com.evil.example/", false),
        ("https://app.example.com@evil.example/", false),
        ("https://evil.example/?https://app.example.com/", false),
        ("//app.example.com/", false),
        ("https:\\\\app.example.com\\", false),
        ("http://app.example.com/", false),
    ] {
        let new = NewLink { return_url: Some(url.into()), ..view() };
        assert_eq!(faults(new).await.is_empty(), good, "{url}");
    }
}
