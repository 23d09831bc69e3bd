//! Finding what a user finds, and waiting until it is seen.

use std::time::Instant;

use serde_json::Value;
use thirtyfour::{WebElement, common::command::Command, prelude::WebDriverResult};

use super::{Computed, Page, SEEN_LIMIT};

/// Elements that have a role without saying so; every role may also be given in `role=`.
const IMPLIED: [(&str, &str); 18] = [
    ("button", "button, summary, input[type=submit], input[type=button], input[type=reset]"),
    ("link", "a[href]"),
    ("textbox", "input, textarea"),
    ("searchbox", "input[type=search]"),
    ("spinbutton", "input[type=number]"),
    ("checkbox", "input[type=checkbox]"),
    ("switch", "input[type=checkbox]"),
    ("radio", "input[type=radio]"),
    ("combobox", "select"),
    ("heading", "h1, h2, h3, h4, h5, h6"),
    ("group", "fieldset, details"),
    ("region", "section"),
    ("article", "article"),
    ("navigation", "nav"),
    ("table", "table"),
    ("row", "tr"),
    ("columnheader", "th"),
    ("image", "img, svg"),
];

/// Answers the visible elements of a selector that may have this name: one of the texts that can give it has it.
const CANDIDATES: &str = r"
    const [selector, name, scope] = arguments;
    // Names have blanks between blocks, where texts have none.
    const flat = text => (text ?? '').replace(/\s+/g, '');
    const texts = element => [
        element.textContent, element.value, element.title, element.alt, element.placeholder,
        element.getAttribute('aria-label'), ...[...element.labels ?? []].map(label => label.textContent),
        ...(element.getAttribute('aria-labelledby') ?? '').split(/\s+/).map(id => document.getElementById(id)?.textContent),
        element.querySelector('legend, caption')?.textContent,
    ];
    const isSeen = element => element.checkVisibility({opacityProperty: false, visibilityProperty: true});
    return [...(scope ?? document).querySelectorAll(selector)]
        .filter(element => isSeen(element) && texts(element).some(text => flat(text).includes(flat(name))));
";
const TEXT: &str = r"return (document.body?.innerText ?? '').replace(/\s+/g, ' ')";

impl Page {
    /// Waits for the one element of this role and accessible name, such as `("button", "Add Webhook")`. The role
    /// `frame` finds a frame by its title.
    pub async fn find(&self, role: &str, name: &str) -> WebElement {
        self.find_within(None, role, name).await
    }

    /// The same inside an element.
    pub async fn find_in(&self, scope: &WebElement, role: &str, name: &str) -> WebElement {
        self.find_within(Some(scope), role, name).await
    }

    async fn find_within(&self, scope: Option<&WebElement>, role: &str, name: &str) -> WebElement {
        let found = async || {
            let mut found = self.all_within(scope, role, name).await.ok()?;
            assert!(found.len() < 2, "{} of the page are a {role} {name:?}", found.len());
            found.pop()
        };
        self.wait(&format!("a {role} {name:?}"), found).await
    }

    /// All elements of this role and name that are there now.
    pub async fn all(&self, role: &str, name: &str) -> Vec<WebElement> {
        self.all_within(None, role, name).await.unwrap()
    }

    async fn all_within(&self, scope: Option<&WebElement>, role: &str, name: &str) -> WebDriverResult<Vec<WebElement>> {
        let selector = match IMPLIED.iter().find(|(implied, _)| *implied == role) {
            _ if role == "frame" => "iframe".to_owned(),
            Some((_, elements)) => format!("[role={role}], {elements}"),
            None => format!("[role={role}], main, header, footer, form, dialog, output, ul, ol, li, td, th"),
        };
        let scope = scope.map_or(Ok(Value::Null), WebElement::to_json)?;
        let candidates =
            self.driver.execute(CANDIDATES, vec![selector.into(), name.into(), scope]).await?.elements()?;
        let mut found = Vec::new();
        for element in candidates {
            let is_role = match self.computed(&element, "role").await?.as_str() {
                // The summary of details, which assistive technology calls a button.
                "DisclosureTriangle" => role == "button",
                computed => role == "frame" || computed == role,
            };
            if is_role && self.computed(&element, "label").await? == name {
                found.push(element);
            }
        }
        Ok(found)
    }

    async fn computed(&self, element: &WebElement, what: &'static str) -> WebDriverResult<String> {
        let command = Command::ExtensionCommand(Box::new(Computed(element.element_id(), what)));
        let value: String = self.driver.cmd(command).await?.value()?;
        Ok(value.trim().to_owned())
    }

    pub async fn click(&self, role: &str, name: &str) {
        self.find(role, name).await.click().await.unwrap_or_else(|error| panic!("the {role} {name:?}: {error}"));
    }

    /// The same inside an element.
    pub async fn click_in(&self, scope: &WebElement, role: &str, name: &str) {
        let element = self.find_in(scope, role, name).await;
        element.click().await.unwrap_or_else(|error| panic!("the {role} {name:?}: {error}"));
    }

    /// Types into a field of this label, in place of what it has.
    pub async fn fill(&self, label: &str, text: &str) {
        let field = self.find("textbox", label).await;
        field.clear().await.unwrap_or_else(|error| panic!("the field {label:?}: {error}"));
        field.send_keys(text).await.unwrap_or_else(|error| panic!("the field {label:?}: {error}"));
    }

    /// Presses keys wherever the focus is; `Key` of the driver's crate has those without a character.
    pub async fn press(&self, keys: impl Into<thirtyfour::TypingData>) {
        self.driver.action_chain().send_keys(keys).perform().await.unwrap();
    }

    /// The accessible role and name of the element that has the focus.
    pub async fn focused(&self) -> (String, String) {
        let element = self.driver.active_element().await.unwrap();
        (self.computed(&element, "role").await.unwrap(), self.computed(&element, "label").await.unwrap())
    }

    /// The visible text, each white space as one blank.
    pub async fn text(&self) -> String {
        self.script(TEXT, Vec::new()).await.as_str().unwrap().to_owned()
    }

    /// Waits until this text is seen.
    pub async fn sees(&self, text: &str) {
        self.wait(&format!("the text {text:?}"), async || self.shown().await?.contains(text).then_some(())).await;
    }

    /// Waits until this text is not seen. First wait for something that comes with its absence, or for the absence of
    /// something that was there: on a page that is still to come, nothing is seen.
    pub async fn sees_no_longer(&self, text: &str) {
        let gone = async || (!self.shown().await?.contains(text)).then_some(());
        self.wait(&format!("the absence of the text {text:?}"), gone).await;
    }

    /// The text; `None` while the page is replaced by another one.
    async fn shown(&self) -> Option<String> {
        let text = self.driver.execute(TEXT, Vec::new()).await.ok()?;
        text.json().as_str().map(str::to_owned)
    }

    /// Waits for a condition of the page. Panics with the page's text and a screenshot when it does not come.
    pub async fn wait<T>(&self, what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            if started.elapsed() > SEEN_LIMIT {
                self.is_missing(what).await;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    async fn is_missing(&self, what: &str) -> ! {
        let (text, url) = (self.shown().await.unwrap_or_default(), self.driver.current_url().await);
        let name = std::thread::current().name().unwrap_or("page").replace("::", "-");
        let picture = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.png"));
        let picture = self.driver.screenshot(&picture).await.map(|()| picture.display().to_string());
        let faults = self.faults().await;
        panic!(
            "not seen within {SEEN_LIMIT:?}: {what}\n--- at {url:?}, pictured in {picture:?}\n{text}\n--- faults\n{}",
            faults.join("\n")
        );
    }
}
