//! Hostile text in every field that a customer, a producer, a receiver or a link can fill. Pages show it as text.

use lynkhook::domain::webhook::WebhookId;
use redis::AsyncCommands;
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    html::{EVIL, assert_safe},
    world::Route,
};
use crate::{
    server::{screen::support::*, support::Api},
    support::*,
};

/// Ends attributes, elements, comments and scripts, and brings an element and an attribute of its own.
const HOSTILE: &str =
    "\"'><x-evil x-evil='1' onload=evil()></title></textarea></script>--><!--<script>evil()</script>{{7}}&lt;&#34;";
/// A link's names have 64 characters at most.
const NAME: &str = "\"'><x-evil x-evil='1'></title><script>evil()</script>&lt;&#34;";
/// The path of the way back, as an address may have it.
const BACK: &str = "/'x-evil='1'?b=%22%3E&c=javascript:evil()";
/// Characters that nobody sees, or that turn the text around them.
const UNSEEN: &str = "\u{202e}\u{2066}\u{200b}\u{feff}gpj.exe";
/// As long as no page is.
const LONG: usize = 100_000;

/// A description that the rules allow.
fn description() -> String {
    format!("{HOSTILE}{UNSEEN}")
}

/// Any text that Redis may have from elsewhere: with control characters, and one word of 100 KB.
fn worst() -> String {
    format!("{HOSTILE}{UNSEEN}\u{0}\u{7}\u{1b}[31m\u{85}\r\n{}", "w".repeat(LONG))
}

/// An account with hostile text everywhere: its API, and the ids of its webhooks.
async fn world(receiver: &Receiver) -> (Api, [String; 2]) {
    let api = serve_screen(receiver).await;
    let answer = worst().into_bytes();
    receiver.plan("/'%22%3E%3Cx-evil%3E", [Answer::StatusWithBody(500, answer.into())]);
    receiver.plan("/moved", [Answer::Redirect(format!("https://evil.example/{HOSTILE}"))]);
    let mut ids = Vec::new();
    for (path, authentication) in [
        (
            "/'%22%3E%3Cx-evil%3E?a='x-evil='1'&b=javascript:evil()",
            json!({"type": "header", "name": "X-'&|`~!#$%*+.^_", "value": HOSTILE}),
        ),
        ("/moved", json!({"type": "bearer", "token": "0123456789abcdef"})),
    ] {
        let new = json!({"url": receiver.url(path), "description": description(), "authentication": authentication});
        let added = api.post("/v1/accounts/acme/webhooks", &new).await;
        assert_eq!(added.status, 201, "{added:?}");
        ids.push(added.json["id"].as_str().unwrap().to_owned());
    }
    let id: WebhookId = ids[0].parse().unwrap();
    let time = api.here.store.now(0).await.unwrap().to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    let mut redis = api.here.redis.clone();
    let envelope =
        json!({"event": "transcript.created", "timestamp": time, "data": {"messageId": HOSTILE, "t": worst()}});
    let entry = |delivery: &str, time: &str| {
        json!({
            "status": "failed", "event": worst(), "httpStatus": 503, "attempt": 1, "durationMs": 1, "error": worst(),
            "identifiers": {"messageId": worst(), HOSTILE: UNSEEN}, "deliveryId": delivery, "final": true, "time": time,
        })
    };
    for (delivery, time) in [("f1", &*time), (HOSTILE, &time)] {
        let log = entry(&format!("{delivery}.{id}"), time).to_string();
        let _: () = redis.lpush(api.here.key(&format!("logs:{id}")), log).await.unwrap();
    }
    let failed = text(&first("acme", id, "f1").next_attempt().next_attempt(), &envelope.to_string());
    let fields = [("delivery", failed), ("log", entry(&format!("f1.{id}"), &time).to_string())];
    let _: String = redis.xadd(api.here.key(&format!("failed:{id}")), "1774500000000-0", &fields).await.unwrap();
    let held = text(&first("acme", id, "h1"), &envelope.to_string());
    let _: String = redis.xadd(api.here.key(&format!("held:{id}")), "*", &[("delivery", held)]).await.unwrap();
    (api, [ids[0].clone(), ids[1].clone()])
}

fn grant() -> Value {
    json!({
        "access": "manage", "payloads": true, "user": NAME, "returnUrl": format!("{PLATFORM}{BACK}"),
        "theme": {"productName": NAME, "mode": "dark", "accent": "#3366ff"},
    })
}

