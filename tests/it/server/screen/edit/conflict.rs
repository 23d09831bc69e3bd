//! Two edits of one revision: the page with both versions.

use reqwest::Method;
use serde_json::{Value, json};

use super::{super::support::*, *};
use crate::server::support::{Api, with_json};

/// Fields that a visitor changes, each with its values.
type Changes<'a> = &'a [(&'a str, &'a [&'a str])];

/// Another one changes the webhook.
async fn patch(api: &Api, id: &str, theirs: &Value) {
    let request = api.request(Method::PATCH, &format!("{LIST}/{id}"));
    let patched = api.send(with_json(request, theirs)).await;
    assert_eq!(patched.status, 200, "{patched:?}");
}

/// Sends the hidden fields of a page with others.
async fn send(visit: &Visit, path: &str, page: &Page, others: &[(&str, &str)]) -> Page {
    let hidden = page.hidden();
    let hidden = hidden.iter().filter(|(name, _)| name != "form_token").map(|(name, value)| (&**name, &**value));
    visit.post(path, &hidden.chain(others.iter().copied()).collect::<Vec<_>>()).await
}

#[tokio::test]
async fn an_edit_of_an_older_revision_shows_both_versions_and_mine_can_be_saved() {
    let (api, visit) = screen().await;
    let (id, path) = added(&visit, &[BEARER, ("token", &[SECRET])]).await;
    patch(&api, &id, &json!({"url": "https://hooks.test/theirs", "active": false})).await;
    let mine: &[(&str, &[&str])] = &[
        BEARER,
        ("token", &[OTHER]),
        ("url", &["https://hooks.test/mine"]),
        ("description", &["<i>mine</i>"]),
        ("revision", &["1"]),
    ];
    let page = visit.post(&path, &form(mine)).await;
    assert_eq!(page.status, 409, "{page:?}");
    page.says("Somebody else changed this webhook").says("Save mine").says("Take theirs");
    page.says("https://hooks.test/mine").says("https://hooks.test/theirs").says("<i>mine</i>").says("CRM sync");
    page.says("Bearer Token, a new one").says("Bearer Token, ends in 9876");
    assert_eq!(page.html.matches("class=\"changed\"").count(), 8, "four settings differ: {page:?}");
    assert!(!page.html.contains(OTHER) && !page.html.contains(SECRET), "{page:?}");
    assert_eq!(one(&api, &id).await["url"], "https://hooks.test/theirs");

    // Mine, as the page sends it: its secret is asked for again.
    let mine = page.hidden();
    assert!(mine.contains(&("revision".to_owned(), "2".to_owned())), "{mine:?}");
    has_fault(&send(&visit, &path, &page, &[]).await, "token", "The bearer token is empty");
    let saved = send(&visit, &path, &page, &[("token", OTHER)]).await;
    assert_eq!(saved.status, 303, "{saved:?}");
    let saved = one(&api, &id).await;
    assert_eq!(saved["authentication"]["token"], "••••5432");
    assert_eq!((&saved["url"], &saved["active"]), (&json!("https://hooks.test/mine"), &json!(true)));
    assert_eq!(saved["description"], "<i>mine</i>");
}

#[tokio::test]
async fn a_version_without_a_new_secret_keeps_the_present_one() {
    let (api, visit) = screen().await;
    let (id, path) = added(&visit, &[BEARER, ("token", &[SECRET])]).await;
    let edit: &[(&str, &[&str])] = &[BEARER, ("description", &["theirs"]), ("revision", &["1"])];
    assert_eq!(visit.post(&path, &form(edit)).await.status, 303);
    let edit: &[(&str, &[&str])] = &[BEARER, ("description", &["mine"]), ("revision", &["1"])];
    let page = visit.post(&path, &form(edit)).await;
    assert_eq!(page.status, 409, "{page:?}");
    assert!(!page.html.contains("type=\"password\""), "no secret is needed: {page:?}");
    assert_eq!(page.html.matches("class=\"changed\"").count(), 2, "one setting differs: {page:?}");
    assert_eq!(send(&visit, &path, &page, &[]).await.status, 303);
    let saved = one(&api, &id).await;
    assert_eq!((&saved["description"], &saved["authentication"]["token"]), (&json!("mine"), &json!("••••9876")));
}

#[tokio::test]
async fn settings_that_i_did_not_change_are_theirs_in_my_version() {
    let (api, visit) = screen().await;
    let (id, path) = added(&visit, &[BEARER, ("token", &[SECRET])]).await;
    let begun = visit.get(&path).await;
    let header = json!({"type": "header", "name": "X-Key", "value": OTHER});
    patch(&api, &id, &json!({"url": "https://hooks.test/theirs", "authentication": header})).await;
    let page = send(&visit, &path, &begun, &form(&[BEARER, ("description", &["mine"])])).await;
    assert_eq!(page.status, 409, "{page:?}");
    page.says("You changed the description. Somebody else changed the URL and the authentication.");
    assert!(!page.text().contains(URL), "no version has the old URL: {page:?}");
    assert_eq!(page.text().matches("https://hooks.test/theirs").count(), 2, "{page:?}");
    assert_eq!(page.text().matches("Custom Header X-Key, ends in 5432").count(), 2, "{page:?}");
    assert_eq!(page.html.matches("class=\"changed\"").count(), 2, "only the description differs: {page:?}");
    // They save once more: my version begins with theirs now.
    patch(&api, &id, &json!({"active": false})).await;
    let page = send(&visit, &path, &page, &[]).await;
    assert_eq!(page.status, 409, "{page:?}");
    page.says("You changed the description. Somebody else changed whether it is active.");
    assert_eq!(page.html.matches("class=\"changed\"").count(), 2, "{page:?}");
    let saved = send(&visit, &path, &page, &[]).await;
    assert_eq!(saved.status, 303, "{saved:?}");
    let saved = one(&api, &id).await;
    assert_eq!((&saved["description"], &saved["url"]), (&json!("mine"), &json!("https://hooks.test/theirs")));
    assert_eq!((&saved["active"], &saved["revision"]), (&json!(false), &json!(4)));
    assert_eq!(sent(&api, &id).await["x-key"], "••••5432");
}

#[tokio::test]
async fn each_setting_that_i_changed_is_mine_and_marked_only_if_it_differs_from_theirs() {
    let (api, visit) = screen().await;
    let mine: [(&str, Changes<'_>, usize); 7] = [
        ("nothing", &[], 0),
        ("the URL", &[("url", &["https://hooks.test/mine"])], 2),
        ("the events", &[("event", &["candidate.created"])], 2),
        ("the authentication", &[BEARER, ("token", &[SECRET])], 2),
        ("the authentication", &[("header_name", &["X-Key"]), HEADER, ("header_value", &[SECRET])], 2),
        ("whether it is active", &[("active", &[])], 2),
        (
            "the URL, the description and whether it is active",
            &[("url", &["https://hooks.test/mine"]), ("description", &[""]), ("active", &[])],
            6,
        ),
    ];
    let (id, path) = added(&visit, &[]).await;
    for (names, changes, marks) in mine {
        let begun = visit.get(&path).await;
        patch(&api, &id, &json!({"url": "https://hooks.test/theirs"})).await;
        let page = send(&visit, &path, &begun, &form(changes)).await;
        assert_eq!(page.status, 409, "{page:?}");
        page.says(&format!("You changed {names}. Somebody else changed the URL."));
        assert_eq!(page.html.matches("class=\"changed\"").count(), marks, "{names}: {page:?}");
        let secret = page.html.contains("type=\"password\"");
        assert_eq!(secret, names == "the authentication", "{page:?}");
        patch(&api, &id, &json!({"url": URL})).await;
    }
}

#[tokio::test]
async fn a_form_with_a_fault_keeps_what_it_began_with() {
    let (api, visit) = screen().await;
    let (id, path) = added(&visit, &[]).await;
    let begun = visit.get(&path).await;
    let page = send(&visit, &path, &begun, &form(&[("url", &["nowhere"]), ("description", &["mine"])])).await;
    has_fault(&page, "url", "The URL must begin");
    patch(&api, &id, &json!({"active": false})).await;
    let page = send(&visit, &path, &page, &form(&[("description", &["mine"])])).await;
    page.says("You changed the description. Somebody else changed whether it is active.");
    assert_eq!(send(&visit, &path, &page, &[]).await.status, 303);
    let saved = one(&api, &id).await;
    assert_eq!((&saved["description"], &saved["url"], &saved["active"]), (&json!("mine"), &json!(URL), &json!(false)));
}
