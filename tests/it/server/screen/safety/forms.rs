//! Forms of other pages, with other tokens, and of visitors who may only read.

use reqwest::Method;
use serde_json::json;

use super::world::{Route, World};
use crate::server::screen::support::*;

/// A webhook that nobody has.
const NONE: &str = "wh_01890000-0000-7000-8000-000000000000";
const SITES: [Option<&str>; 5] = [None, Some("same-origin"), Some("same-site"), Some("cross-site"), Some("none")];

/// Each combination of `Sec-Fetch-Site` and `Origin`, and whether it is of a page of this server.
fn senders(server: &str) -> Vec<(Vec<(&'static str, String)>, bool)> {
    let own = [Some(PUBLIC.to_owned())];
    let hidden = [None, Some("null".to_owned())];
    // Browsers know the server by its public URL alone.
    let others = [server, PLATFORM, "https://evil.example", "https://hooks.example.test.evil.example", "", "*"];
    let others = others.map(|origin| Some(origin.to_owned()));
    let mut all = Vec::new();
    for site in SITES {
        for origin in own.iter().chain(&hidden).chain(&others) {
            let is_own = match site {
                None => own.contains(origin),
                Some("same-origin") => own.contains(origin) || hidden.contains(origin),
                Some(_) => false,
            };
            let site = site.map(|site| ("sec-fetch-site", site.to_owned()));
            let headers = site.into_iter().chain(origin.clone().map(|origin| ("origin", origin)));
            all.push((headers.collect(), is_own));
        }
    }
    all
}

async fn post(
    visit: &Visit,
    path: &str,
    headers: &[(&'static str, String)],
    token: Option<&str>,
    fields: &[(&'static str, String)],
) -> Page {
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, &**value)).collect();
    let token = token.map(|token| ("form_token", token));
    let fields: Vec<_> = token.into_iter().chain(fields.iter().map(|(name, value)| (*name, &**value))).collect();
    visit.send(Method::POST, path, &headers, Some(&fields)).await
}

#[tokio::test]
async fn a_form_needs_an_own_page_and_the_token_of_its_own_session_and_is_refused_without_a_trace_otherwise() {
    let world = World::new().await;
    let visit = Visit::manager(&world.api, "acme").await;
    let (same_account, other_account) =
        (Visit::manager(&world.api, "acme").await, Visit::manager(&world.api, "globex").await);
    let right = &*visit.token;
    let flipped: String = right.chars().rev().collect();
    let wrong = [None, Some(""), Some(&*flipped), Some(&right[1..]), Some(&*same_account.token)];
    let wrong: Vec<_> = wrong.into_iter().chain([Some(&*other_account.token)]).collect();
    assert!(!wrong.contains(&Some(right)));
    let senders = senders(&format!("http://{}", world.api.address));
    let forms: Vec<_> = Route::all().into_iter().filter(|route| route.is_form).collect();
    for route in &forms {
        let before = world.stored().await;
        let path = visit.at(&route.of(&world.hook, &world.delivery));
        for (headers, is_own) in &senders {
            let refused = wrong.iter().copied().chain((!is_own).then_some(Some(right)));
            for token in refused {
                let page = post(&visit, &path, headers, token, &world.fields()).await;
                assert_eq!(page.status, 403, "{route:?} {headers:?} {token:?}: {page:?}");
            }
            if *is_own {
                // Fields that would do something to a webhook, and none that would add one.
                let fields = if route.has_id() { world.fields() } else { Vec::new() };
                let path = visit.at(&route.of(NONE, &world.delivery));
                let page = post(&visit, &path, headers, Some(right), &fields).await;
                assert_ne!(page.status, 403, "{route:?} {headers:?}: {page:?}");
                assert!(page.status < 500, "{route:?}: {page:?}");
            }
        }
        assert_eq!(world.stored().await, before, "{route:?} changed something");
    }
    // The same forms do change something if all is right.
    for route in forms.iter().filter(|route| !route.only_judges()) {
        let before = world.stored().await;
        let fields = world.fields();
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, &**value)).collect();
        let page = visit.post(&route.of(&world.hook, &world.delivery), &fields).await;
        assert!([200, 303].contains(&page.status), "{route:?}: {page:?}");
        assert_ne!(world.stored().await, before, "{route:?} changed nothing: {page:?}");
    }
}

#[tokio::test]
async fn a_link_is_spent_by_a_form_of_an_own_page_only() {
    let world = World::new().await;
    let mut visit = Visit::stranger(&world.api, "acme");
    let link = new_link(&world.api, "acme", &json!({"access": "manage"})).await;
    let (path, token) = link.split_once("?link=").unwrap();
    let before = world.stored().await;
    for (headers, is_own) in senders(&format!("http://{}", world.api.address)) {
        if !is_own {
            let fields = [("link", token.to_owned())];
            for path in [path, &link] {
                let page = post(&visit, path, &headers, None, &fields).await;
                assert_eq!((page.status, page.header("set-cookie")), (403, None), "{headers:?}: {page:?}");
            }
        }
    }
    assert_eq!(world.stored().await, before);
    assert_eq!(visit.enter(&link).await.status, 303);
}

#[tokio::test]
async fn a_visitor_who_may_only_read_changes_nothing_by_any_form() {
    let world = World::new().await;
    let visit = Visit::with(&world.api, "acme", &json!({"access": "read", "payloads": true})).await;
    let before = world.stored().await;
    for route in Route::all() {
        let path = route.of(&world.hook, &world.delivery);
        if route.is_form {
            let fields = world.fields();
            let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, &**value)).collect();
            let page = visit.post(&path, &fields).await;
            assert_eq!(page.status, 403, "{route:?}: {page:?}");
            page.says("You may look at webhooks, and not change them");
        }
        if route.is_read {
            let page = visit.get(&path).await;
            assert!([200, 303, 403].contains(&page.status), "{route:?}: {page:?}");
            assert!(!page.html.contains("method=\"post\""), "{route:?} offers a form: {page:?}");
        }
    }
    assert_eq!(world.stored().await, before);
}
