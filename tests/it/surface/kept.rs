//! Held and failed deliveries are listed by pages, read whole one at a time, and redelivered a part at a time.

use lynkhook::{
    domain::{failure::Failure, page::KeptPage, webhook::WebhookId},
    webhooks::{FailedDelivery, HeldDelivery, NewAuthentication, Redelivery, WebhooksError, Which},
};
use redis::AsyncCommands;
use serde_json::json;

use crate::{
    shapes::{assert_page, assert_shape},
    support::*,
};

impl Installation {
    /// Adds a held delivery by hand, as a worker leaves it.
    pub(super) async fn hold(&self, webhook: WebhookId, id: &str, event: &str, envelope: &str) {
        let fields = [("delivery", text(&first("acme", webhook, event), envelope))];
        let _: String = self.redis.clone().xadd(self.key(&format!("held:{webhook}")), id, &fields).await.unwrap();
    }

    async fn held_page(&self, webhook: WebhookId, after: Option<&str>, limit: usize) -> KeptPage<HeldDelivery> {
        let page = self.webhooks.held(&account_id("acme"), webhook, after, limit).await.unwrap();
        assert_page(&page, &page.items);
        page
    }

    async fn failed_page(
        &self,
        webhook: WebhookId,
        since: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> KeptPage<FailedDelivery> {
        let since = since.map(|since| since.parse().unwrap());
        let page = self.webhooks.failed(&account_id("acme"), webhook, since, after, limit).await.unwrap();
        assert_page(&page, &page.items);
        page
    }

    async fn some(&self, webhook: WebhookId, which: &Which, until: Option<&str>) -> Redelivery {
        let some = self.webhooks.redeliver_some(&account_id("acme"), webhook, which, until).await.unwrap();
        assert_shape(&some);
        some
    }
}

fn events<'a>(ids: impl Iterator<Item = &'a lynkhook::domain::event::EventId>) -> Vec<&'a str> {
    ids.map(lynkhook::domain::event::EventId::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn held_deliveries_are_listed_oldest_first_with_their_total_and_read_whole_one_at_a_time() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let acme = account_id("acme");
    let webhook = here.add_with("acme", &receiver.url("/hook"), NewAuthentication::None, false).await;
    let none = here.held_page(webhook, None, 5).await;
    assert_eq!((none.items.len(), none.next, none.total, none.oldest), (0, None, 0, None));
    let envelope = format!(" {TRANSCRIPT}\n\n");
    for number in 1..=120 {
        here.hold(webhook, &format!("1774535520{number:03}-0"), &format!("e{number}"), &envelope).await;
    }
    let _: String =
        here.redis.clone().xadd(here.key(&format!("held:{webhook}")), "*", &[("other", "x")]).await.unwrap();
    let first = here.held_page(webhook, None, 100).await;
    assert_eq!((first.items.len(), first.total, first.oldest.as_deref()), (100, 121, Some("2026-03-26T14:32:00.001Z")));
    let oldest = &first.items[0];
    assert_eq!((oldest.event_id.as_str(), oldest.attempt, oldest.redelivery), ("e1", 1, None));
    assert_eq!((&*oldest.held_at, oldest.envelope_bytes), ("2026-03-26T14:32:00.001Z", envelope.len() as u64));
    // The entry at the boundary leaves, and another comes.
    let _: u64 = here.redis.clone().xdel(here.key(&format!("held:{webhook}")), &["1774535520100-0"]).await.unwrap();
    here.hold(webhook, "*", "e121", &envelope).await;
    let second = here.held_page(webhook, first.next.as_deref(), 100).await;
    let expected: Vec<String> = (101..=121).map(|number| format!("e{number}")).collect();
    assert_eq!(events(second.items.iter().map(|one| &one.event_id)), expected, "the foreign entry is left out");
    assert_eq!(second.next, None);

    let read = here.webhooks.held_envelope(&acme, webhook, &second.items[3].delivery_id).await.unwrap();
    assert_eq!(read, envelope.as_bytes());
    let missing = here.webhooks.held_envelope(&acme, webhook, "e100.x").await.unwrap_err();
    assert_eq!((missing.failure(), missing.to_string().contains("no held delivery")), (Failure::NotFound, true));
    let bad = here.webhooks.held(&acme, webhook, Some("+"), 5).await.unwrap_err();
    assert!(matches!(bad, WebhooksError::Position(_)), "{bad}");

    let command = ["webhook", "held", "--account", "acme", &webhook.to_string()].map(str::to_owned);
    let shown = here.program.json(command.iter().cloned().chain(["--json".to_owned()])).await;
    assert_eq!(shown.as_array().unwrap().len(), 120);
    assert_eq!(shown[0]["eventId"], "e1");
    let table = here.program.run(command).await;
    assert!(table.stdout.contains("Next attempt") && table.stdout.contains(&oldest.delivery_id), "{table:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_deliveries_are_listed_newest_first_since_a_time_and_read_whole_one_at_a_time() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let (acme, webhook) = (account_id("acme"), here.add("acme", &receiver.url("/hook")).await);
    for number in 1..=70 {
        here.fail(webhook, &format!("1774535520{number:03}-0"), &format!("e{number}"), &format!("{{\"n\":{number}}} "))
            .await;
    }
    let first = here.failed_page(webhook, None, None, 60).await;
    assert_eq!((first.total, first.oldest.as_deref()), (70, Some("2026-03-26T14:32:00.001Z")));
    assert_eq!((first.items.len(), first.items[0].event_id.as_str()), (60, "e70"));
    here.fail(webhook, "*", "e71", "{}").await;
    let second = here.failed_page(webhook, None, first.next.as_deref(), 60).await;
    assert_eq!((second.items.len(), second.items[0].event_id.as_str(), second.next), (10, "e10", None));
    let since = here.failed_page(webhook, Some("2026-03-26T14:32:00.069Z"), None, 60).await;
    assert_eq!(events(since.items.iter().map(|one| &one.event_id)), ["e71", "e70", "e69"]);
    assert_eq!((since.total, since.next), (71, None), "the total is of all");

    let read = here.webhooks.failed_envelope(&acme, webhook, &second.items[9].delivery_id).await.unwrap();
    assert_eq!(read, &b"{\"n\":1} "[..]);
    let missing = here.webhooks.failed_envelope(&acme, webhook, "e0.x").await.unwrap_err();
    assert!(matches!(missing, WebhooksError::NoSuchDelivery { kept: "failed", .. }), "{missing}");
    let other = here.webhooks.failed_envelope(&account_id("other"), webhook, "e1.x").await.unwrap_err();
    assert!(matches!(other, WebhooksError::NotFound { .. }), "{other}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_series_of_redeliveries_takes_a_thousand_at_a_time_and_ends_even_if_all_fail_again() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let webhook = here.add("acme", &receiver.url("/hook")).await;
    for number in 0..1234 {
        here.fail(webhook, &format!("1774535520000-{number}"), &format!("e{number}"), "{}").await;
    }
    let nothing = here.some(webhook, &Which::Since("2100-01-01T00:00:00Z".parse().unwrap()), None).await;
    assert_eq!(json!(nothing), json!({"redelivered": 0, "more": false}));
    let first = here.some(webhook, &Which::All, None).await;
    // A busy machine may need more than 2 s for a thousand.
    assert!(first.more && first.redelivered <= 1000 && first.redelivered.is_multiple_of(50), "{first:?}");
    assert_eq!(first.until.as_deref(), Some("1774535520000-1233"));
    // Those fail again, and are newer.
    for number in 0..first.redelivered {
        here.fail(webhook, "*", &format!("e{number}"), "{}").await;
    }
    let (mut moved, mut more) = (first.redelivered, true);
    while more {
        let next = here.some(webhook, &Which::All, first.until.as_deref()).await;
        (moved, more) = (moved + next.redelivered, next.more);
    }
    assert_eq!(moved, 1234);
    assert_eq!(here.failed_page(webhook, None, None, 1).await.total, first.redelivered);
    let one = here.failed_page(webhook, None, None, 1).await.items.remove(0).delivery_id;
    assert_eq!(json!(here.some(webhook, &Which::One(one), None).await), json!({"redelivered": 1, "more": false}));
    let acme = account_id("acme");
    let bad = here.webhooks.redeliver_some(&acme, webhook, &Which::All, Some("-")).await.unwrap_err();
    assert!(matches!(bad, WebhooksError::Position(_)), "{bad}");
}
