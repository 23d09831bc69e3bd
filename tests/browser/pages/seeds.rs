//! The webhooks, attempts and deliveries of the scenes, written as a worker leaves them in Redis, and the way in.

use std::sync::LazyLock;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use lynkhook::{
    domain::{log_entry::LogEntry, webhook::WebhookId},
    webhooks::{NewAuthentication, NewWebhook},
};
use redis::AsyncCommands;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{chromium::Page, support::*, world::World};

/// The platform, to which the screen leads back.
pub const PLATFORM: &str = "https://app.example.com";
/// The time of the newest attempts.
pub static NOW: LazyLock<DateTime<Utc>> = LazyLock::new(Utc::now);

/// An attempt of a log, before it is written.
pub struct Attempt {
    pub event: String,
    pub minutes_ago: i64,
    pub number: u8,
    pub http_status: u16,
    pub duration_ms: u64,
    pub last: bool,
    pub message: String,
}

impl World {
    /// A link for everything, or with these members in place of the usual ones.
    pub async fn way_in(&self, account: &str, more: Value) -> String {
        let mut link = json!({"access": "manage", "payloads": true, "returnUrl": PLATFORM});
        link.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        self.link_with(account, link).await
    }

    /// Enters an account, and opens one of its pages, such as `/webhooks`.
    pub async fn open(&self, page: &Page, account: &str, path: &str) {
        self.open_with(page, account, json!({}), path).await;
    }

    pub async fn open_with(&self, page: &Page, account: &str, more: Value, path: &str) {
        page.goto(&self.way_in(account, more).await).await;
        page.click("button", "Open webhooks").await;
        page.find("heading", "Webhooks").await;
        self.goto(page, account, path).await;
    }

    pub async fn goto(&self, page: &Page, account: &str, path: &str) {
        page.goto(&self.page(&format!("/accounts/{account}{path}"))).await;
    }

    /// Adds a webhook whose endpoint is somewhere on the internet.
    pub async fn add_guarded(&self, account: &str, description: &str, url: &str) -> WebhookId {
        let token = "crm-live-7Qm2xV9bKc4TzR3f9a".to_owned().into();
        self.add_with(account, description, url, NewAuthentication::Bearer(token)).await
    }

    pub async fn add_with(
        &self,
        account: &str,
        description: &str,
        url: &str,
        authentication: NewAuthentication,
    ) -> WebhookId {
        let description = description.to_owned();
        let new = NewWebhook { url: url.to_owned(), events: None, authentication, description, active: true };
        let added = self.here.webhooks.add(&account_id(account), new).await.unwrap();
        self.age(account, added.id).await;
        added.id
    }

    /// Makes a webhook older than its attempts.
    async fn age(&self, account: &str, id: WebhookId) {
        let (key, id) = (self.here.key(&format!("webhooks:{account}")), id.to_string());
        let json: String = self.here.redis.clone().hget(&key, &id).await.unwrap();
        let mut settings: Value = serde_json::from_str(&json).unwrap();
        let then = (*NOW - TimeDelta::days(100)).to_rfc3339_opts(SecondsFormat::Millis, true);
        settings["createdAt"] = then.clone().into();
        settings["updatedAt"] = then.into();
        let _: () = self.here.redis.clone().hset(&key, &id, settings.to_string()).await.unwrap();
    }

    /// Adds the webhook of most scenes.
    pub async fn crm(&self, account: &str) -> WebhookId {
        self.add_guarded(account, "CRM sync", "https://hooks.acme-recruiting.com/talentlynk/transcripts").await
    }

    /// Adds a webhook that has been in use for a day: most events were taken at once, two at the second attempt.
    pub async fn busy_crm(&self, account: &str) -> WebhookId {
        let id = self.crm(account).await;
        for number in (0..48).rev() {
            let failed_first = number == 9 || number == 31;
            let minutes_ago = 2 + number * 27;
            if failed_first {
                self.write(account, id, Attempt { minutes_ago: minutes_ago + 1, ..Attempt::failed(number, 503) }).await;
            }
            let attempt = Attempt::good(number);
            self.write(account, id, Attempt { minutes_ago, number: 1 + u8::from(failed_first), ..attempt }).await;
        }
        id
    }

