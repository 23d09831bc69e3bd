//! Sessions: one that ends while its owner types, and two accounts in one browser.

use reqwest::Method;
use serde_json::json;

use crate::{
    chromium::{Browser, Page},
    customer::with_and_without_javascript,
    support::*,
    world::World,
};

with_and_without_javascript! {
    two_accounts_work_in_two_tabs_of_one_browser,
}

/// A secret that is typed while the session ends.
const TOKEN: &str = "typed-while-it-ended-7f3a";

/// A form in which all was typed, and the session has ended meanwhile.
async fn typed(world: &World, browser: Browser, url: &str) -> Page {
    let page = world.customer(browser, "acme").await;
    page.click("link", "Add Webhook").await;
    page.fill_in(&[("URL", url), ("Description optional", "CRM sync")]).await;
    page.click("radio", "Bearer Token").await;
    page.fill("Token", TOKEN).await;
    world.end_sessions("acme").await;
    page.announce("/webhooks/new answered 401");
    page
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_whose_session_ended_keeps_all_that_was_typed_and_is_saved_after_entering_in_another_tab() {
    let receiver = Receiver::start().await;
    receiver.plan("/crm", [Answer::Status(200)]);
    let world = World::start(&receiver).await;
    let url = receiver.url("/crm");
    let page = typed(&world, Browser::default(), &url).await;
    let is_whole = async || {
        assert_eq!(page.typed("URL").await, url);
        assert_eq!(page.typed("Description optional").await, "CRM sync");
        assert_eq!(page.typed("Token").await, TOKEN);
        assert!(page.is_set("radio", "Bearer Token").await);
    };
    page.click("button", "Save").await;
    page.sees("Your session has ended. What you typed is still here").await;
    is_whole().await;

    let form = page.driver.window().await.unwrap();
    page.tab().await;
    page.enter(&world, "acme").await;
    page.driver.switch_to_window(form).await.unwrap();
    is_whole().await;
    // The form has the token of the session that ended: the script fetches the present one and sends it again.
    page.announce("/webhooks/new answered 403");
    page.click("button", "Save").await;
    page.sees("Test it now").await;
    let offer = page.find("status", "").await;
    page.click_in(&offer, "button", "Test: CRM sync").await;
    page.sees("Your endpoint received the test.").await;
    assert_eq!(receiver.requests("/crm")[0].header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_javascript_a_form_whose_session_ended_shows_all_that_was_typed_except_secrets() {
    let receiver = Receiver::start().await;
    let world = World::start(&receiver).await;
    let url = receiver.url("/crm");
    let page = typed(&world, Browser::without_javascript(), &url).await;
    page.click("button", "Save").await;
    page.find("heading", "Your session has ended").await;
    for part in ["This is what you typed", "It was not saved.", &url, "CRM sync", "transcript.created"] {
        page.sees(part).await;
    }
    assert!(!page.driver.source().await.unwrap().contains(TOKEN), "no page has it");
    let (_, list) = world.api(Method::GET, "/v1/accounts/acme/webhooks", None).await;
    assert_eq!(list["items"], json!([]));
}

async fn two_accounts_work_in_two_tabs_of_one_browser(browser: Browser) {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(200)]);
    let world = World::start(&receiver).await;
    for account in ["acme", "globex"] {
        world
            .webhook_for(account, json!({"url": receiver.url("/hook"), "description": format!("{account} sync")}))
            .await;
    }
    let page = world.customer(browser, "acme").await;
    let acme = page.driver.window().await.unwrap();
    page.tab().await;
    page.enter(&world, "globex").await;
    let globex = page.driver.window().await.unwrap();
    for (tab, own, other) in [(&acme, "acme", "globex"), (&globex, "globex", "acme"), (&acme, "acme", "globex")] {
        page.driver.switch_to_window(tab.clone()).await.unwrap();
        page.list(&world, own).await;
        assert!(!page.text().await.contains(other), "{}", page.text().await);
        page.click("link", &format!("Edit: {own} sync")).await;
        page.find("heading", &format!("Edit {own} sync")).await;
        page.click("button", "Save").await;
        page.sees("Saved.").await;
        page.click("button", &format!("Test: {own} sync")).await;
        page.sees("Your endpoint received the test.").await;
    }
    // The end of one account's session leaves the other's.
    world.end_sessions("acme").await;
    page.driver.switch_to_window(globex).await.unwrap();
    page.list(&world, "globex").await;
    page.announce("/accounts/acme/webhooks answered 401");
    page.driver.switch_to_window(acme).await.unwrap();
    page.goto(&world.page("/accounts/acme/webhooks")).await;
    page.find("heading", "Your session has ended").await;
}
