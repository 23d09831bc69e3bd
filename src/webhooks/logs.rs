//! Delivery logs, filtered and by pages: one webhook's, or those of all webhooks of an account.
//!
//! A log has no entry ids. A position names an entry by its attempt, so that new entries do not move a page's boundary.
//! After the entry of a position has left the log, which keeps 50, the next page is empty.

use std::cmp::Reverse;

use chrono::DateTime;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Webhooks, WebhooksError};
use crate::domain::{
    account::AccountId,
    log_entry::{LogEntry, Status},
    page::{NotAPosition, Page},
    webhook::WebhookId,
};

/// The choice of log entries; `None` chooses all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogFilter {
    /// Only entries with this status.
    pub status: Option<Status>,
    /// Only entries of this event type.
    pub event: Option<String>,
    /// Only entries with an identifier of this value, or with this `name=value`.
    pub identifier: Option<String>,
}

/// A log entry with its webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct AccountLogEntry {
    /// The webhook.
    pub webhook: WebhookId,
    /// The entry.
    #[serde(flatten)]
    pub entry: LogEntry,
}

impl LogFilter {
    /// Whether it chooses this entry.
    pub fn matches(&self, entry: &LogEntry) -> bool {
        let has = |wanted: &String| {
            entry.identifiers.iter().any(|(name, value)| {
                let named = wanted.strip_prefix(name.as_str()).and_then(|rest| rest.strip_prefix('='));
                value.as_str() == wanted || named == Some(value.as_str())
            })
        };
        self.status.is_none_or(|status| status == entry.status)
            && self.event.as_ref().is_none_or(|event| *event == entry.event)
            && self.identifier.as_ref().is_none_or(has)
    }
}

impl Webhooks {
    /// At most `limit` entries of a webhook's delivery log, newest first, beginning after the position `after`.
    ///
    /// # Errors
    /// [`WebhooksError::Position`] if `after` is no position in a log.
    pub async fn logs(
        &self,
        account: &AccountId,
        id: WebhookId,
        filter: &LogFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<LogEntry>, WebhooksError> {
        let after = after.map(checked).transpose()?;
        self.find(account, id).await?;
        let entries = rest(self.store.logs(account, id).await?, after, position);
        Ok(Page::first(entries.filter(|entry| filter.matches(entry)), limit, position))
    }

    /// At most `limit` entries with this identifier (see [`LogFilter::identifier`]) in the logs of all webhooks of an
    /// account that can be read, newest first, beginning after the position `after`.
    ///
    /// # Errors
    /// [`WebhooksError::Position`] if `after` is no position in a log.
    pub async fn account_logs(
        &self,
        account: &AccountId,
        identifier: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<AccountLogEntry>, WebhooksError> {
        let after = after.map(checked).transpose()?;
        let filter = LogFilter { identifier: Some(identifier.to_owned()), ..LogFilter::default() };
        let mut all = Vec::new();
        for (_, webhook) in self.store.webhook_entries(account).await? {
            let Ok(webhook) = webhook else { continue };
            let log = self.store.logs(account, webhook.id).await?;
            all.extend(log.into_iter().map(|entry| AccountLogEntry { webhook: webhook.id, entry }));
        }
        // The sort is stable, so that the entries of one log keep their order.
        all.sort_by_key(|found| found.webhook);
        all.sort_by(|one, other| Reverse(&one.entry.time).cmp(&Reverse(&other.entry.time)));
        let position = |found: &AccountLogEntry| position(&found.entry);
        let entries = rest(all, after, position);
        Ok(Page::first(entries.filter(|found| filter.matches(&found.entry)), limit, position))
    }
}

/// `<time>/<attempt>/<redelivery>/<delivery>`. No two attempts of an account have the same.
fn position(entry: &LogEntry) -> String {
    let LogEntry { time, attempt, redelivery, delivery_id, .. } = entry;
    format!("{time}/{attempt}/{}/{delivery_id}", redelivery.unwrap_or(0))
}

/// A text that has the form of a position.
fn checked(text: &str) -> Result<&str, NotAPosition> {
    let parts: Vec<&str> = text.splitn(4, '/').collect();
    let [time, attempt, redelivery, delivery] = parts[..] else { return Err(NotAPosition) };
    let is_one = DateTime::parse_from_rfc3339(time).is_ok()
        && attempt.parse::<u8>().is_ok()
        && redelivery.parse::<u32>().is_ok()
        && !delivery.is_empty();
    if is_one { Ok(text) } else { Err(NotAPosition) }
}

/// The entries after a position.
fn rest<T>(entries: Vec<T>, after: Option<&str>, position: impl Fn(&T) -> String) -> impl Iterator<Item = T> {
    let begin = match after {
        None => 0,
        Some(after) => entries.iter().position(|entry| position(entry) == after).map_or(entries.len(), |at| at + 1),
    };
    entries.into_iter().skip(begin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_found_by_an_identifiers_value_or_its_name_and_value() {
        let entry: LogEntry = serde_json::from_value(serde_json::json!({
            "status": "failed", "event": "a.b", "httpStatus": 503, "attempt": 1, "durationMs": 1, "error": "x",
            "identifiers": {"messageId": "m=1", "number": 7}, "deliveryId": "e.w", "final": true,
            "time": "2026-03-26T14:32:00.000Z",
        }))
        .unwrap();
        let finds =
            |text: &str| LogFilter { identifier: Some(text.to_owned()), ..LogFilter::default() }.matches(&entry);
        for found in ["m=1", "messageId=m=1", "7", "number=7"] {
            assert!(finds(found), "{found}");
        }
        for other in ["", "m", "1", "number", "number=", "messageId=7", "=7", "umber=7"] {
            assert!(!finds(other), "{other}");
        }
        let of = |status, event: &str| LogFilter { status, event: Some(event.to_owned()), identifier: None };
        assert!(of(None, "a.b").matches(&entry) && of(Some(Status::Failed), "a.b").matches(&entry));
        assert!(!of(Some(Status::Success), "a.b").matches(&entry) && !of(None, "a").matches(&entry));
        assert_eq!(checked(&position(&entry)), Ok(&*position(&entry)));
        for bad in ["", "x", "2026-03-26T14:32:00.000Z/1/0/", "yesterday/1/0/e.w", "2026-03-26T14:32:00.000Z/256/0/e"] {
            assert_eq!(checked(bad), Err(NotAPosition), "{bad}");
        }
    }
}
