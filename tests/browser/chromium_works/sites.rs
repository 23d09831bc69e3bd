use serde_json::json;

use crate::{
    chromium::{Browser, Page},
    platform::Platform,
    site::{Site, page, page_with},
    support::Receiver,
};

const COOKIES: [(&str, &str); 2] = [
    ("set-cookie", "__Host-plain=1; Secure; HttpOnly; Path=/; SameSite=None"),
    ("set-cookie", "__Host-parted=1; Secure; HttpOnly; Path=/; SameSite=None; Partitioned"),
];

/// A page with a frame of the other site, in which a link leads on. Answers the cookies that came with the click.
async fn cookies_in_a_frame(browser: Browser) -> String {
    let site = Site::start(move |asked| {
        let host = asked.headers["host"].to_str().unwrap().replace("localhost", "127.0.0.1");
        std::future::ready(match asked.path.as_str() {
            "/outer" => page(&format!("<iframe title=Inner src='http://{host}/inner'></iframe>")),
            "/inner" => page_with("<a href='/next'>Next</a>", &COOKIES),
            _ => page("You came next"),
        })
    })
    .await;
    let page = browser.start().await;
    page.goto(&site.other_url("/outer")).await;
    page.enter_frame("Inner").await;
    page.click("link", "Next").await;
    page.sees("You came next").await;
    page.leave_frame().await;
    assert!(page.all("link", "Next").await.is_empty());
    site.asked("/next")[0].cookies().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_frame_of_another_site_only_a_partitioned_cookie_is_sent_when_third_party_cookies_are_blocked() {
    assert_eq!(cookies_in_a_frame(Browser::without_third_party_cookies()).await, "__Host-parted=1");
    assert_eq!(cookies_in_a_frame(Browser::default()).await, "__Host-plain=1; __Host-parted=1");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_test_has_cookies_of_its_own() {
    let site = Site::start(|asked| {
        std::future::ready(page_with(&format!("cookies: [{}]", asked.cookies()), &[("set-cookie", "a=1")]))
    })
    .await;
    let page = Page::open(&site.url("/")).await;
    page.reload().await;
    page.sees("cookies: [a=1]").await;
    let other = page.beside(Browser::default()).await;
    other.goto(&site.url("/")).await;
    other.sees("cookies: []").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_platform_of_the_tests_gets_a_link_from_the_server_for_its_own_origin() {
    let platform = Platform::start(&Receiver::start().await, "acme", json!({"user": "ada"})).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.post(platform.site.other_url("/api/webhooks-link")).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    let made: serde_json::Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    let link = made["url"].as_str().unwrap();
    assert!(link.starts_with(&platform.world.page("/accounts/acme/enter?link=")), "{link}");
    let other = platform.world.link("acme").await;
    assert!(other.starts_with(&platform.world.page("/accounts/acme/enter?link=")) && other != link, "{other}");
}
