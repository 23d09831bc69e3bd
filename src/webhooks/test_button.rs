//! The test button: one immediate attempt, with a special event.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{Webhooks, WebhooksError, not_found};
use crate::{
    domain::{
        account::AccountId,
        delivery::Delivery,
        event::{EnvelopeFacts, EventId, TEST_EVENT},
        log_entry::{LogEntry, timestamp},
        webhook::WebhookId,
    },
    sender::{Request, Sender},
};

/// The log entry of a test.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct Tested(pub LogEntry);

impl Webhooks {
    /// Sends the test event at once, even if the webhook is off, and writes the log. It never retries.
    pub async fn test(&self, sender: &Sender, account: &AccountId, id: WebhookId) -> Result<Tested, WebhooksError> {
        let webhook = self.find(account, id).await?;
        let now = self.store.now_of(account).await?;
        let event_id: EventId = format!("test-{}", uuid::Uuid::now_v7()).parse().expect("fits");
        let delivery = Delivery::first(&event_id, account, id, None);
        let body = test_envelope(now);
        let request = Request::to_webhook(&self.vault, (account, &webhook), &event_id, now.timestamp(), body.into())?;
        let met = sender.attempt(request).await?;
        let facts = EnvelopeFacts { event: TEST_EVENT.to_owned(), identifiers: Vec::new() };
        let entry = LogEntry::of_attempt(&delivery, facts, now, (&met.outcome, met.duration, met.phases), true);
        if !self.store.log(account, id, &entry).await? {
            return Err(not_found(account, id));
        }
        Ok(Tested(entry))
    }
}

/// The test event, as promised to customers.
fn test_envelope(now: DateTime<Utc>) -> String {
    serde_json::to_string_pretty(&serde_json::json!({
        "event": TEST_EVENT,
        "timestamp": timestamp(now),
        "data": { "message": "This is a test webhook from TalentLynk." },
    }))
    .expect("plain JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_event_is_the_promised_one_word_for_word() {
        let envelope: serde_json::Value =
            serde_json::from_str(&test_envelope("2026-03-26T14:35:00Z".parse().unwrap())).unwrap();
        assert_eq!(
            envelope,
            serde_json::json!({
                "event": "webhook.test",
                "timestamp": "2026-03-26T14:35:00.000Z",
                "data": { "message": "This is a test webhook from TalentLynk." }
            })
        );
    }
}
