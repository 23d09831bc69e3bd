//! The delivery log: its columns, groups and filters, and redelivering.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Duration, Utc};
use lynkhook::domain::webhook::WebhookId;
use redis::AsyncCommands;
use serde_json::{Value, json};

use super::support::*;
use crate::{server::support::Api, support::*};

/// An entry of a log, some seconds ago.
fn entry(delivery: &str, attempt: u8, seconds_ago: i64, more: &Value) -> Value {
    let time = (Utc::now() - Duration::seconds(seconds_ago)).to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    let mut entry = json!({
        "status": "failed", "event": "transcript.created", "httpStatus": 503, "attempt": attempt, "durationMs": 121,
        "error": "HTTP 503 Service Unavailable", "identifiers": {"messageId": format!("m-{delivery}")},
        "time": time, "deliveryId": delivery, "final": false,
    });
    entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    entry
}

/// Writes a log by hand, newest first.
pub(super) async fn write_log(api: &Api, webhook: &str, entries: &[Value]) {
    let key = api.here.key(&format!("logs:{webhook}"));
    for entry in entries {
        let _: () = api.here.redis.clone().rpush(&key, entry.to_string()).await.unwrap();
    }
}

fn success() -> Value {
    json!({"status": "success", "httpStatus": 200, "error": null, "durationMs": 1234, "final": true})
}

/// The places of these texts, which must occur in this order.
#[track_caller]
fn in_order(page: &Page, texts: &[&str]) {
    let all = page.text();
    let mut rest = &*all;
    for text in texts {
        rest = rest.split_once(text).unwrap_or_else(|| panic!("{text:?} is not next: {rest}\nof {all}")).1;
    }
}

#[tokio::test]
async fn the_log_has_the_columns_of_the_guide_and_a_group_for_each_delivery_newest_first() {
    let receiver = Receiver::start().await;
    let api = serve_screen(&receiver).await;
    let id = api.add("acme", "https://example.com/").await;
    let visit = Visit::manager(&api, "acme").await;
    let path = format!("/webhooks/{id}/logs");
    visit.get(&path).await.says("Nothing was sent yet").says("Test the webhook");
    let (one, other) = (format!("evt_1-a.{id}"), format!("evt_2.{id}"));
    let network = json!({"httpStatus": "Network Error", "error": "timed out after 10 s while connecting"});
    let entries = [
        entry(&one, 3, 10, &json!({"final": true})),
        entry(&other, 1, 12, &success()),
        entry(&one, 2, 14, &network),
        entry(&one, 1, 16, &json!({})),
        entry(&one, 1, 90, &json!({"redelivery": 1, "event": "webhook.test", "identifiers": {}})),
    ];
    write_log(&api, &id, &entries).await;
    let page = visit.get(&path).await;
    assert_eq!(page.status, 200);
    page.says("Status Event HTTP Status Attempt Duration Error Identifiers Time").says("5 attempts of 2 deliveries");
    assert_eq!(page.html.matches("<tbody").count(), 3, "a group for each delivery and redelivery");
    in_order(
        &page,
        &[
            "Delivery evt_1-a Failure transcript.created 503 3 121 ms HTTP 503 Service Unavailable messageId",
            "Failure transcript.created Network Error 2 121 ms timed out after 10 s while connecting",
            "Failure transcript.created 503 1",
            "Delivery evt_2 Success transcript.created 200 1 1.2 s messageId",
            "Delivery evt_1-a redelivery 1 Failure webhook.test 503 1",
        ],
    );
    for text in [
        format!("data-copy=\"{one}\""),
        format!("data-copy=\"m-{one}\" aria-label=\"Copy messageId\""),
        format!("href=\"/accounts/acme/webhooks/{id}/deliveries/{one}\""),
        format!("<time datetime=\"{}\">", entries[0]["time"].as_str().unwrap()),
    ] {
        assert!(page.html.contains(&text), "{text} is not in {}", page.html);
    }
    assert!(!page.text().contains("Redeliver"), "nothing is kept");
    visit.get(&format!("/webhooks/{id}/deliveries/{one}")).await.says("It failed, and is no longer kept.");
    let delivered = visit.get(&format!("/webhooks/{id}/deliveries/{other}")).await;
    delivered.says("Your endpoint received it.").says("The payload is kept only while a delivery waits");
    assert_eq!(visit.get(&format!("/webhooks/{id}/deliveries/evt_3.{id}")).await.status, 404);
}

