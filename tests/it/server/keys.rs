//! API keys over HTTP: good ones, and all the ways in which a key is none.

use std::time::{Duration, Instant};

use lynkhook::{
    access::Portal,
    config::Settings,
    domain::{
        api_key::{KeyId, KeyToken},
        token::Token,
    },
};
use reqwest::Method;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::support::{Api, Reply, serve, with_json};
use crate::support::*;

/// A revocation is felt within 5 s; the rest is for a busy machine.
const FELT: Duration = Duration::from_millis(6500);

async fn with(api: &Api, key: &str) -> Reply {
    api.send(api.bare(Method::GET, "/v1/key").bearer_auth(key)).await
}

/// A key in the right form that nobody has.
fn made_up() -> String {
    let random = uuid::Uuid::new_v4().into_bytes();
    let id = KeyId::new(random[..12].try_into().unwrap());
    let mut secret = [7; 32];
    secret[..16].copy_from_slice(&random);
    KeyToken::new(id, Token::new(&secret)).text().expose_secret().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_works_at_once_and_is_refused_after_its_revocation_its_end_and_its_rotation() {
    let api = Api::start(&Receiver::start().await).await;
    let program = &api.here.program;
    let words =
        ["apikey", "add", "--name", "backend", "--scope", "logs:read,webhooks:read", "--account", "acme", "--json"];
    let added = program.json(words).await;
    let (id, key) = (added["id"].as_str().unwrap(), added["key"].as_str().unwrap());
    let me = with(&api, key).await;
    let expected = json!({"id": id, "name": "backend", "scopes": ["webhooks:read", "logs:read"], "account": "acme"});
    assert_eq!((me.status, &me.json), (200, &expected));

    let ending = program.json(["apikey", "add", "--name", "x", "--scope", "portal", "--expires", "2s"]).await;
    let reply = with(&api, ending["key"].as_str().unwrap()).await;
    assert_eq!((reply.status, &reply.json["expiresAt"]), (200, &ending["expiresAt"]));

    let rotated = program.json(["apikey", "rotate", id, "--overlap", "1h"]).await;
    let next = rotated["key"].as_str().unwrap();
    for key in [key, next] {
        assert_eq!(with(&api, key).await.status, 200, "both work during the overlap");
    }
    let (old, began) = (rotated["id"].as_str().unwrap(), Instant::now());
    program.json(["apikey", "rotate", old, "--overlap", "0s"]).await;
    assert_eq!(program.run(["apikey", "revoke", id]).await.code, Some(0));
    let revoked = Instant::now();
    let mut felt = Vec::new();
    for (key, words) in
        [(key, "there is no such API key"), (next, "expired"), (ending["key"].as_str().unwrap(), "expired")]
    {
        let reply = eventually(SOON, "a refusal", async || {
            let reply = with(&api, key).await;
            (reply.status != 200).then_some(reply)
        })
        .await;
        reply.problem(401, "unauthenticated");
        assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
        assert!(reply.json["detail"].as_str().unwrap().contains(words), "{words}: {}", reply.text());
        felt.push(revoked.elapsed());
    }
    assert!(felt[0] < FELT && began.elapsed() < FELT + Duration::from_secs(1), "{felt:?}");
    assert_eq!(with(&api, key).await.status, 401, "it stays refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_or_a_query_with_no_good_key_is_refused_with_its_reason_and_counted() {
    let api = Api::start(&Receiver::start().await).await;
    let good = &api.admin;
    let headers = |values: &[String]| {
        let bare = api.bare(Method::GET, "/v1/key");
        values.iter().fold(bare, |request, value| request.header("authorization", value))
    };
    let mut refused = 0;
    let send = "send the header `Authorization: Bearer lynk_…`, once";
    let no_key = "this is not an API key";
    let swapped = good.replacen(&good[20..22], &good[20..22].chars().rev().collect::<String>(), 1);
    for (values, words) in [
        (vec![], send),
        (vec![good.clone()], send),
        (vec![format!("Basic {good}")], send),
        (vec![format!("Bearer{good}")], send),
        (vec![format!("Token {good}")], send),
        (vec!["Bearer".to_owned()], send),
        (vec![format!("Bearer {good}"), format!("Bearer {good}")], send),
        (vec![format!("Bearer {good}"), String::new()], send),
        (vec!["Bearer ".to_owned()], ""),
        (vec![format!("Bearer {good}, Bearer {good}")], no_key),
        (vec![format!("Bearer {good} {good}")], no_key),
        (vec![format!("Bearer {}", &good[..67])], no_key),
        (vec![format!("Bearer {good}0")], no_key),
        (vec![format!("Bearer {}", good.to_uppercase())], no_key),
        (vec![format!("Bearer {}", "lynk_".repeat(2000))], no_key),
        (vec![format!("Bearer {swapped}x")], no_key),
        (vec![format!("Bearer {}", made_up())], "there is no such API key"),
    ] {
        let reply = api.send(headers(&values)).await;
        reply.problem(401, "unauthenticated");
        assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
        assert!(reply.json["detail"].as_str().unwrap().contains(words), "{values:?}: {}", reply.text());
        assert!(!reply.text().contains(&good[18..40]), "{}", reply.text());
        refused += 1;
    }
    let bytes = reqwest::header::HeaderValue::from_bytes(b"Bearer lynk_\xff").unwrap();
    api.send(api.bare(Method::GET, "/v1/key").header("authorization", bytes)).await.problem(401, "unauthenticated");
    for spelling in [format!("bearer {good}"), format!("BEARER   {good}")] {
        assert_eq!(api.send(headers(&[spelling])).await.status, 200);
    }
    // A key in the URL is refused even beside a good one, so that it is noticed and revoked.
    for query in [
        format!("key={good}"),
        format!("access_token={good}"),
        format!("identifier=Bearer%20{good}"),
        good.clone(),
        format!("{good}=1"),
        format!("limit=5&x=%6Cynk_{}", &good[5..]),
        "api_key=lynk_cut".to_owned(),
    ] {
        let reply = api.get(&format!("/v1/accounts/acme/logs?{query}")).await;
        reply.problem(401, "unauthenticated");
        assert!(reply.json["detail"].as_str().unwrap().contains("a key in the URL is refused"), "{}", reply.text());
        assert!(!reply.text().contains(&good[18..40]), "{}", reply.text());
        refused += 1;
    }
    let like_one = api.get("/v1/accounts/acme/logs?identifier=talentlynk_5").await;
    assert_eq!(like_one.status, 200, "an identifier that contains the letters is none");
    assert!(refused > 20);
    let line = api.process.wait_for_line("requests were refused for their API key").await;
    assert!(line.contains("malformed 1"), "{line}");
    assert!(!api.process.stderr().contains(&good[18..40]), "{}", api.process.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_made_up_keys_keeps_no_key_out_also_after_a_restart() {
    let receiver = Receiver::start().await;
    let mut api = Api::start(&receiver).await;
    let new = api.key(&["--scope", "logs:read"]).await;
    for start in ["a new server", "another one"] {
        let mut flood = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let (client, url) = (api.client.clone(), format!("http://{}/v1/key", api.address));
            flood.spawn(async move {
                loop {
                    let reply = client.get(&url).bearer_auth(made_up()).send().await.unwrap();
                    assert_eq!(reply.status(), 401);
                }
            });
        }
        for key in [&api.admin, &new] {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let came = Instant::now();
            assert_eq!(with(&api, key).await.status, 200, "{start}");
            assert!(came.elapsed() < Duration::from_secs(1), "{start}: {:?}", came.elapsed());
        }
        assert!(flood.try_join_next().is_none(), "the flood goes on");
        drop(flood);
        (api.process, api.address) = serve(&api.here.program, &[]).await;
    }
}

/// A request for a portal link.
async fn link(api: &Api, key: &str, body: &Value) -> Reply {
    let request = api.bare(Method::POST, "/v1/accounts/acme/portal-links").bearer_auth(key);
    api.send(with_json(request, body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_portal_link_never_exceeds_its_key_and_is_logged_without_its_token() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let public = ("LYNKHOOK_SERVER__PUBLIC_URL", "https://hooks.example.com");
    let api = Api::of(here, [public, ("LYNKHOOK_PORTAL__EMBED_ORIGINS", "https://app.example.com")]).await;
    let portal = api.key(&["--scope", "portal", "--account", "acme"]).await;
    let reader = api.key(&["--scope", "portal,payloads:read", "--account", "acme"]).await;
    let writer = api.key(&["--scope", "portal,webhooks:write", "--account", "acme"]).await;
    for (key, body, refused) in [
        (&portal, json!({"access": "read"}), &[][..]),
        (&portal, json!({"access": "manage"}), &["#/access"]),
        (&portal, json!({"access": "manage", "payloads": true}), &["#/access", "#/payloads"]),
        (&reader, json!({"access": "read", "payloads": true}), &[]),
        (&reader, json!({"access": "manage", "payloads": true}), &["#/access"]),
        (&writer, json!({"access": "manage"}), &[]),
        (&writer, json!({"access": "read", "payloads": true}), &["#/payloads"]),
        (&api.admin, json!({"access": "manage", "payloads": true}), &[]),
        (&portal, json!({}), &["#/access"]),
        (&portal, json!({"access": "admin"}), &["#/access"]),
        (&portal, json!({"acess": "view"}), &["#/access", "#/acess"]),
        (
            &portal,
            json!({"access": "read", "user": "", "embedOrigin": "https://evil.example", "returnUrl": "javascript:x",
                   "theme": {"accent": "red", "radius": 99, "font": "x"}}),
            &["#/embedOrigin", "#/returnUrl", "#/theme/accent", "#/theme/font", "#/theme/radius", "#/user"],
        ),
        (
            &portal,
            json!({"access": "read", "user": "", "embedOrigin": "https://evil.example", "returnUrl": "javascript:x",
                   "theme": {"accent": "red", "radius": 99}}),
            &["#/embedOrigin", "#/returnUrl", "#/theme/accent", "#/theme/radius", "#/user"],
        ),
    ] {
        let reply = link(&api, key, &body).await;
        if refused.is_empty() {
            assert_eq!(reply.status, 201, "{body}: {reply:?}");
            let url = reply.json["url"].as_str().unwrap();
            let token = url.strip_prefix("https://hooks.example.com/accounts/acme/enter?link=").unwrap();
            assert_eq!(token.len(), 43, "256 random bits");
            assert!(!api.process.stderr().contains(token));
        } else {
            let places = reply.problem(422, "invalid");
            assert_eq!(places.iter().collect::<Vec<_>>(), refused, "{body}: {reply:?}");
        }
    }
    let log = api.process.stderr();
    let made: Vec<&str> = log.lines().filter(|line| line.contains("portal link made")).collect();
    assert_eq!(made.len(), 4, "{log}");
    assert!(made[0].contains(&portal[5..17]) && made[0].contains("access, payloads"), "{}", made[0]);

    // Sessions are listed, and ended all at once.
    let settings = Settings::load(None, api.here.variables.clone()).unwrap();
    let screen = Portal::new(&settings.portal, api.here.store.clone());
    for user in ["jo", "mo"] {
        let reply = link(&api, &portal, &json!({"access": "read", "user": user})).await;
        let token = reply.json["url"].as_str().unwrap().rsplit('=').next().unwrap();
        assert!(screen.enter(&account_id("acme"), token).await.unwrap().is_some());
    }
    let path = "/v1/accounts/acme/portal-sessions";
    let as_portal = |method: Method| api.send(api.bare(method, path).bearer_auth(&portal));
    let listed = as_portal(Method::GET).await;
    let users: Vec<&Value> = listed.json["items"].as_array().unwrap().iter().map(|item| &item["user"]).collect();
    assert_eq!(users, ["jo", "mo"], "links are no sessions: {listed:?}");
    assert_eq!(as_portal(Method::DELETE).await.json, json!({"ended": 2}));
    assert_eq!(as_portal(Method::DELETE).await.json, json!({"ended": 0}));
    assert_eq!(as_portal(Method::GET).await.json["items"], json!([]));
    let line = api.process.wait_for_line("portal sessions ended").await;
    assert!(line.contains(&portal[5..17]) && line.contains("acme"), "it says who ended them: {line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_public_url_a_link_is_refused_with_the_name_of_the_setting() {
    let api = Api::start(&Receiver::start().await).await;
    for (body, places) in [
        (json!({"access": "read"}), &["#"][..]),
        (json!({"access": "read", "user": "", "payloads": 1}), &["#", "#/payloads", "#/user"]),
    ] {
        let reply = link(&api, &api.admin, &body).await;
        assert_eq!(reply.problem(422, "invalid").iter().collect::<Vec<_>>(), places, "{reply:?}");
        assert!(reply.text().contains("`server.public_url`"), "{}", reply.text());
    }
}
