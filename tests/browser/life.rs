//! The life of a webhook as the requirements tell it: adding, testing, editing, delivery logs. Each story is a test
//! with JavaScript, and the same a test without.

use serde_json::json;

use crate::{
    chromium::{Browser, Page},
    customer::{COLUMNS, with_and_without_javascript},
    support::*,
    world::World,
};

with_and_without_javascript! {
    a_webhook_is_added_and_tested_gets_an_event_and_shows_it_in_its_log,
    a_delivery_that_failed_is_sent_again_when_the_endpoint_works,
    events_wait_while_a_webhook_is_inactive_and_are_sent_or_discarded_when_it_is_switched_on,
    a_bearer_token_and_a_custom_header_reach_the_endpoint_and_are_never_shown_again,
    a_third_webhook_cannot_be_added_until_one_is_deleted,
}

/// Whether the list shows the webhook as active.
async fn is_active(page: &Page) -> bool {
    page.is_set("switch", "Active: CRM sync").await
}

async fn a_webhook_is_added_and_tested_gets_an_event_and_shows_it_in_its_log(browser: Browser) {
    let receiver = Receiver::start().await;
    receiver.plan("/crm", [Answer::Status(204)]);
    let world = World::start(&receiver).await;
    let _worker = world.here.program.worker([]);
    let page = world.customer(browser, "acme").await;
    page.set_width(1280).await;

    for part in ["Settings", "Integrations", "No webhooks yet", "Must use HTTPS (HTTP is not supported)."] {
        page.sees(part).await;
    }
    page.click("link", "Add Webhook").await;
    page.sees("The HTTPS endpoint where you want to receive events.").await;
    assert!(page.is_set("checkbox", "transcript.created").await && page.is_set("radio", "None").await);
    assert!(page.is_set("switch", "Active").await);
    page.sees("Sent when a call transcript is completed and ready to view.").await;
    page.sees("It's strongly recommended to configure authentication").await;
    page.fill_in(&[("URL", &receiver.url("/crm")), ("Description optional", "CRM sync")]).await;
    page.click("button", "Save").await;

    page.sees("Test it now to make sure your endpoint receives requests correctly.").await;
    page.card("CRM sync", "Not used yet").await;
    let offer = page.find("status", "").await;
    page.click_in(&offer, "button", "Test: CRM sync").await;
    page.sees("Your endpoint received the test.").await;
    for part in ["Test result Success", "HTTP Status 204", "Response time", " ms", "webhook.test"] {
        page.sees(part).await;
    }
    let test = &receiver.requests("/crm")[0];
    assert!(String::from_utf8_lossy(&test.body).contains("This is a test webhook from TalentLynk."));

    let ids = world.events("acme", 1).await;
    let delivered = &receiver.wait_for("/crm", 2, SOON).await[1];
    assert_eq!(delivered.header("webhook-id"), Some(&*ids[0]));
    let id = world.webhook("acme").await["id"].as_str().unwrap().to_owned();
    world.attempts(&id, 2).await;
    page.list(&world, "acme").await;
    let card = page.card("CRM sync", "Working").await;
    assert!(card.text().await.unwrap().contains("HTTP 204"));
    page.click_in(&card, "link", "View Logs: CRM sync").await;
    page.sees("2 attempts of 2 deliveries").await;
    for column in COLUMNS {
        page.find("columnheader", column).await;
    }
    let rows = page.rows().await;
    assert_eq!(
        (&rows[0][..4], &rows[1][..4]),
        (
            &["Success", "transcript.created", "204", "1"].map(str::to_owned)[..],
            &["Success", "webhook.test", "204", "1"].map(str::to_owned)[..],
        )
    );
    assert!(rows[0][4].ends_with(" ms") && rows[0][5].is_empty() && rows[0][7].ends_with(" UTC"), "{rows:?}");
    assert!(rows[0][6].contains("messageId 6601abc123def4567890abcd"), "{rows:?}");
    page.find("link", &ids[0]).await;
}