#[tokio::test]
async fn a_filter_chooses_attempts_and_stays_in_its_fields() {
    let api = serve_screen(&Receiver::start().await).await;
    let id = api.add("acme", "https://example.com/").await;
    let visit = Visit::manager(&api, "acme").await;
    let [one, two, three] = ["one", "two", "three"].map(|event| format!("{event}.{id}"));
    let test = json!({"event": "webhook.test", "identifiers": {"n": 12, "messageId": "x=1 & \"y\""}});
    let entries = [entry(&one, 1, 1, &success()), entry(&two, 1, 2, &json!({})), entry(&three, 1, 3, &test)];
    write_log(&api, &id, &entries).await;
    let path = format!("/webhooks/{id}/logs");
    for (query, chosen) in [
        ("", "one two three"),
        ("status=&event=&identifier=", "one two three"),
        ("status=success", "one"),
        ("status=failed", "two three"),
        ("event=webhook.test", "three"),
        ("event=transcript.created&status=failed", "two"),
        ("identifier=12", "three"),
        ("identifier=+n%3D12+", "three"),
        ("identifier=x%3D1+%26+%22y%22", "three"),
    ] {
        let page = visit.get(&format!("{path}?{query}")).await;
        assert_eq!(page.status, 200, "{query}: {page:?}");
        let shown: Vec<_> = ["one", "two", "three"]
            .into_iter()
            .filter(|event| page.html.contains(&format!("deliveries/{event}.{id}")))
            .collect();
        assert_eq!(shown.join(" "), chosen, "{query}");
    }
    let page = visit.get(&format!("{path}?status=failed&event=gone.event&identifier=a%22b")).await;
    page.says("No attempt matches the filter").says("The log has 3 attempts.").says("Clear the filter");
    for text in [
        "<option value=\"failed\" selected>",
        "<option value=\"gone.event\" selected>",
        "value=\"a&#34;b\"",
        &*format!("href=\"{}\"", visit.at(&path)),
    ] {
        assert!(page.html.contains(text), "{text} is not in {}", page.html);
    }
    for query in ["status=Failure", "status=failed&status=failed", "state=failed", "redelivered=x"] {
        assert_eq!(visit.get(&format!("{path}?{query}")).await.status, 400, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_deliveries_are_sent_again_one_or_all_under_the_same_webhook_id() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(404), Answer::Status(404), Answer::Status(404), Answer::Status(200)]);
    let api = serve_screen(&receiver).await;
    let _worker = api.here.program.worker([]);
    let id = api.add("acme", &receiver.url("/hook")).await;
    let visit = Visit::manager(&api, "acme").await;
    for _ in 0..3 {
        api.here.push("acme", TRANSCRIPT).await;
    }
    receiver.wait_for("/hook", 3, SOON).await;
    api.here.drained().await;
    let (logs, redeliver) = (format!("/webhooks/{id}/logs"), format!("/webhooks/{id}/redeliver"));
    let page = visit.get(&logs).await;
    page.says("3 failed deliveries They can be sent again. The newest failed with: HTTP 404 Not Found");
    page.says("Redeliver all 3").says("Payload Redeliver");
    visit.get(&format!("/webhooks/{id}/failed")).await.says("3 deliveries failed and can be sent again");

    let newest = &api.here.log(id.parse().unwrap()).await[0];
    let delivery = newest["deliveryId"].as_str().unwrap();
    let one = visit.post(&redeliver, &[("delivery", delivery)]).await;
    let done = format!("/accounts/acme/webhooks/{id}/logs?redelivered=1");
    assert_eq!((one.status, one.header("location")), (303, Some(&*done)), "{one:?}");
    let sent = receiver.wait_for("/hook", 4, SOON).await;
    let event_id = delivery.strip_suffix(&format!(".{id}")).unwrap();
    assert_eq!((sent[3].header("webhook-id"), &*sent[3].body), (Some(event_id), TRANSCRIPT.as_bytes()));
    api.here.drained().await;
    let page = visit.get(&format!("{logs}?redelivered=1")).await;
    page.says("1 delivery is queued again.").says("2 failed deliveries").says("redelivery 1");
    assert_eq!(visit.post(&redeliver, &[("delivery", delivery)]).await.says("no such delivery").status, 404);
    let page = visit.get(&format!("/webhooks/{id}/deliveries/{delivery}")).await;
    in_order(&page, &[delivery, "received it", event_id, "2 attempts", "Redelivery 1", "Success", "First delivery"]);

    let all = visit.post(&redeliver, &[("all", "true")]).await;
    assert_eq!(all.header("location"), Some(&*done.replace("=1", "=2")), "{all:?}");
    receiver.wait_for("/hook", 6, SOON).await;
    let none = visit.post(&redeliver, &[("all", "true")]).await;
    assert_eq!(none.header("location"), Some(&*done.replace("=1", "=0")));
    visit.get(&format!("{logs}?redelivered=0")).await.says("No failed delivery was left to send again.");
    let told = || api.process.stderr().matches("failed deliveries redelivered").count();
    eventually(SOON, "a line for each change", async || (told() == 3).then_some(())).await;
}

