//! Webhooks are listed by pages, judged without being saved, and switched or deleted at a named revision.

use lynkhook::{
    domain::{failure::Failure, page::Page, webhook::WebhookId},
    webhooks::{AuthenticationView, Edit, Listed, NewAuthentication, NewWebhook, WebhooksError},
};
use redis::AsyncCommands;

use crate::{
    shapes::{assert_page, assert_shape},
    support::*,
};

fn new(url: String, authentication: NewAuthentication) -> NewWebhook {
    NewWebhook { url, events: None, authentication, description: "CRM".to_owned(), active: true }
}

impl Installation {
    async fn page(&self, after: Option<&str>, limit: usize) -> Page<Listed> {
        let page = self.webhooks.list_page(&account_id("acme"), after, limit).await.unwrap();
        assert_page(&page, &page.items);
        page
    }
}

fn ids(page: &Page<Listed>) -> Vec<WebhookId> {
    page.items.iter().map(Listed::id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_boundary_survives_additions_and_deletions() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await.with("LYNKHOOK_WEBHOOKS__LIMIT_PER_ACCOUNT", "9").await;
    let mut all = Vec::new();
    for _ in 0..4 {
        all.push(here.add("acme", &receiver.url("/hook")).await);
    }
    let first = here.page(None, 2).await;
    assert_eq!(ids(&first), all[..2], "oldest first");
    here.webhooks.delete(&account_id("acme"), all[1], None).await.unwrap();
    all.push(here.add("acme", &receiver.url("/hook")).await);
    let second = here.page(first.next.as_deref(), 2).await;
    assert_eq!(ids(&second), all[2..4]);
    let third = here.page(second.next.as_deref(), 2).await;
    assert_eq!((ids(&third), third.next), (all[4..].to_vec(), None));
    for bad in ["", "x", "0", "wh_1"] {
        let refused = here.webhooks.list_page(&account_id("acme"), Some(bad), 2).await.unwrap_err();
        assert!(matches!(refused, WebhooksError::Position(_)), "{refused}");
        assert_eq!(refused.failure(), Failure::Usage);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_cannot_be_read_is_listed_as_such_and_hides_no_other() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let acme = account_id("acme");
    let (broken, whole) = (here.add("acme", &receiver.url("/a")).await, here.add("acme", &receiver.url("/b")).await);
    let key = here.store.keys().webhooks(&acme);
    let _: () = here.redis.clone().hset(&key, broken.to_string(), "{\"token\":\"hunter2").await.unwrap();
    let _: () = here.redis.clone().hset(&key, "no webhook", "{}").await.unwrap();
    let page = here.page(None, 9).await;
    assert_eq!(ids(&page), [broken, whole]);
    let Listed::Unreadable { reason, unreadable: true, .. } = &page.items[0] else { panic!("{page:?}") };
    assert!(!reason.is_empty() && !reason.contains("hunter2"), "{reason}");
    assert!(matches!(&page.items[1], Listed::Read(view) if view.url.as_str().ends_with("/b")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_finds_what_adding_would_and_saves_nothing() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let (acme, url) = (account_id("acme"), receiver.url("/hook"));
    let token = || NewAuthentication::Bearer("a-token-of-many-letters".into());
    let judged = here.webhooks.judge_new(&acme, new(url.clone(), token())).await.unwrap();
    assert_shape(&judged);
    let AuthenticationView::Bearer { token: shown } = &judged.authentication else { panic!("{judged:?}") };
    assert_eq!(shown, "••••ters");
    assert_eq!((judged.url.as_str(), judged.events.len()), (&*url, 1));
    assert!(here.page(None, 9).await.items.is_empty());

    let bad = || NewWebhook { events: Some(vec!["no.such".to_owned()]), ..new("http://x".to_owned(), token()) };
    let refused = here.webhooks.judge_new(&acme, bad()).await.unwrap_err();
    assert_eq!(refused.to_string(), here.webhooks.add(&acme, bad()).await.unwrap_err().to_string());
    for _ in 0..2 {
        here.webhooks.judge_new(&acme, new(url.clone(), token())).await.unwrap();
        here.webhooks.add(&acme, new(url.clone(), token())).await.unwrap();
    }
    let full = here.webhooks.judge_new(&acme, new(url.clone(), token())).await.unwrap_err();
    assert!(matches!(full, WebhooksError::Limit { limit: 2, .. }), "{full}");
    let faults = here.webhooks.judge_new(&acme, bad()).await.unwrap_err();
    assert!(matches!(&faults, WebhooksError::Input(faults) if faults.len() == 2), "{faults}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_deleted_and_switched_off_only_at_the_revision_that_was_named() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let acme = account_id("acme");
    let webhook = here.add_with("acme", &receiver.url("/hook"), NewAuthentication::None, false).await;
    let held = here.key(&format!("held:{webhook}"));
    let _: String = here.redis.clone().xadd(&held, "*", &[("delivery", "x")]).await.unwrap();
    let edit = Edit { description: Some("new".to_owned()), ..Edit::default() };
    here.webhooks.edit(&acme, webhook, edit).await.unwrap();
    for asked in [1, 3] {
        for refused in [
            here.webhooks.delete(&acme, webhook, Some(asked)).await.map(drop).unwrap_err(),
            here.webhooks.disable(&acme, webhook, Some(asked)).await.map(drop).unwrap_err(),
        ] {
            let WebhooksError::Stale { present: 2, asked: named, .. } = refused else { panic!("{refused}") };
            assert_eq!(named, asked);
        }
    }
    assert_eq!(here.redis.clone().xlen::<_, u64>(&held).await.unwrap(), 1, "nothing went");
    assert_eq!(here.webhooks.disable(&acme, webhook, Some(2)).await.unwrap().revision, 3);
    let deleted = here.webhooks.delete(&acme, webhook, Some(3)).await.unwrap();
    assert_eq!((deleted.id, deleted.dropped.held), (webhook, 1));
    let gone = here.webhooks.delete(&acme, webhook, Some(3)).await.unwrap_err();
    assert!(matches!(gone, WebhooksError::NotFound { .. }), "{gone}");
}
