//! Visitors without a session: unknown links, ended sessions, and the address that is counted.

use redis::AsyncCommands;
use reqwest::Method;
use serde_json::json;

use super::world::{OF_ACME, Route, World};
use crate::{
    cli::secrecy::canary::{TOKEN, VALUE, assert_hidden},
    server::{screen::support::*, support::Api},
    support::*,
};

/// The unknown links that an address may try in a minute.
const TRIES: usize = 10;

/// A try with a link that nobody made. Each is another one.
async fn try_unknown(api: &Api, number: usize, forwarded: &str) -> Page {
    let visit = Visit::stranger(api, "acme");
    let token = format!("{number:043}");
    let headers = [("origin", PUBLIC), ("x-forwarded-for", forwarded)];
    if number.is_multiple_of(2) {
        visit.send(Method::GET, &format!("/accounts/acme/enter?link={token}"), &headers, None).await
    } else {
        visit.send(Method::POST, "/accounts/acme/enter", &headers, Some(&[("link", &token)])).await
    }
}

#[tokio::test]
async fn unknown_links_are_limited_by_address_and_a_valid_one_enters_from_the_same() {
    let receiver = Receiver::start().await;
    let api = serve_screen(&receiver).await;
    let valid = new_link(&api, "acme", &json!({"access": "read"})).await;
    let mut refused = 0;
    for number in 0..TRIES + 5 {
        // Nobody vouches for the header, so that the address is always this one.
        let page = try_unknown(&api, number, &format!("9.9.9.{number}")).await;
        assert!([410, 429].contains(&page.status), "{page:?}");
        if page.status == 429 {
            page.says("Too many links were tried");
            refused += 1;
        }
    }
    assert!((3..=5).contains(&refused), "{refused} of 15 were refused");
    let mut visit = Visit::stranger(&api, "acme");
    assert_eq!(visit.send(Method::GET, &valid, &[], None).await.says("Open webhooks").status, 200);
    assert_eq!(visit.enter(&valid).await.status, 303);
    assert_eq!(visit.enter(&valid).await.status, 303, "its session is still there");
    assert_eq!(Visit::stranger(&api, "acme").enter(&valid).await.status, 410, "a used link is no unknown one");
    assert_eq!(visit.get("/webhooks").await.status, 200);
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_has_its_own_limit_and_a_forged_address_helps_nobody() {
    let receiver = Receiver::start().await;
    let settings =
        [("LYNKHOOK_SERVER__PUBLIC_URL", PUBLIC), ("LYNKHOOK_SERVER__TRUSTED_PROXIES", "127.0.0.0/8,10.0.0.0/8")];
    let api = Api::of(Installation::new(&receiver).await, settings).await;
    let mut statuses = Vec::new();
    for number in 0..TRIES + 5 {
        // The proxies append, so that the client's own claim stands before its address.
        statuses.push(try_unknown(&api, number, &format!("1.2.3.{number}, 9.9.9.9, 10.0.0.7")).await.status);
    }
    assert!(statuses[..TRIES].iter().all(|status| *status == 410), "{statuses:?}");
    assert!(statuses[TRIES..].iter().filter(|status| **status == 429).count() >= 3, "{statuses:?}");
    assert_eq!(try_unknown(&api, 0, "9.9.9.8").await.status, 410, "another client is not refused for it");
}

#[tokio::test]
async fn a_session_that_was_ended_or_has_ended_opens_nothing_and_shows_again_what_was_typed_except_secrets() {
    let world = World::new().await;
    let portal = world.api.here.key("portal:acme");
    let mut redis = world.api.here.redis.clone();
    for way in ["revoked", "expired", "deleted"] {
        let visit = Visit::manager(&world.api, "acme").await;
        let other = Visit::manager(&world.api, "acme").await;
        let sessions = world.api.get("/v1/accounts/acme/portal-sessions").await;
        let sessions = sessions.json["items"].as_array().unwrap().clone();
        // They are in the order of their ends, so that the other one is the last.
        let id = sessions[sessions.len() - 2]["id"].as_str().unwrap().to_owned();
        let entries: Vec<(String, String)> = redis.hgetall(&portal).await.unwrap();
        let (field, value) = entries.into_iter().find(|(field, _)| field.starts_with(&id)).unwrap();
        match way {
            "revoked" => {
                let ended = world.api.delete("/v1/accounts/acme/portal-sessions").await;
                assert_eq!(ended.json["ended"], 2, "{ended:?}");
            }
            "expired" => {
                let (before, _) = value.rsplit_once(':').unwrap();
                let _: () = redis.hset(&portal, field, format!("{before}:1}}")).await.unwrap();
            }
            _ => {
                let _: () = redis.hdel(&portal, field).await.unwrap();
            }
        }
        let before = world.stored().await;
        let typed = [
            ("url", "https://typed.example/in"),
            ("description", "Typed\u{202e} words"),
            ("header_name", "X-Typed"),
            ("token", TOKEN),
            ("header_value", VALUE),
            ("to", "off"),
            ("all", "true"),
        ];
        for route in Route::all() {
            let path = route.of(&world.hook, &world.delivery);
            if route.is_read {
                assert_eq!(visit.get(&path).await.says("Your session has ended").status, 401, "{way} {route:?}");
            }
            if route.is_form {
                let page = visit.post(&path, &typed).await;
                assert_eq!(page.says("Your session has ended").status, 401, "{way} {route:?}");
                page.says("https://typed.example/in").says("X-Typed").says("words");
                assert!(!page.html.contains('\u{202e}') && !page.html.contains(OF_ACME[0]), "{}", page.html);
                assert_hidden("the page of an ended session", &page.html, [TOKEN, VALUE, &visit.token]);
            }
        }
        assert_eq!(world.stored().await, before, "{way}");
        let expected = if way == "revoked" { 401 } else { 200 };
        assert_eq!(other.get("/webhooks").await.status, expected, "{way}: another session");
    }
}
