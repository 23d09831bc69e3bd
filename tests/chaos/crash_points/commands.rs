//! Commands that are killed before and after their step. A completed step was done once; a step that was not completed
//! is done when the command is repeated.

use std::collections::HashMap;

use lynkhook::webhooks::{Edit, NewAuthentication};
use redis::AsyncCommands;

use super::{PATIENT, scene::Scene};
use crate::support::*;

/// The final state of the six deliveries of the scene.
#[derive(Debug, Default, PartialEq, Eq)]
struct Whereabouts {
    delivered: usize,
    failed: u64,
    rejected: u64,
    /// By cause.
    dropped: HashMap<String, u64>,
}

/// Each step's command, without the program's name; `{id}` is the webhook and `{entry}` a rejected entry. The second
/// value is the state of the two held, two failed and two rejected events after the command, and after a worker has
/// delivered all that is due.
fn case(step: &str) -> (&'static [&'static str], Whereabouts) {
    let as_before = Whereabouts { delivered: 2, failed: 2, rejected: 2, dropped: HashMap::new() };
    let dropped = |causes: &[(&str, u64)]| causes.iter().map(|(cause, n)| ((*cause).to_owned(), *n)).collect();
    match step {
        "put_webhook" => {
            let end = Whereabouts { delivered: 0, dropped: dropped(&[("held_discarded", 2)]), ..as_before };
            (&["webhook", "enable", "--account", "acme", "{id}", "--discard-held"], end)
        }
        "delete_webhook" => {
            let dropped = dropped(&[("deliveries_of_deleted_webhook", 2), ("failed_of_deleted_webhook", 2)]);
            let end = Whereabouts { rejected: 2, dropped, ..Whereabouts::default() };
            (&["webhook", "delete", "--account", "acme", "{id}"], end)
        }
        "portal_end" => {
            // A purge: after the portal's sessions, the webhooks go.
            let dropped = dropped(&[("deliveries_of_deleted_webhook", 2), ("failed_of_deleted_webhook", 2)]);
            let end = Whereabouts { rejected: 2, dropped, ..Whereabouts::default() };
            (&["account", "purge", "--account", "acme", "--yes"], end)
        }
        "put_api_key" => (&["apikey", "add", "--name", "backend", "--scope", "events:write"], as_before),
        "delete_api_key" => (&["apikey", "revoke", "nosuchapikey"], as_before),
        "redeliver" => {
            let end = Whereabouts { delivered: 4, failed: 0, ..as_before };
            (&["webhook", "redeliver", "--account", "acme", "{id}", "--all"], end)
        }
        "list_kept" => (&["webhook", "failed", "--account", "acme", "{id}"], as_before),
        "log" => (&["webhook", "test", "--account", "acme", "{id}"], as_before),
        "look" | "look_at_ids" | "may" => (&["doctor"], as_before),
        "status" => (&["queue", "status"], as_before),
        "requeue_rejected" => {
            let end = Whereabouts { delivered: 4, rejected: 0, ..as_before };
            (&["queue", "rejected", "requeue", "--all"], end)
        }
        "drop_rejected" => {
            let end = Whereabouts { rejected: 1, dropped: dropped(&[("rejected_dropped", 1)]), ..as_before };
            (&["queue", "rejected", "drop", "--id", "{entry}"], end)
        }
        unknown => panic!("no scene reaches {unknown}: write one"),
    }
}

pub async fn a_command_is_killed(side: &str, step: &str) {
    let point = format!("{side}-{step}");
    let (words, expected) = case(step);
    let (scene, entry) = set().await;
    let id = scene.webhooks["acme"].to_string();
    let words: Vec<String> = words.iter().map(|word| word.replace("{id}", &id).replace("{entry}", &entry)).collect();
    // Without a consumer group, the commands have nothing to read.
    scene.here.store.ensure_group(0).await.unwrap();
    let killed = scene.here.program.clone().env("LYNKHOOK_FAILPOINT", &point).run(&words).await;
    assert_eq!(killed.code, None, "{point} was not reached: {killed:#?}");
    let repeated = scene.here.program.run(&words).await;
    assert!(
        matches!(repeated.code, Some(0 | 3)) || step.starts_with("look") || step == "may",
        "{point}: done, or done before: {repeated:#?}"
    );

    if !["delete_webhook", "portal_end"].contains(&step) {
        let on = Edit { active: Some(true), ..Edit::default() };
        scene.here.webhooks.edit(&account_id("acme"), scene.webhooks["acme"], on).await.unwrap();
    }
    let _worker = scene.here.program.worker(PATIENT);
    let held = scene.key("held", "acme");
    eventually(SOON, "nothing held", async || (scene.length(&held).await == 0).then_some(())).await;
    scene.drained().await;
    let all = scene.receiver.requests("/solo");
    let events: Vec<&str> = all.iter().filter_map(|request| request.header("webhook-id")).collect();
    let mut events: Vec<&str> = events.into_iter().filter(|event| !event.starts_with("test-")).collect();
    let requests = events.len();
    events.sort_unstable();
    events.dedup();
    assert_eq!(events.len(), requests, "{point}: no event came twice");
    let found = Whereabouts {
        delivered: events.len(),
        failed: scene.length(&scene.key("failed", "acme")).await,
        rejected: scene.length(&scene.here.key("rejected")).await,
        dropped: scene.redis().hgetall(scene.here.key("counts")).await.unwrap(),
    };
    assert_eq!(found, expected, "{point}");
}

/// A webhook that is off, with two held and two failed deliveries, and two rejected events of its account.
async fn set() -> (Scene, String) {
    let mut scene = Scene::empty().await;
    let url = scene.receiver.url("/solo");
    let webhook = scene.here.add_with("acme", &url, NewAuthentication::None, false).await;
    scene.webhooks.insert("acme", webhook);
    let _: () = scene.redis().del(scene.here.key("rejected")).await.unwrap();
    let mut entry = String::new();
    for number in 0..2 {
        scene.hold("acme", &format!("held-{number}")).await;
        scene.fail("acme", &format!("failed-{number}")).await;
        let id = format!("rejected-{number}");
        let fields = [("reason", "r"), ("entry", "1-0"), ("account", "acme"), ("envelope", TRANSCRIPT), ("id", &id)];
        entry = scene.redis().xadd(scene.here.key("rejected"), "*", &fields).await.unwrap();
    }
    (scene, entry)
}
