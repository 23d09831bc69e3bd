//! The steps of a customer on the screen, and of the events that come meanwhile.

use reqwest::Method;
use serde_json::{Value, json};
use thirtyfour::WebElement;

use crate::{
    chromium::{Browser, Page},
    support::*,
    world::World,
};

/// The names of the columns of a log.
pub const COLUMNS: [&str; 8] =
    ["Status", "Event", "HTTP Status", "Attempt", "Duration", "Error", "Identifiers", "Time"];

/// Answers the texts of each attempt in the tables of the page, column by column.
const ATTEMPTS: &str = r"
    return [...document.querySelectorAll('tr')]
        .map(row => [...row.querySelectorAll('td')].map(cell => cell.innerText.replace(/\s+/g, ' ').trim()))
        .filter(cells => cells.length === 8)";

/// Makes each story a test with JavaScript, and the same a test without.
macro_rules! with_and_without_javascript {
    ($($story:ident),* $(,)?) => {
        mod with_javascript {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $story() {
                super::$story(crate::chromium::Browser::default()).await;
            })*
        }
        mod without_javascript {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $story() {
                super::$story(crate::chromium::Browser::without_javascript()).await;
            })*
        }
    };
}
pub(crate) use with_and_without_javascript;

impl World {
    /// A browser that has entered the webhooks of an account with a link.
    pub async fn customer(&self, browser: Browser, account: &str) -> Page {
        let page = browser.start().await;
        page.enter(self, account).await;
        page
    }

    /// Accepts this many events for an account. Answers their ids.
    pub async fn events(&self, account: &str, count: usize) -> Vec<String> {
        let envelope: Value = serde_json::from_str(TRANSCRIPT).unwrap();
        let mut ids = Vec::new();
        for _ in 0..count {
            let (status, made) =
                self.api(Method::POST, &format!("/v1/accounts/{account}/events"), Some(envelope.clone())).await;
            assert_eq!(status, 202, "{made}");
            ids.push(made["id"].as_str().unwrap().to_owned());
        }
        ids
    }

    /// Adds a webhook over the API.
    pub async fn webhook_for(&self, account: &str, webhook: Value) -> String {
        let (status, made) = self.api(Method::POST, &format!("/v1/accounts/{account}/webhooks"), Some(webhook)).await;
        assert_eq!(status, 201, "{made}");
        made["id"].as_str().unwrap().to_owned()
    }

    /// The only webhook of an account, over the API.
    pub async fn webhook(&self, account: &str) -> Value {
        let (_, mut list) = self.api(Method::GET, &format!("/v1/accounts/{account}/webhooks"), None).await;
        let items = list["items"].as_array_mut().unwrap();
        assert_eq!(items.len(), 1, "{items:?}");
        items.pop().unwrap()
    }

    /// Waits until the log of a webhook has this many attempts.
    pub async fn attempts(&self, webhook: &str, count: usize) {
        let webhook = webhook.parse().unwrap();
        eventually(SOON, "attempts in the log", async || (self.here.log(webhook).await.len() == count).then_some(()))
            .await;
    }

    /// Waits until this many deliveries wait for a webhook.
    pub async fn held(&self, webhook: &str, count: u64) {
        let key = format!("XLEN {}", self.here.key(&format!("held:{webhook}")));
        eventually(SOON, "deliveries that wait", async || (self.here.cli::<u64>(&key).await == count).then_some(()))
            .await;
    }

    /// Ends all sessions of an account, as the platform does.
    pub async fn end_sessions(&self, account: &str) {
        let path = format!("/v1/accounts/{account}/portal-sessions");
        let (status, ended) = self.api(Method::DELETE, &path, None).await;
        assert_eq!((status, &ended["ended"]), (200, &json!(1)), "{ended}");
    }
}

impl Page {
    /// Opens a link and presses its button. The list is seen then.
    pub async fn enter(&self, world: &World, account: &str) {
        self.goto(&world.link(account).await).await;
        self.click("button", "Open webhooks").await;
        self.find("heading", "Webhooks").await;
    }

    /// Opens the list of webhooks anew.
    pub async fn list(&self, world: &World, account: &str) {
        self.goto(&world.page(&format!("/accounts/{account}/webhooks"))).await;
        self.find("heading", "Webhooks").await;
    }

    /// The card of a webhook in this state.
    pub async fn card(&self, title: &str, state: &str) -> WebElement {
        self.find("article", &format!("{title} {state}")).await
    }

    /// Types into the fields of a form, each with its label.
    pub async fn fill_in(&self, fields: &[(&str, &str)]) {
        for (label, text) in fields {
            self.fill(label, text).await;
        }
    }

    /// The text of a field, as its user reads it.
    pub async fn typed(&self, label: &str) -> String {
        self.find("textbox", label).await.value().await.unwrap().unwrap_or_default()
    }

    /// Opens another tab of this browser, and goes on in it.
    pub async fn tab(&self) {
        let tab = self.driver.new_tab().await.unwrap();
        self.driver.switch_to_window(tab).await.unwrap();
    }

    /// Clicks on the label of a switch that has its drawing.
    pub async fn toggle(&self, name: &str) {
        let switch = self.find("switch", name).await;
        let label = "return arguments[0].labels[0]";
        let label = self.driver.execute(label, vec![switch.to_json().unwrap()]).await.unwrap();
        label.element().unwrap().click().await.unwrap_or_else(|error| panic!("the switch {name:?}: {error}"));
    }

    /// Whether a switch, a checkbox or a radio button is set.
    pub async fn is_set(&self, role: &str, name: &str) -> bool {
        let element = self.find(role, name).await;
        let checked = element.attr("aria-checked").await.unwrap();
        checked.map_or(element.is_selected().await.unwrap(), |checked| checked == "true")
    }

    /// The attempts in the tables of the page: the text of each column.
    pub async fn rows(&self) -> Vec<Vec<String>> {
        serde_json::from_value(self.script(ATTEMPTS, Vec::new()).await).unwrap()
    }
}
