//! The way in: links, sessions, and their ends.

use redis::AsyncCommands;
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

#[tokio::test]
async fn a_session_of_a_tab_and_one_of_a_frame_live_beside_each_other_and_a_dead_cookie_hides_no_living_one() {
    let receiver = Receiver::start().await;
    let api = serve_screen(&receiver).await;
    let framed = json!({"access": "manage", "embedOrigin": PLATFORM});
    let tab = Visit::with(&api, "acme", &json!({"access": "manage"})).await;
    let mut both = Visit::with(&api, "acme", &framed).await;
    let in_frame = [("sec-fetch-dest", "iframe")];
    both.cookie = format!("{}; {}", tab.cookie, both.cookie);
    let policy = async |visit: &Visit, headers: &[(&str, &str)]| {
        let page = visit.send(Method::GET, "/accounts/acme/webhooks", headers, None).await;
        assert_eq!(page.status, 200, "{page:?}");
        page.header("content-security-policy").unwrap().contains(PLATFORM)
    };
    assert!(policy(&both, &in_frame).await, "the frame has its own session");
    assert!(policy(&both, &[("lynkhook-frame", "1")]).await, "and so has its script");
    assert!(!policy(&both, &[("sec-fetch-dest", "document")]).await, "the tab has its own");
    // A cookie of the same name, left by an earlier visit, is sent first.
    let (name, _) = tab.cookie.split_once('=').unwrap();
    both.cookie = format!("{name}={}; {}", "x".repeat(43), tab.cookie);
    assert!(!policy(&both, &[]).await);
}

#[tokio::test]
async fn an_entry_ends_only_the_session_whose_cookie_it_replaces() {
    let receiver = Receiver::start().await;
    let api = serve_screen(&receiver).await;
    let colleague = Visit::manager(&api, "acme").await;
    let mut often = Visit::manager(&api, "acme").await;
    for _ in 0..101 {
        let link = new_link(&api, "acme", &json!({"access": "read"})).await;
        assert_eq!(often.enter(&link).await.status, 303);
    }
    assert_eq!(colleague.get("/webhooks").await.status, 200);
    let sessions = api.get("/v1/accounts/acme/portal-sessions").await;
    assert_eq!(sessions.json["items"].as_array().unwrap().len(), 2, "{sessions:?}");
}

#[tokio::test]
async fn no_more_events_are_discarded_than_the_question_named_and_none_after_somebody_elses_change() {
    let receiver = Receiver::start().await;
    let api = serve_screen(&receiver).await;
    let visit = Visit::manager(&api, "acme").await;
    let id = api.add("acme", &receiver.url("/hook")).await;
    api.post(&format!("/v1/accounts/acme/webhooks/{id}/disable"), &json!({})).await;
    let held = api.here.key(&format!("held:{id}"));
    let wait = async |event: &str| {
        let fields = [("id", event), ("envelope", "{}"), ("attempt", "1")];
        let _: String = api.here.redis.clone().xadd(&held, "*", &fields).await.unwrap();
    };
    let count = async || api.here.redis.clone().xlen::<_, u64>(&held).await.unwrap();
    wait("one").await;
    let question = visit.get(&format!("/webhooks/{id}/switch")).await;
    question.says("Discard the 1 event");
    let field = |name: &str| {
        let (_, rest) = question.html.split_once(&format!("name=\"{name}\" value=\"")).unwrap();
        rest.split('"').next().unwrap().to_owned()
    };
    let (number, revision) = (field("number"), field("revision"));
    let discard = [("to", "on"), ("held", "discard"), ("number", &*number), ("revision", &*revision)];
    wait("two").await;
    let again = visit.post(&format!("/webhooks/{id}/switch"), &discard).await;
    again.says("Discard the 2 events");
    assert_eq!(count().await, 2);
    let by_now = [("to", "on"), ("held", "discard"), ("number", "2"), ("revision", &*revision)];
    api.post(&format!("/v1/accounts/acme/webhooks/{id}/enable"), &json!({})).await;
    let late = visit.post(&format!("/webhooks/{id}/switch"), &by_now).await;
    assert_eq!(late.says("Somebody else changed the webhook").status, 412, "{late:?}");
    assert_eq!(count().await, 2);
}
