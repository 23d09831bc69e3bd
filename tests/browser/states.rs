//! The states of the list that are not simply good: empty, off, failing, slow, unreadable, and Redis away.

use redis::AsyncCommands;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{chromium::Browser, customer::with_and_without_javascript, support::*, world::World};

with_and_without_javascript! {
    a_webhook_whose_settings_cannot_be_read_is_named_and_the_others_work,
    without_redis_no_list_is_shown_as_empty,
    a_form_that_is_saved_while_redis_is_away_loses_nothing_but_secrets_and_is_saved_when_redis_is_back,
}

/// The title of the notice without Redis.
const AWAY: &str = "Webhooks cannot be shown or changed right now";

fn named(url: &str, description: &str) -> Value {
    json!({"url": url, "description": description})
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_without_webhooks_learns_about_webhooks_and_how_to_add_one() {
    let world = World::start(&Receiver::start().await).await;
    let page = world.customer(Browser::default(), "acme").await;
    page.find("region", "No webhooks yet").await;
    for part in ["you configure an endpoint", "Must use HTTPS", "within 10 seconds", "2xx status code"] {
        page.sees(part).await;
    }
    page.click("link", "Add Webhook").await;
    page.find("textbox", "URL").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inactive_webhook_shows_the_events_that_wait_and_since_when() {
    let receiver = Receiver::start().await;
    let world = World::start(&receiver).await;
    let _worker = world.here.program.worker([]);
    let id =
        world.webhook_for("acme", json!({"url": receiver.url("/"), "description": "CRM sync", "active": false})).await;
    let page = world.customer(Browser::default(), "acme").await;
    page.card("CRM sync", "Inactive").await;
    assert!(!page.text().await.contains("wait"), "{}", page.text().await);
    for (count, words) in [(1, "1 event waits. Switch on to send it."), (3, "3 events wait. Switch on to send them.")] {
        world.events("acme", count - usize::from(count > 1)).await;
        world.held(&id, count as u64).await;
        page.reload().await;
        page.sees(words).await;
        page.sees("The oldest is from").await;
    }
    page.click("link", "View Logs: CRM sync").await;
    page.sees("3 events wait This webhook is inactive.").await;
    page.click("link", "View them").await;
    page.sees("3 events wait because this webhook is inactive.").await;
    assert_eq!(receiver.all_requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_webhook_shows_its_error_and_advice_until_a_delivery_succeeds() {
    let receiver = Receiver::start().await;
    receiver.plan("/crm", [Answer::Status(404)]);
    let world = World::start(&receiver).await;
    let _worker = world.here.program.worker([]);
    let id = world.webhook_for("acme", named(&receiver.url("/crm"), "CRM sync")).await;
    world.events("acme", 2).await;
    world.attempts(&id, 2).await;
    let page = world.customer(Browser::default(), "acme").await;
    page.card("CRM sync", "Failing").await;
    for part in ["The last delivery failed: HTTP 404", "nothing at this path", "2 failed deliveries can be sent again"]
    {
        page.sees(part).await;
    }
    receiver.plan("/crm", [Answer::Status(200)]);
    page.click("link", "View Logs").await;
    page.click("button", "Redeliver all 2").await;
    page.sees("2 deliveries are queued again.").await;
    world.attempts(&id, 4).await;
    page.list(&world, "acme").await;
    page.card("CRM sync", "Working").await;
    assert!(!page.text().await.contains("failed deliver"), "{}", page.text().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_slower_than_its_events_come_shows_how_many_wait() {
    let (receiver, gate) = (Receiver::start().await, Gate::new());
    receiver.plan("/crm", [gate.before(Answer::Status(200))]);
    let world = World::start(&receiver).await;
    let id = world.webhook_for("acme", named(&receiver.url("/crm"), "CRM sync")).await;
    world.events("acme", 20).await;
    let _worker = world.here.program.worker([("LYNKHOOK_WORKER__CONCURRENCY", "16")]);
    let page = world.customer(Browser::default(), "acme").await;
    let held = eventually(SOON, "deliveries that wait", async || {
        let in_flight = receiver.in_flight("/crm") as u64;
        let key = world.here.key(&format!("held:{id}"));
        let held: u64 = world.here.redis.clone().xlen(key).await.unwrap();
        (in_flight > 0 && held + in_flight == 20).then_some(held)
    });
    let held = held.await;
    page.reload().await;
    page.card("CRM sync", "Slow").await;
    page.sees(&format!("{held} events wait because the endpoint is slower than they come.")).await;
    gate.open();
    world.here.drained().await;
    page.reload().await;
    page.card("CRM sync", "Working").await;
}

async fn a_webhook_whose_settings_cannot_be_read_is_named_and_the_others_work(browser: Browser) {
    let receiver = Receiver::start().await;
    receiver.plan("/slack", [Answer::Status(200)]);
    let world = World::start(&receiver).await;
    let bad = world.webhook_for("acme", named(&receiver.url("/crm"), "CRM sync")).await;
    world.webhook_for("acme", named(&receiver.url("/slack"), "Slack notifications")).await;
    let page = world.customer(browser, "acme").await;
    page.card("CRM sync", "Not used yet").await;
    let key = world.here.key("webhooks:acme");
    let _: () = world.here.redis.clone().hset(key, &bad, "no settings").await.unwrap();
    page.list(&world, "acme").await;
    let card = page.card(&bad, "Unreadable").await;
    page.sees("The settings of this webhook cannot be read.").await;
    page.click("button", "Test: Slack notifications").await;
    page.sees("Your endpoint received the test.").await;
    drop(card);
    page.list(&world, "acme").await;
    page.click("link", &format!("Delete: {bad}")).await;
    page.click("button", "Delete").await;
    page.sees("Deleted.").await;
    page.card("Slack notifications", "Working").await;
    assert!(page.all("article", &format!("{bad} Unreadable")).await.is_empty());
}

/// Waits until the server reaches Redis again.
async fn is_ready(world: &World) {
    eventually(SOON, "a server that reaches Redis", async || {
        (world.api(Method::GET, "/readyz", None).await.0 == 200).then_some(())
    })
    .await;
}

async fn away(redis: &RedisServer, receiver: &Receiver) -> World {
    World::of(Installation::on(redis, receiver).await, []).await
}

async fn without_redis_no_list_is_shown_as_empty(browser: Browser) {
    let (receiver, mut redis) = (Receiver::start().await, RedisServer::start(AppendFsync::Always));
    let world = away(&redis, &receiver).await;
    world.webhook_for("acme", named(&receiver.url("/crm"), "CRM sync")).await;
    let page = world.customer(browser, "acme").await;
    page.announce("/webhooks answered 503");
    redis.kill9();
    page.reload().await;
    page.sees(AWAY).await;
    for part in ["Your webhooks, their deliveries and their logs are kept", "Try again"] {
        page.sees(part).await;
    }
    for wrong in ["No webhooks yet", "Add Webhook", "Your session has ended"] {
        assert!(!page.text().await.contains(wrong), "{}", page.text().await);
    }
    redis.restart();
    is_ready(&world).await;
    page.click("link", "Try again").await;
    page.card("CRM sync", "Not used yet").await;

    // A button of a list that is open says the same, and works when Redis is back.
    page.announce("/switch answered 503");
    redis.kill9();
    page.click("switch", "Active: CRM sync").await;
    page.sees(AWAY).await;
    redis.restart();
    is_ready(&world).await;
    if browser.javascript {
        let card = page.card("CRM sync", "Not used yet").await;
        page.find_in(&card, "alert", "").await;
        assert!(!page.text().await.contains("What you typed"), "nothing was typed");
    } else {
        page.click("link", "Try again").await;
    }
    page.click("switch", "Active: CRM sync").await;
    page.sees("Events wait until you switch it on again.").await;
}

async fn a_form_that_is_saved_while_redis_is_away_loses_nothing_but_secrets_and_is_saved_when_redis_is_back(
    browser: Browser,
) {
    let (receiver, mut redis) = (Receiver::start().await, RedisServer::start(AppendFsync::Always));
    receiver.plan("/crm", [Answer::Status(200)]);
    let world = away(&redis, &receiver).await;
    let page = world.customer(browser, "acme").await;
    let url = receiver.url("/crm");
    let fills = async || {
        page.fill_in(&[("URL", &url), ("Description optional", "CRM sync")]).await;
        page.click("radio", "Bearer Token").await;
        page.fill("Token", "a-token-of-the-form-7f3a").await;
    };
    page.click("link", "Add Webhook").await;
    fills().await;
    page.announce("/webhooks/new answered 503");
    redis.kill9();
    page.click("button", "Save").await;
    page.sees(AWAY).await;
    if browser.javascript {
        page.sees("What you typed is still here.").await;
    } else {
        for part in ["This is what you typed", &url, "CRM sync"] {
            page.sees(part).await;
        }
        assert!(!page.driver.source().await.unwrap().contains("a-token-of-the-form"));
    }
    redis.restart();
    is_ready(&world).await;
    if browser.javascript {
        assert_eq!(page.typed("URL").await, url);
        assert_eq!(page.typed("Description optional").await, "CRM sync");
        assert_eq!(page.typed("Token").await, "a-token-of-the-form-7f3a");
    } else {
        page.list(&world, "acme").await;
        page.click("link", "Add Webhook").await;
        fills().await;
    }
    page.click("button", "Save").await;
    page.sees("Test it now").await;
    let offer = page.find("status", "").await;
    page.click_in(&offer, "button", "Test: CRM sync").await;
    page.sees("Your endpoint received the test.").await;
    let test = &receiver.requests("/crm")[0];
    assert_eq!(test.header("authorization"), Some("Bearer a-token-of-the-form-7f3a"));
}
