//! Invalid entries: each is set aside with a reason that names its fault, and can be requeued or dropped.

use redis::AsyncCommands;
use serde_json::{Value, json};

use super::status;
use crate::support::*;

mod faults;

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// Adds an entry with any fields. Answers its id.
async fn add(here: &Installation, key: &str, fields: &Fields) -> String {
    let mut add = redis::cmd("XADD");
    add.arg(here.key(key)).arg("*");
    for (name, value) in fields {
        add.arg(name).arg(value);
    }
    add.query_async(&mut here.redis.clone()).await.unwrap()
}

async fn entries(here: &Installation, key: &str) -> Vec<(String, Fields)> {
    let mut range = redis::cmd("XRANGE");
    range.arg(here.key(key)).arg("-").arg("+");
    range.query_async(&mut here.redis.clone()).await.unwrap()
}

async fn until_rejected(here: &Installation, count: usize) -> Vec<(String, Fields)> {
    eventually(SOON, &format!("{count} rejected entries"), async || {
        let rejected = entries(here, "rejected").await;
        (rejected.len() == count).then_some(rejected)
    })
    .await
}

fn fields(pairs: &[(&str, &str)]) -> Fields {
    pairs.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

/// An entry with this many unknown fields.
fn foreign(count: usize) -> Fields {
    (0..count)
        .map(|number| (format!("name{number}").into_bytes(), format!("välue \"{number}\" \0").into_bytes()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_malformed_entry_is_set_aside_whole_with_its_fault_named_and_the_worker_goes_on() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(200)]);
    let here = Installation::new(&receiver).await;
    // The worker has noted one partition; nothing is in it yet.
    let meta = format!("{}:meta", here.prefix);
    let _: () = here.redis_of(&meta).await.del(&meta).await.unwrap();
    let here = here.with("LYNKHOOK_QUEUE__PARTITIONS", "2").await.with("LYNKHOOK_EVENT__MAX_BYTES", "2000").await;
    let webhook = here.add("acme", &receiver.url("/hook")).await;
    let faults = faults::all(&here.prefix);
    assert!(faults.len() >= 40, "{}", faults.len());
    let mut worker = here.program.worker([]);
    let mut added = Vec::new();
    for (fault, _) in &faults {
        added.push(add(&here, "queue", fault).await);
    }
    // Valid entries of unusual kinds: one for no webhook, one with many other fields, one that is deeply nested.
    here.push("nobody.0", TRANSCRIPT).await;
    let mut many = foreign(5000);
    many.extend(fields(&[("account", "acme"), ("envelope", TRANSCRIPT)]));
    add(&here, "queue", &many).await;
    let nested = format!(r#"{{"messageId":"deep","x":{}{}}}"#, "[".repeat(900), "]".repeat(900));
    here.push(
        "acme",
        format!(r#"{{"event":"transcript.created","timestamp":"2026-03-26T14:32:00Z","data":{nested}}}"#),
    )
    .await;
    here.push("acme", TRANSCRIPT).await;

    receiver.wait_for("/hook", 3, SOON).await;
    here.drained().await;
    let rejected = entries(&here, "rejected").await;
    assert_eq!(rejected.len(), faults.len());
    for ((fault, expected), id) in faults.iter().zip(&added) {
        let found = rejected.iter().find(|(_, fields)| fields[1].1 == id.as_bytes());
        let (_, found) = found.unwrap_or_else(|| panic!("not rejected: {expected}"));
        assert_eq!((&found[0].0[..], &found[1].0[..]), (&b"reason"[..], &b"entry"[..]));
        let reason = String::from_utf8(found[0].1.clone()).unwrap();
        let named = expected.strip_suffix('…').map_or(reason == *expected, |begins| reason.starts_with(begins));
        assert!(named, "{reason}\n instead of\n{expected}");
        if fault.len() <= 500 {
            assert_eq!(&found[2..], &fault[..], "the original of: {reason}");
        } else {
            let flat: Vec<String> = fault
                .iter()
                .flat_map(|(name, value)| [name, value])
                .map(|text| String::from_utf8(text.clone()).unwrap())
                .collect();
            assert_eq!((found.len(), &found[2].0[..]), (3, &b"fields"[..]));
            assert_eq!(serde_json::from_slice::<Vec<String>>(&found[2].1).unwrap(), flat);
        }
    }
    assert_eq!(here.log(webhook).await.len(), 3);
    assert_eq!(status(&here).await["counts"], json!({ "events_without_webhook": 1 }));
    worker.sigterm();
    assert_eq!(worker.wait().await, Some(0));
    assert!(!worker.stderr().contains("panicked"), "{}", worker.stderr());
    let listed = here.program.json(["queue", "rejected", "list", "--partition", "0", "--limit", "1000"]).await;
    assert_eq!(listed.as_array().unwrap().len(), faults.len(), "all entries can be shown");
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_entries_are_delivered_when_requeued_with_settings_that_allow_them() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(200)]);
    let here = Installation::new(&receiver).await;
    here.add("acme", &receiver.url("/hook")).await;
    let large = TRANSCRIPT.replace("6601abc123def4567890abcd", &"m".repeat(2000));
    let originals = [
        fields(&[("extra", ""), ("account", "acme"), ("envelope", &large), ("extra", "twice")]),
        vec![(b"foreign\xff".to_vec(), b"\x00\xfe".to_vec())],
        foreign(600),
        foreign(5000),
    ];
    let mut worker = here.program.worker([("LYNKHOOK_EVENT__MAX_BYTES", "1024")]);
    for original in &originals {
        add(&here, "queue", original).await;
        here.drained().await;
    }
    let rejected = until_rejected(&here, 4).await;
    worker.sigterm();
    worker.wait().await;
    let run = async |args: &[&str]| here.program.run([&["queue", "rejected"], args].concat()).await;
    let shown = run(&["list"]).await.stdout;
    assert!(
        shown.contains("more than the 1024 allowed") && shown.contains("extra= account=acme envelope={"),
        "{shown}"
    );
    assert_eq!(run(&["requeue"]).await.code, Some(2), "which one?");
    assert_eq!(run(&["requeue", "--id", "1-0", "--all"]).await.code, Some(2));
    assert_eq!(run(&["requeue", "--id", "1"]).await.code, Some(2));
    assert_eq!(run(&["requeue", "--all", "--partition", "1"]).await.code, Some(2));
    assert_eq!(run(&["requeue", "--id", "1-0"]).await.code, Some(3));
    let too_many = run(&["requeue", "--id", &rejected[3].0]).await;
    assert_eq!(too_many.code, Some(4), "more fields than a script can pass: {}", too_many.stderr);

    let requeued = here.program.json(["queue", "rejected", "requeue", "--all"]).await;
    assert_eq!(requeued, json!({ "requeued": 3, "stayed": 1 }));
    let queued: Vec<Fields> = entries(&here, "queue").await.into_iter().map(|(_, fields)| fields).collect();
    assert_eq!(queued, originals[..3], "the original fields, in order");
    let _worker = here.program.worker([]);
    let delivered = receiver.wait_for("/hook", 1, SOON).await;
    assert_eq!(delivered[0].body, large.as_bytes());
    here.drained().await;
    let again = until_rejected(&here, 3).await;

    // A worker rejects them again at once, and requeueing all of them still ends.
    let requeued = here.program.json(["queue", "rejected", "requeue", "--all"]).await;
    assert_eq!(requeued, json!({ "requeued": 2, "stayed": 1 }));
    here.drained().await;
    let still = until_rejected(&here, 3).await;
    assert!(again[1..].iter().all(|(id, _)| still.iter().all(|(other, _)| id != other)), "under new ids");
    assert_eq!(run(&["drop", "--id", &still[0].0]).await.stdout, "Dropped 1 entry.\n");
    assert_eq!(here.program.json(["queue", "rejected", "drop", "--all"]).await, json!({ "dropped": 2 }));
    assert_eq!(status(&here).await["counts"], json!({ "rejected_dropped": 3 }));
    assert_eq!(run(&["list"]).await.stdout, "Nothing is rejected.\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn requeueing_and_dropping_go_in_batches_and_keep_the_order() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    for number in 0..120 {
        let number = number.to_string();
        add(&here, "rejected", &fields(&[("reason", "r"), ("entry", "1-0"), ("account", &number)])).await;
    }
    let newest = here.program.json(["queue", "rejected", "list", "--limit", "45"]).await;
    let accounts = |list: &Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|entry| entry["fields"][0]["value"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(accounts(&newest), (75..120).rev().map(|number| number.to_string()).collect::<Vec<_>>());
    let requeued = here.program.json(["queue", "rejected", "requeue", "--all"]).await;
    assert_eq!(requeued, json!({ "requeued": 120, "stayed": 0 }));
    let queued: Vec<_> = entries(&here, "queue").await.into_iter().map(|(_, fields)| fields[0].1.clone()).collect();
    assert_eq!(queued, (0..120).map(|number: u8| number.to_string().into_bytes()).collect::<Vec<_>>());
    let exists: bool = here.redis.clone().exists(here.key("rejected")).await.unwrap();
    assert!(!exists, "an empty stream has no key");
    assert_eq!(
        here.program.json(["queue", "rejected", "requeue", "--all"]).await,
        json!({ "requeued": 0, "stayed": 0 })
    );
}
