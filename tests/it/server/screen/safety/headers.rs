//! The headers of every page, the attributes of cookies, and the screen's files.

use reqwest::Method;
use serde_json::json;

use super::{
    html::{assert_safe, parse},
    world::{Route, World},
};
use crate::{
    server::{screen::support::*, support::Api},
    support::*,
};

/// Asserts the headers of a page that only `frame` may show in a frame.
#[track_caller]
fn assert_guarded(place: &str, page: &Page, frame: Option<&str>) {
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors {}; require-trusted-types-for 'script'; \
         trusted-types lynkhook",
        frame.unwrap_or("'none'")
    );
    for (name, value) in [
        ("content-security-policy", Some(&*policy)),
        ("x-frame-options", if frame.is_some() { None } else { Some("DENY") }),
        ("x-content-type-options", Some("nosniff")),
        ("referrer-policy", Some("same-origin")),
        ("cross-origin-opener-policy", Some("same-origin")),
        ("cross-origin-resource-policy", Some("same-origin")),
        ("permissions-policy", Some("camera=(), geolocation=(), microphone=(), clipboard-write=(self)")),
        ("cache-control", Some("no-store")),
        ("access-control-allow-origin", None),
    ] {
        assert_eq!(page.header(name), value, "{name} of {place}: {page:?}");
    }
    assert!(page.headers.get_all("content-security-policy").iter().count() == 1, "{place}");
    if page.header("content-type") == Some("text/html; charset=utf-8") {
        assert_safe(place, page, None);
    }
}

#[tokio::test]
async fn every_page_and_every_refusal_has_the_headers_that_guard_it() {
    let world = World::new().await;
    for (embed, frame) in [(json!(null), None), (json!(PLATFORM), Some(PLATFORM))] {
        let grant = json!({"access": "manage", "payloads": true, "embedOrigin": embed});
        let visit = Visit::with(&world.api, "acme", &grant).await;
        let link = new_link(&world.api, "acme", &grant).await;
        let mut entering = Visit::stranger(&world.api, "acme");
        assert_guarded("the page of a link", &entering.send(Method::GET, &link, &[], None).await, frame);
        assert_guarded("the entry", &entering.enter(&link).await, frame);
        let used = Visit::stranger(&world.api, "acme").enter(&link).await;
        assert_eq!(used.status, 410);
        assert_guarded("a used link", &used, frame);
        for route in Route::all() {
            let path = route.of(&world.hook, &world.delivery);
            if route.is_read {
                assert_guarded(&path, &visit.get(&path).await, frame);
            }
            if route.is_form {
                assert_guarded(&path, &visit.post(&path, &[]).await, frame);
                // A form of another site is refused before the session is looked at.
                let other = visit.send(Method::POST, &visit.at(&path), &[("origin", PLATFORM)], Some(&[])).await;
                assert_eq!(other.status, 403);
                assert_guarded(&path, &other, None);
            }
        }
        for (path, status) in [("/webhooks/wh_x/delete", 404), ("/webhooks?nonsense=1", 400)] {
            let page = visit.get(path).await;
            assert_eq!(page.status, status, "{page:?}");
            assert_guarded(path, &page, frame);
        }
        let wrong = visit.send(Method::PUT, &visit.at("/webhooks"), &[("origin", PUBLIC)], None).await;
        assert_eq!(wrong.status, 405);
        assert_eq!(wrong.header("content-type"), Some("application/problem+json"), "it is no page");
        // A session that has ended is told to the page around the frame that had it.
        world.api.delete("/v1/accounts/acme/portal-sessions").await;
        let ended = visit.get("/webhooks").await;
        assert_eq!(ended.status, 401);
        assert_guarded("an ended session", &ended, frame);
    }
}