#[tokio::test]
async fn redelivering_since_a_time_takes_utc_and_a_series_goes_on_up_to_its_bound() {
    let api = serve_screen(&Receiver::start().await).await;
    let id = api.add("acme", "https://example.com/").await;
    let visit = Visit::manager(&api, "acme").await;
    let begin: DateTime<Utc> = "2026-03-26T14:00:00Z".parse().unwrap();
    for number in 1..=6 {
        let at = (begin + Duration::minutes(number)).timestamp_millis();
        api.here.fail(id.parse().unwrap(), &format!("{at}-0"), &format!("e{number}"), TRANSCRIPT).await;
    }
    let redeliver = format!("/webhooks/{id}/redeliver");
    for bad in ["", "yesterday", "2026-03-26T14:05:00Z", "2026-03-26"] {
        assert_eq!(visit.post(&redeliver, &[("since", bad)]).await.says("enter date and time, in UTC").status, 422);
    }
    for bad in [&[][..], &[("delivery", "")], &[("all", "true"), ("until", "1-0")]] {
        assert_eq!(visit.post(&redeliver, bad).await.status, 403, "{bad:?}");
    }
    let page = visit.get(&format!("/webhooks/{id}/failed")).await;
    assert!(page.html.contains("value=\"2026-03-26T14:01:00\""), "the oldest is the default: {}", page.html);
    page.says("Failed since (UTC)").says("Redeliver all 6").says("6 shown");
    let since = visit.post(&redeliver, &[("since", "2026-03-26T14:05")]).await;
    assert!(since.header("location").unwrap().ends_with("/logs?redelivered=2"), "{since:?}");
    // A series that already queued 1,000 goes on, and does not pass the entry at which it ends.
    let bound =
        format!("c1{}", URL_SAFE_NO_PAD.encode(format!("{}-0", (begin + Duration::minutes(3)).timestamp_millis())));
    let rest = visit.post(&redeliver, &[("all", "true"), ("until", &bound), ("done", "1000")]).await;
    assert!(rest.header("location").unwrap().ends_with("/logs?redelivered=1003"), "{rest:?}");
    visit.get(&format!("/webhooks/{id}/failed")).await.says("1 delivery failed").says("e4");
    visit.get(&format!("/webhooks/{id}/logs?redelivered=1003")).await.says("1,003 deliveries are queued again.");
    let off = visit.post(&format!("/webhooks/{id}/switch"), &[("to", "off")]).await;
    assert_eq!(off.status, 303);
    let last = visit.post(&redeliver, &[("delivery", &format!("e4.{id}"))]).await;
    assert_eq!(last.status, 303);
    let page = visit.get(&format!("/webhooks/{id}/logs?redelivered=1")).await;
    page.says("1 delivery is queued again. It waits until you switch the webhook on.");
}