async fn a_delivery_that_failed_is_sent_again_when_the_endpoint_works(browser: Browser) {
    let receiver = Receiver::start().await;
    receiver.plan("/crm", [Answer::Status(503)]);
    let world = World::start(&receiver).await;
    let _worker = world.here.program.worker([]);
    let id = world.webhook_for("acme", json!({"url": receiver.url("/crm"), "description": "CRM sync"})).await;
    let page = world.customer(browser, "acme").await;
    page.set_width(1280).await;

    page.click("button", "Test: CRM sync").await;
    page.sees("Test result Failure").await;
    page.sees("The endpoint failed. Its own log may say why.").await;
    let ids = world.events("acme", 1).await;
    world.attempts(&id, 4).await;
    page.list(&world, "acme").await;
    page.card("CRM sync", "Failing").await;
    page.sees("1 failed delivery can be sent again.").await;
    page.click("link", "View Logs: CRM sync").await;
    page.sees("4 attempts of 2 deliveries").await;
    let rows = page.rows().await;
    for (row, attempt) in rows.iter().zip(["3", "2", "1"]) {
        assert_eq!(row[..4], ["Failure", "transcript.created", "503", attempt]);
        assert!(row[5].contains("503"), "{row:?}");
    }

    receiver.plan("/crm", [Answer::Status(200)]);
    page.click("button", &format!("Redeliver: {}", ids[0])).await;
    page.sees("1 delivery is queued again.").await;
    world.attempts(&id, 5).await;
    assert_eq!(receiver.requests("/crm").last().unwrap().header("webhook-id"), Some(&*ids[0]));
    page.list(&world, "acme").await;
    page.card("CRM sync", "Working").await;
    page.click("link", "View Logs: CRM sync").await;
    page.sees("redelivery 1").await;
    assert_eq!(page.rows().await[0][..4], ["Success", "transcript.created", "200", "1"]);
    assert!(page.all("button", &format!("Redeliver: {}", ids[0])).await.is_empty());
}

async fn events_wait_while_a_webhook_is_inactive_and_are_sent_or_discarded_when_it_is_switched_on(browser: Browser) {
    let receiver = Receiver::start().await;
    receiver.plan("/crm", [Answer::Status(200)]);
    let world = World::start(&receiver).await;
    let _worker = world.here.program.worker([]);
    let id = world.webhook_for("acme", json!({"url": receiver.url("/crm"), "description": "CRM sync"})).await;
    let page = world.customer(browser, "acme").await;

    // Switched off in the form, and on again with what waited.
    page.click("link", "Edit: CRM sync").await;
    page.find("heading", "Edit CRM sync").await;
    page.toggle("Active").await;
    page.click("button", "Save").await;
    page.sees("Saved.").await;
    page.card("CRM sync", "Inactive").await;
    let sent = world.events("acme", 2).await;
    world.held(&id, 2).await;
    page.list(&world, "acme").await;
    page.sees("2 events wait. Switch on to send them.").await;
    assert!(!is_active(&page).await);
    page.click("switch", "Active: CRM sync").await;
    page.sees("2 events waited while this webhook was inactive.").await;
    assert!(page.is_set("radio", "Send the 2 events").await);
    page.click("button", "Switch on").await;
    page.sees("The events that waited are being sent.").await;
    assert!(is_active(&page).await);
    receiver.wait_for("/crm", 2, SOON).await;

    // Switched off in the list, and on again without.
    page.click("switch", "Active: CRM sync").await;
    page.sees("Events wait until you switch it on again.").await;
    world.events("acme", 3).await;
    world.held(&id, 3).await;
    page.list(&world, "acme").await;
    page.click("switch", "Active: CRM sync").await;
    page.click("radio", "Discard the 3 events").await;
    page.click("button", "Switch on").await;
    page.sees("The events that waited were discarded.").await;
    let last = world.events("acme", 1).await;
    receiver.wait_for("/crm", 3, SOON).await;
    let requests = receiver.requests("/crm");
    let mut arrived: Vec<_> = requests.iter().map(|one| one.header("webhook-id").unwrap()).collect();
    arrived[..2].sort_unstable();
    let mut expected = [&*sent[0], &*sent[1], &*last[0]];
    expected[..2].sort_unstable();
    assert_eq!(arrived, expected);

    // With nothing that waits, there is nothing to ask.
    page.click("switch", "Active: CRM sync").await;
    page.sees("Events wait until you switch it on again.").await;
    page.click("switch", "Active: CRM sync").await;
    page.sees("Events are sent from now on.").await;
}

