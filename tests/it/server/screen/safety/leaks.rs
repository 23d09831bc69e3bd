//! No secret is on a page, in a header other than its own, or in a line of the server's log.

use std::fmt::Write;

use redis::AsyncCommands;
use reqwest::Method;
use serde_json::json;

use super::world::Route;
use crate::{
    cli::secrecy::{
        LOUDEST,
        canary::{CAPABILITY, QUERY, TOKEN, VALUE, assert_hidden},
    },
    server::{screen::support::*, support::Api},
    support::*,
};

/// Fields of all forms, with secrets in the right and in wrong ones.
const TYPED: [(&str, &str); 10] = [
    ("event", "transcript.created"),
    ("authentication", "header"),
    ("token", TOKEN),
    ("header_name", "Cookie"),
    ("header_value", VALUE),
    ("revision", "1"),
    ("left", "token"),
    ("active", "true"),
    ("to", VALUE),
    ("delivery", "f2.x"),
];

/// Webhooks whose URLs and authentication are secret. Answers their ids.
async fn with_secrets(api: &Api, receiver: &Receiver) -> Vec<String> {
    let url = receiver.url(&format!("{CAPABILITY}?key={QUERY}"));
    let mut ids = Vec::new();
    for authentication in
        [json!({"type": "bearer", "token": TOKEN}), json!({"type": "header", "name": "X-Key", "value": VALUE})]
    {
        let webhook = json!({"url": url, "authentication": authentication});
        let added = api.post("/v1/accounts/acme/webhooks", &webhook).await;
        ids.push(added.json["id"].as_str().unwrap().to_owned());
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_on_a_page_or_in_the_servers_log_at_its_loudest() {
    let receiver = Receiver::start().await;
    // The endpoint answers with all that it got.
    receiver.plan_each(CAPABILITY, |request| {
        let echoed = format!("{:?}\n{}", request.headers, String::from_utf8_lossy(&request.body));
        Answer::StatusWithBody(401, echoed.into())
    });
    let settings = [
        ("LYNKHOOK_SERVER__PUBLIC_URL", PUBLIC),
        ("LYNKHOOK_PORTAL__EMBED_ORIGINS", PLATFORM),
        ("LYNKHOOK_LOG__FILTER", LOUDEST),
    ];
    let api = Api::of(Installation::new(&receiver).await, settings).await;
    let ids = with_secrets(&api, &receiver).await;
    let stored: Vec<String> = api.here.redis.clone().hvals(api.here.key("webhooks:acme")).await.unwrap();
    let sealed: Vec<String> = stored.iter().map(|json| sealed(json)).collect();

    let grant = json!({"access": "manage", "payloads": true, "embedOrigin": PLATFORM});
    let link = new_link(&api, "acme", &grant).await;
    let link_token = link.rsplit('=').next().unwrap().to_owned();
    let mut visit = Visit::stranger(&api, "acme");
    visit.send(Method::GET, &link, &[], None).await;
    assert_eq!(visit.enter(&link).await.status, 303);
    let session = visit.cookie.split_once('=').unwrap().1.split('.').next().unwrap().to_owned();
    visit.token = visit.get("/webhooks").await.token();
    let mut seen = String::new();
    let mut take = |page: Page| write!(seen, "{:?}\n{}", page.headers, page.html).unwrap();
    // The used link, with and without its session.
    take(visit.send(Method::GET, &link, &[], None).await);
    take(Visit::stranger(&api, "acme").send(Method::GET, &link, &[], None).await);
    take(Visit::stranger(&api, "acme").enter(&link).await);
    for id in &ids {
        let tested = visit.post(&format!("/webhooks/{id}/test"), &[]).await;
        assert_eq!(tested.says("Failure").says("HTTP/1.1 401").status, 200);
        take(tested);
        for route in Route::all() {
            let path = route.of(id, &format!("f1.{id}"));
            if route.is_read {
                take(visit.get(&path).await);
            }
            if route.is_form && !path.ends_with("/delete") {
                // Beside a fault, and without one.
                for url in ["http://faulty.example/", "https://example.com/"] {
                    let fields: Vec<_> = TYPED.into_iter().chain([("url", url)]).collect();
                    take(visit.post(&path, &fields).await);
                }
            }
        }
    }
    assert!(seen.contains("••••arer") && seen.contains(CAPABILITY), "the pages are the right ones");
    let form_token = visit.token.clone();
    assert!(seen.contains(&form_token));
    let key = &api.admin[18..61];
    let mut secrets = vec![TOKEN, VALUE, key, &link_token, &session];
    secrets.extend(sealed.iter().map(|text| &**text));
    assert_hidden("a page", &seen, secrets.iter().copied());
    api.process.sigterm();
    let output = api.process.output(SOON).await;
    let log = output.stderr + &output.stdout;
    assert!(
        log.contains("webhook tested") && (log.contains("\"level\":\"TRACE\"") || log.contains("\"level\":\"DEBUG\"")),
        "it is loud"
    );
    secrets.extend([CAPABILITY, QUERY, &*form_token]);
    assert_hidden("the server's log", &log, secrets);
}

/// The sealed secret of a webhook as Redis has it.
fn sealed(settings: &str) -> String {
    let settings: serde_json::Value = serde_json::from_str(settings).unwrap();
    let authentication = settings["authentication"].as_object().unwrap();
    let (_, sealed) = authentication.iter().find(|(name, _)| !["type", "name"].contains(&name.as_str())).unwrap();
    sealed.as_str().unwrap_or_else(|| panic!("{settings}")).to_owned()
}