#[tokio::test]
async fn a_reader_sees_no_button_that_sends_and_no_page_of_another_account() {
    let api = serve_screen(&Receiver::start().await).await;
    let id = api.add("acme", "https://example.com/").await;
    let webhook: WebhookId = id.parse().unwrap();
    for number in 1..=2 {
        api.here.fail(webhook, &format!("{number}-0"), &format!("e{number}"), TRANSCRIPT).await;
    }
    let delivery = format!("e1.{id}");
    write_log(&api, &id, &[entry(&delivery, 3, 1, &json!({"final": true}))]).await;
    let pages =
        ["logs", "held", "failed", &*format!("deliveries/{delivery}")].map(|page| format!("/webhooks/{id}/{page}"));
    let reader = Visit::with(&api, "acme", &json!({"access": "read"})).await;
    for path in &pages {
        let page = reader.get(path).await;
        assert_eq!(page.status, 200, "{path}");
        assert!(!page.html.contains("method=\"post\""), "{path} has a form: {}", page.html);
    }
    reader.get(&pages[0]).await.says("2 failed deliveries").says("View them").says("Details");
    let refused = reader.post(&format!("/webhooks/{id}/redeliver"), &[("all", "true")]).await;
    assert_eq!(refused.says("You may look at webhooks, and not change them").status, 403);
    assert_eq!(api.get(&format!("/v1/accounts/acme/webhooks/{id}/failed")).await.json["total"], 2);

    let stranger = Visit::manager(&api, "globex").await;
    let payload = format!("/webhooks/{id}/deliveries/{delivery}/payload");
    for path in pages.iter().chain([&payload]) {
        assert_eq!(stranger.get(path).await.says("There is no such webhook").status, 404, "{path}");
        assert_eq!(stranger.get(&path.replace(&id, "wh_nonsense")).await.status, 404, "{path}");
    }
    let refused = stranger.post(&format!("/webhooks/{id}/redeliver"), &[("all", "true")]).await;
    assert_eq!(refused.status, 404);
    let mut foreign = Visit::manager(&api, "acme").await;
    foreign.token = stranger.token.clone();
    assert_eq!(foreign.post(&format!("/webhooks/{id}/redeliver"), &[("all", "true")]).await.status, 403);
    assert_eq!(api.get(&format!("/v1/accounts/acme/webhooks/{id}/failed")).await.json["total"], 2);
}

#[tokio::test]
async fn texts_of_strangers_are_text_and_their_unseen_characters_are_seen() {
    let api = serve_screen(&Receiver::start().await).await;
    let id = api.add("acme", "https://example.com/").await;
    let visit = Visit::manager(&api, "acme").await;
    let hostile = "<script>alert(1)</script>\u{202e}\"'&\u{0}\n";
    let delivery = format!("e1.{id}");
    let more = json!({"event": hostile, "error": hostile, "identifiers": {hostile: hostile}});
    write_log(&api, &id, &[entry(&delivery, 1, 1, &more)]).await;
    for path in ["logs", &format!("deliveries/{delivery}")] {
        let page = visit.get(&format!("/webhooks/{id}/{path}")).await;
        page.says("<script>alert(1)</script>⟨U+202E⟩\"'&␀␊");
        assert!(!page.html.contains("<script>alert") && !page.html.contains('\u{0}'), "{}", page.html);
        assert!(!page.html.contains("data-copy=\"&#60;script"), "a copy would hold what is not seen");
    }
    let query: String = url::form_urlencoded::byte_serialize("<b>\"x\"</b>".as_bytes()).collect();
    let page = visit.get(&format!("/webhooks/{id}/logs?event={query}&identifier={query}")).await;
    assert!(!page.html.contains("<b>\"x"), "{}", page.html);
}

#[tokio::test]
async fn the_log_of_a_webhook_that_cannot_be_read_is_shown_without_buttons() {
    let api = serve_screen(&Receiver::start().await).await;
    let id = api.add("acme", "https://example.com/").await;
    let visit = Visit::manager(&api, "acme").await;
    let delivery = format!("e1.{id}");
    api.here.fail(id.parse().unwrap(), "1-0", "e1", TRANSCRIPT).await;
    write_log(&api, &id, &[entry(&delivery, 3, 1, &json!({"final": true}))]).await;
    let _: () = api.here.redis.clone().hset(api.here.key("webhooks:acme"), &id, "rubbish").await.unwrap();
    for path in ["logs", &format!("deliveries/{delivery}")] {
        let page = visit.get(&format!("/webhooks/{id}/{path}")).await;
        assert_eq!(page.says("HTTP 503 Service Unavailable").status, 200, "{path}");
        assert!(!page.html.contains("method=\"post\""), "{}", page.html);
    }
}