async fn a_bearer_token_and_a_custom_header_reach_the_endpoint_and_are_never_shown_again(browser: Browser) {
    let receiver = Receiver::start().await;
    receiver.plan("/crm", [Answer::Status(200)]);
    let here = Installation::new(&receiver).await;
    let world = World::of(here, [("LYNKHOOK_SERVER__TESTS_PER_10S", "100")]).await;
    let page = world.customer(browser, "acme").await;
    let header = async |count: usize, name: &str| {
        page.click("button", "Test: CRM sync").await;
        let requests = receiver.wait_for("/crm", count, SOON).await;
        page.sees("Your endpoint received the test.").await;
        assert_eq!(requests.len(), count);
        requests[count - 1].header(name).map(str::to_owned)
    };
    let edit = async || {
        page.list(&world, "acme").await;
        page.click("link", "Edit: CRM sync").await;
        page.find("heading", "Edit CRM sync").await;
    };
    let save = async |seen: &str| {
        page.click("button", "Save").await;
        page.sees(seen).await;
        page.list(&world, "acme").await;
    };

    page.click("link", "Add Webhook").await;
    page.fill_in(&[("URL", &receiver.url("/crm")), ("Description optional", "CRM sync")]).await;
    page.click("radio", "Bearer Token").await;
    page.fill("Token", "first-token-7f3a").await;
    save("Test it now").await;
    assert_eq!(header(1, "authorization").await.as_deref(), Some("Bearer first-token-7f3a"));

    edit().await;
    page.sees("Token ends in 7f3a · Replace").await;
    assert!(!page.driver.source().await.unwrap().contains("first-token"), "no page has it");
    page.fill("Description optional", "CRM sync").await;
    save("Saved.").await;
    assert_eq!(header(2, "authorization").await.as_deref(), Some("Bearer first-token-7f3a"), "it stays");

    edit().await;
    page.sees("Token ends in 7f3a · Replace").await;
    page.click("button", "Token ends in 7f3a · Replace").await;
    page.fill("New token", "second-token-91bc").await;
    save("Saved.").await;
    assert_eq!(header(3, "authorization").await.as_deref(), Some("Bearer second-token-91bc"));

    edit().await;
    page.sees("Token ends in 91bc · Replace").await;
    page.click("radio", "Custom Header").await;
    page.fill_in(&[("Header name", "X-Webhook-Secret"), ("Value", "my-secret-value-5d02")]).await;
    save("Saved.").await;
    assert_eq!(header(4, "x-webhook-secret").await.as_deref(), Some("my-secret-value-5d02"));
    assert_eq!(receiver.requests("/crm")[3].header("authorization"), None);

    edit().await;
    page.sees("Value ends in 5d02 · Replace").await;
    assert_eq!(page.typed("Header name").await, "X-Webhook-Secret");
    assert!(!page.driver.source().await.unwrap().contains("my-secret"), "no page has it");
    page.click("button", "Value ends in 5d02 · Replace").await;
    page.fill("New value", "another-secret-value-c48e").await;
    save("Saved.").await;
    assert_eq!(header(5, "x-webhook-secret").await.as_deref(), Some("another-secret-value-c48e"));

    edit().await;
    page.sees("Value ends in c48e · Replace").await;
    page.click("radio", "None").await;
    save("Saved.").await;
    assert_eq!(header(6, "x-webhook-secret").await, None);
}

async fn a_third_webhook_cannot_be_added_until_one_is_deleted(browser: Browser) {
    let receiver = Receiver::start().await;
    let world = World::start(&receiver).await;
    world.webhook_for("acme", json!({"url": receiver.url("/crm"), "description": "CRM sync"})).await;
    let page = world.customer(browser, "acme").await;
    page.click("link", "Add Webhook").await;
    page.fill_in(&[("URL", &receiver.url("/slack")), ("Description optional", "Slack notifications")]).await;
    page.click("button", "Save").await;
    page.sees("You can currently add a maximum of 2 webhook subscriptions per account.").await;
    let add = page.find("button", "Add Webhook").await;
    assert!(!add.is_enabled().await.unwrap());
    assert_eq!(add.attr("aria-describedby").await.unwrap().as_deref(), Some("limit"), "it says why");

    page.click("link", "Delete: CRM sync").await;
    page.sees("This goes with it and cannot be undone").await;
    page.find("heading", "Delete CRM sync?").await;
    page.click("link", "Cancel").await;
    page.click("link", "Delete: CRM sync").await;
    page.click("button", "Delete").await;
    page.sees("Deleted.").await;
    assert!(page.all("article", "CRM sync Not used yet").await.is_empty());
    page.card("Slack notifications", "Not used yet").await;
    page.click("link", "Add Webhook").await;
    page.find("textbox", "URL").await;
}
