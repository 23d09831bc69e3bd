//! The request that would bring an example of an event to a webhook. Nothing is sent.

use bytes::Bytes;

use super::{SentRequest, Webhooks, WebhooksError, test_button::shown};
use crate::{
    domain::{
        account::AccountId,
        event::EventId,
        log_entry::timestamp,
        url::EndpointUrl,
        webhook::{Authentication, Webhook, WebhookId},
    },
    sender::Request,
};

/// The URL of an example without a webhook.
const PLACEHOLDER: &str = "https://hooks.example.com/in";

impl Webhooks {
    /// The request that would bring this envelope to a webhook now, as people see it; without a webhook, to a
    /// placeholder. Each call gives it another `webhook-id`, so that receivers do not drop it as a duplicate.
    pub async fn example_request(
        &self,
        account: &AccountId,
        id: Option<WebhookId>,
        envelope: Bytes,
    ) -> Result<SentRequest, WebhooksError> {
        let now = self.store.now_of(account).await?;
        let webhook = match id {
            Some(id) => self.find(account, id).await?,
            None => placeholder(timestamp(now)),
        };
        let event_id: EventId = format!("example-{}", uuid::Uuid::now_v7()).parse().expect("fits");
        let request = Request::to_webhook(&self.vault, (account, &webhook), &event_id, now.timestamp(), envelope)?;
        Ok(shown(&webhook, &request).1)
    }
}

fn placeholder(now: String) -> Webhook {
    Webhook {
        id: WebhookId::new(uuid::Uuid::nil()),
        url: EndpointUrl::from_saved(PLACEHOLDER).expect("a valid URL"),
        events: Vec::new(),
        authentication: Authentication::None,
        description: String::new(),
        active: true,
        revision: 1,
        created_at: now.clone(),
        updated_at: now,
    }
}
