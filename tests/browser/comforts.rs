//! The comforts of the script: judging while typing, times of the reader's zone, copying, and a test that is running.

use std::time::Duration;

use chrono::{DateTime, FixedOffset, Utc};
use serde_json::json;
use thirtyfour::Key;

use crate::{chromium::Browser, support::*, world::World};

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_is_left_tells_its_fault_with_reason_and_fix_until_it_is_mended() {
    let receiver = Receiver::start().await;
    let world = World::start(&receiver).await;
    let page = world.customer(Browser::default(), "acme").await;
    page.click("link", "Add Webhook").await;
    for (url, reason) in [
        ("http://hooks.example.com/in", "The URL must begin with https://"),
        ("https://93.184.216.34/in", "IP address"),
        ("https://", "URL"),
    ] {
        page.fill("URL", url).await;
        page.press(Key::Tab).await;
        let field = page.find("textbox", "URL").await;
        page.wait(&format!("a fault of {url}"), async || {
            let is_invalid = field.attr("aria-invalid").await.ok()?.is_some_and(|value| value == "true");
            (is_invalid && page.text().await.contains(reason)).then_some(())
        })
        .await;
        page.fill("URL", "https://hooks.example.com/in").await;
        page.press(Key::Tab).await;
        let mended = async || field.attr("aria-invalid").await.ok()?.is_none().then_some(());
        page.wait("a mended URL", mended).await;
    }
    page.click("radio", "Custom Header").await;
    page.fill("Header name", "Host").await;
    page.press(Key::Tab).await;
    let name = page.find("textbox", "Header name").await;
    page.wait("a fault of the name", async || {
        (name.attr("aria-invalid").await.ok()?.as_deref() == Some("true")).then_some(())
    })
    .await;
    // Saving tells the same, and focus goes to the summary.
    page.announce("/webhooks/new answered 422");
    page.click("button", "Save").await;
    page.sees("The webhook was not saved: 2 fields need a change").await;
    assert_eq!(page.focused().await.0, "alert");
    assert_eq!(page.typed("URL").await, "https://hooks.example.com/in");
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_those_of_the_readers_zone_with_utc_beside() {
    let receiver = Receiver::start().await;
    receiver.plan("/crm", [Answer::Status(200)]);
    let world = World::start(&receiver).await;
    let id = world.webhook_for("acme", json!({"url": receiver.url("/crm"), "description": "CRM sync"})).await;
    let page = Browser::default().start().await;
    page.set_time_zone("Asia/Kolkata").await;
    page.set_width(1280).await;
    page.enter(&world, "acme").await;
    page.click("button", "Test: CRM sync").await;
    page.sees("Your endpoint received the test.").await;
    let entry = &world.here.log(id.parse().unwrap()).await[0];
    let time: DateTime<Utc> = entry["time"].as_str().unwrap().parse().unwrap();
    let local = time.with_timezone(&FixedOffset::east_opt(19_800).unwrap()).format("%b %-d, %Y, %-I:%M:%S %p");
    let both = format!("{local} {}", time.format("%-d %b %Y, %H:%M:%S UTC"));
    page.sees(&both).await;
    page.list(&world, "acme").await;
    page.sees(&both).await;
    page.click("link", "View Logs: CRM sync").await;
    page.sees("1 attempt of 1 delivery").await;
    page.sees(&both).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_url_and_the_id_of_a_delivery_are_copied_with_one_click() {
    let receiver = Receiver::start().await;
    receiver.plan("/a/long/path", [Answer::Status(200)]);
    let world = World::start(&receiver).await;
    let url = receiver.url("/a/long/path");
    let id = world.webhook_for("acme", json!({"url": url, "description": "CRM sync"})).await;
    let page = world.customer(Browser::default(), "acme").await;
    page.click("button", "Test: CRM sync").await;
    page.sees("Your endpoint received the test.").await;
    page.list(&world, "acme").await;
    page.click("button", "Copy the URL").await;
    page.find("button", "Copied").await;
    page.click("link", "View Logs: CRM sync").await;
    let paste = async || {
        page.fill("Identifier", "").await;
        page.find("textbox", "Identifier").await.send_keys(Key::Control + "v").await.unwrap();
        page.typed("Identifier").await
    };
    assert_eq!(paste().await, url);
    page.click("button", "Copy the delivery id").await;
    page.find("button", "Copied").await;
    let log = world.here.log(id.parse().unwrap()).await;
    assert_eq!(paste().await, log[0]["deliveryId"].as_str().unwrap());
    page.find("button", "Copy the delivery id").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_test_counts_its_seconds() {
    let receiver = Receiver::start().await;
    receiver.plan("/crm", [Answer::Delay(Duration::from_secs(3), Box::new(Answer::Status(200)))]);
    let world = World::start(&receiver).await;
    world.webhook_for("acme", json!({"url": receiver.url("/crm"), "description": "CRM sync"})).await;
    let page = world.customer(Browser::default(), "acme").await;
    page.click("button", "Test: CRM sync").await;
    for seconds in 0..3 {
        page.sees(&format!("Testing… {seconds} s")).await;
    }
    page.sees("Your endpoint received the test.").await;
    page.sees("Response time 3.0 s").await;
    assert!(!page.text().await.contains("Testing"));
    assert_eq!(page.focused().await, ("button".to_owned(), "Test: CRM sync".to_owned()));
    assert_eq!(receiver.requests("/crm").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sixth_test_in_ten_seconds_is_refused_at_its_button_and_reaches_no_endpoint() {
    let receiver = Receiver::start().await;
    receiver.plan("/crm", [Answer::Status(200)]);
    let world = World::start(&receiver).await;
    let id = world.webhook_for("acme", json!({"url": receiver.url("/crm"), "description": "CRM sync"})).await;
    let page = world.customer(Browser::default(), "acme").await;
    // The API and the screen count together.
    for _ in 0..5 {
        let path = format!("/v1/accounts/acme/webhooks/{id}/test");
        assert_eq!(world.api(reqwest::Method::POST, &path, None).await.0, 200);
    }
    page.announce("/test answered 429");
    page.click("button", "Test: CRM sync").await;
    page.sees("That was too often. Wait a few seconds, then try again.").await;
    let card = page.card("CRM sync", "Not used yet").await;
    page.find_in(&card, "alert", "").await;
    assert_eq!(receiver.requests("/crm").len(), 5);
}
