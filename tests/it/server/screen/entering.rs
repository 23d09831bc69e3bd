//! The way in: links, sessions, and their ends.

use reqwest::Method;
use serde_json::json;

use super::support::*;
use crate::support::*;

#[tokio::test]
async fn to_open_a_link_spends_nothing_and_its_button_opens_the_screen_once() {
    let receiver = Receiver::start().await;
    let api = serve_screen(&receiver).await;
    let link = new_link(&api, "acme", &json!({"access": "manage"})).await;
    let mut visit = Visit::stranger(&api, "acme");
    for _ in 0..3 {
        let asked = visit.send(Method::GET, &link, &[], None).await;
        assert_eq!(asked.status, 200, "{asked:?}");
        assert_eq!(asked.header("cache-control"), Some("no-store"));
        assert_eq!(asked.header("set-cookie"), None);
        asked.says("Open webhooks");
    }
    let entered = visit.enter(&link).await;
    assert_eq!(entered.status, 303, "{entered:?}");
    assert_eq!(entered.header("location"), Some("/accounts/acme/webhooks"));
    let cookie = entered.header("set-cookie").unwrap();
    for part in ["__Host-lynkhook-", "HttpOnly", "Secure", "SameSite=Lax", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("Partitioned") && !cookie.contains("Domain"), "{cookie}");
    assert_eq!(visit.get("/webhooks").await.says("No webhooks yet").status, 200);
    // The same browser: on to the screen. Another one: the link is spent.
    let again = visit.send(Method::GET, &link, &[], None).await;
    assert_eq!((again.status, again.header("location")), (303, Some("/accounts/acme/webhooks")));
    let mut other = Visit::stranger(&api, "acme");
    assert_eq!(other.send(Method::GET, &link, &[], None).await.says("was used or has expired").status, 410);
    assert_eq!(other.enter(&link).await.status, 410);
}

#[tokio::test]
async fn a_page_needs_a_session_of_its_own_account_and_an_ended_one_is_refused_at_once() {
    let receiver = Receiver::start().await;
    let api = serve_screen(&receiver).await;
    let acme = Visit::manager(&api, "acme").await;
    let mut globex = Visit::manager(&api, "globex").await;
    assert_eq!(Visit::stranger(&api, "acme").get("/webhooks").await.says("Your session has ended").status, 401);
    // The cookie of one account under the name of another's.
    let (name, _) = globex.cookie.split_once('=').unwrap();
    let (_, value) = acme.cookie.split_once('=').unwrap();
    globex.cookie = format!("{name}={value}");
    assert_eq!(globex.get("/webhooks").await.status, 401);
    // Both cookies, as a browser sends them.
    globex.cookie = format!("{}; {}", acme.cookie, globex.cookie);
    assert_eq!(globex.get("/webhooks").await.status, 401);
    assert_eq!(acme.get("/webhooks").await.status, 200);
    let ended = api.delete("/v1/accounts/acme/portal-sessions").await;
    assert_eq!(ended.json["ended"], 1);
    assert_eq!(acme.get("/webhooks").await.status, 401);
}

#[tokio::test]
async fn the_page_of_a_used_link_has_the_links_look_and_leads_back_to_the_platform() {
    let receiver = Receiver::start().await;
    let api = serve_screen(&receiver).await;
    let grant = json!({
        "access": "read", "embedOrigin": PLATFORM, "returnUrl": format!("{PLATFORM}/settings?a=1&b=2"),
        "theme": {"accent": "#3366ff", "productName": "Hirely"},
    });
    let link = new_link(&api, "acme", &grant).await;
    assert_eq!(Visit::stranger(&api, "acme").enter(&link).await.status, 303);
    let mut other = Visit::stranger(&api, "acme");
    // More often than an address may try unknown links.
    for _ in 0..12 {
        for page in [other.send(Method::GET, &link, &[], None).await, other.enter(&link).await] {
            assert_eq!(page.status, 410, "{page:?}");
            page.says("This link was used or has expired").says("Back to Hirely");
            assert!(page.html.contains("href=\"https://app.example.test/settings?a=1&#38;b=2\""), "{}", page.html);
            assert!(page.html.contains("/theme/3366ff-x-x-x.css"), "{}", page.html);
            let policy = page.header("content-security-policy").unwrap();
            assert!(policy.contains("frame-ancestors https://app.example.test;"), "{policy}");
            assert_eq!((page.header("x-frame-options"), page.header("set-cookie")), (None, None));
        }
    }
    let unknown = format!("/accounts/acme/enter?link={}", "A".repeat(43));
    let unknown = other.send(Method::GET, &unknown, &[], None).await;
    assert_eq!(unknown.says("This link was used or has expired").status, 410, "used links did not count");
    assert!(!unknown.html.contains("Hirely") && !unknown.html.contains("/settings"), "{}", unknown.html);
}

#[tokio::test]
async fn a_page_without_a_session_is_framed_only_in_a_frame_and_an_unknown_address_has_a_page() {
    let receiver = Receiver::start().await;
    let api = serve_screen(&receiver).await;
    let visit = Visit::stranger(&api, "acme");
    for (dest, ancestors) in [("iframe", PLATFORM), ("document", "'none'")] {
        let page = visit.send(Method::GET, "/accounts/acme/webhooks", &[("sec-fetch-dest", dest)], None).await;
        assert_eq!(page.says("Your session has ended").status, 401);
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.contains(&format!("frame-ancestors {ancestors};")), "{dest}: {policy}");
    }
    for path in ["/accounts/acme/nothing", "/accounts/acme", "/accounts/"] {
        let page = visit.send(Method::GET, path, &[], None).await;
        assert_eq!(page.says("There is no such page").status, 404);
        assert!(page.header("content-security-policy").is_some());
    }
}
