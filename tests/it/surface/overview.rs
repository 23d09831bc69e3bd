//! The webhooks of an account with their attempts and kept deliveries, as a screen shows them side by side.

use lynkhook::{
    domain::webhook::WebhookId,
    webhooks::{Edit, Listed, NewAuthentication, Summary, WebhooksError},
};
use redis::AsyncCommands;

use crate::support::*;

impl Installation {
    async fn summary(&self, webhook: WebhookId) -> Summary {
        self.webhooks.summary(&account_id("acme"), webhook).await.unwrap()
    }
}

/// A summary's id, number of log entries, held deliveries and failed ones.
fn figures(summary: &Summary) -> (WebhookId, usize, u64, u64) {
    (summary.webhook.id(), summary.log.len(), summary.held, summary.failed)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overview_has_each_webhook_with_its_own_attempts_and_kept_deliveries() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await.with("LYNKHOOK_WEBHOOKS__LIMIT_PER_ACCOUNT", "3").await;
    let acme = account_id("acme");
    let none = here.webhooks.overview(&acme, None, 50).await.unwrap();
    assert_eq!((none.webhooks.items.len(), none.webhooks.next, none.total, none.limit), (0, None, 0, 3));

    let url = receiver.url("/hook");
    let busy = here.add("acme", &url).await;
    let off = here.add_with("acme", &url, NewAuthentication::None, false).await;
    let idle = here.add("acme", &url).await;
    here.add("other", &url).await;
    for number in 0..60 {
        here.write(busy, number).await;
    }
    for number in 1..=3 {
        here.hold(off, &format!("177453552000{number}-0"), &format!("e{number}"), TRANSCRIPT).await;
        here.fail(busy, &format!("177453552000{number}-0"), &format!("e{number}"), "{}").await;
    }
    let all = here.webhooks.overview(&acme, None, 50).await.unwrap();
    let items = &all.webhooks.items;
    let expected = [(busy, 50, 0, 3), (off, 0, 3, 0), (idle, 0, 0, 0)];
    assert_eq!(items.iter().map(figures).collect::<Vec<_>>(), expected);
    assert_eq!((all.total, all.limit, all.webhooks.next), (3, 3, None));
    let oldest: Vec<_> = items.iter().map(|item| item.oldest_held.as_deref()).collect();
    assert_eq!(oldest, [None, Some("2026-03-26T14:32:00.001Z"), None]);
    assert!(items[0].log.is_sorted_by(|newer, older| newer.time >= older.time), "the newest comes first");
    assert!(items[0].log[0].delivery_id.starts_with("e59."), "{:?}", items[0].log[0]);
    assert!(matches!(&items[1].webhook, Listed::Read(view) if !view.active), "{:?}", items[1].webhook);
    for (id, .., held, failed) in expected {
        let one = here.summary(id).await;
        assert_eq!((one.webhook.id(), one.held, one.failed), (id, held, failed));
    }

    // A form that switches a webhook on may change its settings and drop the held deliveries in one step.
    let edit = |revision| Edit { description: Some("CRM".into()), revision: Some(revision), ..Edit::default() };
    let stale = here.webhooks.enable_with(&acme, off, edit(9), true).await.unwrap_err();
    assert!(matches!(stale, WebhooksError::Stale { present: 1, .. }), "{stale}");
    assert_eq!(here.summary(off).await.held, 3, "nothing was dropped");
    let on = here.webhooks.enable_with(&acme, off, edit(1), true).await.unwrap();
    assert_eq!((on.view.active, &*on.view.description, on.held_discarded), (true, "CRM", Some(3)));
    assert_eq!(here.summary(off).await.held, 0);

    let first = here.webhooks.overview(&acme, None, 2).await.unwrap();
    assert_eq!((first.webhooks.items.len(), first.total), (2, 3), "the total is of all pages");
    let second = here.webhooks.overview(&acme, first.webhooks.next.as_deref(), 2).await.unwrap();
    assert_eq!((figures(&second.webhooks.items[0]).0, second.webhooks.items.len(), second.total), (idle, 1, 3));
    let bad = here.webhooks.overview(&acme, Some("x"), 2).await.unwrap_err();
    assert!(matches!(bad, WebhooksError::Position(_)), "{bad}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_cannot_be_read_is_in_the_overview_with_its_log_and_hides_no_other() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let acme = account_id("acme");
    let (broken, whole) =
        (here.add("acme", &receiver.url("/hook")).await, here.add("acme", &receiver.url("/hook")).await);
    for webhook in [broken, whole] {
        here.write(webhook, 1).await;
    }
    let _: () = here.redis.clone().hset(here.key("webhooks:acme"), broken.to_string(), "{\"token\":").await.unwrap();
    // An entry of a log that cannot be read is left out, and so is one that is older than 90 days.
    let log = here.key(&format!("logs:{whole}"));
    let newest: String = here.redis.clone().lindex(&log, 0).await.unwrap();
    let mut old: serde_json::Value = serde_json::from_str(&newest).unwrap();
    old["time"] = "2020-01-01T00:00:00.000Z".into();
    for entry in ["{", &old.to_string()] {
        let _: u64 = here.redis.clone().rpush(&log, entry).await.unwrap();
    }
    let all = here.webhooks.overview(&acme, None, 50).await.unwrap();
    assert_eq!(all.webhooks.items.iter().map(figures).collect::<Vec<_>>(), [(broken, 1, 0, 0), (whole, 1, 0, 0)]);
    for shown in [&all.webhooks.items[0].webhook, &here.summary(broken).await.webhook] {
        assert!(matches!(shown, Listed::Unreadable { id, .. } if *id == broken), "{shown:?}");
    }
    assert_eq!(all.total, 2);
    here.webhooks.delete(&acme, whole, None).await.unwrap();
    let gone = here.webhooks.summary(&acme, whole).await.unwrap_err();
    assert!(matches!(gone, WebhooksError::NotFound { .. }), "{gone}");
}
