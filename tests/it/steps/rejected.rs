//! Rejecting: the entry is set aside whole, within limits, and can be put back unchanged.

use lynkhook::{
    domain::event::EventId,
    store::{EntryRange, Fate},
};

use super::*;

/// Queues an entry, and rejects it as consumer `a`.
async fn reject(bench: &Bench, fields: &[(&str, &str)], event: Option<&str>) {
    bench.append("queue", fields).await;
    let held = bench.take("a").await.remove(0);
    let event: Option<EventId> = event.map(|event| event.parse().unwrap());
    assert_eq!(bench.store.reject("a", &held, "because", event.as_ref()).await.unwrap(), StepAnswer::Done);
    assert_eq!((bench.len("queue").await, bench.pending().await), (0, 0));
}

/// The `account` of each rejected entry, oldest first.
async fn kept(bench: &Bench) -> Vec<String> {
    bench.entries("rejected").await.into_iter().map(|(_, mut fields)| fields.swap_remove(2).1).collect()
}

async fn requeue(bench: &Bench, range: &EntryRange) -> u64 {
    let (mut range, mut moved) = (Some(range.clone()), 0);
    while let Some(rest) = range {
        let batch = bench.store.dispose_rejected(0, &rest, Fate::Requeue).await.unwrap();
        (range, moved) = (batch.rest, moved + batch.moved);
    }
    moved
}

#[tokio::test(flavor = "multi_thread")]
async fn of_five_the_newest_three_stay_within_a_limit_of_three_and_the_others_are_counted() {
    let bench = Bench::with(&[("LYNKHOOK_REJECTED__LIMIT", "3")]).await;
    for number in ["0", "1", "2", "3", "4"] {
        reject(&bench, &[("account", number)], None).await;
    }
    assert_eq!(kept(&bench).await, ["2", "3", "4"]);
    assert_eq!(bench.counted("rejected_overflow").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_entries_stay_within_the_limit_of_bytes_the_others_are_counted_and_the_newest_always_stays() {
    let bench = Bench::with(&[("LYNKHOOK_REJECTED__MAX_BYTES", "1MiB")]).await;
    let large = "x".repeat(200_000);
    for number in ["0", "1", "2", "3", "4", "5", "6", "7"] {
        reject(&bench, &[("account", number), ("envelope", &large)], None).await;
    }
    let newest = kept(&bench).await;
    assert!((3..=5).contains(&newest.len()) && newest.last().unwrap() == "7", "{newest:?}");
    assert_eq!(bench.counted("rejected_overflow").await, 8 - newest.len() as u64);
    let bytes = bench.bytes("rejected").await;
    assert!(bytes <= 1 << 20, "{bytes}");
    reject(&bench, &[("account", "8"), ("envelope", &"x".repeat(2_000_000))], None).await;
    assert_eq!(kept(&bench).await, ["8"], "a single entry that exceeds the limit");
    assert_eq!(bench.counted("rejected_overflow").await, 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_may_have_been_sent_keeps_its_id_and_an_invalid_entry_gets_none() {
    let bench = Bench::new().await;
    let event = [("account", "acme"), ("envelope", TRANSCRIPT)];
    let named = [event[0], ("id", "own-id"), event[1]];
    let rows: [(&[_], _, &[_]); 3] = [
        (&event, Some("0-made"), &[event[0], event[1], ("id", "0-made")]),
        (&named, Some("own-id"), &named),
        (&event, None, &event),
    ];
    for (fields, id, expected) in rows {
        reject(&bench, fields, id).await;
        let (range, _) = bench.store.rejected_range(0).await.unwrap().unwrap();
        assert_eq!(requeue(&bench, &range).await, 1);
        let queued = bench.entries("queue").await.remove(0).1;
        let queued: Vec<(&str, &str)> = queued.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(queued, expected);
        bench.cli::<()>(&format!("XTRIM {} MAXLEN 0", bench.key("queue"))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_of_very_many_fields_is_kept_as_one_list_and_put_back_field_by_field() {
    for (count, as_list) in [(500, false), (501, true), (3500, true)] {
        let bench = Bench::new().await;
        let names: Vec<String> = (0..count).map(|number| format!("näme \"{number}\"")).collect();
        let fields: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "välue")).collect();
        reject(&bench, &fields, None).await;
        let rejected = bench.entries("rejected").await.remove(0).1;
        assert_eq!(rejected.len(), if as_list { 3 } else { 2 + count }, "{count}");
        let (range, _) = bench.store.rejected_range(0).await.unwrap().unwrap();
        assert_eq!(requeue(&bench, &range).await, 1, "{count}");
        let queued = bench.entries("queue").await.remove(0).1;
        let queued: Vec<(&str, &str)> = queued.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert!(queued == fields, "{count} fields, in order");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requeueing_and_dropping_end_with_the_last_entry_that_existed_at_the_start() {
    for fate in [Fate::Requeue, Fate::Drop] {
        let bench = Bench::new().await;
        for number in ["0", "1"] {
            reject(&bench, &[("account", number)], None).await;
        }
        let (range, count) = bench.store.rejected_range(0).await.unwrap().unwrap();
        assert_eq!(count, 2);
        reject(&bench, &[("account", "2")], None).await;
        let batch = bench.store.dispose_rejected(0, &range, fate).await.unwrap();
        assert_eq!((batch.moved, batch.stayed, batch.rest), (2, 0, None), "{fate:?}");
        assert_eq!(kept(&bench).await, ["2"], "{fate:?}");
        assert_eq!(bench.len("queue").await, if fate == Fate::Requeue { 2 } else { 0 });
        assert_eq!(bench.counted("rejected_dropped").await, if fate == Fate::Drop { 2 } else { 0 });
    }
}