/// The texts that a visitor can send in place of others.
fn sent() -> [String; 5] {
    let bidi = format!("{HOSTILE}{UNSEEN}");
    [bidi, "javascript:x-evil()".to_owned(), "\u{0}\u{1b}\r\n".to_owned(), "w".repeat(50_000), "//x-evil".to_owned()]
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

#[tokio::test]
async fn no_hostile_text_is_more_than_text_on_any_page() {
    let receiver = Receiver::start().await;
    let (api, ids) = world(&receiver).await;
    let visit = Visit::with(&api, "acme", &grant()).await;
    let back = format!("{PLATFORM}{BACK}");
    let mut all = String::new();
    let mut judge = |place: &str, page: &Page| {
        assert!(page.status < 500, "{place}: {page:?}");
        if page.header("content-type") == Some("text/html; charset=utf-8") {
            let seen = assert_safe(place, page, Some(&back)).text();
            assert!(page.html.len() < 400_000, "{place} has {} bytes", page.html.len());
            all.extend([place, "\n", &*seen]);
        }
    };
    for route in Route::all().iter().filter(|route| route.is_read) {
        for delivery in [format!("f1.{}", ids[0]), format!("h1.{}", ids[0]), encoded(&format!("{HOSTILE}.{}", ids[0]))]
        {
            let path = route.of(&ids[0], &delivery);
            let page = visit.get(&path).await;
            assert!([200, 303, 404].contains(&page.status), "{path}: {page:?}");
            judge(&path, &page);
        }
    }
    for id in &ids {
        let tested = visit.post(&format!("/webhooks/{id}/test"), &[]).await;
        assert_eq!(tested.says("Failure").status, 200, "{tested:?}");
        judge("a test", &tested);
    }
    // A page without a session: the used link's own.
    let link = new_link(&api, "acme", &grant()).await;
    let mut stranger = Visit::stranger(&api, "acme");
    judge("a link", &stranger.send(Method::GET, &link, &[], None).await);
    stranger.enter(&link).await;
    judge("a used link", &Visit::stranger(&api, "acme").send(Method::GET, &link, &[], None).await);
    for words in ["<x-evil x-evil='1' onload=evil()>", "<script>evil()</script>", "⟨U+202E⟩", "⟨U+200B⟩", "␀", "␛[31m"]
    {
        assert!(all.contains(words), "{words} is on no page, so nothing was tried");
    }
}

#[tokio::test]
async fn no_hostile_text_that_a_visitor_sends_is_more_than_text_in_the_answer() {
    let receiver = Receiver::start().await;
    let (api, ids) = world(&receiver).await;
    let visit = Visit::with(&api, "acme", &json!({"access": "manage", "payloads": true})).await;
    let judge = |place: &str, page: &Page| {
        assert!(page.status < 500, "{place}: {page:?}");
        if page.header("content-type") == Some("text/html; charset=utf-8") {
            assert_safe(place, page, None);
        }
        if let Some(location) = page.header("location") {
            assert!(location.starts_with("/accounts/acme/webhooks") && !location.contains(EVIL), "{place}: {location}");
        }
    };
    let fields = [
        "url",
        "event",
        "authentication",
        "token",
        "header_name",
        "header_value",
        "description",
        "active",
        "revision",
        "to",
        "held",
        "delivery",
        "since",
        "until",
        "done",
        "left",
        "again",
    ];
    for hostile in sent() {
        let in_path = encoded(&hostile);
        for route in Route::all() {
            let (own, other) = (route.of(&ids[0], &format!("f1.{}", ids[0])), route.of(&in_path, &in_path));
            if route.is_read && in_path.len() < 5_000 {
                for parameter in ["done", "saved", "after", "status", "event", "identifier", "redelivered"] {
                    let path = format!("{own}?{parameter}={in_path}");
                    judge(&path, &visit.get(&path).await);
                }
                judge(&own, &visit.get(&format!("{own}?{in_path}={in_path}")).await);
                judge(&other, &visit.get(&other).await);
                let account = format!("/accounts/{in_path}/webhooks");
                judge(&account, &visit.send(Method::GET, &account, &[], None).await);
            }
            if route.is_form && !own.ends_with("/delete") {
                for field in fields {
                    judge(&own, &visit.post(&own, &[(field, &hostile)]).await);
                }
                let all: Vec<_> =
                    fields.iter().filter(|_| hostile.len() < 2_000).map(|name| (*name, &*hostile)).collect();
                judge(&own, &visit.post(&own, &all).await);
                // Of an earlier session: what was typed is shown again.
                let mut ended = Visit::stranger(&api, "acme");
                ended.cookie = format!("{}=x", visit.cookie.split_once('=').unwrap().0);
                judge(&own, &ended.post(&own, &all).await);
            }
        }
    }
    assert!(api.get("/v1/accounts/acme/webhooks").await.status == 200);
}
