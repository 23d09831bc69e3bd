//! Delivery logs are filtered and read by pages, for one webhook and for all of an account.

use lynkhook::{
    domain::{
        log_entry::{LogEntry, Status},
        webhook::WebhookId,
    },
    webhooks::{LogFilter, WebhooksError},
};
use redis::AsyncCommands;
use serde_json::json;

use crate::{shapes::assert_page, support::*};

fn entry(webhook: WebhookId, number: usize) -> LogEntry {
    let time = chrono::Utc::now() + chrono::TimeDelta::seconds(i64::try_from(number).unwrap());
    serde_json::from_value(json!({
        "status": if number.is_multiple_of(2) { "success" } else { "failed" }, "event": "transcript.created",
        "httpStatus": 200, "attempt": 1, "durationMs": 1, "error": null, "deliveryId": format!("e{number}.{webhook}"),
        "identifiers": {"messageId": format!("m{}", number / 4)}, "final": true,
        "time": time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
    }))
    .unwrap()
}

impl Installation {
    pub(super) async fn write(&self, webhook: WebhookId, number: usize) {
        assert!(self.store.log(&account_id("acme"), webhook, &entry(webhook, number)).await.unwrap());
    }
}

fn numbers<'a>(entries: impl IntoIterator<Item = &'a LogEntry>) -> Vec<usize> {
    let number = |entry: &LogEntry| entry.delivery_id[1..].split('.').next().unwrap().parse().unwrap();
    entries.into_iter().map(number).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_a_filtered_log_survive_new_entries_and_end_when_theirs_are_gone() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let (acme, webhook) = (account_id("acme"), here.add("acme", &receiver.url("/hook")).await);
    for number in 0..10 {
        here.write(webhook, number).await;
    }
    let failed = LogFilter { status: Some(Status::Failed), ..LogFilter::default() };
    let read = async |filter: &LogFilter, after: Option<&str>| {
        let page = here.webhooks.logs(&acme, webhook, filter, after, 3).await.unwrap();
        assert_page(&page, &page.items);
        page
    };
    let first = read(&failed, None).await;
    assert_eq!(numbers(&first.items), [9, 7, 5]);
    here.write(webhook, 11).await;
    let second = read(&failed, first.next.as_deref()).await;
    assert_eq!((numbers(&second.items), second.next), (vec![3, 1], None));
    let of_message = LogFilter { identifier: Some("messageId=m1".to_owned()), ..LogFilter::default() };
    assert_eq!(numbers(&read(&of_message, None).await.items), [7, 6, 5]);
    let of_event = LogFilter { event: Some("webhook.test".to_owned()), ..LogFilter::default() };
    assert!(read(&of_event, None).await.items.is_empty());
    for number in 12..62 {
        here.write(webhook, number).await;
    }
    assert!(read(&failed, first.next.as_deref()).await.items.is_empty(), "the entries fell out of the log");
    let bad = here.webhooks.logs(&acme, webhook, &failed, Some("x"), 3).await.unwrap_err();
    assert!(matches!(bad, WebhooksError::Position(_)), "{bad}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identifier_is_found_in_the_logs_of_all_webhooks_of_its_account_alone() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await.with("LYNKHOOK_WEBHOOKS__LIMIT_PER_ACCOUNT", "3").await;
    let acme = account_id("acme");
    let url = receiver.url("/hook");
    let webhooks = [here.add("acme", &url).await, here.add("acme", &url).await];
    let (broken, other) = (here.add("acme", &url).await, here.add("other", &url).await);
    for number in 0..8 {
        here.write(webhooks[number % 2], number).await;
    }
    here.write(broken, 5).await;
    assert!(here.store.log(&account_id("other"), other, &entry(other, 5)).await.unwrap());
    let _: () = here.redis.clone().hset(here.store.keys().webhooks(&acme), broken.to_string(), "x").await.unwrap();
    let read = async |after: Option<&str>| {
        let page = here.webhooks.account_logs(&acme, "m1", after, 3).await.unwrap();
        assert_page(&page, &page.items);
        page
    };
    let first = read(None).await;
    assert_eq!(numbers(first.items.iter().map(|found| &found.entry)), [7, 6, 5]);
    assert_eq!(
        first.items.iter().map(|found| found.webhook).collect::<Vec<_>>(),
        [webhooks[1], webhooks[0], webhooks[1]]
    );
    here.write(webhooks[0], 6).await;
    let second = read(first.next.as_deref()).await;
    assert_eq!((numbers(second.items.iter().map(|found| &found.entry)), second.next), (vec![4], None));
    assert!(here.webhooks.account_logs(&account_id("nobody"), "m1", None, 3).await.unwrap().items.is_empty());
    assert!(here.webhooks.account_logs(&acme, "m1", Some("/1/1/"), 3).await.is_err());
}