    /// Adds a webhook whose last three deliveries failed for good.
    pub async fn failing(&self, account: &str) -> WebhookId {
        let id = self.add_guarded(account, "Slack notifications", "https://relay.acme-recruiting.com/slack").await;
        for number in (3..7).rev() {
            self.write(account, id, Attempt { minutes_ago: 60 + number * 31, ..Attempt::good(number) }).await;
        }
        for number in (0..3).rev() {
            for attempt in 1..=3 {
                let minutes_ago = 90 - 30 * i64::from(attempt) + number;
                let failed =
                    Attempt { minutes_ago, number: attempt, last: attempt == 3, ..Attempt::failed(number, 404) };
                self.write(account, id, failed).await;
            }
            self.fail(account, id, number).await;
        }
        id
    }

    /// Adds a log entry.
    pub async fn write(&self, account: &str, webhook: WebhookId, attempt: Attempt) {
        let entry = entry(webhook, &attempt);
        assert!(self.here.store.log(&account_id(account), webhook, &entry).await.unwrap());
    }

    /// Adds a log entry in which these members are replaced.
    pub async fn write_with<const N: usize>(&self, webhook: WebhookId, attempt: Attempt, members: [(&str, Value); N]) {
        let mut entry = serde_json::to_value(entry(webhook, &attempt)).unwrap();
        for (name, value) in members {
            entry[name] = value;
        }
        let key = self.here.key(&format!("logs:{webhook}"));
        let _: () = self.here.redis.clone().lpush(key, entry.to_string()).await.unwrap();
    }

    /// Adds a delivery that failed for good.
    pub async fn fail(&self, account: &str, webhook: WebhookId, number: i64) {
        let delivery = first(account, webhook, &event(number)).next_attempt().next_attempt();
        let failed = Attempt { minutes_ago: number, number: 3, last: true, ..Attempt::failed(number, 404) };
        let log = entry(webhook, &failed).to_json();
        let fields = [("delivery", text(&delivery, &envelope())), ("log", log)];
        self.keep("failed", webhook, number, &fields).await;
    }

    /// Adds deliveries that wait, the oldest three hours old.
    pub async fn hold(&self, account: &str, webhook: WebhookId, count: i64) {
        for number in (0..count).rev() {
            let delivery = first(account, webhook, &event(number));
            self.keep("held", webhook, number * 180 / count, &[("delivery", text(&delivery, &envelope()))]).await;
        }
    }

    async fn keep(&self, stock: &str, webhook: WebhookId, minutes_ago: i64, fields: &[(&str, String)]) {
        let id = format!("{}-*", (*NOW - TimeDelta::minutes(minutes_ago)).timestamp_millis());
        let here = &self.here;
        let _: String = here.redis.clone().xadd(here.key(&format!("{stock}:{webhook}")), id, fields).await.unwrap();
    }

    /// Ends all sessions of an account, as the platform's backend does.
    pub async fn revoke(&self, account: &str) {
        let path = format!("/v1/accounts/{account}/portal-sessions");
        assert_eq!(self.api(Method::DELETE, &path, None).await.0, 200);
    }
}

/// An attempt as the log has it.
fn entry(webhook: WebhookId, attempt: &Attempt) -> LogEntry {
    let time = *NOW - TimeDelta::minutes(attempt.minutes_ago);
    let is_success = attempt.http_status == 200;
    let error = match attempt.http_status {
        200 => None,
        404 => Some("HTTP 404 Not Found"),
        _ => Some("HTTP 503 Service Unavailable"),
    };
    serde_json::from_value(json!({
        "status": if is_success { "success" } else { "failed" }, "event": "transcript.created",
        "httpStatus": attempt.http_status, "attempt": attempt.number, "durationMs": attempt.duration_ms,
        "error": error, "identifiers": {"messageId": attempt.message}, "final": attempt.last,
        "deliveryId": format!("{}.{webhook}", attempt.event),
        "time": time.to_rfc3339_opts(SecondsFormat::Millis, true),
    }))
    .unwrap()
}

/// An envelope with a member a line.
fn envelope() -> String {
    let envelope: Value = serde_json::from_str(TRANSCRIPT).unwrap();
    serde_json::to_string_pretty(&envelope).unwrap()
}

/// The id of an event.
fn event(number: i64) -> String {
    format!("6601abc123def4567890{:04x}", 0xabcd - number)
}

impl Attempt {
    /// An attempt that the endpoint took.
    pub fn good(number: i64) -> Self {
        let duration_ms = 84 + u64::try_from(number * 37 % 61).unwrap();
        let event = event(number);
        Self { message: event.clone(), event, minutes_ago: 0, number: 1, http_status: 200, duration_ms, last: true }
    }

    /// An attempt that the endpoint did not take.
    pub fn failed(number: i64, http_status: u16) -> Self {
        Self { http_status, last: false, duration_ms: 31, ..Self::good(number) }
    }
}
