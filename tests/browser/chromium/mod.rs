//! A page in a real browser, as its user sees it. Each test has a browser of its own: its cookies, its settings.
//!
//! A step that needs something waits until it is seen, at most [`SEEN_LIMIT`], and never for a fixed time. When the
//! limit passes, the test fails with the page's text and a screenshot.

mod accessible;
mod driver;
mod faults;
mod looks;
mod seen;

use std::{sync::Mutex, time::Duration};

use serde_json::{Value, json};
use thirtyfour::{
    CapabilitiesHelper, ChromiumLikeCapabilities, DesiredCapabilities, ElementId, LoggingPrefsLogLevel, WebDriver,
    common::command::ExtensionCommand,
};
use tokio::sync::{Semaphore, SemaphorePermit};

pub use looks::{SCREENSHOTS, Theme, WIDTHS, wants_screenshots};

use driver::Driver;
use faults::Reports;

/// The longest time until something that a test waits for is seen.
pub const SEEN_LIMIT: Duration = Duration::from_secs(10);
/// The tests that may have browsers at once; each takes a core while it loads a page.
static ROOM: Semaphore = Semaphore::const_new(2);

/// The flags of every browser. Frames of other sites stay in the process of the page: the driver answers neither roles
/// nor names, and sets no media, in those of another process. All that pages may and may not do stays as it is.
const FLAGS: [&str; 5] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--no-proxy-server",
    "--disable-site-isolation-trials",
];
/// Pages have no script; the driver still can find, type and click.
const NO_JAVASCRIPT: &str = "--blink-settings=scriptEnabled=false";

/// The settings of a browser.
#[derive(Clone, Copy)]
pub struct Browser {
    pub javascript: bool,
    pub third_party_cookies: bool,
}

/// A browser with a page. Dropping it ends the browser; then the test fails for each fault that it did not announce.
pub struct Page {
    pub driver: WebDriver,
    reports: Mutex<Reports>,
    _room: Option<SemaphorePermit<'static>>,
}

/// The directory of all browsers of this process.
pub fn home() -> &'static std::path::Path {
    Driver::shared().home()
}

/// The address of the driver.
pub fn driver_url() -> String {
    Driver::shared().url()
}

impl Default for Browser {
    /// As people get it.
    fn default() -> Self {
        Self { javascript: true, third_party_cookies: true }
    }
}

impl Browser {
    pub fn without_javascript() -> Self {
        Self { javascript: false, ..Self::default() }
    }

    pub fn without_third_party_cookies() -> Self {
        Self { third_party_cookies: false, ..Self::default() }
    }

    /// Starts it, with an empty page.
    pub async fn start(self) -> Page {
        let room = ROOM.acquire().await.expect("it is never closed");
        self.launch(Some(room)).await
    }

    async fn launch(self, room: Option<SemaphorePermit<'static>>) -> Page {
        // The client of WebDriver needs it although it speaks plain HTTP. Only the first test of this process installs it.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut chromium = DesiredCapabilities::chrome();
        for flag in FLAGS.into_iter().chain((!self.javascript).then_some(NO_JAVASCRIPT)) {
            chromium.add_arg(flag).unwrap();
        }
        let mode = i32::from(!self.third_party_cookies);
        let cookies = json!({"profile.block_third_party_cookies": !self.third_party_cookies, "profile.cookie_controls_mode": mode});
        chromium.add_experimental_option("prefs", cookies).unwrap();
        for log in ["browser", "performance"] {
            chromium.set_logging_prefs(log, LoggingPrefsLogLevel::All).unwrap();
        }
        // A dialog is closed and reported as a fault.
        chromium.set("unhandledPromptBehavior", json!("dismiss")).unwrap();
        let driver = WebDriver::new(Driver::shared().url(), chromium).await.unwrap();
        Page { driver, reports: Mutex::default(), _room: room }
    }
}

impl Page {
    /// A page of a browser with the usual settings.
    pub async fn open(url: &str) -> Self {
        let page = Browser::default().start().await;
        page.goto(url).await;
        page
    }

    /// The browser of another person in the same test. Drop it before the first one.
    pub async fn beside(&self, browser: Browser) -> Self {
        browser.launch(None).await
    }

    /// Opens a URL, as typed into the address bar, and waits until the page has loaded.
    pub async fn goto(&self, url: &str) {
        self.driver.goto(url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
    }

    pub async fn reload(&self) {
        self.driver.refresh().await.unwrap();
    }

    pub async fn url(&self) -> String {
        self.driver.current_url().await.unwrap().into()
    }

    /// Enters the frame of this title: what follows happens in it, until [`leave_frame`](Self::leave_frame).
    pub async fn enter_frame(&self, title: &str) {
        self.find("frame", title).await.enter_frame().await.unwrap();
    }

    pub async fn leave_frame(&self) {
        self.driver.enter_default_frame().await.unwrap();
    }

    /// Runs a script as the body of a function, and answers its result.
    pub async fn script(&self, script: &str, arguments: Vec<Value>) -> Value {
        let answer = self.driver.execute(script, arguments).await;
        answer.unwrap_or_else(|error| panic!("{script}: {error}")).json().clone()
    }

    /// Sends a command of the protocol of the developer tools.
    pub async fn devtools(&self, method: &str, params: Value) -> Value {
        let answer = self.driver.cdp().send_raw(method, params).await;
        answer.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// Announces faults that contain this text, such as `/enter answered 410`. One at least has to happen.
    pub fn announce(&self, part: &str) {
        self.reports.lock().unwrap().announce(part);
    }

    /// Takes the faults so far, announced or not; those do not fail the test any longer.
    pub async fn faults(&self) -> Vec<String> {
        self.read_reports().await;
        self.reports.lock().unwrap().take()
    }

    async fn read_reports(&self) {
        let [console, events] = ["browser", "performance"].map(|log| self.driver.get_log(log));
        let (console, events) = (console.await.unwrap(), events.await.unwrap());
        let mut reports = self.reports.lock().unwrap();
        for entry in &console {
            reports.console(entry);
        }
        for entry in &events {
            reports.event(entry);
        }
    }

    /// Ends the browser, and answers the faults for which the test fails.
    async fn end(&self) -> Vec<String> {
        if !std::thread::panicking() {
            self.read_reports().await;
        }
        // A browser that crashed has ended already.
        let _ = self.driver.clone().quit().await;
        self.reports.lock().unwrap().wrong()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let end = || tokio::runtime::Handle::current().block_on(self.end());
        let faults = tokio::task::block_in_place(end);
        assert!(std::thread::panicking() || faults.is_empty(), "the browser reported:\n{}", faults.join("\n"));
    }
}

/// An element's accessible role or name, as the browser computed it for assistive technology.
#[derive(Debug)]
struct Computed(ElementId, &'static str);

impl ExtensionCommand for Computed {
    fn parameters_json(&self) -> Option<Value> {
        None
    }

    fn method(&self) -> http::Method {
        http::Method::GET
    }

    fn endpoint(&self) -> std::sync::Arc<str> {
        format!("/element/{}/computed{}", self.0, self.1).into()
    }
}
