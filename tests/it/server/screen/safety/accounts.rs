//! One account tries every page and every form of another's.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::json;

use super::world::{OF_ACME, Route, World};
use crate::server::screen::support::*;

/// Every request that the routes allow, with all headers and fields that would let it through.
async fn try_all(visit: &Visit, at: impl Fn(&Route) -> Option<String>, world: &World) -> Vec<(String, Page)> {
    let headers = [("origin", PUBLIC), ("sec-fetch-site", "same-origin")];
    let fields = world.fields();
    let fields: Vec<_> = [("form_token", &*visit.token)]
        .into_iter()
        .chain(fields.iter().map(|(name, value)| (*name, &**value)))
        .collect();
    let mut answers = Vec::new();
    for route in Route::all() {
        let Some(path) = at(&route) else { continue };
        if route.is_read {
            answers.push((format!("GET {path}"), visit.send(Method::GET, &path, &headers, None).await));
        }
        if route.is_form {
            answers.push((format!("POST {path}"), visit.send(Method::POST, &path, &headers, Some(&fields)).await));
        }
    }
    answers
}

fn assert_refused(answers: &[(String, Page)], status: u16) {
    assert!(answers.len() > 3);
    for (request, page) in answers {
        // To delete a webhook that is not there fulfils the wish, and the address of a form leads on: both change nothing.
        let may_lead_on = status == 404 && (request.starts_with("GET") || request.ends_with("/delete"));
        let own_list = page.header("location").is_some_and(|list| list.starts_with("/accounts/globex/webhooks"));
        let expected = if may_lead_on && own_list { 303 } else { status };
        assert_eq!(page.status, expected, "{request}: {page:?}");
        for words in OF_ACME {
            assert!(!page.html.contains(words), "{request} shows {words}: {}", page.html);
        }
    }
}

#[tokio::test]
async fn a_session_opens_no_page_and_no_form_of_another_account() {
    let world = World::new().await;
    let acme = Visit::manager(&world.api, "acme").await;
    let mut globex = Visit::manager(&world.api, "globex").await;
    let before = world.stored().await;
    // The search below finds these words where they belong.
    let shown = try_all(
        &acme,
        |route| Some(acme.at(&route.of(&world.hook, &world.delivery))).filter(|_| !route.is_form),
        &world,
    );
    let shown: String = shown.await.into_iter().map(|(_, page)| page.html).collect();
    let list = acme.get("/webhooks").await.html;
    for words in OF_ACME {
        assert!(shown.contains(words) || list.contains(words), "{words} is on no page");
    }

    let of_acme = |route: &Route| Some(acme.at(&route.of(&world.hook, &world.delivery)));
    assert_refused(&try_all(&globex, of_acme, &world).await, 401);
    let own = |route: &Route| route.has_id().then(|| globex.at(&route.of(&world.hook, &world.delivery)));
    assert_refused(&try_all(&globex, own, &world).await, 404);
    assert_eq!(world.stored().await, before);
    let key = world.api.key(&["--scope", "webhooks:write", "--account", "globex"]).await;
    for revision in [None, Some("\"1\"")] {
        let path = format!("/v1/accounts/globex/webhooks/{}", world.hook);
        let request = world.api.bare(Method::DELETE, &path).bearer_auth(&key);
        let request = revision.into_iter().fold(request, |request, revision| request.header("if-match", revision));
        world.api.send(request).await.problem(404, "no-such-webhook");
    }
    let before: BTreeMap<_, _> = before.into_iter().filter(|(name, _)| !name.ends_with(":apikeys")).collect();
    // The session under the name of the other account's cookie.
    let (name, _) = acme.cookie.split_once('=').unwrap();
    let (_, value) = globex.cookie.split_once('=').unwrap();
    let renamed = format!("{name}={value}");
    globex.cookie = renamed;
    assert_refused(&try_all(&globex, of_acme, &world).await, 401);
    let mut after = world.stored().await;
    after.retain(|name, _| !name.ends_with(":apikeys"));
    assert_eq!(after, before);
    assert_eq!(acme.get("/webhooks").await.says(OF_ACME[0]).status, 200);
}

#[tokio::test]
async fn paths_of_another_spelling_open_nothing() {
    let world = World::new().await;
    let globex = Visit::manager(&world.api, "globex").await;
    for account in ["acme", "ACME", "acme%2f", "%61cme", "globex%2f..%2facme", "globex/../acme", "acme%00", "", "."] {
        let page = globex.send(Method::GET, &format!("/accounts/{account}/webhooks"), &[], None).await;
        assert!([401, 404].contains(&page.status), "{account}: {page:?}");
        assert!(!page.html.contains(OF_ACME[0]), "{account}: {}", page.html);
    }
    for id in [&*format!("{}%2fx", world.hook), "..", "%2e%2e", "*", "wh_", &world.hook.to_uppercase()] {
        let page = globex.get(&format!("/webhooks/{id}/delete")).await;
        assert!([303, 404].contains(&page.status), "{id}: {page:?}");
        assert!(!page.html.contains(OF_ACME[0]), "{id}: {}", page.html);
    }
}

#[tokio::test]
async fn a_visitor_without_the_right_to_payloads_sees_none() {
    let world = World::new().await;
    let visit = Visit::with(&world.api, "acme", &json!({"access": "manage"})).await;
    let answers = try_all(&visit, |route| Some(visit.at(&route.of(&world.hook, &world.delivery))), &world).await;
    for (request, page) in &answers {
        assert!(!page.html.contains(OF_ACME[3]), "{request}: {}", page.html);
    }
    assert!(answers.iter().any(|(_, page)| page.html.contains(OF_ACME[0])));
}