#[tokio::test]
async fn a_page_without_a_session_is_framed_only_by_an_origin_that_the_settings_allow() {
    let receiver = Receiver::start().await;
    let two = format!("{PLATFORM},https://other.example.test");
    let settings = [("LYNKHOOK_SERVER__PUBLIC_URL", PUBLIC), ("LYNKHOOK_PORTAL__EMBED_ORIGINS", &*two)];
    let api = Api::of(Installation::new(&receiver).await, settings).await;
    let mut visit = Visit::stranger(&api, "acme");
    assert_guarded("a page of nobody", &visit.get("/webhooks").await, None);
    let name = {
        let visit = Visit::manager(&api, "acme").await;
        visit.cookie.split_once('=').unwrap().0.to_owned()
    };
    // Base64 of origins behind a made-up token.
    for (origin, frame) in [
        ("aHR0cHM6Ly9vdGhlci5leGFtcGxlLnRlc3Q", Some("https://other.example.test")),
        ("aHR0cHM6Ly9ldmlsLmV4YW1wbGU", None),
        ("Kg", None),
        ("aHR0cHM6Ly9vdGhlci5leGFtcGxlLnRlc3QgKg", None),
        ("!", None),
    ] {
        visit.cookie = format!("{name}=x.{origin}");
        assert_guarded(origin, &visit.get("/webhooks").await, frame);
    }
}

#[tokio::test]
async fn the_cookie_is_for_this_host_alone_and_crosses_sites_only_in_a_frame() {
    let world = World::new().await;
    for (grant, site) in [
        (json!({"access": "read"}), &["SameSite=Lax"][..]),
        (json!({"access": "read", "embedOrigin": PLATFORM}), &["SameSite=None", "Partitioned"]),
    ] {
        let link = new_link(&world.api, "acme", &grant).await;
        let entered = Visit::stranger(&world.api, "acme").enter(&link).await;
        let mut cookies = entered.headers.get_all("set-cookie").iter();
        let cookie = cookies.next().unwrap().to_str().unwrap();
        assert!(cookies.next().is_none());
        let mut parts: Vec<&str> = cookie.split("; ").collect();
        let (name, value) = parts.remove(0).split_once('=').unwrap();
        let name = name.strip_prefix("__Host-lynkhook-").unwrap();
        // A frame's cookie does not replace a tab's.
        let hash = name.strip_suffix("-frame").unwrap_or(name);
        assert_eq!(hash != name, site.len() == 2, "{cookie}");
        assert!(hash.len() == 8 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "{cookie}");
        let (token, origin) = value.split_once('.').map_or((value, None), |(token, origin)| (token, Some(origin)));
        assert_eq!((token.len(), origin.is_some()), (43, site.len() == 2), "{cookie}");
        parts.sort_unstable();
        let mut wanted = [&["HttpOnly", "Secure", "Path=/", "Max-Age=28800"], site].concat();
        wanted.sort_unstable();
        assert_eq!(parts, wanted, "{cookie}");
        assert!(!entered.header("location").unwrap().contains(token));
    }
}

#[tokio::test]
async fn the_screens_files_run_and_load_nothing_from_elsewhere() {
    let world = World::new().await;
    let grant = json!({"access": "read", "theme": {"accent": "#3366ff", "radius": 8}});
    let visit = Visit::with(&world.api, "acme", &grant).await;
    let page = visit.get("/webhooks").await;
    let mut files = parse(&page.html).files();
    assert_eq!(files.len(), 4, "{files:?}");
    files.push("/embed.js".to_owned());
    for path in files {
        let file = visit.send(Method::GET, &path, &[], None).await;
        assert_eq!(file.status, 200, "{path}");
        assert_eq!(file.header("x-content-type-options"), Some("nosniff"), "{path}");
        let media = match path.rsplit('.').next().unwrap() {
            "css" => "text/css; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            "svg" => "image/svg+xml",
            other => panic!("{other}"),
        };
        assert_eq!(file.header("content-type"), Some(media), "{path}");
        assert!(file.header("set-cookie").is_none() && file.header("cache-control").unwrap().starts_with("public"));
        for banned in [
            "eval(",
            "new Function",
            "innerHTML",
            "outerHTML",
            "insertAdjacent",
            "document.write",
            "srcdoc",
            "setAttribute(\"style\"",
            "setAttribute(\"on",
            "import(",
            "importScripts",
            "javascript:",
            "localStorage",
            "@import",
            "url(",
            "expression(",
            "<script",
            " style=",
            " onload",
        ] {
            assert!(!file.html.contains(banned), "{path} has {banned}");
        }
        let links = file.html.replace("http://www.w3.org/2000/svg", "");
        assert!(!links.contains("http:") && !links.contains("https:"), "{path} names an address");
    }
    for missing in ["/screen/screen.js", "/screen/..%2fmod.rs", "/screen/", "/theme/red;}.css", "/theme/x"] {
        let page = visit.send(Method::GET, missing, &[], None).await;
        assert_eq!(page.status, 404, "{missing}");
    }
}
