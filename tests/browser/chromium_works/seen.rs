use thirtyfour::Key;

use super::outcome;
use crate::{chromium::Page, site::Site};

const PAGE: &str = "
    <section aria-labelledby=crm><h2 id=crm>CRM</h2><button>Test</button><a href='/edit'>Edit</a></section>
    <section aria-labelledby=billing><h2 id=billing>Billing</h2>
        <button><svg aria-hidden=true></svg> Test</button><button aria-label='Delete Billing'>x</button></section>
    <button hidden>Hidden</button><p hidden>a secret text</p>
    <label for=url>URL</label><input id=url type=url value=before>
    <label>Bearer Token <input type=password></label>
    <label><input type=checkbox role=switch checked> Active</label>
    <label>Status <select><option>All<option>Failed</select></label>
    <fieldset><legend>Events</legend><label><input type=checkbox> transcript.created</label></fieldset>
    <p role=status></p>
    <script>setTimeout(() => document.querySelector('[role=status]').textContent = 'Saved a moment later', 300)</script>";

#[tokio::test(flavor = "multi_thread")]
async fn elements_are_found_by_the_role_and_name_that_assistive_technology_gets_and_only_if_seen() {
    let site = Site::of_page(PAGE).await;
    let page = Page::open(&site.url("/")).await;
    for (role, name) in [
        ("heading", "CRM"),
        ("region", "Billing"),
        ("link", "Edit"),
        ("button", "Delete Billing"),
        ("textbox", "URL"),
        ("textbox", "Bearer Token"),
        ("switch", "Active"),
        ("combobox", "Status"),
        ("group", "Events"),
        ("checkbox", "transcript.created"),
    ] {
        page.find(role, name).await;
    }
    assert_eq!(page.all("button", "Test").await.len(), 2);
    let billing = page.find("region", "Billing").await;
    page.find_in(&billing, "button", "Test").await;
    for (role, name) in [("button", "Hidden"), ("button", "Edit"), ("checkbox", "Active"), ("button", "Delete")] {
        assert!(page.all(role, name).await.is_empty(), "{role} {name}");
    }
    assert!(!page.text().await.contains("a secret text"));
    page.sees("Saved a moment later").await;
    page.fill("URL", "https://example.com/").await;
    assert_eq!(page.find("textbox", "URL").await.value().await.unwrap().as_deref(), Some("https://example.com/"));
    page.press(Key::Tab).await;
    assert_eq!(page.focused().await, ("textbox".to_owned(), "Bearer Token".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn something_that_does_not_come_within_ten_seconds_fails_with_the_text_and_a_picture() {
    let site = Site::of_page("What there is").await;
    let url = site.url("/");
    let message = outcome(async move || Page::open(&url).await.sees("what there is not").await).await.unwrap_err();
    assert!(message.contains("\"what there is not\"") && message.contains("What there is"), "{message}");
    let picture = message.split_once("pictured in Ok(\"").unwrap().1.split_once('"').unwrap().0;
    assert!(std::fs::read(picture).unwrap().starts_with(b"\x89PNG"), "{picture}");
}
