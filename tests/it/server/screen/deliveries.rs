//! Deliveries that are kept whole: the lists, and the payload for those who may read it.

use lynkhook::domain::webhook::WebhookId;
use reqwest::Method;
use serde_json::json;

use super::support::*;
use crate::{server::support::Api, support::*};

/// A webhook of `acme` that has one failed delivery, `e1`, with this envelope.
async fn with_failed(api: &Api, envelope: &str) -> (String, String) {
    let id = api.add("acme", "https://example.com/").await;
    api.here.fail(id.parse::<WebhookId>().unwrap(), "1774500000000-0", "e1", envelope).await;
    let page = format!("/webhooks/{id}/deliveries/e1.{id}");
    (id, page)
}

async fn download(visit: &Visit, page: &str) -> Page {
    visit.send(Method::GET, &visit.at(&format!("{page}/payload")), &[], None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_events_are_listed_oldest_first_by_pages_each_with_its_payload() {
    let receiver = Receiver::start().await;
    let api = serve_screen(&receiver).await;
    let _worker = api.here.program.worker([]);
    let id = api.add("acme", &receiver.url("/hook")).await;
    let visit = Visit::manager(&api, "acme").await;
    assert_eq!(visit.post(&format!("/webhooks/{id}/switch"), &[("to", "off")]).await.status, 303);
    let envelope = format!(" {TRANSCRIPT}\n\n");
    for _ in 0..51 {
        api.here.push("acme", &envelope).await;
    }
    let list = format!("/webhooks/{id}/held");
    eventually(SOON, "held events", async || visit.get(&list).await.text().contains("51 events wait").then_some(()))
        .await;
    let logs = visit.get(&format!("/webhooks/{id}/logs")).await;
    logs.says("51 events wait This webhook is inactive. Switch on to send them. The oldest is from").says("View them");
    assert!(logs.html.contains(&format!("/accounts/acme/webhooks/{id}/switch\">Switch on")), "{}", logs.html);
    let page = visit.get(&list).await;
    page.says("because this webhook is inactive").says("50 shown").says("Newer events");
    let next = page.html.split("href=\"/accounts/acme").find(|rest| rest.contains("/held?after=")).unwrap();
    let next = visit.get(next.split('"').next().unwrap()).await;
    next.says("1 shown");
    let link = next.html.split("href=\"/accounts/acme").find(|rest| rest.contains("/deliveries/")).unwrap();
    let link = link.split('"').next().unwrap();
    let delivery = visit.get(link).await;
    delivery.says("It waits because this webhook is inactive.").says("Waiting since").says("Hi, thanks for calling.");
    assert_eq!(download(&visit, link).await.html, envelope, "byte for byte");
    assert_eq!(visit.get(&format!("{list}?after=nonsense")).await.status, 400);
}

#[tokio::test]
async fn a_payload_is_shown_and_downloaded_as_it_is_sent_by_those_who_may_read_it() {
    let api = serve_screen(&Receiver::start().await).await;
    let envelope = format!(" {}\n", TRANSCRIPT.replace("Hi,", "<b>Hi</b>\u{202e},"));
    let (_, path) = with_failed(&api, &envelope).await;
    let visit = Visit::manager(&api, "acme").await;
    let page = visit.get(&path).await;
    page.says("It failed, and can be sent again.").says("HTTP 503 Service Unavailable").says("webhook-id e1");
    page.says("<b>Hi</b>⟨U+202E⟩, thanks for calling.");
    page.says("The log has newer attempts only");
    assert!(page.html.contains("&#60;b&#62;Hi&#60;/b&#62;\u{202e}"), "the copy is exact");
    let file = download(&visit, &path).await;
    assert_eq!((file.status, &*file.html), (200, &*envelope));
    for (name, value) in [
        ("content-type", "application/json"),
        ("content-disposition", "attachment; filename=\"payload.json\""),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(file.header(name), Some(value), "{name}");
    }
    let without = Visit::with(&api, "acme", &json!({"access": "manage", "payloads": false})).await;
    let page = without.get(&path).await;
    page.says("You may not read payloads");
    assert!(!page.html.contains("thanks for calling") && !page.html.contains("/payload\""), "{}", page.html);
    let refused = download(&without, &path).await;
    assert_eq!(refused.says("You may not read payloads").status, 403);
    assert!(!refused.html.contains("thanks for calling"));
    assert_eq!(download(&visit, &path.replace("e1.", "e2.")).await.status, 404);
}

#[tokio::test]
async fn of_a_long_payload_the_page_has_the_beginning_and_the_file_has_all() {
    let api = serve_screen(&Receiver::start().await).await;
    let visit = Visit::manager(&api, "acme").await;
    for (bytes, is_long) in [(64 << 10, false), ((64 << 10) + 1, true), (1 << 20, true)] {
        let envelope = envelope_of(bytes);
        assert_eq!(envelope.len(), bytes);
        let (id, path) = with_failed(&api, &envelope).await;
        let page = visit.get(&path).await;
        assert_eq!(page.text().contains("These are its first 64 KiB."), is_long, "{bytes}");
        assert_eq!(page.html.contains("Copy the payload"), !is_long, "{bytes}");
        assert!(page.html.len() < 200 << 10, "{bytes}: {}", page.html.len());
        assert!(download(&visit, &path).await.html == envelope, "{bytes}");
        api.delete(&format!("/v1/accounts/acme/webhooks/{id}")).await;
    }
    // An attribute keeps no carriage return, so that a copy would not be exact.
    let (_, path) = with_failed(&api, &format!("{TRANSCRIPT}\r\n")).await;
    let page = visit.get(&path).await;
    assert!(!page.html.contains("Copy the payload") && page.text().contains('␍'), "{}", page.html);
}
