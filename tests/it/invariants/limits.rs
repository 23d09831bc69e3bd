//! Invariant 7 at random: however many editors add and delete at once, no account exceeds its limit of webhooks.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use lynkhook::webhooks::{NewAuthentication, NewWebhook};

use super::*;

const ACCOUNTS: usize = 3;
const LIMIT: usize = 2;

/// The total of all editors' actions.
#[derive(Default)]
struct Done {
    added: [AtomicUsize; ACCOUNTS],
    deleted: [AtomicUsize; ACCOUNTS],
    refused: AtomicUsize,
}

/// An editor who adds, edits and deletes at random, among others who do the same.
async fn edit_at_random(here: Arc<Installation>, done: Arc<Done>, mut dice: StdRng, duration: Duration) {
    let started = Instant::now();
    while started.elapsed() < duration {
        let number = dice.random_range(0..ACCOUNTS);
        let account = account_id(&format!("account-{number}"));
        let there = here.webhooks.list(&account).await.unwrap();
        assert!(there.len() <= LIMIT, "{account} has {} webhooks", there.len());
        let one = there.get(dice.random_range(0..=LIMIT)).map(|webhook| webhook.id);
        match (one, dice.random_range(0..3)) {
            (Some(webhook), 0) => match here.webhooks.delete(&account, webhook, None).await {
                Ok(_) => drop(done.deleted[number].fetch_add(1, Ordering::Relaxed)),
                Err(WebhooksError::NotFound { .. }) => {}
                Err(error) => panic!("{error}"),
            },
            (Some(webhook), 1) => {
                let edit = Edit { description: Some(dice.random::<u32>().to_string()), ..Edit::default() };
                match here.webhooks.edit(&account, webhook, edit).await {
                    Ok(_) | Err(WebhooksError::NotFound { .. } | WebhooksError::Conflict) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            _ => {
                let new = NewWebhook {
                    url: "https://localhost/hook".to_owned(),
                    events: None,
                    authentication: NewAuthentication::None,
                    description: String::new(),
                    active: dice.random_bool(0.5),
                };
                match here.webhooks.add(&account, new).await {
                    Ok(_) => done.added[number].fetch_add(1, Ordering::Relaxed),
                    Err(WebhooksError::Limit { .. }) => done.refused.fetch_add(1, Ordering::Relaxed),
                    Err(error) => panic!("{error}"),
                };
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_simultaneous_edits_never_exceed_the_limit_or_bring_back_a_deleted_webhook() {
    let (mut dice, duration) = dice();
    let here = Arc::new(Installation::new(&Receiver::start().await).await);
    let done = Arc::new(Done::default());
    let editors: Vec<_> = (0..12)
        .map(|_| {
            let dice = StdRng::seed_from_u64(dice.random());
            tokio::spawn(edit_at_random(here.clone(), done.clone(), dice, duration / 3))
        })
        .collect();
    for editor in editors {
        editor.await.unwrap();
    }
    for number in 0..ACCOUNTS {
        let there = here.webhooks.list(&account_id(&format!("account-{number}"))).await.unwrap().len();
        let [added, deleted] = [&done.added, &done.deleted].map(|done| done[number].load(Ordering::Relaxed));
        assert_eq!(there, added - deleted, "{added} added, {deleted} deleted");
        assert!(deleted > 0, "none was deleted in this run");
    }
    assert!(done.refused.load(Ordering::Relaxed) > 0, "the limit was never met in this run");
}
