//! The faults that the browser reported: errors on the console (reports of the policy and of Trusted Types are among
//! them), dialogs, failed requests, and answers of 400 and more.

use std::collections::HashMap;

use serde_json::Value;
use thirtyfour::BrowserLogEntry;

/// The icon that the browser asks for by itself, at a time of its own, if a page names none.
const ICON: &str = "/favicon.ico";

/// The reports of the browser so far, and the announcements of the test.
#[derive(Default)]
pub(super) struct Reports {
    faults: Vec<String>,
    announced: Vec<String>,
    /// Method and URL of each request, by its id.
    requests: HashMap<String, String>,
}

impl Reports {
    pub(super) fn announce(&mut self, part: &str) {
        self.announced.push(part.to_owned());
    }

    /// Takes the faults that were reported since the last time.
    pub(super) fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.faults)
    }

    /// The faults that nothing announced, and announced ones that did not happen.
    pub(super) fn wrong(&self) -> Vec<String> {
        let is_announced = |fault: &&String| self.announced.iter().any(|part| fault.contains(part.as_str()));
        let missing =
            self.announced.iter().filter(|part| !self.faults.iter().any(|fault| fault.contains(part.as_str())));
        let missing = missing.map(|part| format!("announced, and did not happen: {part}"));
        self.faults.iter().filter(|fault| !is_announced(fault)).cloned().chain(missing).collect()
    }

    /// Reads an entry of the log `browser`: the console.
    pub(super) fn console(&mut self, entry: &BrowserLogEntry) {
        // The log of requests has these as well, with more about them.
        let is_request =
            entry.source.as_deref() == Some("network") && entry.message.contains("Failed to load resource");
        if entry.level == "SEVERE" && !is_request {
            self.faults.push(format!("console: {}", entry.message));
        }
    }

    /// Reads an entry of the log `performance`: an event of the protocol of the developer tools.
    pub(super) fn event(&mut self, entry: &BrowserLogEntry) {
        let event: Value = serde_json::from_str(&entry.message).unwrap();
        let event = &event["message"];
        let params = &event["params"];
        let id = params["requestId"].as_str().unwrap_or_default();
        match event["method"].as_str().unwrap_or_default() {
            "Network.requestWillBeSent" => {
                let request = &params["request"];
                self.requests.insert(id.to_owned(), asked(&request["method"], &request["url"]));
            }
            "Network.responseReceived" => {
                let response = &params["response"];
                let status = response["status"].as_u64().unwrap_or_default();
                let asked = self.requests.get(id).cloned().unwrap_or_else(|| asked(&"?".into(), &response["url"]));
                if status >= 400 && !asked.ends_with(ICON) {
                    self.faults.push(format!("{asked} answered {status}"));
                }
            }
            // The browser cancels a request itself when the page is left.
            "Network.loadingFailed" if params["canceled"] != true => {
                let asked = self.requests.get(id).map_or("a request", String::as_str);
                let blocked = params["blockedReason"].as_str().map(|reason| format!(" ({reason})")).unwrap_or_default();
                self.faults
                    .push(format!("{asked} failed: {}{blocked}", params["errorText"].as_str().unwrap_or_default()));
            }
            "Page.javascriptDialogOpening" if params["type"] != "beforeunload" => {
                self.faults.push(format!("dialog: {} {}", params["type"], params["message"]));
            }
            _ => {}
        }
    }
}

/// Method and URL, without the query: it may have a secret, and announcements are easier without.
fn asked(method: &Value, url: &Value) -> String {
    let url = url.as_str().unwrap_or_default();
    format!("{} {}", method.as_str().unwrap_or_default(), url.split('?').next().unwrap_or_default())
}
