//! Two people edit one webhook at the same time: both versions are shown, and one of them is chosen.

use serde_json::json;

use crate::{
    chromium::{Browser, Page},
    customer::with_and_without_javascript,
    support::*,
    world::World,
};

with_and_without_javascript! {
    of_two_edits_at_once_the_second_shows_both_versions_and_saves_mine,
    of_two_edits_at_once_the_second_shows_both_versions_and_takes_theirs,
    a_new_token_of_an_edit_that_came_second_is_saved_with_mine,
}

/// Two people who edit one webhook, and the first of them has saved.
struct Scene {
    world: World,
    receiver: Receiver,
    /// The second of them, at the conflict. It ends before the first.
    second: Page,
    first: Page,
}

impl Scene {
    /// The second changes the description, and more if `changes` does.
    async fn start(browser: Browser, changes: impl AsyncFnOnce(&Page, &Receiver)) -> Self {
        let receiver = Receiver::start().await;
        for path in ["/crm", "/theirs"] {
            receiver.plan(path, [Answer::Status(200)]);
        }
        let world = World::start(&receiver).await;
        world.webhook_for("acme", json!({"url": receiver.url("/crm"), "description": "CRM sync"})).await;
        let first = world.customer(browser, "acme").await;
        let second = first.beside(browser).await;
        second.set_width(1280).await;
        second.enter(&world, "acme").await;
        for page in [&first, &second] {
            page.click("link", "Edit: CRM sync").await;
            page.find("heading", "Edit CRM sync").await;
        }
        first.fill_in(&[("URL", &receiver.url("/theirs")), ("Description optional", "Their sync")]).await;
        first.click("button", "Save").await;
        first.sees("Saved.").await;
        second.fill("Description optional", "My sync").await;
        changes(&second, &receiver).await;
        second.announce("/edit answered 409");
        second.click("button", "Save").await;
        second.sees("Somebody else changed this webhook while you edited it.").await;
        Self { world, receiver, second, first }
    }

    /// Asserts that both versions are seen, setting by setting.
    async fn shows_both(&self) {
        let [mine, theirs] = ["Your version", "Their version"].map(|name| self.second.find("region", name));
        let (mine, theirs) = (mine.await.text().await.unwrap(), theirs.await.text().await.unwrap());
        let has = |version: &str, parts: &[&str]| {
            for part in parts {
                assert!(version.contains(part), "{part}: {version}");
            }
        };
        has(&mine, &["My sync", &self.receiver.url("/theirs"), "Different"]);
        has(&theirs, &["Their sync", &self.receiver.url("/theirs"), "Different"]);
        self.second.sees("You changed the description. Somebody else changed the URL and the description.").await;
        let saved = self.world.webhook("acme").await;
        assert_eq!((&saved["description"], &saved["revision"]), (&json!("Their sync"), &json!(2)), "nothing is lost");
    }
}

async fn of_two_edits_at_once_the_second_shows_both_versions_and_saves_mine(browser: Browser) {
    let scene = Scene::start(browser, async |_, _| {}).await;
    scene.shows_both().await;
    scene.second.click("button", "Save mine").await;
    scene.second.sees("Saved.").await;
    scene.second.card("My sync", "Not used yet").await;
    let saved = scene.world.webhook("acme").await;
    assert_eq!(saved["url"], json!(scene.receiver.url("/theirs")), "their change stays");
    scene.first.list(&scene.world, "acme").await;
    scene.first.card("My sync", "Not used yet").await;
}

async fn of_two_edits_at_once_the_second_shows_both_versions_and_takes_theirs(browser: Browser) {
    let scene = Scene::start(browser, async |_, _| {}).await;
    scene.shows_both().await;
    scene.second.click("link", "Take theirs").await;
    scene.second.find("heading", "Edit Their sync").await;
    assert_eq!(scene.second.typed("URL").await, scene.receiver.url("/theirs"));
    // It goes on from theirs, so that the next edit is no conflict.
    scene.second.fill("Description optional", "Our sync").await;
    scene.second.click("button", "Save").await;
    scene.second.sees("Saved.").await;
    let saved = scene.world.webhook("acme").await;
    assert_eq!((&saved["description"], &saved["url"]), (&json!("Our sync"), &json!(scene.receiver.url("/theirs"))));
}

async fn a_new_token_of_an_edit_that_came_second_is_saved_with_mine(browser: Browser) {
    const TOKEN: &str = "a-token-of-mine-7f3a";
    let token = async |page: &Page, _: &Receiver| {
        page.click("radio", "Bearer Token").await;
        page.fill("Token", TOKEN).await;
    };
    let scene = Scene::start(browser, token).await;
    scene.second.sees("Bearer Token, a new one").await;
    assert!(!scene.second.driver.source().await.unwrap().contains(TOKEN), "no page has it");
    // With the script, it is still in the field.
    if browser.javascript {
        assert_eq!(scene.second.typed("Token").await, TOKEN);
    } else {
        scene.second.sees("Enter it again: pages never repeat it.").await;
        scene.second.fill("Token", TOKEN).await;
    }
    scene.second.click("button", "Save mine").await;
    scene.second.sees("Saved.").await;
    scene.second.click("button", "Test: My sync").await;
    scene.second.sees("Your endpoint received the test.").await;
    let test = &scene.receiver.requests("/theirs")[0];
    assert_eq!(test.header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
}
