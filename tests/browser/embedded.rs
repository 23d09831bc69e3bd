//! The screen in a frame of another site, whose third-party cookies the browser blocks.

use std::sync::atomic::Ordering;

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    chromium::{Browser, Page, Theme},
    pages::{Attempt, ZONE},
    platform::{LINK, Platform},
    site::Site,
    support::*,
};

/// The title of the frame.
const FRAME: &str = "Webhooks";
/// Answers the height of the frame, and that of its content.
const HEIGHT: &str = "return document.querySelector('iframe').clientHeight";
const CONTENT: &str = "return Math.ceil(document.body.getBoundingClientRect().height)";
/// Notes each message that comes to the page.
const LISTEN: &str = "window.heard = []; addEventListener('message', event => heard.push(event.data.mark))";

impl Platform {
    /// Opens the platform's page in a browser without third-party cookies, and enters the frame.
    async fn open(&self) -> Page {
        let page = Browser::without_third_party_cookies().start().await;
        page.goto(&self.settings()).await;
        page.enter_frame(FRAME).await;
        page
    }

    async fn revoke(&self) {
        let path = "/v1/accounts/acme/portal-sessions";
        assert_eq!(self.world.api(Method::DELETE, path, None).await.0, 200);
    }
}

impl Page {
    /// Waits until the frame is as high as its content.
    async fn fits_its_frame(&self) -> i64 {
        self.wait("a frame as high as its content", async || {
            let content = self.script(CONTENT, Vec::new()).await;
            self.leave_frame().await;
            let height = self.script(HEIGHT, Vec::new()).await;
            self.enter_frame(FRAME).await;
            (content == height).then(|| height.as_i64().unwrap())
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_screen_works_in_a_frame_of_another_site_without_third_party_cookies() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(200)]);
    let platform = Platform::start(&receiver, "acme", json!({})).await;
    let page = platform.open().await;
    page.find("heading", "No webhooks yet").await;
    let empty = page.fits_its_frame().await;

    page.click("link", "Add Webhook").await;
    page.fill("URL", &receiver.url("/hook")).await;
    let form = page.fits_its_frame().await;
    assert!(form > empty, "the form is higher than the empty list: {form} and {empty}");
    page.fill("Description optional", "CRM sync").await;
    page.click("button", "Save").await;
    page.sees("Test it now").await;
    assert!(page.fits_its_frame().await < form, "the frame becomes lower again");
    let card = page.find("article", "CRM sync Not used yet").await;
    page.click_in(&card, "button", "Test: CRM sync").await;
    page.find("heading", "Test result Success").await;
    page.click("link", "Edit: CRM sync").await;
    page.fill("Description optional", "CRM, Berlin").await;
    page.click("button", "Save").await;
    page.find("article", "CRM, Berlin Working").await;
    assert_eq!(receiver.requests("/hook").len(), 1);

    let cookies = page.devtools("Network.getAllCookies", json!({})).await;
    let cookies = cookies["cookies"].as_array().unwrap();
    let cookie =
        cookies.iter().find(|cookie| cookie["name"].as_str().unwrap().starts_with("__Host-lynkhook-")).unwrap();
    assert_eq!(
        (&cookie["secure"], &cookie["httpOnly"], &cookie["sameSite"]),
        (&true.into(), &true.into(), &"None".into())
    );
    assert_eq!(cookie["partitionKey"]["topLevelSite"], "http://localhost", "{cookie}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_is_renewed_and_nothing_that_was_typed_is_lost() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(200)]);
    let platform = Platform::start(&receiver, "acme", json!({})).await;
    let page = platform.open().await;
    page.click("link", "Add Webhook").await;
    page.fill("URL", &receiver.url("/hook")).await;
    page.fill("Description optional", "CRM sync").await;
    page.click("radio", "Bearer Token").await;
    page.fill("Token", "typed-before-the-end-3f9a").await;
    platform.revoke().await;
    page.announce("/webhooks/new answered 401");
    page.click("button", "Save").await;
    page.sees("Test it now").await;
    let card = page.find("article", "CRM sync Not used yet").await;
    page.click_in(&card, "button", "Test: CRM sync").await;
    page.find("heading", "Test result Success").await;
    assert_eq!(receiver.requests("/hook")[0].header("authorization"), Some("Bearer typed-before-the-end-3f9a"));

    // A page that is opened without a session comes back with a new one.
    page.goto(&platform.settings()).await;
    page.enter_frame(FRAME).await;
    page.find("article", "CRM sync Working").await;
    platform.revoke().await;
    page.announce("/edit answered 401");
    page.click("link", "Edit: CRM sync").await;
    page.find("heading", "Edit CRM sync").await;
    assert_eq!(platform.site.asked(LINK).len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_cannot_be_had_is_told_and_can_be_tried_again() {
    let platform = Platform::start(&Receiver::start().await, "acme", json!({})).await;
    platform.refuses.store(true, Ordering::SeqCst);
    let page = Browser::without_third_party_cookies().start().await;
    page.announce("/api/webhooks-link answered 503");
    page.goto(&platform.settings()).await;
    page.sees("The webhooks could not be opened.").await;
    page.click("button", "Try again").await;
    page.sees("The webhooks could not be opened.").await;
    platform.refuses.store(false, Ordering::SeqCst);
    page.click("button", "Try again").await;
    page.enter_frame(FRAME).await;
    page.find("heading", "No webhooks yet").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_fails_keeps_the_frame_and_what_was_typed() {
    let receiver = Receiver::start().await;
    let platform = Platform::start(&receiver, "acme", json!({})).await;
    let page = platform.open().await;
    page.click("link", "Add Webhook").await;
    page.fill("URL", &receiver.url("/hook")).await;
    page.fill("Description optional", "CRM sync").await;
    platform.revoke().await;
    platform.refuses.store(true, Ordering::SeqCst);
    page.announce("/webhooks/new answered 401");
    page.announce("/api/webhooks-link answered 503");
    page.click("button", "Save").await;
    page.leave_frame().await;
    page.sees("The webhooks could not be opened.").await;
    platform.refuses.store(false, Ordering::SeqCst);
    page.click("button", "Try again").await;
    page.sees_no_longer("The webhooks could not be opened.").await;
    page.enter_frame(FRAME).await;
    page.sees("Test it now").await;
    page.find("article", "CRM sync Not used yet").await;
}

/// Sends a message from a frame of another origin to the platform's page and to the screen's frame, and waits until the
/// page has it.
async fn forge(page: &Page, other: &str, mut message: Value, mark: &str) {
    message["mark"] = mark.into();
    let query =
        url::form_urlencoded::Serializer::new(String::new()).append_pair("message", &message.to_string()).finish();
    let append =
        "const frame = document.createElement('iframe'); frame.src = arguments[0]; document.body.append(frame)";
    page.script(append, vec![format!("{other}?{query}").into()]).await;
    page.wait("a forged message", async || {
        let heard = page.script("return heard", Vec::new()).await;
        heard.as_array().unwrap().contains(&mark.into()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_others_are_ignored() {
    let platform = Platform::start(&Receiver::start().await, "acme", json!({})).await;
    let forger = Site::of_page(
        "<script>const message = JSON.parse(new URLSearchParams(location.search).get('message'));
         parent.postMessage(message, '*');
         for (let place = 0; place < parent.length; place++) parent[place].postMessage(message, '*');</script>",
    )
    .await;
    let other = forger.url("/");
    let page = platform.open().await;
    page.find("heading", "No webhooks yet").await;
    let height = page.fits_its_frame().await;
    page.leave_frame().await;
    page.script(LISTEN, Vec::new()).await;
    forge(&page, &other, json!({"lynkhook": "height", "height": 9999}), "height").await;
    forge(&page, &other, json!({"lynkhook": "expired"}), "expired").await;
    page.script("postMessage({lynkhook: 'height', height: 9999, mark: 'own'}, '*')", Vec::new()).await;
    let own = async || page.script("return heard.includes('own')", Vec::new()).await.as_bool().filter(|heard| *heard);
    page.wait("the page's own message", own).await;
    assert_eq!(page.script(HEIGHT, Vec::new()).await, height);
    assert_eq!(platform.site.asked(LINK).len(), 1, "nobody else asks for a link");

    // While the screen waits for a new link, somebody else gives it one of an account of his own.
    let stranger = json!({"access": "manage", "embedOrigin": platform.site.other_url("")});
    let stranger = platform.world.link_with("stranger", stranger).await;
    let held = platform.gate.lock().await;
    platform.revoke().await;
    page.announce("/webhooks answered 401");
    page.script(
        "document.querySelector('iframe').src = arguments[0]",
        vec![platform.world.page("/accounts/acme/webhooks").into()],
    )
    .await;
    page.wait("a question for a link", async || (platform.site.asked(LINK).len() == 2).then_some(())).await;
    forge(&page, &other, json!({"lynkhook": "link", "url": stranger}), "link").await;
    drop(held);
    page.enter_frame(FRAME).await;
    page.find("heading", "No webhooks yet").await;
    let (_, sessions) = platform.world.api(Method::GET, "/v1/accounts/stranger/portal-sessions", None).await;
    assert_eq!(sessions["items"], json!([]), "nobody entered with the forged link");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_origin_can_frame_the_screen() {
    let platform = Platform::start(&Receiver::start().await, "acme", json!({})).await;
    let allowed = json!({"access": "manage", "embedOrigin": platform.site.other_url("")});
    let links = [platform.world.link_with("acme", allowed).await, platform.world.link("acme").await];
    let [embedded, bare] = links.clone();
    let thief = Site::of_page(&format!("<iframe title=Stolen src='{embedded}'></iframe>")).await;
    let itself = Site::of_page(&format!("<iframe title=Stolen src='{bare}'></iframe>")).await;
    for url in [thief.other_url("/"), thief.url("/"), itself.other_url("/")] {
        let page = Browser::default().start().await;
        page.goto(&url).await;
        page.enter_frame("Stolen").await;
        assert!(!page.text().await.contains("webhooks"), "{}", page.text().await);
        let faults = page.faults().await;
        assert!(faults.iter().any(|fault| fault.contains("frame-ancestors")), "{faults:?}");
    }
    let (_, sessions) = platform.world.api(Method::GET, "/v1/accounts/acme/portal-sessions", None).await;
    assert_eq!(sessions["items"], json!([]), "no link was spent");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_in_a_frame_looks_right() {
    let platform = Platform::start(&Receiver::start().await, "acme", json!({})).await;
    let id = platform.world.busy_crm("acme").await;
    platform.world.write("acme", id, Attempt { minutes_ago: 1, ..Attempt::good(50) }).await;
    let page = Browser::without_third_party_cookies().start().await;
    page.set_time_zone(ZONE).await;
    page.goto(&platform.settings()).await;
    page.enter_frame(FRAME).await;
    page.find("article", "CRM sync Working").await;
    page.scene_looks_right("list-embedded").await;
    for theme in Theme::ALL {
        page.set_theme(theme).await;
        let ground = page.script("return getComputedStyle(document.documentElement).backgroundColor", Vec::new()).await;
        assert_eq!(ground, "rgba(0, 0, 0, 0)", "the page around is seen through it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn script_and_style_are_small_and_nothing_comes_from_elsewhere() {
    let platform = Platform::start(&Receiver::start().await, "acme", json!({})).await;
    let page = platform.open().await;
    page.find("heading", "No webhooks yet").await;
    let loaded = "return performance.getEntriesByType('resource').map(entry => [entry.name, entry.decodedBodySize])";
    let mut sizes: Vec<(String, u64)> = serde_json::from_value(page.script(loaded, Vec::new()).await).unwrap();
    page.leave_frame().await;
    let around: Vec<(String, u64)> = serde_json::from_value(page.script(loaded, Vec::new()).await).unwrap();
    sizes.extend(around.into_iter().filter(|(name, _)| kind(name) == "js"));
    for (name, size) in &sizes {
        assert!(name.starts_with(&platform.world.page("/")), "{name} is from elsewhere");
        let limit = match name.rsplit('/').next().unwrap() {
            "embed.js" => 2048,
            script if kind(script) == "js" => 12 * 1024,
            _ => 24 * 1024,
        };
        assert!(*size <= limit, "{name} has {size} bytes; at most {limit} are allowed");
    }
    let mut kinds: Vec<&str> = sizes.iter().map(|(name, _)| kind(name)).collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert!(
        kinds.starts_with(&["css", "js"]) && sizes.iter().any(|(name, _)| name.ends_with("/embed.js")),
        "{sizes:?}"
    );
}

/// The ending of a file's name.
fn kind(name: &str) -> &str {
    name.rsplit('.').next().unwrap()
}
